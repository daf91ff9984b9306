"""Environment: what the process environment says about switches, and about who runs the tool.

Pure: the variables are passed in. Next: consent.py, telemetry.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

_OFF = ("", "0", "false", "no", "off")

_OS = {"darwin": "darwin", "linux": "linux", "win32": "windows"}

# CI is set by nearly all; the others are of services, or of their older versions, that do not set it.
_CI_VARIABLES = (
    "CI",
    "CONTINUOUS_INTEGRATION",
    "BUILDKITE",
    "CODEBUILD_BUILD_ID",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "JENKINS_URL",
    "TEAMCITY_VERSION",
    "TF_BUILD",
)

# What each agent sets for the commands it runs. Editors' own variables (CURSOR_TRACE_ID, TERM_PROGRAM) are not here:
# a person typing in the editor's terminal has them as well.
_AGENT_VARIABLES = (
    ("CLAUDECODE", "claude-code"),
    ("CODEX_SANDBOX", "codex"),
    ("CODEX_SANDBOX_NETWORK_DISABLED", "codex"),
    ("CODEX_THREAD_ID", "codex"),
    ("CURSOR_AGENT", "cursor"),
    ("GEMINI_CLI", "gemini-cli"),
    ("OPENCODE", "opencode"),
    ("CLINE_ACTIVE", "cline"),
    ("AUGMENT_AGENT", "augment"),
)


def is_on(value: str | None) -> bool:
    """Whether a switch is set: to anything but empty, 0, false, no or off."""
    return value is not None and value.strip().lower() not in _OFF


def variable(tool: str, name: str) -> str:
    """The tool's own variable: `vibe-tools`, `NO_TELEMETRY` give `VIBE_TOOLS_NO_TELEMETRY`."""
    return re.sub(r"[^A-Z0-9]", "_", tool.upper()) + "_" + name


def describe(environ: Mapping[str, str]) -> dict[str, object]:
    """The fields of an event that tell where it ran, by the contract's attribute names."""
    return {
        "os": _OS.get(sys.platform, "other"),
        "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",
        "ci": any(is_on(environ.get(name)) for name in _CI_VARIABLES),
        "agent": next((agent for name, agent in _AGENT_VARIABLES if is_on(environ.get(name))), None),
        # Not stdout: a person who pipes the answer into a file still sits there.
        "interactive": _is_terminal(sys.stdin) and _is_terminal(sys.stderr),
    }


def _is_terminal(stream: object) -> bool:
    """Streams may be missing (pythonw), closed (daemons) or replaced by anything."""
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError, OSError):
        return False

"""Environment: which switches are on, and who runs the tool."""

import io
import sys

import pytest
from vibetel_client import environment


def test_variable_is_one_that_a_shell_can_set() -> None:
    assert environment.variable("vibe-tools", "NO_TELEMETRY") == "VIBE_TOOLS_NO_TELEMETRY"
    assert environment.variable("my.tool 2", "NO_TELEMETRY") == "MY_TOOL_2_NO_TELEMETRY"


@pytest.mark.parametrize(
    ("environ", "ci", "agent"),
    [
        ({}, False, None),
        ({"CI": "false"}, False, None),
        ({"CI": "true"}, True, None),
        ({"JENKINS_URL": "http://ci.example/"}, True, None),
        ({"CLAUDECODE": "1"}, False, "claude-code"),
        ({"CODEX_SANDBOX": "seatbelt"}, False, "codex"),
        ({"CURSOR_AGENT": "1"}, False, "cursor"),
        ({"CI": "1", "GEMINI_CLI": "1"}, True, "gemini-cli"),
    ],
)
def test_describe_tells_continuous_integration_and_agents(
    environ: dict[str, str], ci: bool, agent: "str | None"
) -> None:
    described = environment.describe(environ)
    assert (described["ci"], described["agent"]) == (ci, agent)


def test_describe_survives_missing_and_closed_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert environment.describe({})["interactive"] is False
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdin", closed)
    assert environment.describe({})["interactive"] is False

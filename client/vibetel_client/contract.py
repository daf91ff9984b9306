"""The contract: every field and option that an event may ever carry.

One declaration for both ends: the client sanitizes with it, the server checks with it (ingest/checks.py), and the
consent text and the documentation are generated from it. What is not listed here does not pass.
Standard library only, Python 3.9+.
"""

import enum
import re
from dataclasses import dataclass
from typing import Optional

SCHEMA_VERSION = 1

COMMAND_EXECUTED = "command_executed"
COMMAND_ERROR = "command_error"
EVENT_NAMES = (COMMAND_EXECUTED, COMMAND_ERROR)

# Legal as `userId`, and no users: opted out, and not asked yet (seed.md, "User Identification").
PLACEHOLDER_USER_IDS = ("anonymous_opt_out", "anonymous_pending_prompt")

# Stands in for a string that does not look like what its field may hold.
OTHER = "other"


class Kind(enum.Enum):
    """What a value may be; `ingest/checks.py` and `command.py` have one rule for each."""

    EVENT_NAME = "event name"
    USER_ID = "UUID or placeholder"
    UUID = "UUID"
    TIMESTAMP = "ISO 8601 with milliseconds, UTC"
    IDENTIFIER = "identifier"
    CHOICE = "one of a list"
    COUNT = "whole number"
    FLAG = "true or false"
    OPTIONS = "flat object of listed options"


@dataclass(frozen=True)
class Field:
    """One field of an event.

    `name` is its name on the wire, `attribute` inside. `pattern` bounds an IDENTIFIER, `choices` a CHOICE, `maximum` a
    COUNT. `required_for` lists the event names that cannot do without it.
    """

    name: str
    attribute: str
    kind: Kind
    purpose: str
    required_for: tuple[str, ...] = ()
    pattern: Optional["re.Pattern[str]"] = None
    choices: tuple[str, ...] = ()
    maximum: int = 0


@dataclass(frozen=True)
class Option:
    """One command-line option whose use may be reported. Free text is never passed on: it becomes `true`."""

    name: str
    kind: Kind
    purpose: str
    choices: tuple[str, ...] = ()
    maximum: int = 0


# What a name must not look like: a file, a credential, something random. A client cannot know what a string means, so
# what is left to hide in is a short name; anything else becomes `other`.
_NOT_A_FILE = r"(?!\S*\.[A-Za-z]{1,5}\Z)"
_NOT_A_CREDENTIAL = r"(?!(?:sk|pk|rk|glpat|xox[a-z])-|(?:gh[a-z]|github_pat|hf)_|AKIA|AIza|eyJ)"
_NOT_RANDOM = r"(?!\S*[A-Za-z0-9]{25})"
_NAME = _NOT_A_CREDENTIAL + _NOT_RANDOM + r"[A-Za-z][A-Za-z0-9_-]{0,31}"

# A command of a group is written `group:command`, three deep at most.
_COMMAND = re.compile(rf"{_NAME}(?::[A-Za-z][A-Za-z0-9_-]{{0,31}}){{0,2}}", re.ASCII)
_TYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}", re.ASCII)
_PROVIDER = re.compile(_NAME, re.ASCII)
_MODEL = re.compile(
    _NOT_A_FILE
    + _NOT_A_CREDENTIAL
    + _NOT_RANDOM
    + r"(?:[A-Za-z][A-Za-z0-9._-]{0,31}/){0,2}[A-Za-z][A-Za-z0-9._:+-]{0,63}",
    re.ASCII,
)
# Semantic versions, and those of Python packages (PEP 440), such as 1.2.3rc1.
_VERSION = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,5}){1,3}(?:(?:[-+.]|a|b|rc)[0-9A-Za-z.+-]{1,32})?", re.ASCII)
_MINOR_VERSION = re.compile(r"[0-9]{1,2}\.[0-9]{1,3}", re.ASCII)

_MAX_DURATION_MS = 366 * 86_400_000
_MAX_TOKENS = 10_000_000_000

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_ALWAYS = EVENT_NAMES
_RUN = (COMMAND_EXECUTED,)

# In the order of the archive line; the first nineteen in the order of the released client (wire-format.md).
FIELDS: tuple[Field, ...] = (
    Field("eventName", "event_name", Kind.EVENT_NAME, "Which of the two events this is.", _ALWAYS),
    Field("userId", "user_id", Kind.USER_ID, "A random id of the installation, to count users.", _ALWAYS),
    Field("sessionId", "session_id", Kind.UUID, "A random id of this one run.", _ALWAYS),
    Field("timestamp", "timestamp", Kind.TIMESTAMP, "When the run ended, by the user's clock.", _ALWAYS),
    Field("toolVersion", "tool_version", Kind.IDENTIFIER, "The tool's version.", _ALWAYS, _VERSION),
    Field("command", "command", Kind.IDENTIFIER, "The command that ran, without its arguments.", _ALWAYS, _COMMAND),
    Field("duration", "duration_ms", Kind.COUNT, "How long it ran, in milliseconds.", _RUN, maximum=_MAX_DURATION_MS),
    Field("contextTokens", "context_tokens", Kind.COUNT, "Size of the context, in tokens.", maximum=_MAX_TOKENS),
    Field("promptTokens", "prompt_tokens", Kind.COUNT, "Size of the prompt, in tokens.", maximum=_MAX_TOKENS),
    Field("completionTokens", "completion_tokens", Kind.COUNT, "Size of the answer, in tokens.", maximum=_MAX_TOKENS),
    Field("provider", "provider", Kind.IDENTIFIER, "Which AI provider was used.", pattern=_PROVIDER),
    Field("model", "model", Kind.IDENTIFIER, "Which AI model was used.", pattern=_MODEL),
    Field("fileProvider", "file_provider", Kind.IDENTIFIER, "The provider that chose files.", pattern=_PROVIDER),
    Field("fileModel", "file_model", Kind.IDENTIFIER, "The model that chose files.", pattern=_MODEL),
    Field("thinkingProvider", "thinking_provider", Kind.IDENTIFIER, "The provider that planned.", pattern=_PROVIDER),
    Field("thinkingModel", "thinking_model", Kind.IDENTIFIER, "The model that planned.", pattern=_MODEL),
    Field("options", "options", Kind.OPTIONS, "Which listed options were used, without free text."),
    Field("hasError", "has_error", Kind.FLAG, "Whether the run failed.", _RUN),
    Field("errorType", "error_type", Kind.IDENTIFIER, "The kind of error; never its message.", pattern=_TYPE_NAME),
    Field("os", "os", Kind.CHOICE, "The operating system's family.", choices=("darwin", "linux", "windows", "other")),
    Field("pythonVersion", "python_version", Kind.IDENTIFIER, "Python's minor version.", pattern=_MINOR_VERSION),
    Field("ci", "ci", Kind.FLAG, "Whether it ran in continuous integration."),
    Field("agent", "agent", Kind.IDENTIFIER, "The AI coding agent that ran it, if one did.", pattern=_PROVIDER),
    Field("interactive", "interactive", Kind.FLAG, "Whether a person sat at a terminal."),
    Field("lostCount", "lost_count", Kind.COUNT, "Events given up since the last delivery.", maximum=1_000_000),
    Field("eventId", "event_id", Kind.UUID, "A random id of this event: sent twice, it counts once."),
)

# In the order of wire-format.md, "Fields".
OPTIONS: tuple[Option, ...] = (
    Option("debug", Kind.FLAG, "Debug output was asked for."),
    Option("maxTokens", Kind.COUNT, "The limit on tokens.", maximum=_MAX_TOKENS),
    Option("saveTo", Kind.FLAG, "The answer was saved to a file; never which."),
    Option("quiet", Kind.FLAG, "Quiet output was asked for."),
    Option("html", Kind.FLAG, "HTML was asked for."),
    Option("headless", Kind.FLAG, "The browser ran without a window."),
    Option("console", Kind.FLAG, "Console messages were captured."),
    Option("network", Kind.FLAG, "Network activity was captured."),
    Option("reasoningEffort", Kind.CHOICE, "The effort asked for.", choices=_EFFORTS),
    Option("timeout", Kind.COUNT, "The limit on time.", maximum=_MAX_DURATION_MS),
    Option("hasWithDoc", Kind.FLAG, "Documents were added."),
    Option("withDocCount", Kind.COUNT, "How many documents were added.", maximum=1_000_000),
)

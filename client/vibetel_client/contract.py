"""The contract: every field and option that an event may ever carry.

One declaration for both ends: the client sanitizes with it, the server checks with it (ingest/checks.py), and the
consent text, the example event and docs/contract.md are generated from it (description.py). What is not listed here
does not pass. Adding a field or an option is one line here; tests/client/test_contract.py names what follows.
Standard library only, Python 3.9+, and cheap to import: each run of each user's tool does.
"""

from __future__ import annotations

import enum
import re

SCHEMA_VERSION = 1

COMMAND_EXECUTED = "command_executed"
COMMAND_ERROR = "command_error"
EVENT_NAMES = (COMMAND_EXECUTED, COMMAND_ERROR)

# Legal as `userId`, and no users: opted out, and not asked yet (seed.md, "User Identification").
PLACEHOLDER_USER_IDS = ("anonymous_opt_out", "anonymous_pending_prompt")

# Stands in for a string that does not look like what its field may hold.
OTHER = "other"

# Who a model may be said to come from, before the slash: `openai/gpt-5`, `openrouter/anthropic/claude-3.7-sonnet`.
# Any other word there could be the folder of a path. Left out on purpose: vendors named like many a folder (`meta`,
# `writer`, `inception`), and `azure`, whose models have the names that a company gave them.
MODEL_VENDORS = tuple(
    """
    ai21 aion-labs allenai amazon anthracite-org anthropic arcee-ai baidu bedrock bytedance bytedance-seed cerebras
    cognitivecomputations cohere databricks deepcogito deepinfra deepseek deepseek-ai eleutherai fireworks
    fireworks_ai gemini github_copilot google groq gryphe huggingface ibm-granite inclusionai kwaipilot meituan
    meta-llama microsoft minimax mistral mistralai moonshotai nex-agi nousresearch nvidia ollama openai openrouter
    perplexity poolside Qwen qwen rekaai sambanova sao10k stepfun tencent thedrummer thinkingmachines together
    together_ai undi95 upstage vertex_ai x-ai xai xiaomi z-ai zai-org
    """.split()
)


class Kind(enum.Enum):
    """What a value may be; `ingest/checks.py`, `analytics/lines.py` and `command.py` have one rule for each."""

    EVENT_NAME = "event name"
    USER_ID = "UUID or placeholder"
    UUID = "UUID"
    TIMESTAMP = "ISO 8601 with milliseconds, UTC"
    IDENTIFIER = "identifier"
    CHOICE = "one of a list"
    COUNT = "whole number"
    FLAG = "true or false"
    OPTIONS = "flat object of listed options"


class Field:
    """One field of an event.

    `name` is its name on the wire, `attribute` inside. `example` is what it may really hold. `required_for` lists the
    event names that cannot do without it. `choices` bounds a CHOICE; `maximum` a COUNT, and the characters of an
    IDENTIFIER, whose `pattern` says the rest.
    """

    def __init__(
        self,
        name: str,
        attribute: str,
        kind: Kind,
        purpose: str,
        *,
        example: object,
        required_for: tuple[str, ...] = (),
        regex: str = "",
        choices: tuple[str, ...] = (),
        maximum: int = 0,
    ) -> None:
        self.name = name
        self.attribute = attribute
        self.kind = kind
        self.purpose = purpose
        self.example = example
        self.required_for = required_for
        self.choices = choices
        self.maximum = maximum
        self._regex = regex
        self._compiled: re.Pattern[str] | None = None

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """What the whole of an IDENTIFIER must match; None for the other kinds."""
        # Compiled when first asked for: most runs of a tool report no more than a few of the fields, many none.
        if self._compiled is None and self._regex:
            self._compiled = re.compile(rf"(?![!-~]{{{self.maximum + 1}}}){self._regex}", re.ASCII)
        return self._compiled


class Option:
    """One command-line option whose use may be reported. Free text is never passed on: it becomes `true`."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        purpose: str,
        *,
        example: object,
        choices: tuple[str, ...] = (),
        maximum: int = 0,
    ) -> None:
        self.name = name
        self.kind = kind
        self.purpose = purpose
        self.example = example
        self.choices = choices
        self.maximum = maximum


# -- What a name may look like ----------------------------------------------------------------------------------------
#
# Nobody can tell what a string means, but names are put together from words and numbers, and paths, addresses, keys
# and prose are not. So each pattern says how its names are built, rather than what they must not be; what is left to
# hide in is a short name of words. Anything else becomes `other`. Every repetition is bounded and every pattern begins
# by refusing what is too long: the time for a string does not grow with its length.

# What begins like a well-known credential, or has three groups in a row like those of a UUID or a licence key.
_NO_KEY = (
    r"(?!(?:[spr]k|glpat|xox[a-z])[-_]|(?:gh[a-z]|github_pat|hf|npm)_|A[KS]IA|AIza|eyJ"
    r"|[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}|(?:[0-9A-Za-z]{1,12}-){0,2}(?:[0-9A-Z]{4,12}-){3})"
)
# Five words in a row are prose: fix-the-bug-in-my-shop.
_NO_PROSE = r"(?!(?:[A-Za-z]{1,19}[-_]){4}[A-Za-z]{1,19}(?![0-9A-Za-z]))"
# Twenty letters and digits without a break are a token's, not a word's.
_SHORT = r"(?![0-9A-Za-z]{20})"

# Parts of a name: repo, k8s, html2text, DeepSeek, OpenAI, createPullRequest, AWS. Random ones change case more often.
_PART = _SHORT + (
    r"(?:(?:[A-Z]?[a-z]{1,19}(?:[A-Z][a-z]{2,12}){0,2}(?:[A-Z]{2,3})?|[A-Z]{1,9})(?:[0-9]{1,4}[a-z]{0,10})?|[0-9]{1,4})"
)
_NAME = (
    rf"{_NO_KEY}{_NO_PROSE}(?=[A-Za-z])(?![0-9A-Za-z_-]{{33}})"
    rf"(?:{_PART}(?:[-_](?=[0-9A-Za-z])|(?![0-9A-Za-z_-]))){{1,6}}"
)
# A command of a group is written `group:command`, three deep at most. One letter before the colon is a Windows drive.
_COMMAND = rf"(?![A-Za-z]:)(?:{_NAME}(?::(?=[A-Za-z])|\Z)){{1,3}}"

# Parts of a model's name: instruct, olmOCR, Qwen2.5, 0.6b, 4o, 8x7b, A22B, 20241022.
_NUMBER = (
    r"(?:[0-9]{1,4}(?:\.[0-9]{1,4}){1,2}[BKMTVbkmtv]?"
    r"|[0-9]{1,8}(?:[a-z]{4,10}|(?:[a-z]{1,3}|[A-Z]{1,3})(?:[0-9]{1,3}[A-Za-z]?)?)?)"
)
_MODEL_PART = (
    rf"{_SHORT}(?:(?:[A-Z]?[a-z]{{1,19}}(?:[A-Z][a-z]{{1,12}}|[A-Z]{{1,5}})?|[A-Z]{{1,9}}){_NUMBER}?|{_NUMBER})"
)
# Bedrock writes `anthropic.claude-…` and `eu.anthropic.claude-…`. What follows has more than one part: `google.com`.
_CLOUD_VENDOR = (
    r"(?:(?:(?:us|us-gov|eu|ap|apac|au|ca|jp|sa|global)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot|moonshotai|nvidia|openai|qwen"
    r"|stability|twelvelabs|writer|xai|zai)\.(?=[a-z]{1,20}[-0-9]))"
)
# Ollama and OpenRouter write `llama3.1:70b-instruct-q4_K_M`, `…:free`; Bedrock `…-v1:0`. Digits alone are a port.
_TAG = (
    r":(?![0-9]{2,}(?![0-9A-Za-z.]))(?=[A-Za-z]{0,2}[0-9]|(?:base|beta|chat|cloud|code|exacto|extended|floor|free"
    r"|instruct|large|latest|medium|mini|nitro|online|small|text|thinking)(?![0-9A-Za-z]))"
)
_MODEL = (
    rf"(?:(?:{'|'.join(MODEL_VENDORS)})/){{0,2}}{_CLOUD_VENDOR}?{_NO_KEY}{_NO_PROSE}(?=[A-Za-z])(?!(?:[^:]{{0,99}}:){{3}})"
    rf"(?:{_MODEL_PART}(?:[-_](?=[0-9A-Za-z])|{_TAG}|(?![0-9A-Za-z:_-]))){{1,12}}"
)

# The name of a class, or of a signal. A long one ends as such names do: a long token never does.
_TYPE_NAME = (
    rf"{_NO_KEY}{_NO_PROSE}(?:(?![0-9A-Za-z_]{{20}})[A-Za-z_]{{1,19}}[0-9]{{0,3}}"
    r"|(?!(?:[A-Za-z_]{1,64}[0-9]{1,64}){3})[A-Za-z_][0-9A-Za-z_]{0,56}(?:Abort|Available|Behavior|Cancelled|Closed"
    r"|Configured|Definition|Denied|Disconnected|Error|Exceeded|Exception|Exist|Exists|Exit|Expired|Failed|Failure"
    r"|Fault|Forbidden|Found|Implemented|Installed|Interrupt|Invalid|Large|Limit|Mismatch|Missing|Name|Operation"
    r"|Overflow|Permitted|Redirects|Refused|Request|Required|Response|Returned|State|Supported|Timeout|Type"
    r"|Unavailable|Unknown|Unsupported|Value|Violation|Warning))"
)

# Semantic versions, and those of Python packages (PEP 440) such as 1.2.3rc1; no IPv4 address, no file's ending.
_VERSION = (
    r"(?![0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z)"
    r"[0-9]{1,5}(?:\.[0-9]{1,5}){1,3}(?:(?:a|b|rc)[0-9]{1,4})?(?:\.(?:a|b|rc|post|dev)[0-9]{1,6}){0,2}"
    r"(?:[-+][0-9A-Za-z]{1,14}(?:[-+][0-9A-Za-z]{1,14}|\.[dg]?[0-9][0-9A-Za-z]{0,13}){0,5})?"
)
_MINOR_VERSION = r"[0-9]{1,2}\.[0-9]{1,3}"

# -- The list ---------------------------------------------------------------------------------------------------------

_MAX_DURATION_MS = 366 * 86_400_000
_MAX_TOKENS = 10_000_000_000

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_ALWAYS = EVENT_NAMES
_RUN = (COMMAND_EXECUTED,)

# fmt: off
# In the order of wire-format.md, "Fields".
OPTIONS: tuple[Option, ...] = (
    Option("debug", Kind.FLAG, "Debug output was asked for.", example=True),
    Option("maxTokens", Kind.COUNT, "The limit on tokens.", example=8_192, maximum=_MAX_TOKENS),
    Option("saveTo", Kind.FLAG, "The answer was saved to a file; never which.", example=True),
    Option("quiet", Kind.FLAG, "Quiet output was asked for.", example=False),
    Option("html", Kind.FLAG, "HTML was asked for.", example=True),
    Option("headless", Kind.FLAG, "The browser ran without a window.", example=True),
    Option("console", Kind.FLAG, "Console messages were captured.", example=True),
    Option("network", Kind.FLAG, "Network activity was captured.", example=False),
    Option("reasoningEffort", Kind.CHOICE, "The effort asked for.", example="high", choices=_EFFORTS),
    Option("timeout", Kind.COUNT, "The limit on time.", example=30_000, maximum=_MAX_DURATION_MS),
    Option("hasWithDoc", Kind.FLAG, "Documents were added.", example=True),
    Option("withDocCount", Kind.COUNT, "How many documents were added.", example=2, maximum=1_000_000),
)

# In the order of the archive line; the first nineteen in the order of the released client (wire-format.md). Together
# the examples are one event: a run of the bundled client that failed.
FIELDS: tuple[Field, ...] = (
    Field("eventName", "event_name", Kind.EVENT_NAME, "Which of the two events this is.",
          example=COMMAND_ERROR, required_for=_ALWAYS),
    Field("userId", "user_id", Kind.USER_ID, "A random id of the installation, to count users.",
          example="5f0c8a3e-52d6-4b34-9f0e-0d6f0a4f7a11", required_for=_ALWAYS),
    Field("sessionId", "session_id", Kind.UUID, "A random id of this one run.",
          example="0c8f7e6d-0b57-4a2b-9c2c-6f0f3f6f2b11", required_for=_ALWAYS),
    Field("timestamp", "timestamp", Kind.TIMESTAMP, "When the run ended, by the user's clock.",
          example="2026-11-22T12:00:00.000Z", required_for=_ALWAYS),
    Field("toolVersion", "tool_version", Kind.IDENTIFIER, "The tool's version.",
          example="0.64.0", required_for=_ALWAYS, regex=_VERSION, maximum=64),
    Field("command", "command", Kind.IDENTIFIER, "The command that ran, without its arguments.",
          example="plan", required_for=_ALWAYS, regex=_COMMAND, maximum=98),
    Field("duration", "duration_ms", Kind.COUNT, "How long it ran, in milliseconds.",
          example=34_700, required_for=_RUN, maximum=_MAX_DURATION_MS),
    Field("contextTokens", "context_tokens", Kind.COUNT, "Size of the context, in tokens.",
          example=33_100, maximum=_MAX_TOKENS),
    Field("promptTokens", "prompt_tokens", Kind.COUNT, "Size of the prompt, in tokens.",
          example=35_000, maximum=_MAX_TOKENS),
    Field("completionTokens", "completion_tokens", Kind.COUNT, "Size of the answer, in tokens.",
          example=1_200, maximum=_MAX_TOKENS),
    Field("provider", "provider", Kind.IDENTIFIER, "Which AI provider was used.",
          example="openai", regex=_NAME, maximum=32),
    Field("model", "model", Kind.IDENTIFIER, "Which AI model was used.",
          example="gpt-4.1", regex=_MODEL, maximum=100),
    Field("fileProvider", "file_provider", Kind.IDENTIFIER, "The provider that chose files.",
          example="gemini", regex=_NAME, maximum=32),
    Field("fileModel", "file_model", Kind.IDENTIFIER, "The model that chose files.",
          example="gemini-2.5-flash", regex=_MODEL, maximum=100),
    Field("thinkingProvider", "thinking_provider", Kind.IDENTIFIER, "The provider that planned.",
          example="openai", regex=_NAME, maximum=32),
    Field("thinkingModel", "thinking_model", Kind.IDENTIFIER, "The model that planned.",
          example="gpt-4.1", regex=_MODEL, maximum=100),
    Field("options", "options", Kind.OPTIONS, "Which listed options were used, without free text.",
          example={option.name: option.example for option in OPTIONS}),
    Field("hasError", "has_error", Kind.FLAG, "Whether the run failed.",
          example=True, required_for=_RUN),
    Field("errorType", "error_type", Kind.IDENTIFIER, "The kind of error; never its message.",
          example="RateLimitError", regex=_TYPE_NAME, maximum=64),
    Field("os", "os", Kind.CHOICE, "The operating system's family.",
          example="linux", choices=("darwin", "linux", "windows", "other")),
    Field("pythonVersion", "python_version", Kind.IDENTIFIER, "Python's minor version.",
          example="3.12", regex=_MINOR_VERSION, maximum=6),
    Field("ci", "ci", Kind.FLAG, "Whether it ran in continuous integration.",
          example=False),
    Field("agent", "agent", Kind.IDENTIFIER, "The AI coding agent that ran it, if one did.",
          example="claude-code", regex=_NAME, maximum=32),
    Field("interactive", "interactive", Kind.FLAG, "Whether a person sat at a terminal.",
          example=False),
    Field("lostCount", "lost_count", Kind.COUNT, "Events given up since the last delivery.",
          example=2, maximum=1_000_000),
    Field("eventId", "event_id", Kind.UUID, "A random id of this event: sent twice, it counts once.",
          example="01a20320-a200-7c41-8ce1-b4a93124fa13"),
)
# fmt: on

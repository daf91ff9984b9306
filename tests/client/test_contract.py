"""The contract: what its names let through, and that everything else follows it.

Adding a field or an option is one line in client/vibetel_client/contract.py. What follows by itself, each with a test
here or where it is named:

- the text that asks for consent and `TELEMETRY_DATA_DESCRIPTION` (client/vibetel_client/description.py)
- the example event, of the prompt and of `python -m vibetel_client example`
- the page docs/contract.md, once it is written anew: the test of the page says how
- the client's events: `build_event`, `sanitize_options` (client/vibetel_client/command.py)
- the server's check and the archive line (ingest/checks.py)
- what the loader reads off an archive line, and into which columns (analytics/load.py)
- the hostile strings: they go through it, too (test_sanitizing.py)

What does not: the column of `analytics.models.Event` and its migration, which a test here asks for; whoever gives the
field its value, the host or client/vibetel_client/environment.py; a page that shows it. A new `Kind` needs a rule in
command.py, checks.py and load.py each.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, models
from vibetel_client import contract, description
from vibetel_client.command import build_event
from vibetel_client.contract import COMMAND_ERROR, EVENT_NAMES, Field, Kind

from analytics.models import Event
from ingest import checks
from tests.events import KEY, body

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "contract.md"
FIELDS = {field.name: field for field in contract.FIELDS}
IDENTIFIERS = [field for field in contract.FIELDS if field.kind is Kind.IDENTIFIER]
BY_ATTRIBUTE: dict[str, object] = {field.attribute: field.example for field in contract.FIELDS}


def passes(name: str, text: str) -> bool:
    """Whether the field of this name may hold the text."""
    pattern = FIELDS[name].pattern
    assert pattern is not None
    return pattern.fullmatch(text) is not None


# -- Names ------------------------------------------------------------------------------------------------------------

MODELS = """
    gpt-4o gpt-4o-mini-2024-07-18 o3-mini claude-3-5-sonnet-20241022 claude-opus-4-1 gemini-2.5-pro
    gemini-2.0-flash-thinking-exp gemini-2.5-flash-native-audio-preview-12-2025 llama3.1:70b-instruct-q4_K_M llama3
    mixtral-8x7b-instruct-v0.1 Qwen2.5-72B-Instruct DeepSeek-R1-Distill-Qwen-32B text-embedding-3-small
    olmOCR-7B-0725-FP8 Qwen3-Coder-480B-A35B-Instruct-FP8 Meta-Llama-3_1-70B-Instruct gpt-oss:120b-cloud
    qwen2.5:0.5b GLM-4.5V openai/gpt-5 anthropic/claude-3.5-sonnet meta-llama/llama-3.1-70b-instruct
    deepseek/deepseek-chat perplexity/sonar x-ai/grok-beta openrouter/anthropic/claude-3.7-sonnet:beta
    qwen/qwen3-coder:free Qwen/Qwen2.5-72B-Instruct
    anthropic.claude-3-sonnet-20240229-v1:0 us.anthropic.claude-3-5-sonnet-20241022-v2:0 amazon.titan-text-express-v1
""".split()
PROVIDERS = "openai gemini anthropic openrouter perplexity azure-openai x-ai OpenAI fireworks_ai ai21 v0".split()
COMMANDS = """
    repo web plan youtube group:sub-command remote:set-url project:item:add k8s html2text s3 create_all
    createPullRequest
""".split()
ERROR_TYPES = """
    Error KeyError ProviderError ZodError SSLCertVerificationError APIConnectionError HTTP2ConnectionError OAuth2Error
    NoSuchKey IsADirectoryError gaierror Http404 UnicodeDecodeError KeyboardInterrupt SIGTERM ClickException Exit Abort
    Base64DecodeError TooManyRedirects ContextLengthExceededError UnsupportedS3ConfigurationError TemplateDoesNotExist
    ImproperlyConfigured UnexpectedModelBehavior MultipleObjectsReturned ProcessVanished _InternalError
""".split()
VERSIONS = """
    0.64.0 1.2.3rc1 2024.10.1 1.0.0-beta.2+build.5 0.0.0 0.64.0-beta.10 1.2 1.2.3.post1 0.1.dev5+gabc1234.d20240101
    1.2.3-0.20240101 2024.10.1.2
""".split()
REAL_NAMES = [
    *(("model", model) for model in MODELS),
    *(("provider", provider) for provider in PROVIDERS),
    *(("agent", agent) for agent in ("claude-code", "codex", "cursor", "gemini-cli", "opencode", "cline")),
    *(("command", command) for command in COMMANDS),
    *(("errorType", error_type) for error_type in ERROR_TYPES),
    *(("toolVersion", version) for version in VERSIONS),
    *(("pythonVersion", version) for version in ("3.9", "3.14")),
]
NO_NAMES = [
    *((name, "sk_live_4eC39HqLyjWDarjtT1zdp7dc") for name in ("command", "provider", "model", "errorType", "agent")),
    *((name, "x8fK2mQ9vLpR4tYw7ZbC") for name in ("command", "provider", "model", "errorType", "agent")),
    *((name, "fix-the-login-bug-in-my-shop") for name in ("command", "provider", "model", "agent")),
    *(("model", text) for text in ("src/auth/login", "notes/todo", "photo1.7z", "google.com", "localhost:8080")),
    ("model", "ft:gpt-4o-mini-2024-07-18:acme-corp:invoices:7p4lURel"),
    *(("command", text) for text in ("C:notes", "a:b:c:d", "repo:", "repo-", "-repo", "fix it")),
    *(("errorType", text) for text in ("login.py", "botocore.exceptions.ClientError", "AKIAIOSFODNN7EXAMPLE")),
    *(("toolVersion", text) for text in ("192.168.0.12", "1.2.example.com", "1.2.txt", "v", "")),
    *(("pythonVersion", text) for text in ("3", "3.12.1", "3.12\n", "\u0663.12")),
]


@pytest.mark.parametrize(("name", "text"), REAL_NAMES)
def test_contract_lets_real_names_pass(name: str, text: str) -> None:
    assert passes(name, text)


@pytest.mark.parametrize(("name", "text"), NO_NAMES)
def test_contract_lets_nothing_pass_that_is_no_name(name: str, text: str) -> None:
    assert not passes(name, text)


@pytest.mark.parametrize("name", FIELDS)
def test_contract_bounds_every_field(name: str) -> None:
    field = FIELDS[name]
    assert (field.maximum > 0) == (field.kind in (Kind.COUNT, Kind.IDENTIFIER))
    assert bool(field.choices) == (field.kind is Kind.CHOICE)
    assert (field.pattern is not None) == (field.kind is Kind.IDENTIFIER)


@pytest.mark.parametrize("field", IDENTIFIERS, ids=lambda field: field.name)
@pytest.mark.parametrize("shape", ["a", "A", "1", "aZ", "a-", "a1_", "1.", "ab:", "openai/", "Error"])
def test_contract_lets_nothing_pass_that_is_too_long(field: Field, shape: str) -> None:
    longest = shape * (field.maximum // len(shape) + 1)
    assert not passes(field.name, longest)
    assert not passes(field.name, shape * 100_000)


# -- What follows by itself -------------------------------------------------------------------------------------------

FIELDS_BEGIN = "FIELDS: tuple[Field, ...] = (\n"
OPTIONS_BEGIN = "OPTIONS: tuple[Option, ...] = (\n"
ONE_MORE_FIELD = '    Field("cacheHits", "cache_hits", Kind.COUNT, "Answers from the cache.", example=7, maximum=99),\n'
ONE_MORE_OPTION = '    Option("dryRun", Kind.FLAG, "Nothing was to change.", example=True),\n'
WITH_ONE_MORE = """
import json
from datetime import UTC, datetime

import django

django.setup()

from analytics import lines
from ingest import checks
from vibetel_client import TELEMETRY_DATA_DESCRIPTION, contract, description
from vibetel_client.command import build_event

example = description.example_event()
attributes = {field.attribute: field.example for field in contract.FIELDS}
verdict = checks.check(
    json.dumps({"data": example}).encode(),
    received_at=datetime(2026, 11, 22, 12, tzinfo=UTC),
    identity_hash_key=b"a key",
    events_max_count=1,
).verdicts[0]
print(json.dumps({
    "contract": contract.__file__,
    "text": TELEMETRY_DATA_DESCRIPTION,
    "page": description.contract_page(),
    "example": example,
    "built": build_event(contract.COMMAND_ERROR, attributes),
    "checked": json.loads(verdict.line),
    "loaded": lines.decode(verdict.line).cache_hits,
}))
"""


@pytest.fixture(scope="module")
def with_one_more(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What everything makes of a contract with one more field and one more option: a line each, and no other change."""
    folder = tmp_path_factory.mktemp("client")
    shutil.copytree(ROOT / "client" / "vibetel_client", folder / "vibetel_client")
    edited = folder / "vibetel_client" / "contract.py"
    source = edited.read_text()
    assert FIELDS_BEGIN in source
    assert OPTIONS_BEGIN in source
    source = source.replace(FIELDS_BEGIN, FIELDS_BEGIN + ONE_MORE_FIELD)
    edited.write_text(source.replace(OPTIONS_BEGIN, OPTIONS_BEGIN + ONE_MORE_OPTION))
    ran = subprocess.run(
        [sys.executable, "-c", WITH_ONE_MORE],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    made: dict[str, Any] = json.loads(ran.stdout)
    assert made["contract"] == str(edited)
    return made


def test_description_follows_the_contract(with_one_more: dict[str, Any]) -> None:
    text = " ".join(with_one_more["text"].split())
    assert "Answers from the cache." in text
    assert "Nothing was to change." in text


def test_page_follows_the_contract(with_one_more: dict[str, Any]) -> None:
    assert "| `cacheHits` | whole number, at most 99 |  | Answers from the cache. | `7` |" in with_one_more["page"]
    assert "| `dryRun` | true or false | Nothing was to change. | `true` |" in with_one_more["page"]


def test_example_follows_the_contract(with_one_more: dict[str, Any]) -> None:
    assert with_one_more["example"]["cacheHits"] == 7
    assert with_one_more["example"]["options"]["dryRun"] is True


def test_build_event_follows_the_contract(with_one_more: dict[str, Any]) -> None:
    assert with_one_more["built"] == with_one_more["example"]


def test_check_follows_the_contract(with_one_more: dict[str, Any]) -> None:
    assert with_one_more["checked"]["cacheHits"] == 7
    assert with_one_more["checked"]["options"]["dryRun"] is True


def test_loader_follows_the_contract(with_one_more: dict[str, Any]) -> None:
    assert with_one_more["loaded"] == 7


# -- What is written down ---------------------------------------------------------------------------------------------


def test_page_is_the_one_that_the_contract_generates() -> None:
    assert PAGE.read_text() == description.contract_page(), f"Write it anew: {description.PAGE_COMMAND}"


def test_page_is_what_the_command_prints() -> None:
    python, *arguments, redirect, page = shlex.split(description.PAGE_COMMAND)
    assert (python, redirect, ROOT / page) == ("python", ">", PAGE)
    printed = subprocess.run([sys.executable, *arguments], capture_output=True, check=True, timeout=60).stdout
    assert printed.decode() == description.contract_page()


def test_example_is_an_event_that_keeps_the_contract() -> None:
    example = description.example_event()
    assert build_event(COMMAND_ERROR, BY_ATTRIBUTE) == example
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    checked = checks.check(body(example), received_at=noon, identity_hash_key=KEY, events_max_count=1)
    (verdict,) = checked.verdicts
    assert isinstance(verdict, checks.Accepted), verdict
    line = json.loads(verdict.line)
    assert {name: line[name] for name in example} == example
    assert not checked.dropped


# -- What a person has to do ------------------------------------------------------------------------------------------

# A field of the contract has the column of its attribute's name, but for these two.
COLUMNS_OF = {"timestamp": {"occurred_at"}, "user_id": {"installation", "placeholder"}}
# Columns that tell about the arrival, not about the event.
ARRIVAL = {"received_at", "clock_is_server", "source_object", "source_line"}
COLUMNS = {column.name: column for column in Event._meta.concrete_fields}


def test_every_field_has_its_column() -> None:
    wanted = {column for field in contract.FIELDS for column in COLUMNS_OF.get(field.attribute, {field.attribute})}
    there = COLUMNS.keys() - ARRIVAL
    assert there == wanted, (
        f"fields without a column: {sorted(wanted - there)}; columns without a field: {sorted(there - wanted)}. "
        "Change analytics.models.Event, then make a migration: python manage.py makemigrations analytics"
    )


@pytest.mark.parametrize("name", [field.name for field in contract.FIELDS if field.attribute in COLUMNS])
def test_every_column_can_hold_what_its_field_lets_through(name: str) -> None:
    field = FIELDS[name]
    column = COLUMNS[field.attribute]
    advice = f"{name} does not fit analytics.models.Event.{column.name}: change it and make a migration"
    longest = max(map(len, [*EVENT_NAMES, *field.choices])) if field.kind is not Kind.IDENTIFIER else field.maximum
    if isinstance(column, models.CharField):
        assert column.max_length is not None
        assert column.max_length >= longest, advice
    if isinstance(column, models.IntegerField):
        largest = connection.ops.integer_field_range(column.get_internal_type())[1]
        assert largest is not None
        assert largest >= field.maximum, advice
    assert column.null or field.required_for == EVENT_NAMES or name == "eventId", advice


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "golden").glob("*.json")), ids=lambda path: path.stem)
def test_golden_lines_hold_the_fields_of_the_contract_in_its_order(path: Path) -> None:
    archived = [*json.loads(path.read_text())["archived"]]
    marks = ["receivedAt", "schemaVersion", "clock"]
    fields = [name for name in archived if name not in marks]
    assert fields == [name for name in FIELDS if name in fields], (
        f"{path.name} has other fields than the contract, or in another order. Archives hold such lines: a field that "
        "went stays readable, or needs a new SCHEMA_VERSION"
    )

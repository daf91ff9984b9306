"""Command: a run becomes one event that keeps the contract, whatever the host said about it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vibetel_client import contract
from vibetel_client.command import Run, build_event, sanitize_options
from vibetel_client.contract import Kind

ORIGIN: dict[str, object] = {
    "user_id": "5f0c8a3e-52d6-4b34-9f0e-0d6f0a4f7a11",
    "session_id": "0c8f7e6d-0b57-4a2b-9c2c-6f0f3f6f2b11",
    "timestamp": "2025-06-01T12:00:00.000Z",
    "tool_version": "0.64.0",
}
STATE = [
    "context_tokens",
    "prompt_tokens",
    "completion_tokens",
    "provider",
    "model",
    "file_provider",
    "file_model",
    "thinking_provider",
    "thinking_model",
]


def ended(run: Run) -> dict[str, object]:
    name, properties = run.end(now_s=12.5)
    return build_event(name, {**properties, **ORIGIN})


def test_run_has_the_shape_of_the_released_client() -> None:
    run = Run("plan", {"saveTo": "/tmp/x", "debug": True}, started_s=10.0)
    run.update({name: 7 if name.endswith("tokens") else "gemini" for name in STATE})
    event = ended(run)
    released = (
        "eventName userId sessionId timestamp toolVersion command duration contextTokens promptTokens completionTokens "
        "provider model fileProvider fileModel thinkingProvider thinkingModel options hasError"
    )
    assert " ".join(event) == released
    assert event["eventName"] == "command_executed"
    assert event["duration"] == 2500
    assert event["options"] == {"debug": True, "saveTo": True}
    assert event["hasError"] is False


def test_run_leaves_out_what_is_unset() -> None:
    run = Run("repo", {}, started_s=10.0)
    run.update({"model": None})
    event = ended(run)
    assert " ".join(event) == "eventName userId sessionId timestamp toolVersion command duration options hasError"
    assert event["options"] == {}


def test_run_that_fails_is_one_error_event_with_all_fields_of_a_run() -> None:
    run = Run("repo", {"quiet": True}, started_s=10.0)
    run.record_error(KeyError("secret"))
    event = ended(run)
    assert event["eventName"] == "command_error"
    assert (event["duration"], event["hasError"], event["errorType"]) == (2500, True, "KeyError")
    assert event["options"] == {"quiet": True}


def test_run_keeps_the_first_error() -> None:
    run = Run("repo", {}, started_s=10.0)
    run.record_error(KeyError())
    run.record_error(SystemExit(1))
    assert ended(run)["errorType"] == "KeyError"


def test_run_never_lasts_less_than_nothing() -> None:
    run = Run("repo", {}, started_s=99.0)
    assert ended(run)["duration"] == 0


def test_build_event_follows_the_order_of_the_contract_for_all_fields() -> None:
    values: dict[str, object] = {field.attribute: 1 if field.kind is Kind.COUNT else "x" for field in contract.FIELDS}
    event = build_event("command_error", {**values, "options": {}, "has_error": True, "ci": False, "interactive": True})
    assert list(event) == [field.name for field in contract.FIELDS]


def test_build_event_refuses_an_event_without_a_required_field() -> None:
    with pytest.raises(ValueError, match="without duration_ms"):
        build_event("command_executed", {**ORIGIN, "command": "repo", "has_error": False})


def test_build_event_drops_what_the_contract_does_not_list() -> None:
    event = build_event("command_error", {**ORIGIN, "command": "repo", "query": "how do I", "errorMessage": "at /home"})
    assert " ".join(event) == "eventName userId sessionId timestamp toolVersion command"


@pytest.mark.parametrize("count", [-1, True, 1.5, "7", 10_000_000_001, None])
def test_tokens_that_are_no_count_are_left_out(count: object) -> None:
    run = Run("repo", {}, started_s=10.0)
    run.update({"prompt_tokens": count})
    assert "promptTokens" not in ended(run)


@pytest.mark.parametrize("model", ["gpt-4o-mini", "openai/gpt-5", "gemini-2.5-pro", "llama3:8b"])
def test_model_names_pass(model: str) -> None:
    run = Run("repo", {}, started_s=10.0)
    run.update({"model": model})
    assert ended(run)["model"] == model


@pytest.mark.parametrize("model", ["", "gpt 4", "gpt-4\n", "/etc/passwd", "a" * 100, 4, ["gpt-4"]])
def test_what_does_not_look_like_its_field_becomes_other(model: object) -> None:
    run = Run("repo", {}, started_s=10.0)
    run.update({"model": model})
    assert ended(run)["model"] == "other"


@pytest.mark.parametrize(
    ("given_options", "kept"),
    [
        ({"debug": True, "quiet": False}, {"debug": True, "quiet": False}),
        ({"maxTokens": 100, "timeout": 0}, {"maxTokens": 100, "timeout": 0}),
        ({"max_tokens": 100, "save_to": "a.md"}, {"maxTokens": 100, "saveTo": True}),
        ({"maxTokens": -1, "timeout": float("nan"), "withDocCount": 10**9}, {}),
        ({"timeout": 29.6, "maxTokens": float("inf")}, {"timeout": 30}),
        ({"maxTokens": "100"}, {"maxTokens": True}),
        ({"saveTo": "/home/me/a.md"}, {"saveTo": True}),
        ({"saveTo": "", "debug": None, "html": 1, "console": ["x"]}, {}),
        ({"reasoningEffort": "high"}, {"reasoningEffort": "high"}),
        ({"reasoningEffort": "as much as you can"}, {"reasoningEffort": True}),
        ({"apiKey": "sk-1", "query": "how"}, {}),
    ],
)
def test_sanitize_options_passes_values_by_type(given_options: dict[str, object], kept: dict[str, object]) -> None:
    assert sanitize_options(given_options) == kept
    assert sanitize_options(kept) == kept


@settings(deadline=None)
@given(st.text())
def test_no_message_of_an_error_arrives(message: str) -> None:
    silent, spoken = Run("repo", {}, started_s=10.0), Run("repo", {}, started_s=10.0)
    silent.record_error(ValueError())
    spoken.record_error(ValueError(message))
    assert ended(spoken) == ended(silent)
    assert vars(spoken) == vars(silent)

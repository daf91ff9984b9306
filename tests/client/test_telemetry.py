"""Telemetry: what a host reports is sent with a yes only, and never breaks the host."""

import asyncio
import contextlib
import json
import logging
import re
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click
import pytest
from vibetel_client import TELEMETRY_DATA_DESCRIPTION, Consent, RecordingTransport, Telemetry, Transport, contract

from .conftest import ENDPOINT

MakeTelemetry = Callable[[], Telemetry]


def run_once(telemetry: Telemetry) -> None:
    with telemetry.command("repo", {"debug": True}):
        telemetry.update_command_state(model="gpt-4o", prompt_tokens=12)


def test_a_run_is_one_event(telemetry: Telemetry, transport: RecordingTransport) -> None:
    run_once(telemetry)
    [event] = transport.events
    assert event["eventName"] == "command_executed"
    assert (event["command"], event["model"], event["promptTokens"]) == ("repo", "gpt-4o", 12)
    assert (event["toolVersion"], event["options"], event["hasError"]) == ("0.64.0", {"debug": True}, False)


def test_an_event_says_where_it_comes_from(
    telemetry: Telemetry, transport: RecordingTransport, diagnostics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDECODE", "1")
    run_once(telemetry)
    run_once(telemetry)
    first, second = transport.events
    assert first["userId"] == second["userId"] == json.loads(diagnostics.read_text())["userId"]
    assert first["sessionId"] == second["sessionId"]
    assert uuid.UUID(str(first["sessionId"])).version == 4
    assert first["eventId"] != second["eventId"]
    assert uuid.UUID(str(first["eventId"])).version == 7
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(first["timestamp"]))
    assert first["pythonVersion"] == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert (first["ci"], first["agent"], first["interactive"]) == (False, "claude-code", False)


def test_the_host_cannot_speak_for_the_client(telemetry: Telemetry, transport: RecordingTransport) -> None:
    with telemetry.command("repo"):
        telemetry.update_command_state(user_id="john@example.com", session_id="john", event_id="john", timestamp="john")
        telemetry.update_command_state(lost_count=7)
    assert "john" not in json.dumps(transport.events)
    assert "lostCount" not in transport.events[0]


@pytest.mark.parametrize("error", [ValueError("/home/john"), KeyboardInterrupt(), SystemExit(2), SystemExit("john")])
def test_an_exception_is_one_failed_run_and_goes_on(
    telemetry: Telemetry, transport: RecordingTransport, error: BaseException
) -> None:
    with pytest.raises(type(error)) as raised, telemetry.command("repo"):
        raise error
    assert raised.value is error
    [event] = transport.events
    assert (event["eventName"], event["hasError"]) == ("command_error", True)
    assert event["errorType"] == type(error).__name__
    assert "duration" in event
    assert "john" not in json.dumps(event)


@pytest.mark.parametrize("code", [None, 0])
def test_an_exit_without_a_status_is_no_failure(
    telemetry: Telemetry, transport: RecordingTransport, code: "int | None"
) -> None:
    with pytest.raises(SystemExit), telemetry.command("repo"):
        raise SystemExit(code)
    assert transport.events[0]["eventName"] == "command_executed"


def test_an_exit_from_an_except_is_the_error_that_was_caught(
    telemetry: Telemetry, transport: RecordingTransport
) -> None:
    @telemetry.command("repo")
    def fail() -> None:
        try:
            raise KeyError("secret")
        except KeyError:
            sys.exit("no such file")

    with pytest.raises(SystemExit):
        fail()
    assert transport.events[0]["errorType"] == "KeyError"


@pytest.mark.parametrize(("status", "error_type"), [(0, None), (1, "KeyError"), (2, "NoSuchOption")])
def test_an_exception_of_click_s_is_judged_by_its_exit_code(
    telemetry: Telemetry, transport: RecordingTransport, status: int, error_type: "str | None"
) -> None:
    error = click.NoSuchOption("--no") if status == 2 else click.exceptions.Exit(status)

    @telemetry.command("repo")
    def fail() -> None:
        raise error from KeyError()

    with pytest.raises(type(error)):
        fail()
    assert transport.events[0].get("errorType") == error_type


class Built(Exception):
    """One of the host's own, which says something else by that name."""

    exit_code = 0


class Hostile(Exception):
    @property
    def exit_code(self) -> int:
        raise RuntimeError

    __module__ = ["not", "hashable"]  # type: ignore[assignment]


@pytest.mark.parametrize(("error", "error_type"), [(Built(), "Built"), (Hostile(), "other")])
def test_an_exception_of_the_host_s_is_a_failure_whatever_it_holds(
    telemetry: Telemetry, transport: RecordingTransport, error: Exception, error_type: str
) -> None:
    with pytest.raises(type(error)), telemetry.command("repo"):
        raise error
    [event] = transport.events
    assert (event["hasError"], event["errorType"]) == (True, error_type)


def test_runs_in_threads_at_the_same_time_are_not_mixed_up(telemetry: Telemetry, transport: RecordingTransport) -> None:
    both_run, one_has_failed = threading.Barrier(2), threading.Event()

    def fail() -> None:
        with contextlib.suppress(KeyError), telemetry.command("repo"):
            both_run.wait(10)
            telemetry.update_command_state(model="gpt-4o")
            raise KeyError
        one_has_failed.set()

    def succeed() -> None:
        with telemetry.command("web"):
            both_run.wait(10)
            one_has_failed.wait(10)
            telemetry.update_command_state(model="o3-mini")

    threads = [threading.Thread(target=target) for target in (fail, succeed)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(event["command"], event.get("errorType"), event["model"]) for event in transport.events] == [
        ("repo", "KeyError", "gpt-4o"),
        ("web", None, "o3-mini"),
    ]


def test_coroutines_at_the_same_time_are_not_mixed_up(telemetry: Telemetry, transport: RecordingTransport) -> None:
    @telemetry.command("repo")
    async def upload() -> None:
        await asyncio.sleep(0.01)
        telemetry.update_command_state(model="gpt-4o")
        raise KeyError

    @telemetry.command("web")
    async def download() -> None:
        await asyncio.sleep(0.03)
        telemetry.update_command_state(model="o3-mini")

    async def both() -> None:
        await asyncio.gather(upload(), download(), return_exceptions=True)

    asyncio.run(both())
    assert [(event["command"], event.get("errorType"), event["model"]) for event in transport.events] == [
        ("repo", "KeyError", "gpt-4o"),
        ("web", None, "o3-mini"),
    ]


def test_a_thread_of_a_run_works_for_it(telemetry: Telemetry, transport: RecordingTransport) -> None:
    with telemetry.command("repo"):
        thread = threading.Thread(target=telemetry.update_command_state, kwargs={"model": "gpt-4o"})
        thread.start()
        thread.join()
    assert transport.events[0]["model"] == "gpt-4o"


@pytest.mark.parametrize("tool", ["", ".", "..", "../x", "a/b", "/docs", "a b", "a\0", "\u00e9", "x" * 65])
def test_a_tool_whose_name_leads_elsewhere_is_refused(tool: str) -> None:
    with pytest.raises(ValueError, match="no name for a tool"):
        Telemetry(tool=tool, version="1.0.0")


class Odd(Mapping[str, object]):
    """Options that cannot be read."""

    def __getitem__(self, name: str) -> object:
        raise RuntimeError

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __len__(self) -> int:
        return 1


class Liar(str):
    """Text that says it equals anything."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True


class LyingCount(int):
    def __le__(self, other: object) -> bool:
        return True

    def __ge__(self, other: object) -> bool:
        return True


def test_objects_of_the_host_s_cost_their_field_and_not_the_run(
    telemetry: Telemetry, transport: RecordingTransport
) -> None:
    with telemetry.command(None, Odd()):  # type: ignore[arg-type]
        telemetry.update_command_state(prompt_tokens=LyingCount(10**12), completion_tokens=LyingCount(5))
    with telemetry.command("repo", {"reasoningEffort": Liar("/home/alice"), "timeout": 29.6}):
        telemetry.update_command_state(provider=Liar("alice@example.com"))
    first, second = transport.events
    assert (first["command"], first["options"], first["completionTokens"]) == ("other", {}, 5)
    assert "promptTokens" not in first
    assert second["options"] == {"reasoningEffort": True, "timeout": 30}
    assert second["provider"] == "other"


def test_a_debug_line_that_cannot_be_written_disturbs_nobody(
    telemetry: Telemetry, transport: RecordingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(record: object) -> bool:
        raise RuntimeError

    monkeypatch.setattr(logging.getLogger("vibetel_client"), "filters", [refuse])
    monkeypatch.setattr(logging.getLogger("vibetel_client"), "level", logging.DEBUG)
    telemetry.track_event("page_viewed", {})
    telemetry.track_event("command_executed", {1: 2})  # type: ignore[dict-item]
    run_once(telemetry)
    assert len(transport.events) == 1


def test_an_error_of_a_class_made_at_run_time_is_its_nearest_named_base(
    telemetry: Telemetry, transport: RecordingTransport
) -> None:
    made = type("alice_example_com", (LookupError,), {})
    with pytest.raises(made), telemetry.command("repo"):
        raise made
    assert transport.events[0]["errorType"] == "LookupError"


def test_a_run_inside_another_is_an_event_of_its_own(telemetry: Telemetry, transport: RecordingTransport) -> None:
    with telemetry.command("plan"):
        with telemetry.command("repo"):
            telemetry.update_command_state(model="gpt-4o")
        telemetry.update_command_state(model="o3-mini")
    assert [(event["command"], event["model"]) for event in transport.events] == [
        ("repo", "gpt-4o"),
        ("plan", "o3-mini"),
    ]


def test_a_decorated_function_is_a_run_each_time(telemetry: Telemetry, transport: RecordingTransport) -> None:
    @telemetry.command("repo", {"quiet": True})
    def divide(dividend: int, *, divisor: int) -> float:
        """The quotient."""
        return dividend / divisor

    assert divide(6, divisor=3) == 2
    with pytest.raises(ZeroDivisionError):
        divide(6, divisor=0)
    assert (divide.__name__, divide.__doc__) == ("divide", "The quotient.")
    assert [event.get("errorType") for event in transport.events] == [None, "ZeroDivisionError"]
    assert transport.events[0]["options"] == {"quiet": True}


def test_a_decorated_coroutine_function_is_a_run_until_it_is_awaited(
    telemetry: Telemetry, transport: RecordingTransport
) -> None:
    @telemetry.command("repo")
    async def fail_later() -> None:
        await asyncio.sleep(0.02)
        raise ValueError("too late")

    pending = fail_later()
    assert transport.events == []
    with pytest.raises(ValueError, match="too late"):
        asyncio.run(pending)
    [event] = transport.events
    assert event["errorType"] == "ValueError"
    assert int(str(event["duration"])) >= 20


def test_a_version_that_nobody_knows_is_zero(transport: RecordingTransport, telemetry: Telemetry) -> None:
    run_once(Telemetry(tool="vibe-tools", version="", endpoint=ENDPOINT, transport=transport))
    assert transport.events[0]["toolVersion"] == "0.0.0"


def test_options_that_are_no_mapping_cost_the_options_and_not_the_run(
    telemetry: Telemetry, transport: RecordingTransport
) -> None:
    with telemetry.command("repo", ["--debug"]):  # type: ignore[arg-type]
        pass
    assert transport.events[0]["options"] == {}


def test_track_event_drops_events_that_the_contract_does_not_list(
    telemetry: Telemetry, transport: RecordingTransport, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", "vibetel_client"):
        telemetry.track_event("page_viewed", {"command": "repo"})
    assert transport.events == []
    assert "page_viewed" in caplog.text


def test_track_event_drops_incomplete_events(telemetry: Telemetry, transport: RecordingTransport) -> None:
    telemetry.track_event("command_executed", {"command": "repo"})
    assert transport.events == []


def test_calls_outside_a_command_do_nothing(telemetry: Telemetry, transport: RecordingTransport) -> None:
    telemetry.update_command_state(model="gpt-4o")
    telemetry.record_error(ValueError())
    telemetry.end_command()
    assert transport.events == []


def test_pending_sends_and_writes_nothing(
    make_telemetry: MakeTelemetry, transport: RecordingTransport, diagnostics: Path
) -> None:
    telemetry = make_telemetry()
    run_once(telemetry)
    assert telemetry.consent() is Consent.PENDING
    assert transport.events == []
    assert not diagnostics.parent.exists()


@pytest.mark.parametrize("name", ["VIBE_TOOLS_NO_TELEMETRY", "DO_NOT_TRACK"])
def test_opting_out_by_variable_sends_and_writes_nothing(
    telemetry: Telemetry,
    transport: RecordingTransport,
    diagnostics: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    before = diagnostics.stat().st_mtime_ns
    monkeypatch.setenv(name, "yes")
    run_once(telemetry)
    assert telemetry.consent() is Consent.OPTED_OUT
    assert transport.events == []
    assert diagnostics.stat().st_mtime_ns == before


def test_disable_sends_nothing_more(telemetry: Telemetry, transport: RecordingTransport) -> None:
    assert telemetry.disable()
    run_once(telemetry)
    assert telemetry.consent() is Consent.OPTED_OUT
    assert transport.events == []


def test_a_yes_without_a_uuid_gets_one(
    make_telemetry: MakeTelemetry, transport: RecordingTransport, diagnostics: Path
) -> None:
    diagnostics.parent.mkdir()
    diagnostics.write_text('{"telemetryEnabled": true, "userId": "john@example.com"}')
    run_once(make_telemetry())
    assert transport.events[0]["userId"] == json.loads(diagnostics.read_text())["userId"]
    assert uuid.UUID(str(transport.events[0]["userId"])).version == 4


def test_without_an_endpoint_nothing_is_sent(
    telemetry: Telemetry, transport: RecordingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = Telemetry(tool="vibe-tools", version="0.64.0", transport=transport)
    run_once(without)
    assert transport.events == []
    monkeypatch.setenv("VIBE_TOOLS_TELEMETRY_ENDPOINT", ENDPOINT)
    run_once(without)
    assert len(transport.events) == 1


def test_debug_prints_the_payload_and_sends_nothing(
    telemetry: Telemetry,
    transport: RecordingTransport,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VIBE_TOOLS_TELEMETRY_DEBUG", "1")
    run_once(telemetry)
    captured = capsys.readouterr()
    assert json.loads(captured.err)["data"][0]["command"] == "repo"
    assert captured.out == ""
    assert transport.events == []


def test_debug_shows_a_placeholder_before_a_yes(
    make_telemetry: MakeTelemetry,
    diagnostics: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VIBE_TOOLS_TELEMETRY_DEBUG", "1")
    run_once(make_telemetry())
    assert json.loads(capsys.readouterr().err)["data"][0]["userId"] == "anonymous_pending_prompt"
    assert not diagnostics.parent.exists()


class BrokenTransport(Transport):
    def deliver(self, endpoint: str, event: object) -> None:
        raise RuntimeError("broken")


def test_what_fails_inside_never_reaches_the_host(telemetry: Telemetry, diagnostics: Path) -> None:
    broken = Telemetry(tool="vibe-tools", version="0.64.0", endpoint=ENDPOINT, transport=BrokenTransport())
    run_once(broken)
    broken.track_event("command_executed", None)  # type: ignore[arg-type]
    diagnostics.unlink()
    diagnostics.mkdir()
    run_once(broken)
    assert not broken.disable()
    assert broken.consent() is Consent.PENDING


def test_the_description_names_every_field_and_option_and_what_is_not_collected() -> None:
    text = " ".join(TELEMETRY_DATA_DESCRIPTION.split())
    for field in contract.FIELDS:
        assert field.purpose in text
    for option in contract.OPTIONS:
        assert option.purpose in text
    for subject in ["user queries", "prompts", "file contents", "code", "personal data", "API keys"]:
        assert subject in text

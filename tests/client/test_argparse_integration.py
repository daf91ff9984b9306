"""The integration with argparse: which command is reported, with which options; the host notices nothing."""

from __future__ import annotations

import argparse
import enum
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from vibetel_client import RecordingTransport, Telemetry
from vibetel_client.integrations.argparse import command


def make_parser(**settings: object) -> argparse.ArgumentParser:
    """`send`, `note add|remove`, `note tag set`, `note tag color pick`."""
    parser = argparse.ArgumentParser("notes")
    parser.add_argument("--version", action="version", version="notes 1.0")
    parser.add_argument("--debug", action="store_true")
    commands = parser.add_subparsers(**settings)  # type: ignore[call-overload]
    send = commands.add_parser("send", aliases=["mail", "post"])
    send.add_argument("--timeout", type=int, default="30")
    send.add_argument("--save-to", type=Path, default="out.md")
    send.add_argument("--reasoning-effort", choices=["low", "high"])
    send.add_argument("--no-html", action="store_false", dest="html", default=True)
    send.add_argument("console", nargs="?")
    note = commands.add_parser("note", aliases=["n"]).add_subparsers(required=True)
    note.add_parser("add").set_defaults(quiet=True)
    note.add_parser("remove", aliases=["rm"]).add_argument("name")
    tag = note.add_parser("tag").add_subparsers()
    tag.add_parser("set")
    tag.add_parser("color").add_subparsers(required=True).add_parser("pick")
    return parser


def outcomes(transport: RecordingTransport) -> list[tuple[object, object]]:
    """Command and error type of each run."""
    return [(event["command"], event.get("errorType")) for event in transport.events]


@pytest.mark.parametrize("settings", [{}, {"dest": "command"}, {"required": True}, {"dest": "x", "required": True}])
@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["send"], "send"),
        (["--debug", "send"], "send"),
        (["post"], "send"),
        (["note", "add"], "note:add"),
        (["n", "rm", "x"], "note:remove"),
        (["note", "tag"], "note:tag"),
        (["note", "tag", "set"], "note:tag:set"),
        (["note", "tag", "color", "pick"], "note:tag:color"),
    ],
)
def test_command_is_called_by_the_names_it_was_added_by(
    telemetry: Telemetry, transport: RecordingTransport, settings: dict[str, object], argv: list[str], name: str
) -> None:
    with command(telemetry, make_parser(**settings), argv):
        assert transport.events == []
    assert outcomes(transport) == [(name, None)]


@pytest.mark.parametrize("make", [make_parser, argparse.ArgumentParser])
def test_a_tool_without_a_command_is_main(
    telemetry: Telemetry, transport: RecordingTransport, make: Callable[[], argparse.ArgumentParser]
) -> None:
    with command(telemetry, make(), []):
        pass
    assert outcomes(transport) == [("main", None)]


def test_arguments_are_those_of_the_process_unless_given(
    telemetry: Telemetry, transport: RecordingTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/notes", "note", "add"])
    with command(telemetry, make_parser()):
        pass
    assert outcomes(transport) == [("note:add", None)]


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        (["send"], {}),
        (["--debug", "send"], {"debug": True}),
        (["send", "--timeout", "30", "--save-to", "out.md"], {}),
        (["send", "--timeout", "5"], {"timeout": 5}),
        (["send", "--save-to", "/home/john/x.md"], {"saveTo": True}),
        (["send", "--reasoning-effort", "high"], {"reasoningEffort": "high"}),
        (["send", "--no-html"], {"html": False}),
        (["send", "a positional argument"], {}),
        (["note", "add"], {}),
    ],
)
def test_options_are_those_that_differ_from_their_defaults(
    telemetry: Telemetry, transport: RecordingTransport, argv: list[str], options: dict[str, object]
) -> None:
    with command(telemetry, make_parser(), argv):
        pass
    assert transport.events[0]["options"] == options


def test_the_deeper_default_counts(telemetry: Telemetry, transport: RecordingTransport) -> None:
    parser = make_parser()
    parser.add_argument("--timeout", type=int, default=5)  # the one of `send` is 30
    for argv in (["send"], ["--timeout", "7", "send"], ["send", "--timeout", "5"]):
        with command(telemetry, parser, argv):
            pass
    assert [event["options"] for event in transport.events] == [{}, {}, {"timeout": 5}]


def test_a_member_of_an_enumeration_counts_as_its_value(telemetry: Telemetry, transport: RecordingTransport) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reasoning-effort", type=enum.Enum("Effort", {"LOW": "low"}))  # type: ignore[arg-type]
    with command(telemetry, parser, ["--reasoning-effort", "low"]):
        pass
    assert transport.events[0]["options"] == {"reasoningEffort": "low"}


class Incomparable:
    def __init__(self, _: str) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")


def test_a_value_that_cannot_be_compared_costs_only_the_options(
    telemetry: Telemetry, transport: RecordingTransport
) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--timeout", type=Incomparable)
    with command(telemetry, parser, ["--timeout", "1"]) as arguments:
        assert isinstance(arguments.timeout, Incomparable)
    assert outcomes(transport) == [("main", None)]
    assert transport.events[0]["options"] == {}


@pytest.mark.parametrize("argv", [["send"], ["note", "tag", "set"], []])
def test_parser_and_namespace_show_nothing_of_it(telemetry: Telemetry, argv: list[str]) -> None:
    parser = make_parser(dest="command")
    before = [vars(each).copy() for each in all_parsers(parser)]
    with command(telemetry, parser, argv) as arguments:
        assert arguments == parser.parse_args(argv)
        assert [vars(each) for each in all_parsers(parser)] == before


def test_a_watch_of_somebody_else_stays(telemetry: Telemetry, transport: RecordingTransport) -> None:
    parser = make_parser()
    seen: list[str] = []
    for subparser in all_parsers(parser)[1:]:
        vars(subparser)["parse_known_args"] = watched(subparser, seen)
    for _ in range(2):
        with command(telemetry, parser, ["note", "add"]):
            pass
    assert seen == ["notes note", "notes note add"] * 2
    assert outcomes(transport) == [("note:add", None)] * 2


def watched(parser: argparse.ArgumentParser, seen: list[str]) -> Callable[..., object]:
    original = parser.parse_known_args

    def parse_known_args(*arguments: object) -> object:
        seen.append(parser.prog)
        return original(*arguments)  # type: ignore[call-overload]

    return parse_known_args


def all_parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    return [parser] + [
        deeper
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for subparser in dict.fromkeys(action.choices.values())
        for deeper in all_parsers(subparser)
    ]


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["send", "--bad"], "send"),
        (["--bad", "send"], "send"),
        (["send", "--timeout", "soon"], "send"),
        (["n", "rm"], "note:remove"),
        (["n", "rm", "a", "b"], "note:remove"),
        (["note"], "note"),
        (["note", "nope"], "note"),
        (["note", "tag", "color"], "note:tag:color"),
    ],
)
def test_a_usage_error_is_a_failed_run_of_the_command_recognized(
    telemetry: Telemetry, transport: RecordingTransport, capsys: pytest.CaptureFixture[str], argv: list[str], name: str
) -> None:
    with pytest.raises(SystemExit) as expected:
        make_parser().parse_args(argv)
    printed = capsys.readouterr()
    with pytest.raises(SystemExit) as raised, command(telemetry, make_parser(), argv):
        pytest.fail("the command does not run")
    assert (raised.value.code, capsys.readouterr()) == (expected.value.code, printed)
    assert outcomes(transport) == [(name, "ArgumentError")]
    assert transport.events[0]["eventName"] == "command_error"


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["--version"],
        ["send", "--help"],
        ["note", "-h"],
        ["note", "rm", "-h"],
        ["nope"],
        ["--bad"],
    ],
)
def test_help_and_what_fails_before_a_command_are_no_runs(
    telemetry: Telemetry, transport: RecordingTransport, argv: list[str]
) -> None:
    with pytest.raises(SystemExit), command(telemetry, make_parser(), argv):
        pytest.fail("nothing runs")
    assert transport.events == []


def test_a_usage_error_of_a_tool_without_commands_is_a_failed_run(
    telemetry: Telemetry, transport: RecordingTransport
) -> None:
    with pytest.raises(SystemExit), command(telemetry, argparse.ArgumentParser(), ["--bad"]):
        pytest.fail("nothing runs")
    assert outcomes(transport) == [("main", "ArgumentError")]


class UsageMistake(Exception):
    pass


class RaisingParser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageMistake(message)


def test_an_error_method_of_the_tool_is_reported_by_what_it_raises(
    telemetry: Telemetry, transport: RecordingTransport
) -> None:
    parser = RaisingParser()
    parser.add_subparsers().add_parser("send")
    with pytest.raises(UsageMistake), command(telemetry, parser, ["send", "--bad"]):
        pytest.fail("the command does not run")
    assert outcomes(transport) == [("send", "UsageMistake")]


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError("x"), "ValueError"),
        (StopIteration(), "StopIteration"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(3), "SystemExit"),
        (SystemExit("text"), "SystemExit"),
        (SystemExit(0), None),
        (SystemExit(), None),
    ],
)
def test_what_the_command_raises_passes_and_is_reported(
    telemetry: Telemetry, transport: RecordingTransport, error: BaseException, name: str | None
) -> None:
    with pytest.raises(type(error)) as raised, command(telemetry, make_parser(), ["note", "add"]):
        fail_with(error)
    assert raised.value is error
    assert "fail_with" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert outcomes(transport) == [("note:add", name)]


@pytest.mark.parametrize("error", [StopIteration(), KeyboardInterrupt(), SystemExit(3), RuntimeError()])
def test_what_parsing_raises_passes_and_is_reported(
    telemetry: Telemetry, transport: RecordingTransport, error: BaseException
) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--timeout", type=lambda _: fail_with(error))
    with pytest.raises(type(error)) as raised, command(telemetry, parser, ["--timeout", "1"]):
        pytest.fail("the command does not run")
    assert raised.value is error
    assert outcomes(transport) == [("main", type(error).__name__)]


@pytest.mark.parametrize("error", [SystemExit(), SystemExit(0)])
def test_an_exit_without_a_status_while_parsing_is_no_run(
    telemetry: Telemetry, transport: RecordingTransport, error: BaseException
) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--about", type=lambda _: fail_with(error))
    with pytest.raises(SystemExit), command(telemetry, parser, ["--about", "1"]):
        pytest.fail("nothing runs")
    assert transport.events == []


def fail_with(error: BaseException) -> None:
    raise error


def test_what_becomes_known_on_the_way_is_reported(telemetry: Telemetry, transport: RecordingTransport) -> None:
    with command(telemetry, make_parser(), ["send"]):
        telemetry.update_command_state(model="gpt-4o")
    assert transport.events[0]["model"] == "gpt-4o"

"""The integration with click and typer: which runs are reported, with which options; the host notices nothing."""

from __future__ import annotations

import enum
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import typer
from click.testing import CliRunner, Result
from vibetel_client import RecordingTransport, Telemetry
from vibetel_client.integrations.click import instrument

Sender = Callable[..., object]


def make_cli(do: Sender = lambda: None) -> click.Group:
    """`send`, `note add|remove`, `note tag set`, `note tag color pick`; `do` is what `send` and `pick` do."""

    @click.group()
    @click.option("--debug", is_flag=True)
    @click.version_option("1.0")
    def cli(debug: bool) -> None:
        pass

    @cli.command()
    @click.option("--timeout", type=int, default=30, envvar="NOTES_TIMEOUT")
    @click.option("--save-to", type=click.Path(path_type=Path))
    @click.option("--reasoning-effort", type=click.Choice(["low", "high"]))
    @click.option("--html/--no-html", default=True)
    @click.option("--quiet", is_flag=True, expose_value=False)
    @click.argument("console", required=False)
    def send(**_: object) -> None:
        do()

    @cli.group()
    def note() -> None:
        pass

    @note.command()
    def add() -> None:
        pass

    @note.command()
    @click.argument("name")
    def remove(name: str) -> None:
        pass

    @note.group()
    def tag() -> None:
        pass

    @tag.command("set")
    def set_tag() -> None:
        pass

    @tag.group()
    def color() -> None:
        pass

    @color.command()
    def pick() -> None:
        do()

    return cli


@pytest.fixture
def run(telemetry: Telemetry) -> Callable[..., Result]:
    """Run a command line of an instrumented tool."""

    def run_instrumented(cli: click.Command, *args: str, **settings: object) -> Result:
        instrument(cli, telemetry)
        return CliRunner().invoke(cli, args, **settings)  # type: ignore[arg-type]

    return run_instrumented


def outcomes(transport: RecordingTransport) -> list[tuple[object, object]]:
    """Command and error type of each run."""
    return [(event["command"], event.get("errorType")) for event in transport.events]


# -- Names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (["send"], "send"),
        (["--debug", "send"], "send"),
        (["note", "add"], "note:add"),
        (["note", "tag", "set"], "note:tag:set"),
        (["note", "tag", "color", "pick"], "note:tag:color"),
    ],
)
def test_a_command_is_called_by_its_path(
    run: Callable[..., Result], transport: RecordingTransport, args: list[str], name: str
) -> None:
    assert run(make_cli(), *args).exit_code == 0
    assert outcomes(transport) == [(name, None)]


@pytest.mark.parametrize(("given", "name"), [("greet", "greet"), (None, "main")])
def test_a_tool_of_one_command_is_called_by_its_name(
    run: Callable[..., Result], transport: RecordingTransport, given: str | None, name: str
) -> None:
    run(click.Command(given, callback=lambda: None))
    assert outcomes(transport) == [(name, None)]


class AliasedGroup(click.Group):
    """Any beginning of a name will do."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        [name] = [name for name in self.list_commands(ctx) if name.startswith(cmd_name)] or [cmd_name]
        return super().get_command(ctx, name)


def test_an_alias_is_reported_as_what_it_stands_for(run: Callable[..., Result], transport: RecordingTransport) -> None:
    cli = AliasedGroup("cli", {"note": AliasedGroup("note", {"add": click.Command("add", callback=lambda: None)})})
    run(cli, "n", "ad")
    assert outcomes(transport) == [("note:add", None)]


@pytest.mark.parametrize("typed", ["send", "post"])
def test_a_command_with_two_names_is_called_by_its_own(
    run: Callable[..., Result], transport: RecordingTransport, typed: str
) -> None:
    send = click.Command("send", callback=lambda: None)
    run(click.Group("cli", {"post": send, "send": send}), typed)
    assert outcomes(transport) == [("send", None)]


def test_a_command_is_called_by_what_its_group_calls_it(
    run: Callable[..., Result], transport: RecordingTransport
) -> None:
    run(
        click.Group("cli", {"users": click.Group("cli", {"add": click.Command("cli", callback=lambda: None)})}),
        "users",
        "add",
    )
    assert outcomes(transport) == [("users:add", None)]


class LazyGroup(click.Group):
    """Makes its commands when they are asked for."""

    def __init__(self) -> None:
        super().__init__("lazy")
        self.made: list[str] = []

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["one", "two"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        self.made.append(cmd_name)
        return click.Group("cli", {"run": click.Command("run", callback=lambda: None)})


def test_a_lazy_group_makes_only_the_command_that_runs(
    run: Callable[..., Result], transport: RecordingTransport, telemetry: Telemetry
) -> None:
    plain, lazy = LazyGroup(), LazyGroup()
    instrument(lazy, telemetry)
    assert lazy.made == []
    CliRunner().invoke(plain, ["two", "run"])
    run(lazy, "two", "run")
    assert lazy.made == plain.made
    assert outcomes(transport) == [("two:run", None)]


def test_a_collection_reports_the_commands_of_its_sources(
    run: Callable[..., Result], transport: RecordingTransport
) -> None:
    run(click.CommandCollection("all", sources=[make_cli()]), "note", "add")
    assert outcomes(transport) == [("note:add", None)]


# -- Options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (["send"], {}),
        (["--debug", "send"], {"debug": True}),
        (["send", "--timeout", "30"], {"timeout": 30}),
        (["send", "--save-to", "/home/john/x.md"], {"saveTo": True}),
        (["send", "--reasoning-effort", "high"], {"reasoningEffort": "high"}),
        (["send", "--no-html"], {"html": False}),
        (["send", "--quiet"], {}),
        (["send", "a positional argument"], {}),
    ],
)
def test_options_are_those_that_the_user_gave(
    run: Callable[..., Result], transport: RecordingTransport, args: list[str], options: dict[str, object]
) -> None:
    run(make_cli(), *args)
    assert transport.events[0]["options"] == options


def test_options_may_come_from_the_environment_but_not_from_a_file_of_defaults(
    run: Callable[..., Result], transport: RecordingTransport
) -> None:
    run(make_cli(), "send", env={"NOTES_TIMEOUT": "7"}, default_map={"send": {"html": False}})
    assert transport.events[0]["options"] == {"timeout": 7}


# -- Outcomes ------------------------------------------------------------------------------------------------------


def exit_by_context(code: int) -> None:
    click.get_current_context().exit(code)


@pytest.mark.parametrize("standalone_mode", [True, False])
@pytest.mark.parametrize(
    "leave",
    [
        lambda: None,
        lambda: 3,
        lambda: exit_by_context(0),
        lambda: fail_with(click.exceptions.Exit(0)),
        lambda: sys.exit(0),
        lambda: sys.exit(),
    ],
)
def test_success(
    run: Callable[..., Result], transport: RecordingTransport, leave: Sender, standalone_mode: bool
) -> None:
    assert run(make_cli(leave), "send", standalone_mode=standalone_mode).exit_code == 0
    assert outcomes(transport) == [("send", None)]


@pytest.mark.parametrize("standalone_mode", [True, False])
@pytest.mark.parametrize(
    ("leave", "name"),
    [
        (lambda: fail_with(ValueError("x")), "ValueError"),
        (lambda: fail_with(StopIteration()), "StopIteration"),
        (lambda: fail_with(KeyboardInterrupt()), "KeyboardInterrupt"),
        (lambda: fail_with(click.Abort()), "Abort"),
        (lambda: fail_with(click.ClickException("x")), "ClickException"),
        (lambda: fail_with(click.UsageError("x")), "UsageError"),
        (lambda: fail_with(click.BadParameter("x")), "BadParameter"),
        (lambda: fail_with(click.FileError("x")), "FileError"),
        (lambda: exit_by_context(3), "Exit"),
        (lambda: sys.exit(3), "SystemExit"),
        (lambda: sys.exit("text"), "SystemExit"),
    ],
)
def test_failure_leaves_click_as_it_is(
    run: Callable[..., Result], transport: RecordingTransport, leave: Sender, standalone_mode: bool, name: str
) -> None:
    args = ["note", "tag", "color", "pick"]
    expected = CliRunner().invoke(make_cli(leave), args, standalone_mode=standalone_mode)
    result = run(make_cli(leave), *args, standalone_mode=standalone_mode)
    assert (result.exit_code, result.output, type(result.exception), result.return_value) == (
        expected.exit_code,
        expected.output,
        type(expected.exception),
        expected.return_value,
    )
    assert outcomes(transport) == [("note:tag:color", name)]


def fail_with(error: BaseException) -> None:
    raise error


def test_the_traceback_shows_where_it_failed(run: Callable[..., Result]) -> None:
    result = run(make_cli(lambda: fail_with(ValueError("x"))), "send")
    assert result.exc_info is not None
    assert traceback.extract_tb(result.exc_info[2])[-1].name == "fail_with"


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (["send", "--bad"], "send"),
        (["note", "remove"], "note:remove"),
        (["note", "nope"], "note"),
        (["note", "--bad", "add"], "note"),
    ],
)
def test_a_usage_error_is_a_failed_run_of_the_command_recognized(
    run: Callable[..., Result], transport: RecordingTransport, args: list[str], name: str
) -> None:
    result = run(make_cli(lambda: pytest.fail("the command does not run")), *args, standalone_mode=False)
    assert isinstance(result.exception, click.UsageError)
    assert outcomes(transport) == [(name, type(result.exception).__name__)]


def test_a_usage_error_of_a_tool_of_one_command_is_a_failed_run(
    run: Callable[..., Result], transport: RecordingTransport
) -> None:
    assert run(click.Command("greet"), "--bad").exit_code == 2
    assert outcomes(transport) == [("greet", "NoSuchOption")]


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--help"],
        ["--version"],
        ["note"],
        ["note", "--help"],
        ["send", "--help"],
        ["note", "tag", "set", "--help"],
        ["--bad", "send"],
        ["nope"],
    ],
)
def test_help_and_what_fails_before_a_command_are_no_runs(
    run: Callable[..., Result], transport: RecordingTransport, args: list[str]
) -> None:
    run(make_cli(), *args)
    assert transport.events == []


def test_completion_is_no_run(run: Callable[..., Result], transport: RecordingTransport) -> None:
    environment = {"_CLI_COMPLETE": "bash_complete", "COMP_WORDS": "cli note a", "COMP_CWORD": "2"}
    assert run(make_cli(), prog_name="cli", env=environment).output == "plain,add\n"
    assert transport.events == []


# -- Groups --------------------------------------------------------------------------------------------------------


def make_group(fails: bool = False, **settings: object) -> click.Group:
    """A group of `one`, `two` and `broken`, with a callback of its own."""

    @click.group(**settings)  # type: ignore[call-overload, untyped-decorator]
    @click.option("--debug", is_flag=True)
    def group(debug: bool) -> None:
        if fails:
            raise ValueError

    for name in ("one", "two"):
        params: list[click.Parameter] = [click.Option([option], is_flag=True) for option in ("--quiet", "--html")]
        group.add_command(click.Command(name, params=params, callback=lambda **_: None))
    group.add_command(click.Command("broken", callback=lambda: fail_with(KeyError())))
    return group  # type: ignore[no-any-return]


def test_a_group_that_fails_before_its_command_is_a_failed_run_of_it(
    run: Callable[..., Result], transport: RecordingTransport
) -> None:
    run(make_group(fails=True), "--debug", "one")
    assert outcomes(transport) == [("one", "ValueError")]
    assert transport.events[0]["options"] == {"debug": True}


@pytest.mark.parametrize(
    ("args", "name"),
    [
        ([], "group"),
        (["--debug"], "group"),
        (["one"], "one"),
    ],
)
def test_a_group_that_may_run_alone_is_a_command_then(
    run: Callable[..., Result], transport: RecordingTransport, args: list[str], name: str
) -> None:
    run(make_group(invoke_without_command=True), *args)
    assert outcomes(transport) == [(name, None)]
    assert transport.events[0]["options"] == ({"debug": True} if "--debug" in args else {})


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], [("group", "ValueError")]),
        (["one"], [("one", "ValueError")]),
        (["--bad"], [("group", "NoSuchOption")]),
        (["one", "--help"], []),
        (["--help"], []),
    ],
)
def test_a_group_that_may_run_alone_fails_as_what_runs(
    run: Callable[..., Result], transport: RecordingTransport, args: list[str], expected: list[tuple[str, str]]
) -> None:
    group = make_group(fails=args != ["one", "--help"], invoke_without_command=True)
    run(group, *args)
    assert outcomes(transport) == expected


def test_a_nested_group_that_may_run_alone_is_called_by_its_path(
    run: Callable[..., Result], transport: RecordingTransport
) -> None:
    cli = click.Group("cli", {"group": make_group(invoke_without_command=True)})
    run(cli, "group")
    run(cli, "group", "two")
    assert outcomes(transport) == [("group", None), ("group:two", None)]


def test_a_group_that_runs_alone_may_invoke_a_command_and_stays_one_run(
    run: Callable[..., Result], transport: RecordingTransport
) -> None:
    send = click.Command("send", callback=lambda: None)

    @click.group(invoke_without_command=True, commands=[send])
    @click.pass_context
    def cli(ctx: click.Context) -> None:
        ctx.invoke(send)
        ctx.invoke(send)

    run(cli)
    assert outcomes(transport) == [("cli", None)]


def test_each_command_of_a_chain_is_a_run(run: Callable[..., Result], transport: RecordingTransport) -> None:
    run(make_group(chain=True), "--debug", "one", "--quiet", "two", "--html")
    assert [(event["command"], event["options"]) for event in transport.events] == [
        ("one", {"debug": True, "quiet": True}),
        ("two", {"debug": True, "html": True}),
    ]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["one", "broken", "two"], [("one", None), ("broken", "KeyError")]),
        (["one", "two", "--bad"], [("two", "NoSuchOption")]),
        (["one", "--help", "two"], []),
        (["one", "nope"], [("one", "UsageError")]),
    ],
)
def test_a_chain_ends_with_the_command_that_fails(
    run: Callable[..., Result], transport: RecordingTransport, args: list[str], expected: list[tuple[str, str]]
) -> None:
    run(make_group(chain=True), *args)
    found = [(name, "UsageError" if error == "NoSuchCommand" else error) for name, error in outcomes(transport)]
    assert found == expected


def test_what_fails_after_a_chain_is_a_failure_of_its_last_command(
    run: Callable[..., Result], transport: RecordingTransport
) -> None:
    group = make_group(chain=True, result_callback=lambda *_, **__: fail_with(OSError(5, "x")))
    run(group, "one", "two")
    assert outcomes(transport) == [("one", None), ("two", "OSError")]


def test_a_command_line_within_another_is_a_run_of_its_own(
    run: Callable[..., Result], transport: RecordingTransport
) -> None:
    cli = make_cli(lambda: cli.main(["note", "add"], standalone_mode=False))
    run(cli, "send")
    assert outcomes(transport) == [("note:add", None), ("send", None)]


# -- Use -----------------------------------------------------------------------------------------------------------


def test_instrument_twice_reports_once(
    run: Callable[..., Result], transport: RecordingTransport, telemetry: Telemetry
) -> None:
    cli = make_cli()
    instrument(cli, telemetry)
    for _ in range(2):
        run(cli, "note", "add")
    assert outcomes(transport) == [("note:add", None)] * 2


def test_a_tool_that_is_not_instrumented_may_share_commands_with_one_that_is(
    run: Callable[..., Result], transport: RecordingTransport
) -> None:
    cli = make_cli()
    run(cli, "note", "add")
    assert CliRunner().invoke(click.Group("other", {"note": cli.commands["note"]}), ["note", "add"]).exit_code == 0
    assert outcomes(transport) == [("note:add", None)]


def test_what_becomes_known_on_the_way_is_reported(
    run: Callable[..., Result], transport: RecordingTransport, telemetry: Telemetry
) -> None:
    run(make_cli(lambda: telemetry.update_command_state(model="gpt-4o")), "send")
    assert transport.events[0]["model"] == "gpt-4o"


def test_what_fails_inside_never_reaches_the_host(run: Callable[..., Result], transport: RecordingTransport) -> None:
    class Broken(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:
            raise RuntimeError

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            return click.Command("send", callback=lambda: click.echo("sent"))

    assert run(Broken("cli"), "send").output == "sent\n"


# -- Typer ---------------------------------------------------------------------------------------------------------


class Effort(enum.Enum):
    LOW = "low"


def make_typer() -> typer.Typer:
    """`send`, `note add`, `note fail`."""
    app, note = typer.Typer(), typer.Typer()
    app.add_typer(note, name="note")

    @app.command()
    def send(reasoning_effort: Effort = Effort.LOW, timeout: int = 30, save_to: Path = Path()) -> None:
        pass

    @note.command()
    def add() -> None:
        raise typer.Exit

    @note.command()
    def fail(code: int = 0) -> None:
        if code:
            raise typer.Exit(code)
        raise ValueError

    return app


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["send"], ("send", {}, None)),
        (["send", "--timeout", "3"], ("send", {"timeout": 3}, None)),
        (["send", "--save-to", "x"], ("send", {"saveTo": True}, None)),
        (["send", "--reasoning-effort", "low"], ("send", {"reasoningEffort": "low"}, None)),
        (["send", "--bad"], ("send", {}, "NoSuchOption")),
        (["note", "add"], ("note:add", {}, None)),
        (["note", "fail"], ("note:fail", {}, "ValueError")),
        (["note", "fail", "--code", "3"], ("note:fail", {}, "Exit")),
    ],
)
def test_typer(telemetry: Telemetry, transport: RecordingTransport, args: list[str], expected: object) -> None:
    cli = typer.main.get_command(make_typer())
    instrument(cli, telemetry)
    with pytest.raises((SystemExit, ValueError)):
        cli(args)
    [event] = transport.events
    assert (event["command"], event["options"], event.get("errorType")) == expected


@pytest.mark.parametrize("args", [[], ["--help"], ["note", "--help"], ["nope"]])
def test_typer_help_and_what_fails_before_a_command_are_no_runs(
    telemetry: Telemetry, transport: RecordingTransport, args: list[str]
) -> None:
    cli = typer.main.get_command(make_typer())
    instrument(cli, telemetry)
    with pytest.raises(SystemExit):
        cli(args)
    assert transport.events == []


def test_typer_of_one_command_is_called_by_its_name(telemetry: Telemetry, transport: RecordingTransport) -> None:
    app = typer.Typer()
    app.command()(greet)
    cli = typer.main.get_command(app)
    instrument(cli, telemetry)
    with pytest.raises(SystemExit):
        cli([])
    assert outcomes(transport) == [("greet", None)]


def greet() -> None:
    pass

"""click: one line reports the commands of a click tool, or of a typer tool by `typer.main.get_command(app)`.

    instrument(cli, telemetry)
    cli()

In: the tool's command or group. Out: one run for each command that is invoked, called `group:command`, with the
options that the user gave. Exceptions, exit status and output stay the tool's own. Click is not imported: typer has
brought its own copy of it since 0.26, whose objects answer to the same names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from vibetel_client.command import is_failure
from vibetel_client.integrations import MAIN, command_name, contained, plain
from vibetel_client.telemetry import Telemetry

# In `ctx.meta`, which the contexts of one command line share.
_KEY = __name__


def instrument(command: Any, telemetry: Telemetry) -> None:
    """Report what is invoked through this command or group, to the telemetry it was last called with.

    Subcommands follow when click looks them up, so a lazy group stays lazy.
    """
    if not hasattr(command, "_vibetel"):
        command.make_context = partial(_make_context, command, command.make_context)
        command.invoke = partial(_invoke, command, command.invoke)
        if hasattr(command, "resolve_command"):
            command.resolve_command = partial(_resolve_command, command, command.resolve_command)
    command._vibetel = telemetry


def _make_context(command: Any, original: Any, name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
    """The top command's usage errors arise here; those of the commands below it, in its `invoke`."""
    with _CommandLine(command._vibetel, command).followed() if parent is None else contextlib.nullcontext():
        return original(name, args, parent=parent, **extra)


def _invoke(command: Any, original: Any, ctx: Any) -> Any:
    if ctx.parent is None:
        ctx.meta[_KEY] = _CommandLine(command._vibetel, ctx.command)
    line = ctx.meta.get(_KEY)
    if line is not None:
        line.enter(ctx)
    with line.followed() if ctx.parent is None else contextlib.nullcontext():
        return original(ctx)


def _resolve_command(group: Any, original: Any, ctx: Any, args: Any) -> Any:
    typed, command, rest = original(ctx, args)
    with contained():
        if command is not None:
            instrument(command, group._vibetel)
            if _KEY in ctx.meta:
                ctx.meta[_KEY].recognize(ctx, typed, command)
    return typed, command, rest


class _CommandLine:
    """What is known of one command line: the command recognized last, and the run under way."""

    def __init__(self, telemetry: Telemetry, top: Any) -> None:
        self._telemetry = telemetry
        self._top = [top.name or MAIN]
        self._paths: dict[Any, list[str]] = {}  # by the group's context and the name as typed
        # What to report if it fails before it runs, and a context that has options. A group alone is no command.
        self._recognized: Any = (self._top, None) if getattr(top, "invoke_without_command", True) else None
        self._running: Any = None  # the context of the run that has not ended

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Around the whole: what ends it ends the run. An exit with 0 before there is a run was --help or the like."""
        try:
            yield
        except BaseException as error:
            with contained():
                # Newer versions of click show the help of a group by an error.
                is_help = type(error).__name__ == "NoArgsIsHelpError"
                if self._recognized and not self._running and is_failure(error) and not is_help:
                    self._start(*self._recognized)
                if self._running:
                    self._telemetry.record_error(error)
            raise
        finally:
            if self._running:
                self._telemetry.end_command()

    def recognize(self, ctx: Any, typed: Any, command: Any) -> None:
        """The group of this context has looked up a subcommand."""
        path = self._paths[ctx, typed] = [*self._path(ctx), _registered_name(ctx, typed, command)]
        self._recognized = (path, ctx)

    def enter(self, ctx: Any) -> None:
        """A command is invoked. Only its callback tells of a group whether it runs itself or hands over to another."""
        if not hasattr(ctx.command, "resolve_command"):
            self._start(self._path(ctx), ctx)
        elif ctx.command.invoke_without_command:
            ctx.invoke = partial(self._invoke_callback, ctx.invoke, ctx)

    def _invoke_callback(self, original: Any, ctx: Any, *arguments: Any, **named: Any) -> Any:
        if ctx.invoked_subcommand is None and self._running is not ctx:
            self._start(self._path(ctx), ctx)
        return original(*arguments, **named)

    def _start(self, path: list[str], ctx: Any) -> None:
        if self._running:  # the command before this one in a chain
            self._telemetry.end_command()
        self._running = ctx or path
        options: dict[str, object] = {}
        with contained():
            options = _given(ctx)
        self._telemetry.start_command(command_name(path or self._top), options)

    def _path(self, ctx: Any) -> list[str]:
        return self._paths.get((ctx.parent, ctx.info_name), [])


def _registered_name(ctx: Any, typed: Any, command: Any) -> Any:
    """The command's own name, or the other one that its group lists it by; what was typed may be an alias."""
    names = [name for name, known in getattr(ctx.command, "commands", {}).items() if known is command]
    names = names or [name for name in ctx.command.list_commands(ctx) if name == typed]
    return command.name if command.name in names or not names else names[0]


def _given(ctx: Any) -> dict[str, object]:
    """The options that the user gave to the command and to the groups above it."""
    if ctx is None:
        return {}
    names = [param.name for param in ctx.command.params if param.param_type_name == "option"]
    sources = {name: getattr(ctx.get_parameter_source(name), "name", None) for name in names}
    given = {name: plain(ctx.params.get(name)) for name in names if sources[name] in ("COMMANDLINE", "ENVIRONMENT")}
    return {**_given(ctx.parent), **given}

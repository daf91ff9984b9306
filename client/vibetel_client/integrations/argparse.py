"""argparse: one line parses the arguments and reports the command that they name.

    with command(telemetry, parser) as arguments:
        arguments.run(arguments)

In: a parser, with or without subparsers. Out: one run of the deepest subparser, called `group:command`, with the
options that differ from their defaults. Fails as `parse_args` does. Nothing of this stays in parser or namespace.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from vibetel_client.command import is_failure
from vibetel_client.integrations import command_name, contained, plain
from vibetel_client.telemetry import Telemetry


def command(
    telemetry: Telemetry, parser: argparse.ArgumentParser, argv: Sequence[str] | None = None
) -> contextlib.AbstractContextManager[argparse.Namespace]:
    """Parse `argv`, or else the arguments of the process; what runs inside the `with` is the command.

    A usage error is a failed run of type ArgumentError, if a command was recognized by then or there are none.
    `--help` and `--version` are no runs. Raises what `parse_args` raises, SystemExit in nearly all cases.
    """
    entered: dict[argparse.ArgumentParser, str] = {}
    with contextlib.ExitStack() as watch:
        with contained():
            for name, subparser in _subparsers(parser):
                _watch(watch, subparser, functools.partial(entered.__setitem__, subparser, name))
        try:
            arguments = parser.parse_args(argv)
        except BaseException as error:
            with contained():
                if is_failure(error) and (entered or not any(_subparsers(parser))):
                    telemetry.start_command(command_name(entered.values()))
                    telemetry.record_error(_usage_error(error))
                    telemetry.end_command()
            raise
    options: dict[str, object] = {}
    with contained():
        options = _given(arguments, [parser, *entered])
    return _run(telemetry, command_name(entered.values()), options, arguments)


@contextlib.contextmanager
def _run(
    telemetry: Telemetry, name: str, options: dict[str, object], arguments: argparse.Namespace
) -> Iterator[argparse.Namespace]:
    with telemetry.command(name, options):
        yield arguments


def _subparsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """All below this one, each under the name it was added by; its aliases come after that."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            names: dict[argparse.ArgumentParser, str] = {}
            for name, subparser in action.choices.items():
                names.setdefault(subparser, name)
            for subparser, name in names.items():
                yield name, subparser
                yield from _subparsers(subparser)


def _watch(watch: contextlib.ExitStack, subparser: argparse.ArgumentParser, enter: Callable[[], None]) -> None:
    """While the watch lasts, call `enter` when argparse hands over to the subparser, by its `parse_known_args`.

    A usage error leaves no namespace behind that could tell, and that of a subparser may be raised by its parent.
    """
    parse, own = subparser.parse_known_args, vars(subparser)

    def parse_known_args(*arguments: object, **named: object) -> object:
        enter()
        return parse(*arguments, **named)

    if "parse_known_args" in own:  # somebody else watches, too
        watch.callback(own.update, parse_known_args=parse)
    watch.callback(own.pop, "parse_known_args")
    own["parse_known_args"] = parse_known_args


def _given(arguments: argparse.Namespace, parsers: Iterable[argparse.ArgumentParser]) -> dict[str, object]:
    """The options that differ from their defaults; of two with the same name the deeper one's default counts."""
    defaults = {
        action.dest: parser.get_default(action.dest)
        for parser in parsers
        for action in parser._actions
        if action.option_strings
    }
    values = {dest: getattr(arguments, dest, default) for dest, default in defaults.items()}
    return {dest: plain(value) for dest, value in values.items() if not _is_default(value, defaults[dest])}


def _is_default(value: object, default: object) -> bool:
    # A default that is text goes through the option's type, like what a user types.
    return value is default or value == default or (isinstance(default, str) and str(value) == default)


def _usage_error(error: BaseException) -> BaseException:
    """The error as raised, or what stands behind argparse's own exit with status 2."""
    is_usage = isinstance(error, SystemExit) and error.code == 2
    return argparse.ArgumentError(None, "") if is_usage else error

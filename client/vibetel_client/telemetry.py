"""Telemetry: the object that authors of tools use.

In: calls of the host. Out: events to the transport, if the user has said yes. Whatever fails inside, the host goes on.
Next: consent.py, identity.py, command.py, transport.py
"""

from __future__ import annotations

import atexit
import contextvars
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from vibetel_client import contract, environment, identity, interruption
from vibetel_client.command import Run, build_event
from vibetel_client.consent import Consent, decide
from vibetel_client.endpoint import DEFAULT_ENDPOINT
from vibetel_client.event_id import uuid4, uuid7
from vibetel_client.log import debug
from vibetel_client.spool import Spool
from vibetel_client.timestamps import format_timestamp
from vibetel_client.transport import SpoolTransport, Transport, envelope

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing it for real takes 4 ms
    from typing import Any, ParamSpec, TypeVar

    Parameters = ParamSpec("Parameters")
    Function = TypeVar("Function", bound=Callable[..., Any])

# inspect.CO_COROUTINE; importing inspect takes 6 ms.
_COROUTINE = 0x80

_SESSION_ID = uuid4()


def _contained(method: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """The border to the host: an exception in here becomes a debug line."""

    @functools.wraps(method)
    def contained(*arguments: Parameters.args, **named: Parameters.kwargs) -> None:
        try:
            method(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - telemetry must never break its host
            debug("telemetry failed", error=error)

    return contained


class Telemetry:
    """Reports the runs of one tool, one after the other; a run may begin and end inside another.

    Without `endpoint`, `<TOOL>_TELEMETRY_ENDPOINT` and then the packaged one is used; without any, nothing is sent.
    Raises ValueError for a `tool` that cannot be the name of a folder.
    """

    def __init__(
        self, *, tool: str, version: str, endpoint: str | None = None, transport: Transport | None = None
    ) -> None:
        identity.check_tool_name(tool)
        self._tool = tool
        self._version = version
        self._endpoint = endpoint
        self._transport = SpoolTransport(tool) if transport is None else transport
        self._runs: list[Run] = []
        # Of tasks and threads at the same time each has its own; a thread without one works for the run begun last.
        self._current: contextvars.ContextVar[Run | None] = contextvars.ContextVar("run", default=None)
        self._left_runs_end_at_exit = False

    def command(self, command: str, options: Mapping[str, object] | None = None) -> Command:
        """Report what runs inside as one command: `with telemetry.command("repo", options):`, or as a decorator.

        An exception, or an exit with a status, makes it a failed one.
        """
        return Command(self, command, options)

    def start_command(self, command: str, options: Mapping[str, object] | None = None) -> None:
        """A command begins. Of its options only those that the contract lists are looked at."""
        self._begin(command, options)

    @_contained
    def update_command_state(self, **state: object) -> None:
        """More became known: `prompt_tokens`, `completion_tokens`, `context_tokens`, `provider`, `model`,
        `file_provider`, `file_model`, `thinking_provider`, `thinking_model`."""
        run = self._run()
        if run is not None:
            run.update(state)

    @_contained
    def record_error(self, error: BaseException) -> None:
        """The command fails. Only the name of the error's class is kept, never its message."""
        run = self._run()
        if run is not None:
            run.record_error(error)

    @_contained
    def end_command(self) -> None:
        """The command is over: report it."""
        run = self._run()
        if run is not None:
            self._end(run)

    @_contained
    def track_event(self, name: str, properties: Mapping[str, object]) -> None:
        """Report one event of the contract, its properties by attribute name. Other events are dropped."""
        if name in contract.EVENT_NAMES:
            self._report(name, {**properties, "event_id": uuid7(_unix_ms())})
        else:
            debug("dropped an event that the contract does not list: %s", name)

    @property
    def endpoint(self) -> str:
        """Where events go; empty where nothing says so."""
        return self._endpoint or self._variable("TELEMETRY_ENDPOINT") or DEFAULT_ENDPOINT

    def consent(self) -> Consent:
        """What the user has said; an installer asks while it is PENDING."""
        try:
            return decide(self._tool, os.environ, identity.read(identity.path(self._tool)).choice)
        except OSError:  # no home: nobody can have said yes
            return decide(self._tool, os.environ, None)

    def prompt_for_consent(self) -> Consent:
        """Ask at the terminal while the answer is PENDING; for installers. Out: what holds now."""
        from vibetel_client.prompt import ask  # noqa: PLC0415 - few runs need it

        if self.consent() is Consent.PENDING:
            choice = ask(self._tool, self.endpoint)
            if choice is not None and not self._record_choice(choice):
                sys.stderr.write(f"{self._tool}: your choice could not be saved\n")
        return self.consent()

    def enable(self) -> bool:
        """Record a yes. False where it could not be recorded."""
        return self._record_choice(True)

    def disable(self) -> bool:
        """Record a no, and remove what waits and the list of what was sent. False where that failed: tell the user."""
        return self._record_choice(False)

    def _record_choice(self, choice: bool) -> bool:
        try:
            identity.record_choice(identity.path(self._tool), choice)
            if not choice:
                Spool(self._tool).clear()
        except OSError as error:
            debug("the choice was not recorded", error=error)
            return False
        return True

    # -- One run ------------------------------------------------------------------------------------------------------

    def _run(self) -> Run | None:
        """The run that goes on here."""
        run = self._current.get()
        if run in self._runs:
            return run
        return self._runs[-1] if self._runs else None

    def _begin(self, command: str, options: Mapping[str, object] | None) -> Run:
        run = Run(command, options or {}, time.monotonic(), uuid7(_unix_ms()))
        run.outer = self._current.get()
        self._current.set(run)
        self._runs.append(run)
        self._watch(run)
        return run

    @_contained
    def _finish(self, run: Run, error: BaseException | None) -> None:
        if error is not None:
            run.record_error(error)
        if run in self._runs:  # nobody has called end_command in it
            self._end(run)

    @_contained
    def _watch(self, run: Run) -> None:
        """See to it that the run is reported even where nobody calls `end_command`."""
        event = self._event(*run.vanished())
        if event is None:
            return
        if not self._left_runs_end_at_exit:
            atexit.register(self._end_left_runs)
            self._left_runs_end_at_exit = True
        run.at_end.append(interruption.catch(self._end_interrupted_runs))
        if not self._debugs():
            run.at_end.append(self._transport.begin(event))

    def _end(self, run: Run) -> None:
        self._runs.remove(run)
        if self._current.get() is run:
            self._current.set(run.outer)
        try:
            if run.is_ours:
                self._report(*run.end(time.monotonic()))
        finally:
            for action in run.at_end:
                action()

    @_contained
    def _end_interrupted_runs(self, signal_name: str) -> None:
        for run in reversed(self._runs[:]):
            run.record_error_type(signal_name)
            self._end(run)

    @_contained
    def _end_left_runs(self) -> None:
        """At exit: a run that nobody ended failed, of an exception that Python has shown or of an early exit."""
        error = getattr(sys, "last_value", None) or SystemExit(1)
        for run in reversed(self._runs[:]):
            run.record_error(error)
            self._end(run)

    # -- One event ----------------------------------------------------------------------------------------------------

    def _report(self, name: str, properties: Mapping[str, object]) -> None:
        event = self._event(name, properties)
        if event is None:
            return
        if self._debugs():
            sys.stderr.write(envelope([event], format_timestamp(_unix_ms())).decode() + "\n")
        else:
            self._transport.deliver(self.endpoint, event)

    def _event(self, name: str, properties: Mapping[str, object]) -> dict[str, object] | None:
        """The event; None where it is not to be reported. What every event says of itself, the host has no say in."""
        file = identity.path(self._tool)
        saved = identity.read(file)
        consent = decide(self._tool, os.environ, saved.choice)
        if consent is Consent.ENABLED:
            if not self.endpoint and not self._debugs():
                return None
            user_id = saved.user_id or identity.ensure_user_id(file)
        elif self._debugs():  # the only place where the placeholders appear
            opted_out, pending = contract.PLACEHOLDER_USER_IDS
            user_id = opted_out if consent is Consent.OPTED_OUT else pending
        else:
            return None
        origin = {
            "user_id": user_id,
            "session_id": _SESSION_ID,
            "timestamp": format_timestamp(_unix_ms()),
            "tool_version": self._version or "0.0.0",
            "lost_count": None,  # the spool knows it
            **environment.describe(os.environ),
        }
        return build_event(name, {**properties, **origin})

    def _debugs(self) -> bool:
        return environment.is_on(self._variable("TELEMETRY_DEBUG"))

    def _variable(self, name: str) -> str | None:
        return os.environ.get(environment.variable(self._tool, name))


class Command:
    """One command as a context manager, or as a decorator of a function, which may be a coroutine function."""

    def __init__(self, telemetry: Telemetry, command: str, options: Mapping[str, object] | None) -> None:
        self._telemetry = telemetry
        self._command = command
        self._options = options

    def __enter__(self) -> None:
        self._run = self._telemetry._begin(self._command, self._options)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._telemetry._finish(self._run, error)

    def __call__(self, function: Function) -> Function:
        """The function, reported as this command each time it is called."""

        @functools.wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:
            with self._telemetry.command(self._command, self._options):
                return function(*arguments, **named)

        @functools.wraps(function)
        async def run_coroutine(*arguments: Any, **named: Any) -> Any:
            with self._telemetry.command(self._command, self._options):
                return await function(*arguments, **named)

        code = getattr(function, "__code__", None)
        is_coroutine = code is not None and code.co_flags & _COROUTINE
        return run_coroutine if is_coroutine else run  # type: ignore[return-value]


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000

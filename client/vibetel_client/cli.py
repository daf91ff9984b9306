"""The user's view: `python -m vibetel_client --tool vibe-tools status`.

Whether anything is sent and why, what waits, what was sent, and the switch.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
import time
from collections.abc import Sequence

from vibetel_client import delivery, environment, identity
from vibetel_client.consent import Consent, opt_out_variable
from vibetel_client.description import TELEMETRY_DATA_DESCRIPTION, example_event
from vibetel_client.spool import Event, Spool
from vibetel_client.telemetry import Telemetry
from vibetel_client.timestamps import format_timestamp
from vibetel_client.transport import envelope


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; out: the exit status. Tools may offer it as their own: `main(["--tool", "notes", "status"])`."""
    parser = argparse.ArgumentParser(prog="python -m vibetel_client", description="What a tool's telemetry does.")
    parser.add_argument("--tool", required=True, help="the tool's name, such as vibe-tools")
    parser.add_argument("--endpoint", help="where flush sends to, if not to where the tool last did")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in (_status, _on, _off, _show, _flush, _example):
        name, description = command.__name__.strip("_"), command.__doc__
        commands.add_parser(name, help=description, description=description).set_defaults(run=command)
    chosen = parser.parse_args(arguments)
    try:
        telemetry = Telemetry(tool=chosen.tool, version="", endpoint=chosen.endpoint)
    except ValueError as error:
        parser.error(str(error))
    try:
        problem: str = chosen.run(chosen.tool, telemetry)
    except OSError as error:
        problem = str(error)
    if problem:
        sys.stderr.write(f"{chosen.tool}: {problem}\n")
    return 1 if problem else 0


# Each command: out is what went wrong, "" where nothing did. Its docstring is its help.


def _status(tool: str, telemetry: Telemetry) -> str:
    """the choice and why, what waits, how the last attempt went"""
    spool = Spool(tool)
    state = spool.state()
    _print(f"telemetry of {tool}: {telemetry.consent().value} ({_why(tool, telemetry)})")
    user_id = identity.read(identity.path(tool)).user_id
    if user_id:
        _print(f"installation: {user_id}")
    _print(f"sends to: {_endpoint(tool, telemetry) or 'nowhere'}")
    _print(f"waiting: {len(_waiting(spool, telemetry))} events")
    if state.lost_count:
        _print(f"given up for age or space, not reported yet: {state.lost_count}")
    if state.rejected_count:
        _print(f"refused by the portal: {state.rejected_count}")
    if state.problem:
        _print(f"last attempt: {state.problem}; next not before {format_timestamp(int(state.not_before_s * 1000))}")
    return ""


def _on(tool: str, telemetry: Telemetry) -> str:
    """say yes: events are sent from now on"""
    return _status(tool, telemetry) if telemetry.enable() else _not_saved(tool)


def _off(tool: str, telemetry: Telemetry) -> str:
    """say no: nothing is sent any more; what waits and the list of what was sent are deleted"""
    return _status(tool, telemetry) if telemetry.disable() else _not_saved(tool)


def _show(tool: str, telemetry: Telemetry) -> str:
    """every event that waits, and the last 100 that were sent"""
    spool = Spool(tool)
    waiting = _waiting(spool, telemetry)
    _print(f"waiting: {len(waiting)}")
    for event in waiting:
        _print(json.dumps(event))
    _print(f"sent: {len(spool.sent())}")
    for entry in spool.sent():
        _print(json.dumps(entry))
    return ""


def _flush(tool: str, telemetry: Telemetry) -> str:
    """send now what waits"""
    if telemetry.consent() is not Consent.ENABLED:
        return f"nothing is sent: {_why(tool, telemetry)}"
    spool, endpoint = Spool(tool), _endpoint(tool, telemetry)
    waiting = _waiting(spool, telemetry)
    if not waiting:
        _print("nothing waits")
        return ""
    debug = environment.variable(tool, "TELEMETRY_DEBUG")
    if environment.is_on(os.environ.get(debug)):
        sys.stderr.write(envelope(waiting, format_timestamp(time.time_ns() // 1_000_000)).decode() + "\n")
        return f"nothing is sent: {debug} is set"
    if not endpoint:
        return "no endpoint is known: name one with --endpoint"
    if not spool.delivery_lock.acquire():
        return "another process is delivering just now"
    # A portal that answers byte by byte must not hold the lock for ever.
    faulthandler.dump_traceback_later(delivery.LIFE_MAX_S, exit=True)
    try:
        outcome = delivery.deliver(tool, endpoint)
    finally:
        faulthandler.cancel_dump_traceback_later()
        spool.delivery_lock.release()
    _print(f"accepted: {outcome.accepted_count}, refused: {outcome.rejected_count}, waiting: {len(spool.waiting())}")
    return outcome.problem


def _example(tool: str, telemetry: Telemetry) -> str:
    """what is and is not collected, and an example event"""
    _print(TELEMETRY_DATA_DESCRIPTION)
    _print("\nAn example:")
    _print(json.dumps(example_event(), indent=2))
    return ""


def _waiting(spool: Spool, telemetry: Telemetry) -> Sequence[Event]:
    """What waits, and the runs whose processes have vanished; without consent nothing may be changed, only shown."""
    return spool.take(time.time()) if telemetry.consent() is Consent.ENABLED else spool.waiting()


def _not_saved(tool: str) -> str:
    return f"your choice could not be saved, or not all deleted, in {identity.folder(tool)}"


def _why(tool: str, telemetry: Telemetry) -> str:
    variable = opt_out_variable(tool, os.environ)
    if variable:
        return f"{variable} is set"
    saved = {
        Consent.ENABLED: "you said yes",
        Consent.OPTED_OUT: "you said no",
        Consent.PENDING: "you have not chosen yet",
    }
    return f"{saved[telemetry.consent()]}, {identity.path(tool)}"


def _endpoint(tool: str, telemetry: Telemetry) -> str:
    """Named here, or used last: what the tool passes to Telemetry is not known here."""
    return telemetry.endpoint or Spool(tool).state().endpoint


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")

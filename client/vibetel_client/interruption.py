"""Interruption: a run that a signal ends is still reported, and the process dies of the signal as it would have.

In: whom to tell the signal's name. Only signals that would end the process at once are caught: where the host handles
one, or ignores it, it is the host's. A handler of Python's runs between two of its instructions, so a host that is deep
in C code dies when that returns. Forks have no part in this: a pool of processes waits until all of them have died.
"""

from __future__ import annotations

import _thread
import os
import signal
from collections.abc import Callable
from types import FrameType

# SIGINT is KeyboardInterrupt, unless the host has switched that off.
_NAMES = ("SIGTERM", "SIGHUP", "SIGINT")


def catch(report: Callable[[str], None]) -> Callable[[], None]:
    """Call `report("SIGTERM")` before the process dies of SIGTERM. Out: undoes it.

    Does nothing outside the main thread, where Python handles no signals.
    """

    def die(number: int, frame: FrameType | None) -> None:
        undo()
        report(signal.Signals(number).name)
        os.kill(os.getpid(), number)

    def undo() -> None:
        for number in caught:
            if signal.getsignal(number) is die:
                try:
                    signal.signal(number, signal.SIG_DFL)
                except ValueError:  # not the main thread: it stays, and finds no run to report
                    return
        if undo in _undo:
            _undo.remove(undo)

    caught = []
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            try:
                signal.signal(number, die)
            except ValueError:  # not the main thread
                return lambda: None
            caught.append(number)
    _undo.append(undo)
    return undo


# -- Forks ------------------------------------------------------------------------------------------------------------

_undo: list[Callable[[], None]] = []
_masks: dict[int, set[int | signal.Signals]] = {}


def _before_fork() -> None:
    """A fork is terminated before it can put its signals in order: that waits until it has."""
    if _undo:
        numbers = [getattr(signal, name) for name in _NAMES]
        _masks[_thread.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def _after_fork() -> None:
    mask = _masks.pop(_thread.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork_in_child() -> None:
    for undo in _undo[:]:
        undo()
    _after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)

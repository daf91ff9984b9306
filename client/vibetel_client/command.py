"""Command: one run of the tool, from its start to the event that reports it.

In: what the host says about the run, in any shape. Out: an event that keeps the contract: everything passes
`build_event`, so nothing leaves that the contract does not list. Pure: the clock is passed in. Next: transport.py
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping

from vibetel_client import contract
from vibetel_client.contract import Field, Kind, Option
from vibetel_client.log import debug

# The process went away without a word: killed, out of memory, a fault below Python.
VANISHED = "ProcessVanished"

_ATTRIBUTES = frozenset(field.attribute for field in contract.FIELDS)
_OPTIONS = [(option, re.sub("([A-Z])", r"_\1", option.name).lower()) for option in contract.OPTIONS]


class Run:
    """One run, collected while it goes. An error's type is kept, its message never touched."""

    def __init__(
        self, command: str, options: Mapping[str, object], started_s: float, event_id: str | None = None
    ) -> None:
        kept = sanitize_options(options) if isinstance(options, Mapping) else {}
        self._properties: dict[str, object] = {"command": command, "options": kept}
        self._started_s = started_s
        self._pid = os.getpid()
        self._event_id = event_id
        self.at_end: list[Callable[[], None]] = []  # what to do when it has ended
        self.outer: Run | None = None  # the run that it began in

    @property
    def is_ours(self) -> bool:
        """Whether this process began it: a fork has a copy of the run, and it is not the fork's to report."""
        return self._pid == os.getpid()

    def update(self, state: Mapping[str, object]) -> None:
        """Take what became known, by the contract's attribute names: `prompt_tokens`, `model`, …

        It is cleaned here, next to the work of the run, and not at its end, where the user waits: a pattern that is
        used for the first time takes a millisecond or two.
        """
        _tell_unknown(state)
        for field in contract.FIELDS:
            if field.attribute in state:
                self._properties[field.attribute] = _kept(field, state[field.attribute])

    def record_error(self, error: BaseException) -> None:
        """The run fails, unless the error is an exit without a status. The first error counts: the ones after it are
        mostly its consequences."""
        try:
            name = _class_name(_reason(error)) if is_failure(error) else None
        except Exception:  # noqa: BLE001 - classes and modules may do anything when they are looked at
            name = contract.OTHER
        if name is not None:
            self.record_error_type(name)

    def record_error_type(self, name: str) -> None:
        """The run fails, for what is no exception: a signal."""
        if self._properties.get("error_type") is None:
            self._properties["error_type"] = name

    def end(self, now_s: float) -> tuple[str, dict[str, object]]:
        """The run as one event: its name and its properties, for `build_event`.

        A failed run is one `command_error` with all the fields of a run (wire-format.md, "Two shapes of event").
        """
        failed = self._properties.get("error_type") is not None
        ending = {
            "event_id": self._event_id,
            "duration_ms": max(0, round((now_s - self._started_s) * 1000)),
            "has_error": failed,
        }
        return contract.COMMAND_ERROR if failed else contract.COMMAND_EXECUTED, {**self._properties, **ending}

    def vanished(self) -> tuple[str, dict[str, object]]:
        """As `end`, for the case that the process never says how the run ended: nobody knows how long it took."""
        ending = {"event_id": self._event_id, "duration_ms": 0, "has_error": True, "error_type": VANISHED}
        return contract.COMMAND_ERROR, {**self._properties, **ending}


def is_failure(error: BaseException) -> bool:
    """Whether a run fails that ends by this exception; an exit without a status, or with 0, is none."""
    return not _is_exit(error) or _exit_status(error) not in (None, 0)


def build_event(name: str, properties: Mapping[str, object]) -> dict[str, object]:
    """The event by wire names, in the contract's order, without what is unset. Properties go by attribute name.

    Raises ValueError where a field is missing that this event cannot do without.
    """
    _tell_unknown(properties)
    complete = {**properties, "event_name": name}
    wire: dict[str, object] = {}
    for field in contract.FIELDS:
        value = _kept(field, complete.get(field.attribute))
        if value is None and name in field.required_for and field.kind is Kind.IDENTIFIER:
            value = contract.OTHER
        if value is not None:
            wire[field.name] = value
        elif name in field.required_for:
            raise ValueError(f"{name} without {field.attribute}")
    return wire


def sanitize_options(options: Mapping[str, object]) -> dict[str, object]:
    """The listed options, as they may be reported; they may be called `maxTokens` or `max_tokens`."""
    kept: dict[str, object] = {}
    for option, snake_case in _OPTIONS:
        try:
            value = _clean_option(option, _plain(options.get(option.name, options.get(snake_case))))
        except Exception:  # noqa: BLE001 - as in _kept
            value = None
        if value is not None:
            kept[option.name] = value
    return kept


def _tell_unknown(properties: Mapping[str, object]) -> None:
    unknown = [name for name in properties if name not in _ATTRIBUTES and isinstance(name, str)]
    if unknown:
        debug("dropped what the contract does not list: %s", ", ".join(unknown))


def _kept(field: Field, value: object) -> object | None:
    """As `_clean`; objects of the host's may do anything when they are looked at, and then cost their field."""
    try:
        return _clean(field, _plain(value))
    except Exception:  # noqa: BLE001 - whatever they do
        return None


def _clean(field: Field, value: object) -> object | None:
    """The value if its field may hold it, `other` for text it may not hold, None for what is to be left out."""
    if value is None:
        return None
    if field.kind is Kind.OPTIONS:
        return sanitize_options(value) if isinstance(value, Mapping) else None
    if field.kind is Kind.COUNT:
        return value if _is_count(value, field.maximum) else None
    if field.kind is Kind.FLAG:
        return value if isinstance(value, bool) else None
    if field.kind is Kind.IDENTIFIER:
        fits = isinstance(value, str) and field.pattern is not None and field.pattern.fullmatch(value)
        return value if fits else contract.OTHER
    if field.kind is Kind.CHOICE:
        return value if value in field.choices else contract.OTHER
    return value  # ids, the time and the event's name: this package makes them, not the host


def _clean_option(option: Option, value: object) -> object | None:
    """Text that is no listed choice becomes true: the option was used, and nobody learns with what."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if value in option.choices else bool(value) or None
    if isinstance(value, float):
        value = round(value)
    return value if option.kind is Kind.COUNT and _is_count(value, option.maximum) else None


def _plain(value: object) -> object:
    """Text and numbers without what a class of the host's makes of them: it might compare equal to anything."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__int__(value)
    return value


def _is_count(value: object, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= maximum


def _is_exit(error: BaseException) -> bool:
    """SystemExit, or one of click's exceptions, which become one."""
    modules = (kind.__module__.split(".")[0] for kind in type(error).__mro__)
    return isinstance(error, SystemExit) or (hasattr(error, "exit_code") and not {"click", "typer"}.isdisjoint(modules))


def _exit_status(error: BaseException) -> object:
    return error.code if isinstance(error, SystemExit) else getattr(error, "exit_code", None)


def _reason(error: BaseException) -> BaseException:
    """The error itself; of an exit from within an `except`, the error that was caught there.

    A usage error of click, status 2, says more than what led to it.
    """
    exits = isinstance(error, SystemExit) or (_is_exit(error) and _exit_status(error) != 2)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return cause if exits and cause is not None else error


def _class_name(error: BaseException) -> str:
    """The name of the error's class, or of the nearest base that its module knows by its name: what a class made up at
    run time is called could be anything."""
    return next(kind.__name__ for kind in type(error).__mro__ if _is_known(kind))


def _is_known(kind: type) -> bool:
    found: object = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind

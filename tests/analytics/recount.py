"""The recount: what filters and figures mean, in plain words about a list of events.

In: events as they were sent, with when each copy came; a filter's query string. Out: the runs that it wants, told apart
by steps and by values. Knows nothing of rollups, numbers, days' sets or histograms. Next: test_recount.py
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from analytics.dimensions import DIMENSIONS

NONE = "(none)"
DAY = timedelta(days=1)
LENGTHS = {"today": 1, "7d": 7, "30d": 30, "90d": 90, "12mo": 365}

Asked = Mapping[str, Sequence[str]]
Fields = Mapping[str, Any]

# -- The events -------------------------------------------------------------------------------------------------------


class Told(NamedTuple):
    """A run, as the recount knows it. `values` has a value, or NONE, of each thing that runs are told apart by."""

    at: datetime
    installation: str | None
    failed: bool
    duration_ms: int
    tokens: tuple[int, int, int]
    values: Mapping[str, str]
    options: frozenset[str]


def told(copies: Iterable[tuple[datetime, Fields]]) -> list[Told]:
    """The runs among events as they were sent, each when it came; of several copies of an event the first counts."""
    first: dict[str, tuple[datetime, Fields]] = {}
    for came_at, sent in sorted(copies, key=lambda copy: copy[0]):
        first.setdefault(sent["eventId"], (came_at, sent))
    return [_told(came_at, sent) for came_at, sent in first.values() if sent.get("duration") is not None]


def _told(came_at: datetime, sent: Fields) -> Told:
    at = datetime.fromisoformat(sent["timestamp"]).astimezone(UTC)
    failed = bool(sent.get("hasError"))
    values = {
        "command": sent["command"],
        "version": sent["toolVersion"],
        "provider": sent.get("provider"),
        "model": sent.get("model"),
        "error_type": sent.get("errorType") if failed else None,
        "os": sent.get("os"),
        "ci": {True: "true", False: "false", None: None}[sent.get("ci")],
        "agent": sent.get("agent"),
        "who": "agent" if sent.get("agent") else {True: "ci", False: "person", None: None}[sent.get("ci")],
        "file_model": sent.get("fileModel"),
        "thinking_model": sent.get("thinkingModel"),
    }
    flags = {"debug", "quiet"}
    return Told(
        at=at if timedelta(minutes=-5) <= came_at - at <= 31 * DAY else came_at,
        installation=None if sent["userId"].startswith("anonymous_") else sent["userId"],
        failed=failed,
        duration_ms=sent["duration"],
        tokens=(sent.get("contextTokens") or 0, sent.get("promptTokens") or 0, sent.get("completionTokens") or 0),
        values={name: NONE if value is None else value for name, value in values.items()},
        options=frozenset(name for name, value in (sent.get("options") or {}).items() if name not in flags or value),
    )


class History:
    """All runs, and what is the same whatever a filter says."""

    def __init__(self, runs: Sequence[Told]) -> None:
        self.runs = runs

    @cached_property
    def first_days(self) -> Mapping[str, date]:
        """Of each installation, when it was first there."""
        days: dict[str, date] = {}
        for one in self.runs:
            if one.installation is not None:
                days[one.installation] = min(days.get(one.installation, date.max), one.at.date())
        return days

    @cached_property
    def by_day(self) -> Mapping[date, Sequence[Told]]:
        """The runs of each day that has some, in order."""
        found: dict[date, list[Told]] = {}
        for one in sorted(self.runs, key=lambda one: one.at):
            found.setdefault(one.at.date(), []).append(one)
        return found

    def days_of(self, name: str, value: str) -> list[date]:
        """Those with runs that have the value, in order."""
        return [day for day, runs in self.by_day.items() if any(one.values[name] == value for one in runs)]

    @cached_property
    def half_way(self) -> Mapping[str, date]:
        """Of each version the first day at whose end half of who was there in seven days had run it in these."""
        found = {}
        for version in {one.values["version"] for one in self.runs}:
            day = self.days_of("version", version)[0]
            while day <= max(self.by_day) and version not in found:
                week = [one for ago in range(7) for one in self.by_day.get(day - ago * DAY, [])]
                ran_it = ids(one for one in week if one.values["version"] == version)
                if ran_it and len(ran_it) >= len(ids(week)) / 2:
                    found[version] = day
                day += DAY
        return found


# -- The runs of a filter ---------------------------------------------------------------------------------------------


class Recount:
    """What a filter means. `chosen` has the runs of any day that fit, `now_runs` those of its period."""

    def __init__(self, now: datetime, asked: Asked, history: History) -> None:
        self.now, self.asked, self.history = now, asked, history
        self.first, self.last = period_of(asked, now)
        self.interval, self.compare = asked["interval"][0], asked["compare"][0]
        self.chosen = history.runs
        for name in DIMENSIONS:
            if name in asked or f"{name}__not" in asked:
                self.chosen = [one for one in self.chosen if self.lists(name, one.values[name])]
        self._by_day: dict[date, list[Told]] = {}
        for one in self.chosen:
            self._by_day.setdefault(one.at.date(), []).append(one)
        self.now_runs = self.of_days(self.first, self.last)

    def lists(self, name: str, value: str) -> bool:
        """Whether it wants runs of the value."""
        return value in self.asked.get(name, [value]) and value not in self.asked.get(f"{name}__not", [])

    def of_any(self, *names: str) -> "Recount":
        """The same without what it says about these."""
        said = {*names, *(f"{name}__not" for name in names)}
        asked = {name: values for name, values in self.asked.items() if name not in said}
        return self if asked == self.asked else Recount(self.now, asked, self.history)

    def of_days(self, first: date, last: date) -> list[Told]:
        return [one for day, runs in self._by_day.items() if first <= day <= last for one in runs]

    @property
    def earlier(self) -> tuple[date, date] | None:
        """The days that it is compared with."""
        if self.compare == "off":
            return None
        weeks = 52 if self.compare == "yoy" else 1
        while self.first <= self.last - weeks * 7 * DAY:  # none of them is of the period itself
            weeks += 1
        return self.first - weeks * 7 * DAY, self.last - weeks * 7 * DAY

    @property
    def before_runs(self) -> list[Told]:
        if self.earlier is None:
            return []
        first, last = self.earlier
        until = at_midnight(last + DAY)
        if self.last == self.now.date():
            seconds = (self.now - at_midnight(self.now.date())).total_seconds()
            until = at_midnight(last) + timedelta(hours=int((seconds + 1800) // 3600))
        return [one for one in self.of_days(first, last) if one.at < until]

    def steps(self, interval: str, first: date, last: date) -> "list[Step]":
        """Each step that has a part of these days, with the runs of that part."""
        unit = timedelta(hours=1) if interval == "hour" else DAY
        at, moments = at_midnight(first), []
        while at.date() <= last:
            moments.append(step_of(interval, at))
            at += unit
        runs: dict[datetime, list[Told]] = {start: [] for start in moments}
        for one in self.of_days(first, last):
            runs[step_of(interval, one.at)].append(one)
        starts = list(runs)
        return [Step(start, self._is_partial(interval, start, first, last), runs[start]) for start in starts]

    def _is_partial(self, interval: str, start: datetime, first: date, last: date) -> bool:
        until = step_after(interval, start)
        return start.date() < first or until > at_midnight(last + DAY) or until > self.now


@dataclass(frozen=True)
class Step:
    start: datetime
    partial: bool
    runs: list[Told]


def period_of(asked: Asked, now: datetime) -> tuple[date, date]:
    [name] = asked["period"]
    today = now.date()
    if name == "custom":
        return date.fromisoformat(asked["from"][0]), date.fromisoformat(asked["to"][0])
    if name == "month":
        return date(today.year, today.month, 1), today
    return today - (LENGTHS[name] - 1) * DAY, today


def at_midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def step_of(interval: str, at: datetime) -> datetime:
    if interval == "hour":
        return datetime(at.year, at.month, at.day, at.hour, tzinfo=UTC)
    if interval == "day":
        return datetime(at.year, at.month, at.day, tzinfo=UTC)
    if interval == "month":
        return datetime(at.year, at.month, 1, tzinfo=UTC)
    year, week, _ = at.isocalendar()
    return at_midnight(date.fromisocalendar(year, week, 1))


def step_after(interval: str, start: datetime) -> datetime:
    if interval == "month":
        return datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)
    return start + {"hour": timedelta(hours=1), "day": DAY, "week": 7 * DAY}[interval]


# -- What they come to ------------------------------------------------------------------------------------------------


def ids(runs: Iterable[Told]) -> set[str]:
    return {one.installation for one in runs if one.installation is not None}


def told_apart(runs: Iterable[Told], by: str) -> dict[tuple[str, ...], list[Told]]:
    """The runs of each value, or pair of values; those that lack one are left out."""
    columns = {
        "provider_model": ("provider", "model"),
        "command_model": ("command", "model"),
        "error_version": ("error_type", "version"),
        "file_thinking_model": ("file_model", "thinking_model"),
    }.get(by, (by,))
    found: dict[tuple[str, ...], list[Told]] = {}
    for one in runs:
        keys = [(name,) for name in one.options] if by == "option" else [tuple(one.values[name] for name in columns)]
        for key in keys:
            if NONE not in key:
                found.setdefault(key, []).append(one)
    return found


def succeeded_ms(runs: Iterable[Told]) -> list[int]:
    """How long successful runs took."""
    return [one.duration_ms for one in runs if not one.failed]


def nearest_rank(values: Iterable[int], percent: int) -> int:
    ordered = sorted(values)
    return ordered[-(-percent * len(ordered) // 100) - 1]

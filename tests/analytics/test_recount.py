"""Each figure equals a plain recount of the raw events, for random filters.

The recount knows events as a list, and nothing of rollups, numbers, days' sets or histograms: what both get wrong in
the same way would have to be in the promise itself. RECOUNT_FILTERS and RECOUNT_SEED ask for more and other filters.
"""

import os
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import pytest

from analytics import queries
from analytics.dimensions import BREAKDOWNS, DIMENSIONS
from analytics.models import Event, Installation, TouchedHour
from analytics.queries import Figures, Filter
from tests.analytics.history import record, run

pytestmark = pytest.mark.django_db

SEED = int(os.environ.get("RECOUNT_SEED", "1"))
FILTERS = int(os.environ.get("RECOUNT_FILTERS", "2000"))
EVENTS, MOVED, GROUPS = 2200, 30, 2

# A year's end with the leap day after it, and some weeks much later.
SPANS = ((date(2023, 12, 20), date(2024, 3, 5)), (date(2026, 11, 9), date(2026, 11, 25)))
NONE = "(none)"
DAY = timedelta(days=1)
EDGES = (
    timedelta(),
    DAY - timedelta(milliseconds=1),
    timedelta(hours=1),
    timedelta(hours=13) - timedelta(microseconds=1),
)


def test_every_figure_is_a_recount_of_the_events() -> None:
    events = warehouse(random.Random(SEED))
    everyone = [told(event) for event in events if event.duration_ms is not None]
    known = {name: sorted({one.values[name] for one in everyone} | {"never seen", NONE}) for name in DIMENSIONS}
    compared: Counter[str] = Counter()  # runs, so that it is more than nothing with nothing
    for number in range(FILTERS):
        dice = random.Random(f"{SEED} {number}")
        now, asked = drawn(dice, known)
        recount = Recount(now, asked, everyone)
        compare = COMPARISONS[number % len(COMPARISONS)]
        try:
            chosen, notices = queries.parsed(asked, now)
            assert notices == []
            compare(chosen, now, recount, dice)
        except Exception as error:
            error.add_note(f"Filter {number} of seed {SEED}: {compare.__name__} of {asked} at {now}")
            raise
        compared[compare.__name__] += len(recount.now_runs)
    assert all(compared[compare.__name__] for compare in COMPARISONS)


# -- The events -------------------------------------------------------------------------------------------------------


def warehouse(dice: random.Random) -> list[Event]:
    """Events that came late and in no order, each hour in several loads; then earlier copies of some."""
    people = Installation.objects.bulk_create(
        [Installation(user_id=uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in range(400)]
    )
    events = [made_up(dice, people) for _ in range(EVENTS)]
    for group in range(GROUPS):
        record(events[group::GROUPS])
    moved = dice.sample(events, MOVED)
    Event.objects.filter(pk__in=[event.pk for event in moved]).delete()
    left = {event.occurred_at.replace(minute=0, second=0, microsecond=0) for event in moved}
    TouchedHour.objects.bulk_create([TouchedHour(hour=hour) for hour in left])
    for event in moved:
        event.occurred_at = moment(dice)
    record(moved)
    return events


def moment(dice: random.Random) -> datetime:
    first, last = dice.choice(SPANS)
    offsets = [offset for offset in range((last - first).days + 1) if offset % 7 < 2]  # two days of seven
    day = first + dice.choice(offsets) * DAY
    if dice.random() < 0.1:
        day = dice.choice((date(2023, 12, 31), date(2024, 1, 1), date(2024, 2, 29), date(2024, 3, 1)))
    within = dice.choice(EDGES) if dice.random() < 0.5 else dice.randrange(10 * 3600, 12 * 3600) * timedelta(seconds=1)
    return at_midnight(day) + within


def made_up(dice: random.Random, people: Sequence[Installation]) -> Event:
    if dice.random() < 0.05:  # the twin of a run
        return run(moment(dice), event_name="command_error", duration_ms=None, has_error=None, error_type="FileError")
    failed = dice.random() < 0.15
    place = int(len(people) * dice.random() ** 3)  # some come often, many once
    when = moment(dice)
    if place % 5 == 0 and when.year == 2023:
        when = when.replace(year=2026, month=11, day=min(when.day, 25))
    known = dice.random() > 0.07
    model = dice.choice(("gemini-2.5-pro", "gpt-4.1", "o3", None))
    return run(
        when,
        installation=people[place] if known else None,
        placeholder="" if known else "anonymous_opt_out",
        tool_version=dice.choice(("0.62.1", "0.63.3", "0.64.0")),
        command=dice.choice(("repo", "repo", "repo", "ask", "plan", "web")),
        duration_ms=dice.choice((1, 2, 3, 50, dice.randrange(1, 2000), int(10 ** dice.uniform(0, 7)))),
        provider=dice.choice(("gemini", "openai", None)),
        model=model,
        file_model=dice.choice(("gpt-4.1", "o3", None)),
        thinking_model=dice.choice(("o3", "only for thinking", None)),
        context_tokens=dice.choice((None, 0, dice.randrange(90_000))),
        prompt_tokens=dice.choice((None, 0, dice.randrange(90_000))),
        completion_tokens=dice.choice((None, 0, dice.randrange(9000), 70_000_000)),
        options=dice.choice(
            (
                None,
                {},
                {"debug": True},
                {"debug": False, "maxTokens": 0},
                {"quiet": True, "debug": True, "reasoningEffort": "high", "withDocCount": 3},
            )
        ),
        has_error=failed,
        error_type=dice.choice(("FileError", "NetworkError", None)) if failed or dice.random() < 0.1 else None,
        os=dice.choice(("linux", "darwin", None)),
        ci=dice.choice((True, False, False, None)),
        agent=dice.choice(("cursor", "codex", None, None, None)),
    )


class Told(NamedTuple):
    """A run, as the recount knows it. `values` has a value, or NONE, of each thing that runs are told apart by."""

    at: datetime
    installation: int | None
    failed: bool
    duration_ms: int
    tokens: tuple[int, int, int]
    values: Mapping[str, str]
    options: frozenset[str]


def told(event: Event) -> Told:
    assert event.duration_ms is not None
    who = "agent" if event.agent else {True: "ci", False: "person", None: NONE}[event.ci]
    values = {
        "command": event.command,
        "version": event.tool_version,
        "provider": event.provider,
        "model": event.model,
        "error_type": event.error_type if event.has_error else None,
        "os": event.os,
        "ci": {True: "true", False: "false", None: None}[event.ci],
        "agent": event.agent,
        "who": who,
        "file_model": event.file_model,
        "thinking_model": event.thinking_model,
    }
    flags = {"debug", "quiet"}
    options = event.options or {}
    return Told(
        at=event.occurred_at,
        installation=event.installation_id,
        failed=bool(event.has_error),
        duration_ms=event.duration_ms,
        tokens=(event.context_tokens or 0, event.prompt_tokens or 0, event.completion_tokens or 0),
        values={name: NONE if value is None else value for name, value in values.items()},
        options=frozenset(name for name, value in options.items() if name not in flags or value),
    )


# -- The filters ------------------------------------------------------------------------------------------------------

Asked = Mapping[str, Sequence[str]]
LENGTHS = {"today": 1, "7d": 7, "30d": 30, "90d": 90, "12mo": 365}


def drawn(dice: random.Random, known: Mapping[str, Sequence[str]]) -> tuple[datetime, Asked]:
    """A moment and a query string that has nothing to fall back from."""
    first, last = dice.choice((*SPANS, SPANS[0], (date(2024, 12, 18), date(2025, 3, 7))))
    today = dice.choice((date(2024, 1, 1), date(2024, 2, 29), date(2024, 3, 1), date(2026, 11, 22)))
    if dice.random() < 0.8:
        today = first + dice.randint(0, (last - first).days + 3) * DAY
    half_past = dice.choice((11, 13)) * timedelta(hours=1) - timedelta(minutes=30)
    within = dice.choice((half_past, half_past - timedelta(seconds=1), dice.randrange(86_400) * timedelta(seconds=1)))
    now = at_midnight(today) + within
    asked = {
        "period": [dice.choice((*LENGTHS, "today", "7d", "30d", "month", "month", "custom", "custom", "custom"))],
        "compare": [dice.choice(("previous", "previous", "yoy", "off"))],
    }
    if asked["period"] == ["custom"]:
        to = today - dice.choice((0, 0, 1, dice.randrange(40))) * DAY
        days = dice.choice((0, 1, *(dice.randrange(most) for most in (10, 10, 40, 70, 400)), 1090))
        asked |= {"from": [str(to - days * DAY)], "to": [str(to)]}
    first, last = period_of(asked, now)
    intervals = ("hour", "day", "week", "month")
    asked["interval"] = [dice.choice(intervals if (last - first).days < 7 else intervals[1:])]
    for name in dice.sample(sorted(known), dice.choice((0, 0, 1, 1, 1, 2, 3))):
        ending = dice.choice(("", "", "__not"))
        asked[name + ending] = dice.sample(known[name], min(len(known[name]), dice.choice((1, 1, 2, 3))))
        if dice.random() < 0.1:
            asked[name], asked[f"{name}__not"] = list(known[name][:2]), [dice.choice(known[name])]
    return now, asked


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


# -- The recount ------------------------------------------------------------------------------------------------------


class Recount:
    """What a filter means, in plain words about a list of runs. `chosen` has the runs of any day that fit."""

    def __init__(self, now: datetime, asked: Asked, everyone: Sequence[Told]) -> None:
        self.now, self.everyone = now, everyone
        self.first, self.last = period_of(asked, now)
        self.interval, self.compare = asked["interval"][0], asked["compare"][0]
        self.chosen = list(everyone)
        for name in DIMENSIONS:
            if name in asked:
                self.chosen = [one for one in self.chosen if one.values[name] in asked[name]]
            if f"{name}__not" in asked:
                self.chosen = [one for one in self.chosen if one.values[name] not in asked[f"{name}__not"]]
        self._by_day: dict[date, list[Told]] = {}
        for one in self.chosen:
            self._by_day.setdefault(one.at.date(), []).append(one)
        self.now_runs = self.of_days(self.first, self.last)

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


def ids(runs: Iterable[Told]) -> set[int]:
    return {one.installation for one in runs if one.installation is not None}


def first_days(everyone: Iterable[Told]) -> dict[int, date]:
    days: dict[int, date] = {}
    for one in everyone:
        if one.installation is not None:
            days[one.installation] = min(days.get(one.installation, date.max), one.at.date())
    return days


def nearest_rank(values: Iterable[int], percent: int) -> int:
    ordered = sorted(values)
    return ordered[-(-percent * len(ordered) // 100) - 1]


# -- Comparisons ------------------------------------------------------------------------------------------------------


def check(found: Figures, runs: Sequence[Told], *, sets: bool = True, durations: bool = True) -> None:
    """Figures are those of these runs, as far as they were kept."""
    assert (
        found.runs,
        found.failures,
        found.placeholder_runs,
        found.context_tokens,
        found.prompt_tokens,
        found.completion_tokens,
    ) == (
        len(runs),
        sum(one.failed for one in runs),
        sum(one.installation is None for one in runs),
        *(sum(one.tokens[kind] for one in runs) for kind in range(3)),
    )
    if sets:
        assert found.installations == len(ids(runs))
    succeeded = [one.duration_ms for one in runs if not one.failed] if durations else []
    for percent, percentile in ((50, found.p50_ms), (90, found.p90_ms), (99, found.p99_ms)):
        if len(succeeded) < 20:
            assert percentile is None
        else:
            assert percentile == pytest.approx(nearest_rank(succeeded, percent), rel=0.0200001)


def totals(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    found = queries.totals(chosen, now)
    check(found.now, recount.now_runs)
    assert (found.before is None) == (recount.earlier is None)
    if found.before:
        check(found.before, recount.before_runs)


def series(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    found = queries.series(chosen, now)
    for points, days in ((found.now, (recount.first, recount.last)), (found.before, recount.earlier)):
        steps = recount.steps(recount.interval, *days) if days else []
        assert [(point.start, point.partial) for point in points] == [(step.start, step.partial) for step in steps]
        for point, step in zip(points, steps, strict=True):
            check(point.figures, step.runs)


def parts(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    by = dice.choice([name for name in BREAKDOWNS if name != "installation"])
    in_steps, counts_only = dice.random() < 0.3, dice.random() < 0.3
    kept = {
        "sets": BREAKDOWNS[by].sets and not counts_only,
        "durations": BREAKDOWNS[by].durations and not counts_only,
    }
    found = queries.parts(chosen, now, by, in_steps=in_steps, counts_only=counts_only)
    current, earlier = told_apart(recount.now_runs, by), told_apart(recount.before_runs, by)
    assert {part.values for part in found} == set(current)
    assert [part.now.runs for part in found] == sorted((len(runs) for runs in current.values()), reverse=True)
    every = sum(len(runs) for runs in current.values())
    steps = [told_apart(step.runs, by) for step in recount.steps(recount.interval, recount.first, recount.last)]
    for part in found:
        check(part.now, current[part.values], **kept)
        assert (part.before is None) == (recount.earlier is None)
        if part.before:
            check(part.before, earlier.get(part.values, []), sets=False, durations=False)
        assert part.share == pytest.approx(len(current[part.values]) / every)
        if in_steps:
            assert list(part.steps) == [len(step.get(part.values, [])) for step in steps]


def told_apart(runs: Iterable[Told], by: str) -> dict[tuple[str, ...], list[Told]]:
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


def activity(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    found = queries.activity(chosen, now)
    for actives, interval in ((found.days, "day"), (found.weeks, "week"), (found.months, "month")):
        steps = recount.steps(interval, recount.first, recount.last)
        assert [(one.start, one.partial, one.installations) for one in actives] == [
            (step.start, step.partial, len(ids(step.runs))) for step in steps
        ]
    for day in dice.sample(found.days, min(len(found.days), 10)):
        last = day.start.date()
        assert day.of_7_days == len(ids(recount.of_days(last - 6 * DAY, last)))
        assert day.of_30_days == len(ids(recount.of_days(last - 29 * DAY, last)))


def newcomers(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    interval = "day" if recount.interval == "hour" else recount.interval
    seen = first_days(recount.everyone)
    steps = recount.steps(interval, recount.first, recount.last)
    found = queries.newcomers(chosen, now)
    assert [(one.start, one.partial) for one in found] == [(step.start, step.partial) for step in steps]
    for one, step in zip(found, steps, strict=True):
        there = ids(step.runs)
        start, until = step.start, step_after(interval, step.start)
        before = ids(recount.of_days(step_of(interval, start - DAY).date(), start.date() - DAY))
        new = {who for who in there if start.date() <= seen[who] < until.date()}
        assert (one.installations, one.new) == (len(there), len(new))
        assert one.returning == len({who for who in there if seen[who] < start.date() and who in before})
        assert one.back_again == len({who for who in there if seen[who] < start.date() and who not in before})
        assert one.before == len(before)
        assert one.retained == (len(there & before) / len(before) if before else None)


def cohorts(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    at_most = dice.choice((1, 3, 12))
    found = queries.cohorts(chosen, now, at_most=at_most)
    seen = first_days(recount.everyone)
    weeks = [step.start for step in recount.steps("week", recount.first, recount.last)][-at_most:]
    assert [cohort.start for cohort in found.cohorts] == weeks
    assert found.partial == (weeks[-1] + 7 * DAY > now)
    active = {week: ids(recount.of_days(week.date(), min(week.date() + 6 * DAY, now.date()))) for week in weeks}
    for cohort in found.cohorts:
        members = {who for who in active[cohort.start] if step_of("week", at_midnight(seen[who])) == cohort.start}
        assert cohort.active == [len(members & active[week]) for week in weeks if week >= cohort.start]


def runs_per_installation(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    found = queries.runs_per_installation(chosen)
    times = Counter(one.installation for one in recount.now_runs if one.installation is not None)
    assert found.installations == len(times)
    assert [bucket.installations for bucket in found.buckets] == [
        sum(first <= number <= last for number in times.values())
        for first, last in ((1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (21, 50), (51, 100), (101, 10**9))
    ]
    expected = (nearest_rank(times.values(), 50), nearest_rank(times.values(), 90)) if times else (None, None)
    assert (found.median, found.p90) == expected


def who(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    runs = recount.now_runs
    saying = {name: [one for one in runs if one.values["who"] == name] for name in ("person", "ci", "agent")}
    silent = ids(runs) - ids(one for one in runs if one.values["who"] != NONE)
    expected = [(name, len(them), len(ids(them))) for name, them in saying.items()]
    expected.append(("unknown", sum(one.values["who"] == NONE for one in runs), len(silent)))
    found = queries.who(chosen)
    assert [(one.value, one.runs, one.installations) for one in found] == expected
    for one in found:
        assert one.runs_share == (one.runs / len(runs) if runs else None)
        assert one.installations_share == (one.installations / len(ids(runs)) if ids(runs) else None)


def options(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    used = Counter(name for one in recount.now_runs for name in one.options)
    found = queries.options(chosen, now)
    assert {part.value: part.now.runs for part in found} == used
    assert {part.value: part.share for part in found} == {
        name: number / len(recount.now_runs) for name, number in used.items()
    }


def excluded(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    found = queries.excluded(chosen)
    nobodys = sum(one.installation is None for one in recount.now_runs)
    assert (found.runs, found.placeholder_runs) == (len(recount.now_runs), nobodys)
    assert found.share == (nobodys / len(recount.now_runs) if recount.now_runs else None)


def tree(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    providers, models = (told_apart(recount.now_runs, by) for by in ("provider", "provider_model"))
    found = queries.tree(chosen, now)
    assert {branch.provider.values for branch in found} == set(providers)
    assert {model.values for branch in found for model in branch.models} == set(models)
    for branch in found:
        check(branch.provider.now, providers[branch.provider.values])
        for model in branch.models:
            assert model.values[0] == branch.provider.value
            check(model.now, models[model.values])


def matrix(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    by = dice.choice(("command_model", "file_thinking_model"))
    cells = told_apart(recount.now_runs, by)
    found = queries.matrix(chosen, now, by)
    assert set(found.cells) == set(cells)
    assert set(found.rows) == {row for row, *_ in cells}
    assert set(found.columns) == {column for *_, column in cells}
    for pair, figures in found.cells.items():
        check(figures, cells[pair], sets=False, durations=False)


Comparison = Callable[[Filter, datetime, Recount, random.Random], None]
COMPARISONS: Sequence[Comparison] = (
    *(totals, series, parts, activity, newcomers, cohorts, runs_per_installation),
    *(who, options, excluded, tree, matrix),
)

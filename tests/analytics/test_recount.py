"""Each figure equals a plain recount of the events (recount.py), for random filters.

The events are sent as clients send them, come late, several times and in no order, and are archived and loaded.

A filter is asked some questions one after the other, as a page asks them: what was read for one serves the next.
With RECOUNT_FILTERS so many filters are asked every question (`make recount`); RECOUNT_SEED makes others.
"""

import math
import os
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest

from analytics import load, queries, rollups
from analytics.dimensions import BREAKDOWNS, DIMENSIONS
from analytics.queries import Cohorts, Figures, Filter, Side
from analytics.queries.present import present as present_values
from analytics.queries.reach import reach as reach_of
from tests.analytics import bucket
from tests.analytics.recount import (
    DAY,
    LENGTHS,
    NONE,
    Asked,
    Fields,
    History,
    Recount,
    Told,
    at_midnight,
    ids,
    nearest_rank,
    period_of,
    step_after,
    step_of,
    succeeded_ms,
    told,
    told_apart,
)
from tests.events import line

SEED = int(os.environ.get("RECOUNT_SEED", "1"))
FILTERS = int(os.environ.get("RECOUNT_FILTERS", "0"))
SHORT_FILTERS, SHORT_QUESTIONS = 800, 3  # what a test has time for
EVENTS, RESENT, OBJECTS, LOADS = 2200, 150, 12, 2

# A year's end with the leap day after it, and some weeks much later.
SPANS = ((date(2023, 12, 20), date(2024, 3, 5)), (date(2026, 11, 9), date(2026, 11, 25)))
# When each version came out, the oldest one first: those that are none of PEP 440 come last, by their first day.
VERSIONS = {
    "0.9.1": date(2023, 12, 20),
    "0.10.0rc1": date(2024, 1, 9),
    "0.10.0": date(2024, 1, 20),
    "0.11.0": date(2026, 11, 14),
    "other": date(2024, 2, 5),
    "0.11.0-nightly": date(2026, 11, 12),
}
EDGES = (
    timedelta(),
    DAY - timedelta(milliseconds=1),
    timedelta(hours=1),
    timedelta(hours=13) - timedelta(microseconds=1),
)
WITHIN = 1.0200001


@pytest.mark.usefixtures("empty_stores")
def test_every_figure_is_a_recount_of_the_events() -> None:
    started = time.monotonic()
    history = History(warehouse(random.Random(SEED)))
    known = {name: sorted({one.values[name] for one in history.runs} | {"never seen", NONE}) for name in DIMENSIONS}
    compared: Counter[str] = Counter()  # runs, so that it is more than nothing with nothing
    for number in range(FILTERS or SHORT_FILTERS):
        dice = random.Random(f"{SEED} {number}")
        now, asked = drawn(dice, known)
        recount = Recount(now, asked, history)
        questions = dice.sample(COMPARISONS, len(COMPARISONS) if FILTERS else SHORT_QUESTIONS)
        names = [compare.__name__ for compare in questions]
        try:
            chosen, notices = queries.parsed(asked, now)
            assert notices == []
            if dice.random() < 0.5:
                chosen.read_ahead(dice.choice(("", "version", "error_type")))
            for compare in questions:
                compare(chosen, now, recount, dice)
                compared[compare.__name__] += len(recount.now_runs)
        except Exception as error:
            error.add_note(f"Filter {number} of seed {SEED}: {names} of {asked} at {now}")
            raise
    assert all(compared[compare.__name__] for compare in COMPARISONS)
    print(  # noqa: T201 - the figures of make recount
        f"\nseed {SEED}: {len(history.runs):,} runs; {number + 1:,} filters, {len(questions)} questions each, "
        f"in {time.monotonic() - started:.0f} s: every figure as recounted"
    )


# -- The events -------------------------------------------------------------------------------------------------------


def warehouse(dice: random.Random) -> list[Told]:
    """Events that come late and in no order, some several times, each hour in several loads. Answers what counts."""
    people = [str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in range(400)]
    events = [made_up(dice, people) for _ in range(EVENTS)]
    # Of an event that is resent, or of another that has its id: which of them came first is for the dice.
    again = [dice.choice((event, made_up(dice, people))) | {"eventId": event["eventId"]} for event in events[:RESENT]]
    copies = [(came_at(dice, event), event) for event in (*events, *again)]
    dice.shuffle(copies)
    for number in range(OBJECTS):
        bucket.put(*(line(when, **sent) for when, sent in copies[number::OBJECTS]), name=f"{dice.random()}")
        if (number + 1) % (OBJECTS // LOADS) == 0:
            load.catch_up(everything=True, wait=True)
            rollups.refresh()
    runs = told(copies)
    fresh = queries.freshness()
    days = [one.at.date() for one in runs]
    assert (fresh.first_day, fresh.newest_day, fresh.waiting_hours) == (min(days), max(days), 0)
    return runs


def came_at(dice: random.Random, sent: Fields) -> datetime:
    """When it was received: seconds later, or weeks; where the clock is years off, any time."""
    at = datetime.fromisoformat(sent["timestamp"]).astimezone(UTC)
    if at < at_midnight(SPANS[0][0]):
        return moment(dice)
    return at + dice.choice((60, 86_400, 30 * 86_400)) * dice.random() * timedelta(seconds=1)


def moment(dice: random.Random) -> datetime:
    first, last = dice.choice(SPANS)
    offsets = [offset for offset in range((last - first).days + 1) if offset % 7 < 2]  # two days of seven
    day = first + dice.choice(offsets) * DAY
    if dice.random() < 0.1:
        day = dice.choice((date(2023, 12, 31), date(2024, 1, 1), date(2024, 2, 29), date(2024, 3, 1)))
    within = dice.choice(EDGES) if dice.random() < 0.5 else dice.randrange(10 * 3600, 12 * 3600) * timedelta(seconds=1)
    return at_midnight(day) + within


def made_up(dice: random.Random, people: Sequence[str]) -> dict[str, Any]:
    """An event as a client sends it."""
    when = moment(dice)
    place = int(len(people) * dice.random() ** 3)  # some come often, many once
    if place % 5 == 0 and when.year < 2026:
        when = when.replace(year=2026, month=11, day=min(when.day, 25))
    out = [version for version, since in VERSIONS.items() if since <= when.date()] or ["0.9.1"]
    clock = when.replace(year=1999) if dice.random() < 0.01 and when.day < 29 else when
    sent = {
        "eventId": str(uuid.UUID(int=dice.getrandbits(128), version=4)),
        "timestamp": clock.astimezone(timezone(timedelta(hours=dice.choice((0, 0, -8, 9))))).isoformat(),
        "userId": people[place] if dice.random() > 0.07 else "anonymous_opt_out",
        "toolVersion": dice.choice((*out, "0.10.0" if "0.10.0" in out else out[-1])),
        "command": dice.choice(("repo", "repo", "repo", "ask", "plan", "web")),
    }
    if dice.random() < 0.05:  # the twin of a run
        return sent | {"eventName": "command_error", "duration": None, "hasError": None, "errorType": "FileError"}
    failed = dice.random() < 0.15
    return sent | {
        "duration": dice.choice((1, 2, 3, 50, dice.randrange(1, 2000), int(10 ** dice.uniform(0, 7)))),
        "provider": dice.choice(("gemini", "openai", None)),
        "model": dice.choice(("gemini-2.5-pro", "gpt-4.1", "o3", None)),
        "fileModel": dice.choice(("gpt-4.1", "o3", None)),
        "thinkingModel": dice.choice(("o3", "only-for-thinking", None)),
        "contextTokens": dice.choice((None, 0, dice.randrange(90_000))),
        "promptTokens": dice.choice((None, 0, dice.randrange(90_000))),
        "completionTokens": dice.choice((None, 0, dice.randrange(9000), 70_000_000)),
        "options": dice.choice(
            (
                None,
                {},
                {"debug": True},
                {"debug": False, "maxTokens": 0},
                {"quiet": True, "debug": True, "reasoningEffort": "high", "withDocCount": 3},
            )
        ),
        "hasError": failed,
        "errorType": error_type(dice, when) if failed or dice.random() < 0.1 else None,
        "os": dice.choice(("linux", "darwin", None)),
        "ci": dice.choice((True, False, False, None)),
        "agent": dice.choice(("cursor", "codex", None, None, None)),
    }


def error_type(dice: random.Random, when: datetime) -> str | None:
    return dice.choice(("FileError", "NetworkError", None, "ModelError" if when.year == 2026 else "OldError"))


# -- The filters ------------------------------------------------------------------------------------------------------


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
    tokens = found.prompt_tokens + found.completion_tokens
    assert (found.tokens, found.tokens_per_run) == (tokens, tokens / len(runs) if runs else None)
    assert found.error_rate == (found.failures / len(runs) if runs else None)
    if sets:
        known = sum(one.installation is not None for one in runs)
        assert found.installations == len(ids(runs))
        assert found.runs_per_installation == (known / len(ids(runs)) if known else None)
    check_percentiles((found.p50_ms, found.p90_ms, found.p99_ms), succeeded_ms(runs) if durations else [])


def check_percentiles(found: Iterable[float | None], succeeded: Sequence[int]) -> None:
    for percent, percentile in zip((50, 90, 99), found, strict=True):
        enough = len(succeeded) >= 20
        assert percentile == (pytest.approx(nearest_rank(succeeded, percent), rel=WITHIN - 1) if enough else None)


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
    spans = queries.spans(chosen, now)
    assert [(span.start, span.partial) for span in spans] == [(point.start, point.partial) for point in found.now]


def parts(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    by = dice.choice(list(BREAKDOWNS))
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
    seen = recount.history.first_days
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
    check_weeks(queries.cohorts(chosen, now, at_most=at_most), now, recount, recount.first, at_most)


def retention(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    check_weeks(queries.retention(chosen, now), now, recount, recount.last - 11 * 7 * DAY, 12)


def check_weeks(found: Cohorts, now: datetime, recount: Recount, first: date, at_most: int) -> None:
    seen = recount.history.first_days
    weeks = [step.start for step in recount.steps("week", first, recount.last)][-at_most:]
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


def durations(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    succeeded = succeeded_ms(recount.now_runs)
    found = queries.durations(chosen)
    assert found.runs == sum(bucket.runs for bucket in found.buckets) == len(succeeded)
    assert [bucket.first_ms for bucket in found.buckets] == [0, *(one.until_ms for one in found.buckets[:-1])]
    under = 0
    for each in found.buckets:
        under += each.runs
        assert each.share == (each.runs / len(succeeded) if succeeded else 0)
        end = each.until_ms or math.inf
        surely, at_most = (sum(took < limit for took in succeeded) for limit in (end / WITHIN, end * WITHIN))
        assert surely <= under <= at_most
    check_percentiles((found.p50_ms, found.p90_ms, found.p99_ms), succeeded)


def errors(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    """Rates are of all runs, whichever types are asked for."""
    every, history = recount.of_any("error_type"), recount.history
    current, earlier = (told_apart(runs, "error_type") for runs in (every.now_runs, every.before_runs))
    found = queries.errors(chosen, now)
    assert [(one.error_type, one.runs) for one in found] == by_runs(
        {name: runs for (name,), runs in current.items() if recount.lists("error_type", name)}
    )
    for one in found:
        runs, before = current[one.error_type,], earlier.get((one.error_type,), [])
        days = history.days_of("error_type", one.error_type)
        assert one.rate == len(runs) / len(every.now_runs)
        assert one.runs_before == (None if every.earlier is None else len(before))
        assert one.rate_before == (len(before) / len(every.before_runs) if every.before_runs else None)
        assert one.installations == len(ids(runs))
        assert (one.first_day, one.last_day) == (days[0], days[-1])
        assert one.new == (min(history.by_day) < recount.first <= days[0])
        assert one.versions == by_runs({name: them for (name,), them in told_apart(runs, "version").items()})


def by_runs(named: Mapping[str, Sequence[Told]]) -> list[tuple[str, int]]:
    """The most first."""
    return sorted(((name, len(runs)) for name, runs in named.items()), key=lambda pair: (-pair[1], pair[0]))


def adoption(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    """Shares are of who ran any version, whichever are asked for."""
    every, history = recount.of_any("version"), recount.history
    steps = every.steps(recount.interval, recount.first, recount.last)
    found = queries.adoption(chosen, now)
    assert found.interval == recount.interval
    assert [(one.start, one.partial, one.installations) for one in found.steps] == [
        (step.start, step.partial, len(ids(step.runs))) for step in steps
    ]
    ran = [name for name in newest_first(every.now_runs) if recount.lists("version", name)]
    assert [one.version for one in found.versions] == ran
    told_of = [told_apart(step.runs, "version") for step in steps]
    counted = [{name: len(ids(runs)) for (name,), runs in versions.items()} for versions in told_of]
    for one in found.versions:
        first, half_way = history.days_of("version", one.version)[0], history.half_way.get(one.version)
        is_known = min(history.by_day) < first >= recount.first - 60 * DAY and half_way and half_way < now.date()
        assert (one.first_day, one.days_to_half) == (first, (half_way - first).days if half_way and is_known else None)
        own = [of_step.get(one.version, 0) for of_step in counted]
        assert one.installations == own
        assert one.shares == [some / max(1, len(ids(step.runs))) for some, step in zip(own, steps, strict=True)]
        assert one.stacked == [some / max(1, sum(all_.values())) for some, all_ in zip(own, counted, strict=True)]


def newest_first(runs: Iterable[Told]) -> list[str]:
    """The versions that they have."""
    there = {one.values["version"] for one in runs}
    return [version for version in reversed(VERSIONS) if version in there]


def comparisons(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    """What is compared, and by how much it differs; how likely that is by chance is tested in test_chance.py."""
    days = recount.first, min(recount.last, now.date() - DAY)
    runs = [one for one in recount.of_any("version").of_days(*days) if one.installation is not None]
    of = {name: them for (name,), them in told_apart(runs, "version").items()}
    before = dict(pairwise(name for name in newest_first(runs) if len(ids(of[name])) >= 50))
    found = queries.comparisons(chosen, now)
    assert [one.now.version for one in found] == [name for name in newest_first(runs) if recount.lists("version", name)]
    for one in found:
        these, those = of[one.now.version], of.get(before.get(one.now.version, ""), [])
        check_side(one.now, these)
        assert (one.before.version if one.before else None) == before.get(one.now.version)
        if not one.before:
            assert one.error_rate_difference is one.errors_p is one.duration_ratio is one.duration_p is None
            continue
        check_side(one.before, those)
        rates = [weighed_mean((each, each.failed) for each in some) for some in (these, those)]
        assert one.error_rate_difference == pytest.approx(rates[0] - rates[1], abs=1e-9)
        assert one.errors_p is not None
        took = [[each for each in some if not each.failed] for some in (these, those)]
        if min(len(ids(some)) for some in took) < 50:
            assert one.duration_ratio is one.duration_p is None
            continue
        logs = [weighed_mean((each, math.log(each.duration_ms)) for each in some) for some in took]
        assert one.duration_ratio == pytest.approx(math.exp(logs[0] - logs[1]), rel=WITHIN**2 - 1)
        assert one.duration_p is not None


def check_side(found: Side, runs: Sequence[Told]) -> None:
    failures = sum(one.failed for one in runs)
    assert (found.installations, found.runs, found.failures) == (len(ids(runs)), len(runs), failures)
    assert found.error_rate == failures / len(runs)
    logs = [math.log(took) for took in succeeded_ms(runs)]
    mean = math.exp(sum(logs) / len(logs)) if logs else None
    assert found.duration_ms == (pytest.approx(mean, rel=WITHIN - 1) if mean else None)


def weighed_mean(of_runs: Iterable[tuple[Told, float]]) -> float:
    """Of runs, where n of one installation weigh as n / (1 + (n - 1) / 10)."""
    of_each: dict[str | None, list[float]] = {}
    for one, value in of_runs:
        of_each.setdefault(one.installation, []).append(value)
    weighed = [(len(values), sum(values), 1 + (len(values) - 1) / 10) for values in of_each.values()]
    return sum(total / less for _, total, less in weighed) / sum(count / less for count, _, less in weighed)


def present(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    runs = recount.of_any(*DIMENSIONS).now_runs
    for name, values in present_values(chosen).items():
        counted = {value: len(them) for (value,), them in told_apart(runs, name).items()}
        assert set(values) == set(counted)
        assert [counted[value] for value in values] == sorted(counted.values(), reverse=True)


def reach(chosen: Filter, now: datetime, recount: Recount, dice: random.Random) -> None:
    most, most_others = (dice.choice((1, 5, 20, 100, 10_000)) for _ in range(2))
    days = sorted({one.at.date() for one in recount.now_runs}, reverse=True)
    others = recount.of_any(*DIMENSIONS)
    fit = [
        day
        for day in days
        if day == days[0]
        or (
            len(recount.of_days(day, days[0])) <= most
            and sum(len(others.of_days(one, one)) for one in days if one >= day) <= most_others
        )
    ]
    found = reach_of(chosen, runs_max_count=most, others_max_count=most_others)
    assert (found.days, found.further) == (fit, len(fit) < len(days))


Comparison = Callable[[Filter, datetime, Recount, random.Random], None]
COMPARISONS: Sequence[Comparison] = (
    *(totals, series, parts, activity, newcomers, cohorts, retention, runs_per_installation),
    *(who, options, excluded, tree, matrix, durations, errors, adoption, comparisons, present, reach),
)

"""Data quality: are the figures of the other pages whole, and how fresh are they?

In: the time, and who looks. Out: the context of templates/analytics/data_quality.html.

The books are those that were read last (ledger.py): the page neither lists the bucket nor waits for it. It asks Redis
what waits now, and says so where Redis does not answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Sum
from django.urls import reverse

from analytics import charts, ledger, queries
from analytics.dashboards import wording
from analytics.dashboards.panel import Cell, Column, Panel, Row, Table
from analytics.ledger import Imbalance
from analytics.models import BooksReading, DailyRollup, TouchedHour, Verification
from ingest import buffer

# Read every 15 seconds: older, and something is away.
READING_MAX_AGE = timedelta(seconds=90)

_ROWS = 8
_FAULTS = 10
_OPT_OUT_DAYS = 30

_KINDS = {
    "field": "field on no list",
    "option": "option on no list",
    "odd": "does not look like one",
    "unseen": "one new name too many",
}


@dataclass(frozen=True)
class Term:
    """A term of the books; `look` is a CSS class."""

    label: str
    figure: str
    look: str = ""


@dataclass(frozen=True)
class Mark:
    """Whether something balances, in words; `look` is even, uneven or unsure."""

    label: str
    look: str


@dataclass(frozen=True)
class Step:
    """What arrived at a step, where what did not go on is, and whether that balances."""

    term: Term
    equation: str
    terms: Sequence[Term] = ()
    mark: Mark | None = None


@dataclass(frozen=True)
class Trouble:
    """What is wrong, in words, and what to do."""

    title: str
    what: str
    todo: Sequence[str]


def context(now: datetime, sees: Callable[[str], bool]) -> dict[str, object]:
    """Everything the page shows: the books, or that they were never read; each with what is known without them.

    `sees` answers whether who looks has a permission: without it there are neither names of objects and events, nor
    links to their lists.
    """
    reading = ledger.last_reading()
    notices: list[str] = []
    live = _live(notices)
    found = ledger.imbalances(reading) if reading else []
    stale = bool(reading and now - reading.read_at > READING_MAX_AGE)
    if reading and stale:
        notices.append(
            f"The books were last read {wording.ago(reading.read_at, now)}: a store is away, or no loader is running. "
            "The loader's log says which."
        )
    terms: Mapping[str, Any] = reading.terms if reading else {}
    return {
        "title": "Data quality",
        "notices": notices,
        "reading": reading,
        "read": wording.ago(reading.read_at, now) if reading else "",
        "verdict": _verdict(found, stale=stale),
        "flow": _flow(terms, found) if reading else [],
        "imbalances": [_of_imbalance(imbalance, now) for imbalance in found if imbalance.lasts],
        "carried_over": wording.exact(live.carried_over) if live.carried_over else "",
        "freshness": _freshness(live, reading, now),
        "rejected": _rejected(terms),
        "dropped": _dropped(live),
        "quarantined": _quarantined(sees),
        "verification": _verification(now, in_full=sees("analytics.view_verification")),
    }


@dataclass(frozen=True)
class FaultsOfAKind:
    """Faults of verify.py that are mended in the same way; `found` is where and what each is."""

    kind: str
    advice: str
    found: Sequence[str]


def faults_in_words(faults: Sequence[object]) -> list[FaultsOfAKind]:
    """Faults as verify.py keeps them: the advice is said once for those that follow each other with the same."""
    told = []
    for fault in faults:
        parts = fault if isinstance(fault, Mapping) else {"name": fault}
        kind, name, detail, advice = (str(parts.get(part) or "") for part in ("kind", "name", "detail", "advice"))
        told.append((kind.replace("_", " "), advice.replace("`", ""), f"{name} {detail}".strip()))
    return [
        FaultsOfAKind(kind, advice, [found for *_, found in alike])
        for (kind, advice), alike in groupby(told, key=itemgetter(0, 1))
    ]


# -- Redis, if it answers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Live:
    """What Redis says now; None and empty where it does not."""

    now_ms: int | None = None
    waiting: int | None = None
    oldest_ms: int | None = None
    carried_over: int = 0
    finished: Mapping[str, int] | None = None
    dropped: Mapping[str, int] | None = None


def _live(notices: list[str]) -> _Live:
    try:
        counts = buffer.counters()
        notices += [f"Redis is set up so that events can be lost: {hazard}." for hazard in buffer.hazards()]
        return _Live(
            now_ms=buffer.now_ms(),
            waiting=counts["waiting"],
            oldest_ms=buffer.oldest_waiting_ms(),
            carried_over=counts.get("carried_over", 0),
            finished=buffer.finished(),
            dropped=buffer.dropped(),
        )
    except buffer.BufferUnavailable:
        notices.append(
            "Redis does not answer: events are refused with 503 until it does. What it knows is left out here."
        )
        return _Live()


# -- The books --------------------------------------------------------------------------------------------------------


def _verdict(found: Sequence[Imbalance], *, stale: bool) -> Mark:
    if any(imbalance.lasts for imbalance in found):
        return Mark("The books do not balance", "uneven")
    if found:
        return Mark("The books may not balance: looking again", "unsure")
    return Mark("The books balanced when last read", "unsure") if stale else Mark("The books balance", "even")


def _flow(terms: Mapping[str, Any], found: Sequence[Imbalance]) -> list[Step]:
    def term(label: str, name: str, *, bad: bool = False) -> Term:
        events = sum(terms[name].values()) if name == "rejected" else terms[name]
        return Term(label, wording.exact(events), "bad" if bad and events else "")

    at = {imbalance.stage: imbalance for imbalance in found}
    imported = [term("+ Imported", "imported")] if terms["imported"] else []
    return [
        Step(
            term("Received", "received"),
            "= accepted + rejected + limited + unavailable",
            [term("Rejected", "rejected"), term("Limited", "limited"), term("Unavailable", "unavailable", bad=True)],
            _mark(at.get(ledger.INGEST)),
        ),
        Step(
            term("Accepted", "accepted"),
            "= archived + waiting",
            [term("Waiting", "waiting")],
            _mark(at.get(ledger.BUFFER)),
        ),
        Step(
            term("Archived", "archived"),
            f"{'+ imported ' if imported else ''}= loaded + duplicate + quarantined + not yet loaded",
            [
                *imported,
                term("Duplicate", "duplicate"),
                term("Quarantined", "quarantined", bad=True),
                term("Not yet loaded", "not_yet_loaded"),
            ],
            _mark(at.get(ledger.LOAD)),
        ),
        Step(term("Loaded", "loaded"), "each event once: what the dashboards count"),
    ]


def _mark(imbalance: Imbalance | None) -> Mark:
    if imbalance is None:
        return Mark("balances", "even")
    if not imbalance.lasts:
        return Mark("looking again", "unsure")
    return Mark(f"{abs(imbalance.events):,} too {'many' if imbalance.events > 0 else 'few'}", "uneven")


_CAUSES: Mapping[tuple[str, bool], tuple[str, Sequence[str]]] = {
    (ledger.INGEST, False): ("A counter in Redis was changed, or a term is not counted.", ()),
    (ledger.INGEST, True): ("A counter in Redis was changed, or an event is counted twice.", ()),
    (ledger.BUFFER, False): (
        "Rows were deleted in Redis, or Redis lost its last seconds. They are lost: clients forget what is accepted.",
        (),
    ),
    (ledger.BUFFER, True): ("A counter in Redis was changed, or Redis was set back to an earlier state.", ()),
    (ledger.LOAD, False): (
        "An object was removed from the bucket before it was loaded, or the ledger was changed.",
        ("manage.py verify", "manage.py load"),
    ),
    (ledger.LOAD, True): (
        "An object was copied or forged in the bucket; or Redis lost its disk and counts from 0 again.",
        ("manage.py verify", "manage.py ledger --carry-over --dry-run"),
    ),
}


def _of_imbalance(imbalance: Imbalance, now: datetime) -> Trouble:
    cause, commands = _CAUSES[imbalance.stage, imbalance.events > 0]
    words = ledger.in_words(imbalance.stage, imbalance.events)
    return Trouble(
        f"{imbalance.stage.capitalize()}: {words}",
        f"Since {imbalance.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {wording.ago(imbalance.since, now)}. {cause}",
        commands,
    )


# -- Panels -----------------------------------------------------------------------------------------------------------


def panels_of(context: Mapping[str, object]) -> list[Panel]:
    """The tables of the page."""
    return [panel for panel in context.values() if isinstance(panel, Panel)]


def _freshness(live: _Live, reading: BooksReading | None, now: datetime) -> Panel:
    columns = [Column("Stage", "stage"), Column("Now", "now", "strong"), Column("Note", "note", "wide quiet")]
    behind = TouchedHour.objects.count()
    loaded_at = queries.freshness().loaded_at
    oldest = wording.NOTHING
    if live.now_ms is not None:
        oldest = _waited(live.now_ms - live.oldest_ms) if live.oldest_ms else "nothing waits"
    rows = [
        _words("Oldest event that waits", oldest, f"at most {settings.BATCH_MAX_SECONDS + 1} s"),
        _words("Archiver last done", _job(live, "archiver"), "twice a second"),
        _words("Loader last done", _job(live, "loader"), f"every {settings.LOAD_INTERVAL_SECONDS} s"),
        _words("Newest object loaded", wording.ago(loaded_at, now) if loaded_at else "never", ""),
        _words("Rollups behind", wording.many(behind, "hour"), "not shown yet"),
        _words("Books read", wording.ago(reading.read_at, now) if reading else "never", "every 15 s"),
        _words("Opted out, or not asked", wording.percent(_placeholder_share(now)), f"of {_OPT_OUT_DAYS} days' runs"),
    ]
    return _panel("freshness", "Freshness", Table(columns, rows), look="plain")


def _panel(id: str, title: str, table: Table, **words: Any) -> Panel:
    return replace(Panel(id=id, title=title, table=table, at_most=_ROWS, csv=f"?{urlencode({'csv': id})}"), **words)


def _words(*cells: str) -> Row:
    return Row([Cell(cell, cell) for cell in cells])


def _count(number: int) -> Cell:
    return Cell(number, wording.exact(number) if number else wording.NOTHING)


def _job(live: _Live, job: str) -> str:
    if live.finished is None or live.now_ms is None:
        return wording.NOTHING
    if job not in live.finished:
        return "never"
    return _waited(live.now_ms - 1000 * live.finished[job]) + " ago"


def _waited(milliseconds: int) -> str:
    seconds = max(0, milliseconds // 1000)
    return f"{seconds} s" if seconds < 60 else wording.duration(1000 * seconds)


def _placeholder_share(now: datetime) -> float | None:
    first = now.astimezone(UTC).date() - timedelta(days=_OPT_OUT_DAYS - 1)
    sums = DailyRollup.objects.filter(dimension="total", day__gte=first).aggregate(
        runs=Sum("runs", default=0), nobody=Sum("placeholder_runs", default=0)
    )
    return sums["nobody"] / sums["runs"] if sums["runs"] else None


def _rejected(terms: Mapping[str, Any]) -> Panel:
    columns = [
        Column("Reason", "reason"),
        Column("Events", "events", "strong"),
        Column("Of received", "share", "quiet"),
    ]
    counts = _most_first(terms.get("rejected", {}))
    received = terms.get("received", 0)
    rows = [
        Row(
            [Cell(reason, reason), _count(count), Cell(count / received, wording.percent(count / received))],
            bar=charts.bar(count / counts[0][1]),
        )
        for reason, count in counts
        if received
    ]
    return _panel(
        "rejected",
        "Rejected",
        Table(columns, rows),
        note="refused with a reason",
        look="failures",
        rest=_rest(counts, "event"),
        nothing="No event was rejected.",
    )


def _dropped(live: _Live) -> Panel:
    columns = [Column("Name", "name"), Column("Why", "why", "quiet"), Column("Times", "times", "strong")]
    counts = _most_first(live.dropped or {})
    rows = []
    for full, count in counts:
        kind, _, name = full.partition(":")
        why = _KINDS.get(kind, kind)
        rows.append(Row([Cell(name, name), Cell(why, why), _count(count)], bar=charts.bar(count / counts[0][1])))
    return _panel(
        "dropped",
        "Left out or renamed",
        Table(columns, rows),
        note="of accepted events",
        rest=_rest(counts, "time"),
        nothing="Redis does not answer." if live.dropped is None else "Nothing was left out.",
    )


def _quarantined(sees: Callable[[str], bool]) -> Panel:
    columns = [Column("Reason", "reason"), Column("Lines", "lines", "strong"), Column("Objects", "objects", "strong")]
    found = ledger.quarantined_by_reason()
    most = max((lines + objects for _, lines, objects in found), default=1)

    def url(reason: str, lines: int) -> str:
        model = "quarantined" if lines else "loadedobject"
        words = {"reason": reason} if lines else {"state__exact": "quarantined"}
        listed = reverse(f"admin:analytics_{model}_changelist")
        return f"{listed}?{urlencode(words)}" if sees(f"analytics.view_{model}") else ""

    rows = [
        Row(
            [Cell(reason, reason), _count(lines), _count(objects)],
            bar=charts.bar((lines + objects) / most),
            url=url(reason, lines),
        )
        for reason, lines, objects in found
    ]
    left = found[_ROWS:]
    return _panel(
        "quarantined",
        "Quarantined",
        Table(columns, rows),
        note="kept aside, unread",
        look="failures",
        rest=f"{len(left)} more" if left else "",
        nothing="Nothing is quarantined.",
    )


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda named: (-named[1], named[0]))


def _rest(counts: Sequence[tuple[str, int]], noun: str) -> str:
    left = counts[_ROWS:]
    return f"{len(left)} more, with {wording.many(sum(count for _, count in left), noun)}" if left else ""


def _verification(now: datetime, *, in_full: bool) -> dict[str, object] | None:
    """The last verification that came to its end, perhaps with its faults; None where there was none."""
    last = Verification.objects.filter(finished_at__isnull=False).order_by("-finished_at").first()
    if not last or not last.finished_at:
        return None
    faults: Sequence[object] = (last.faults or ()) if in_full else ()
    return {
        "clean": not last.faults_count,
        "faults_count": wording.many(last.faults_count, "fault"),
        "finished": wording.ago(last.finished_at, now),
        "took": wording.duration((last.finished_at - last.started_at).total_seconds() * 1000),
        "deep": last.deep,
        "objects": wording.exact(last.objects_count),
        "events": wording.exact(last.events_count),
        "faults": faults_in_words(faults[:_FAULTS]),
        "more": wording.exact(last.faults_count - _FAULTS) if last.faults_count > _FAULTS else "",
        "url": reverse("admin:analytics_verification_change", args=[last.pk]) if in_full else "",
    }

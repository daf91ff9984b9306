"""Verify: compare bucket, ledger, rows and rollups, and say where they differ.

In: the four, read only. Out: a report, and a row of Verification. Fails: archive.ArchiveUnavailable and Django's
DatabaseError, where a store cannot be looked at. Next: docs/verify.md, which says what to do about each fault

Postgres is read in one snapshot, taken before the bucket is listed: what is loaded meanwhile is not in it, and objects
that came meanwhile are not yet loaded, which is no fault. Bucket and ledger are walked side by side in the order of
names, so that memory does not grow with them. What looks odd is looked at a second time, with everything that is known
about it (examine.py), to tell which store is wrong.
"""

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from typing import Any

from django.utils import timezone

from analytics import evidence, lines, objects, rollups
from analytics.examine import Entry, State, Stored, Verdict, event_ids, examine, user_ids, wrong_by_metadata
from analytics.faults import Fault, Faults, Kind
from analytics.models import DailyCombinations, DailyRollup, LoadedObject, TouchedHour, Verification
from analytics.periods import Periods
from ingest import archive
from ingest.archive import ArchiveUnavailable, Fetched, Listed

FAULTS_SAVED = 1000
# An object that the ledger does not know is on its way for so long; then it has been left behind.
ON_ITS_WAY = timedelta(hours=1)
# Each object is read once in so many nights.
NIGHTS = 30

_ASKS_AT_ONCE = 12  # fewer than the connections of the client: the listing needs one
_UNKNOWN_AT_ONCE = 1000
_SUSPECTS_AT_ONCE = 500
_KEPT_MAX = 10_000  # missing objects and twins, to tell which were renamed
_FAILURES_MAX = 20  # objects that cannot be had; with more, it is the bucket that cannot


class Look(IntEnum):
    """How closely to look at an object that seems all right."""

    LISTED = 0
    ASKED = 1  # for its metadata
    READ = 2


Reach = Callable[[Entry], Look]


def shallow(entry: Entry) -> Look:
    """Row counts by metadata; rows are believed to hold what they should."""
    return Look.ASKED


def deep(entry: Entry) -> Look:
    """Every line of every object against its row."""
    return Look.READ


def slice_of(night: datetime) -> Reach:
    """What came in the last day, and a share of the others: in NIGHTS nights, each is read once."""

    def look(entry: Entry) -> Look:
        due = zlib.crc32(entry.name.encode()) % NIGHTS == night.toordinal() % NIGHTS
        return Look.READ if due or entry.loaded_at > night - timedelta(days=1) else Look.LISTED

    return look


@dataclass
class Report:
    """What was looked at, what is on its way, and the faults."""

    objects_count: int = 0
    events_count: int = 0
    read_count: int = 0  # objects whose every line was compared
    waiting_objects: int = 0  # not yet loaded
    waiting_hours: int = 0  # whose rollups are about to be recomputed
    quarantined_objects: int = 0
    quarantined_lines: int = 0
    unjudged_hours: int = 0  # their events have faults: nobody can say whether their rollups are right
    faults: Faults = field(default_factory=Faults)

    def as_json(self) -> dict[str, Any]:
        """For scripts: counts under their names, faults by kind, and the first of them."""
        counts = {name: value for name, value in vars(self).items() if name != "faults"}
        listed = [fault.as_json() for fault in self.faults.listed()[:FAULTS_SAVED]]
        return {**counts, "faults_count": len(self.faults), "by_kind": self.faults.by_kind(), "faults": listed}


# Told now and then: of what, how many are done, how many there are.
Progress = Callable[[str, int, int], None]


def verify(reach: Reach, *, now: datetime | None = None, progress: Progress = lambda unit, done, total: None) -> Report:
    """Compare the stores, objects as closely as `reach` says. Writes nothing but its row of Verification.

    Raises archive.ArchiveUnavailable and django.db.DatabaseError where a store is away; then the row stays unfinished.
    """
    now = now or timezone.now()
    record = Verification.objects.create(started_at=now, deep=reach is not shallow)
    with evidence.snapshot(), ThreadPoolExecutor(_ASKS_AT_ONCE) as pool:
        report = _Run(reach, now, pool, progress).report()
    record.finished_at = timezone.now()
    record.objects_count = report.objects_count
    record.events_count = report.events_count
    record.faults_count = len(report.faults)
    record.faults = report.as_json()["faults"]
    record.save()
    return report


_Pair = tuple[Entry, Listed, Look]
_Answered = tuple[_Pair, Fetched]


class _Run:
    """One verification. Postgres is read in this thread, the bucket by the pool."""

    def __init__(self, reach: Reach, now: datetime, pool: ThreadPoolExecutor, progress: Progress) -> None:
        self.reach = reach
        self.now = now
        self.pool = pool
        self.progress = progress
        self.result = Report()
        self.faults = self.result.faults
        self.hours: set[datetime] = set()  # whose events cannot be trusted
        self.suspects: list[tuple[Entry, Listed]] = []
        self.missing: dict[str, Entry] = {}
        # Objects that the ledger does not have, and the names and states of those with the same bytes that it has.
        self.twins: list[tuple[Listed, list[tuple[str, str]]]] = []
        self.homeless = evidence.homeless_sources()
        self.pruned_before = rollups.frozen_before()
        self.failures = 0

    def report(self) -> Report:
        """Bucket against ledger against rows, then rows against rollups."""
        self._walk()
        self._judge_suspects()
        self._settle_missing_and_twins()
        for number in self.homeless:
            self._fault(Kind.MISSING_LEDGER_ROW, f"ledger row {number}", "rows name it as their source")
        for number in evidence.lacking_installations():
            self._fault(Kind.MISSING_INSTALLATION, f"installation {number}", "events name it")
        self._compare_rollups()
        return self.result

    def _fault(self, kind: Kind, name: str, detail: str) -> None:
        self.faults.add(Fault(kind, name, detail, name))

    # -- Bucket against ledger ----------------------------------------------------------------------------------------

    def _walk(self) -> None:
        total = LoadedObject.objects.count()
        for chunk in self._ahead(evidence.chunks(self._pairs(), lambda pair: pair[1].size_bytes)):
            self._second_look(chunk)
            if len(self.suspects) >= _SUSPECTS_AT_ONCE:
                self._judge_suspects()
            self.progress("objects", self.result.objects_count, max(total, self.result.objects_count))

    def _pairs(self) -> Iterator[_Pair]:
        """What both bucket and ledger have and the bucket is to be asked about; the rest is dealt with."""
        unknown: list[Listed] = []
        for entry, listed in evidence.side_by_side(evidence.entries(), archive.listing()):
            if entry is not None:
                self._count(entry)
            if entry is None and listed is not None:
                unknown.append(listed)
            elif entry is not None and listed is None:
                self._note_missing(entry)
            elif entry is not None and listed is not None:
                yield from self._first_look(entry, listed)
            if len(unknown) == _UNKNOWN_AT_ONCE:
                yield from self._sort_out(unknown)
                unknown.clear()
        yield from self._sort_out(unknown)

    def _count(self, entry: Entry) -> None:
        self.result.objects_count += 1
        self.result.events_count += entry.events
        self.result.quarantined_objects += entry.state == State.QUARANTINED
        self.result.quarantined_lines += entry.kept_lines

    def _first_look(self, entry: Entry, listed: Listed) -> Iterator[_Pair]:
        """By what is known without asking the bucket. The pair again, where it is to be asked."""
        same = (listed.size_bytes, listed.etag) == (entry.size_bytes, entry.etag)
        look = self.reach(entry)
        if not same or not entry.adds_up or not entry.agrees_with_tables:
            self.suspects.append((entry, listed))
        elif entry.state == State.FOREIGN:
            self._fault(Kind.FOREIGN_OBJECT, entry.name, f"{entry.size_bytes} bytes, not written by this portal")
        elif look == Look.READ or (look == Look.ASKED and entry.state in (State.LOADED, State.HISTORY)):
            yield entry, listed, look

    def _second_look(self, chunk: Iterable[_Answered]) -> None:
        """With what the bucket answered."""
        read: list[_Answered] = []
        for pair, fetched in chunk:
            entry, listed, look = pair
            if look == Look.READ:
                read.append((pair, fetched))
            elif wrong_by_metadata(entry, fetched.metadata):
                self.suspects.append((entry, listed))
        self.result.read_count += len(read)
        for ((entry, listed, _), _), verdict in zip(read, self._examine(read), strict=True):
            if verdict.is_odd or verdict.faults:
                self.suspects.append((entry, listed))

    # -- What the bucket answers --------------------------------------------------------------------------------------

    def _ahead(self, chunks: Iterable[list[_Pair]]) -> Iterator[list[_Answered]]:
        """Each chunk with the bucket's answers; the next one is on its way while one is looked at."""
        coming: list[tuple[_Pair, Future[Fetched | str]]] = []
        for chunk in chunks:
            asked = [(pair, self.pool.submit(evidence.ask, pair[1].name, whole=pair[2] == Look.READ)) for pair in chunk]
            if coming:
                yield list(self._answers(coming))
            coming = asked
        if coming:
            yield list(self._answers(coming))

    def _answers(self, asked: Iterable[tuple[_Pair, "Future[Fetched | str]"]]) -> Iterator[_Answered]:
        """Those that can be had; of the others the fault is noted. Raises ArchiveUnavailable when they are too many."""
        for pair, future in asked:
            answer = future.result()
            if isinstance(answer, Fetched):
                yield pair, answer
            elif answer in evidence.NOT_THERE:
                self._note_missing(pair[0])
            else:
                self._note_unreadable(pair[0].name, answer)

    def _note_unreadable(self, name: str, code: str) -> None:
        self.failures += 1
        if self.failures > _FAILURES_MAX:
            raise ArchiveUnavailable(code)
        self._fault(Kind.UNREADABLE_OBJECT, name, f"the bucket lists it, and answers {code}")

    # -- Suspects -----------------------------------------------------------------------------------------------------

    def _judge_suspects(self) -> None:
        """Look at the odd ones again, now with all rows that name them as their source."""
        suspects, self.suspects = self.suspects, []
        claiming = evidence.rows_by_source([entry.id for entry, _ in suspects])
        pairs = ((entry, listed, Look.READ) for entry, listed in suspects)
        for chunk in self._ahead(evidence.chunks(pairs, lambda pair: pair[1].size_bytes)):
            for answered, verdict in zip(chunk, self._examine(chunk, claiming), strict=True):
                judged = verdict
                if verdict.claims:
                    (judged,) = self._examine([answered], claiming, untrue=_untrue(verdict.claims))
                for fault in judged.faults:
                    self.faults.add(fault)
                self.hours |= judged.hours

    def _examine(
        self,
        read: Sequence[_Answered],
        claiming: Mapping[int, Sequence[Stored]] | None = None,
        *,
        untrue: frozenset[str] | None = None,
    ) -> list[Verdict]:
        """Each object's verdict. What Postgres has of them all is read in three statements."""
        opened = [evidence.opened(entry, listed, fetched) for (entry, listed, _), fetched in read]
        parsed = [
            lines.rows(LoadedObject(pk=entry.id), found.numbered, received_at=found.received_at)
            for ((entry, _, _), _), found in zip(read, opened, strict=True)
        ]
        rows = [row for found_rows, _ in parsed for row in found_rows]
        by_id = evidence.rows_by_id(event_ids(rows))
        users = evidence.installed(user_ids(rows))
        kept = evidence.kept_lines([entry.id for (entry, _, _), _ in read])
        return [
            examine(
                entry,
                listed,
                fetched,
                found,
                found_rows,
                {line.source_line: line.reason for line in broken},
                by_id=by_id,
                users=users,
                kept=kept.get(entry.id, ()),
                claiming=None if claiming is None else claiming.get(entry.id, ()),
                untrue=untrue,
                pruned_before=self.pruned_before,
            )
            for ((entry, listed, _), fetched), found, (found_rows, broken) in zip(read, opened, parsed, strict=True)
        ]

    # -- Objects that the ledger does not know, and the other way round -----------------------------------------------

    def _sort_out(self, unknown: Sequence[Listed]) -> Iterator[_Pair]:
        """Objects not in the ledger: on their way, left behind, foreign, or twins of others.

        A bucket that does not list in the order of names makes known ones look unknown: those go the way of all.
        """
        known = {entry.name: entry for entry in evidence.entries_named([listed.name for listed in unknown])}
        twins = evidence.same_as([listed for listed in unknown if listed.name not in known])
        strange: list[Listed] = []
        for listed in unknown:
            if entry := known.get(listed.name):
                yield from self._first_look(entry, listed)
            elif listed.name in twins and len(self.twins) < _KEPT_MAX:
                self.twins.append((listed, twins[listed.name]))
            else:
                strange.append(listed)
        self._look_at_strange(strange)

    def _look_at_strange(self, strange: Sequence[Listed]) -> None:
        whole = bool(self.homeless)
        answers = self.pool.map(lambda listed: evidence.ask(listed.name, whole=whole), strange)
        for listed, answer in zip(strange, answers, strict=True):
            if isinstance(answer, Fetched):
                self._judge_strange(listed, answer)
            elif answer not in evidence.NOT_THERE:
                self._note_unreadable(listed.name, answer)

    def _judge_strange(self, listed: Listed, fetched: Fetched) -> None:
        if not objects.is_ours(fetched.metadata):
            detail = f"{listed.size_bytes} bytes, not written by this portal, not in the ledger"
            self._fault(Kind.FOREIGN_OBJECT, listed.name, detail)
        elif owners := self._owners(listed, fetched):
            self.homeless -= owners
            self._fault(Kind.MISSING_LEDGER_ROW, listed.name, f"rows name it as ledger row {min(owners)}")
        elif self.now - listed.last_modified < ON_ITS_WAY:
            self.result.waiting_objects += 1
        else:
            detail = f"in the bucket since {listed.last_modified:%Y-%m-%d %H:%M} UTC, {fetched.metadata['rows']} rows"
            self._fault(Kind.LEFT_BEHIND_OBJECT, listed.name, detail)

    def _owners(self, listed: Listed, fetched: Fetched) -> set[int]:
        """Of the ledger rows that are not there, those that the rows of this object's lines name as their source."""
        if not self.homeless:
            return set()
        rows, _ = lines.rows(LoadedObject(pk=0), objects.open_ours(listed, fetched).numbered)
        return {row.place[0] for row in evidence.rows_by_id(event_ids(rows)).values()} & self.homeless

    def _note_missing(self, entry: Entry) -> None:
        if entry.state == State.FOREIGN:
            return  # whoever put it there has taken it away
        if len(self.missing) < _KEPT_MAX:
            self.missing[entry.name] = entry
        else:
            self._missing_object(entry)

    def _missing_object(self, entry: Entry) -> None:
        if entry.events == 0 < entry.event_rows and not entry.kept_lines:
            detail = f"neither object nor rows are there: {entry.event_rows} loaded rows never were"
            self.faults.add(Fault(Kind.WRONG_LEDGER_ROW, entry.name, detail, f"ledger {entry.name}"))
            return
        detail = f"{entry.size_bytes} bytes, {entry.rows} rows, loaded at {entry.loaded_at:%Y-%m-%d %H:%M} UTC"
        self._fault(Kind.MISSING_OBJECT, entry.name, detail)

    def _settle_missing_and_twins(self) -> None:
        """Two objects of the same bytes: renamed where one of them is missing, else doubled."""
        names = list(self.missing)
        for name, answer in zip(names, self.pool.map(lambda name: evidence.ask(name, whole=False), names), strict=True):
            if answer not in evidence.NOT_THERE:
                del self.missing[name]  # it was there all the time
        strange: list[Listed] = []
        for listed, others in self.twins:
            ours = [name for name, state in others if state in (State.LOADED, State.QUARANTINED)]
            if gone := next((name for name, _ in others if name in self.missing), None):
                self._renamed(gone, listed.name)
            elif ours:
                self._fault(Kind.DOUBLED_OBJECT, listed.name, f"the same bytes as {ours[0]}; not in the ledger")
            else:
                strange.append(listed)
        self._look_at_strange(strange)
        for group in evidence.groups_of_same_bytes():
            there = [name for name in group if name not in self.missing]
            for name in set(group) - set(there) if there else ():
                self._renamed(name, there[0])
            for name in there[1:]:
                self._fault(Kind.DOUBLED_OBJECT, name, f"the same bytes as {there[0]}")
        for entry in self.missing.values():
            self._missing_object(entry)

    def _renamed(self, name: str, now: str) -> None:
        del self.missing[name]
        self._fault(Kind.RENAMED_OBJECT, name, f"is {now} in the bucket")

    # -- Rows against rollups -----------------------------------------------------------------------------------------

    def _compare_rollups(self) -> None:
        """A day at a time: its hours against their events, itself against its hours as they should be.

        Then values and installations, by what all days say of them.
        """
        hours = evidence.hours_with_figures()
        by_day: defaultdict[date, list[datetime]] = defaultdict(list)
        for hour in hours:
            by_day[hour.astimezone(UTC).date()].append(hour)
        for days in (DailyRollup.objects.distinct(), DailyCombinations.objects.all()):
            for day in days.values_list("day", flat=True):
                by_day.setdefault(day, [])
        touched = set(TouchedHour.objects.values_list("hour", flat=True))
        self.result.waiting_hours = len(touched)
        compared = Periods(touched, self.pruned_before)
        done = 0
        for day in sorted(by_day):
            compared.compare(day, by_day[day])
            done += len(by_day[day])
            self.progress("hours", done, len(hours))
        wrong = compared.wrong()
        self._look_behind({hour for fault, of in wrong if fault.kind == Kind.WRONG_HOUR for hour in of})
        unjudged: set[datetime] = set()
        for fault, of in wrong:
            judged = of - self.hours
            if judged == of or (judged and fault.kind == Kind.WRONG_VALUE):
                self.faults.add(fault)
            else:
                unjudged |= of & self.hours
        self.result.unjudged_hours = len(unjudged)
        for fault in compared.wrong_installations():
            self.faults.add(fault)

    def _look_behind(self, hours: set[datetime]) -> None:
        """Is an hour's rollup wrong, or one of its events? Ask the objects that these come from."""
        if not hours or self.reach is deep:
            return
        known = {fault.name for fault in self.faults.listed()}
        for entry in evidence.entries(evidence.sources_of(hours, at_most=_SUSPECTS_AT_ONCE)):
            if entry.name not in known and entry.state == State.LOADED:
                self.suspects.append((entry, _as_in_the_ledger(entry)))
        self._judge_suspects()


def _as_in_the_ledger(entry: Entry) -> Listed:
    return Listed(entry.name, entry.size_bytes, entry.etag, entry.loaded_at)


def _untrue(claims: Iterable[Stored]) -> frozenset[str]:
    """Of rows that say to be lines of certain objects, those whose line there is another event's."""
    by_source: defaultdict[int, list[Stored]] = defaultdict(list)
    for row in claims:
        by_source[row.place[0]].append(row)
    untrue: set[str] = set()
    for entry in evidence.entries(sorted(by_source)):
        if entry.state in (State.QUARANTINED, State.FOREIGN):
            untrue |= {row.event_id for row in by_source[entry.id]}  # nothing was loaded from it
            continue
        answer = evidence.ask(entry.name, whole=True)
        if not isinstance(answer, Fetched) or not _is_as_loaded(entry, answer):
            continue  # a fault of that object's
        found = evidence.opened(entry, _as_in_the_ledger(entry), answer)
        if found.state not in (State.LOADED, State.HISTORY):
            continue
        rows, _ = lines.rows(LoadedObject(pk=entry.id), found.numbered, received_at=found.received_at)
        event_id_at = dict(zip((row[_LINE] for row in rows), event_ids(rows), strict=True))
        untrue |= {row.event_id for row in by_source[entry.id] if event_id_at.get(row.place[1]) != row.event_id}
    return frozenset(untrue)


def _is_as_loaded(entry: Entry, fetched: Fetched) -> bool:
    """By its size and its ETag, which is the MD5 of what was put in one piece."""
    digest = hashlib.md5(fetched.body, usedforsecurity=False).hexdigest()
    return len(fetched.body) == entry.size_bytes and ("-" in entry.etag or digest == entry.etag)


_LINE = lines.COLUMNS.index("source_line")

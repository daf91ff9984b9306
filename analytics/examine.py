"""Examine: what bucket, ledger and rows say about one archive object, and which of them is wrong.

In: an object, its ledger row, the rows that its lines or its ledger row lead to. Out: a verdict. Pure.
Next: verify.py, which reads the stores

Three witnesses tell more than two: where bucket and ledger differ, the rows decide; where ledger and rows differ, the
object's own lines do.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vibetel_client import contract

from analytics import lines, objects
from analytics.faults import Fault, Kind
from analytics.models import LoadedObject
from analytics.objects import Opened
from ingest.archive import Fetched, Listed

State = LoadedObject.State


@dataclass(frozen=True, slots=True)
class Entry:
    """A ledger row, and what the tables hold of its object: counts of rows, of their lines, the first and the last."""

    id: int
    name: str
    state: str
    reason: str
    size_bytes: int
    etag: str
    imported: bool
    rows: int
    loaded_rows: int
    duplicate_rows: int
    quarantined_rows: int
    pruned_rows: int
    loaded_at: datetime
    events: int
    event_lines: int
    first_line: int
    last_line: int
    kept_lines: int

    @property
    def event_rows(self) -> int:
        """How many of its rows should be there: those that were loaded, but for those that were pruned since."""
        return self.loaded_rows - self.pruned_rows

    @property
    def adds_up(self) -> bool:
        """Whether the ledger row is right by itself."""
        counts = (self.loaded_rows, self.duplicate_rows, self.quarantined_rows)
        if min(*counts, self.rows) < 0 or sum(counts) != self.rows or not 0 <= self.pruned_rows <= self.loaded_rows:
            return False
        if self.state == State.FOREIGN:
            return not self.rows
        if self.state == State.QUARANTINED:
            return self.quarantined_rows == self.rows and bool(self.reason)
        return not self.reason and self.imported >= (self.state == State.HISTORY)

    @property
    def agrees_with_tables(self) -> bool:
        """Whether the tables hold as many rows as the ledger says, each of another line."""
        kept = 0 if self.state == State.QUARANTINED else self.quarantined_rows
        in_range = not self.events or self.first_line >= 1
        if self.state == State.LOADED and self.events:
            in_range = in_range and self.last_line <= self.rows
        return (
            (self.events, self.kept_lines) == (self.event_rows, kept) and self.event_lines == self.events and in_range
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """An event row: its columns by the names of lines.COLUMNS, whose it is, and where it says it comes from."""

    event_id: str
    columns: Mapping[str, Any]
    user_id: str | None  # None: of no installation, or of one that is not there
    installation_id: int | None
    source_name: str

    @property
    def place(self) -> tuple[int, int]:
        """Ledger row and line."""
        return self.columns["source_object_id"], self.columns["source_line"]

    @property
    def precedence(self) -> tuple[datetime, str, int]:
        """Of two copies of an event the one with the smallest counts (load.py)."""
        return self.columns["received_at"], self.source_name, self.columns["source_line"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A quarantined line as stored."""

    number: int
    reason: str
    payload: bytes


@dataclass
class Verdict:
    """What is wrong about an object; `hours` are those whose events cannot be trusted for it."""

    faults: list[Fault] = field(default_factory=list)
    hours: set[datetime] = field(default_factory=set)
    # Rows that say to be lines of others, so that those here are later copies: to be looked into where the ledger
    # row is wrong otherwise; then examine again.
    claims: list[Stored] = field(default_factory=list)
    is_odd: bool = False  # something is wrong here, but it may lie with another object


def wrong_by_metadata(entry: Entry, metadata: Mapping[str, str]) -> bool:
    """Whether ledger and metadata of a loaded object differ: those of history have none of this portal's."""
    if entry.state == State.HISTORY:
        return objects.is_ours(metadata)
    return (
        not objects.is_ours(metadata) or int(metadata["rows"]) != entry.rows or ("origin" in metadata) != entry.imported
    )


def event_ids(read: Iterable[Sequence[Any]]) -> list[str]:
    """Of rows as lines.rows makes them."""
    return [row[_EVENT_ID] for row in read]


def user_ids(read: Iterable[Sequence[Any]]) -> set[str]:
    """Of rows as lines.rows makes them; placeholders are among them."""
    return {row[_USER_ID] for row in read}


def examine(
    entry: Entry,
    listed: Listed,
    fetched: Fetched,
    found: Opened,
    read: Sequence[Sequence[Any]],
    refused: Mapping[int, str],
    *,
    by_id: Mapping[str, Stored],
    users: AbstractSet[str],
    kept: Sequence[Kept],
    claiming: Sequence[Stored] | None,
    untrue: frozenset[str] | None = None,
    pruned_before: datetime | None = None,
) -> Verdict:
    """Compare an object with its ledger row and its lines with their rows.

    `found` is the object opened, `read` and `refused` what lines.rows says of its lines: rows, and reasons by number.
    `by_id` holds the event rows of the lines' ids, `users` those of their users that are installations, `kept` the
    quarantined lines of the object, `claiming` every event row that names the object as its source; None where nobody
    looked: then `is_odd` may say that one should. `untrue` are the ids of rows whose claim to come from elsewhere is
    not true; None where nobody looked into claims: then the verdict may ask for that. `pruned_before`: older events
    may have been pruned.
    """
    changed = (listed.etag, listed.size_bytes) != (entry.etag, entry.size_bytes)
    if entry.state in (State.FOREIGN, State.QUARANTINED):
        if entry.events and not changed and found.state in (State.LOADED, State.HISTORY):
            return Verdict([_ledger_fault(entry, [f"state={entry.state}, but the object can be read, and was loaded"])])
        verdict = (
            _examine_foreign(entry, found) if entry.state == State.FOREIGN else _examine_kept(entry, found, changed)
        )
        if entry.adds_up:
            _add_strays(verdict, entry, claiming or (), kept)
        return verdict
    if found.state in (State.FOREIGN, State.QUARANTINED):
        return _examine_damaged(entry, fetched, found, changed=changed)
    comparison = _Comparison(
        entry, dict(found.numbered), read, refused, by_id, users, kept, claiming, untrue or frozenset(), pruned_before
    )
    comparison.run()
    wrong = _ledger_flaws(entry, found, comparison)
    verdict = Verdict(faults=list(comparison.installation_faults), hours=comparison.hours)
    if changed:
        if comparison.faults or wrong:
            verdict.faults.append(_changed_object(entry, found.rows, comparison))
            verdict.hours.clear()
        else:
            verdict.faults.append(
                _ledger_fault(entry, ["size or ETag is not the object's, whose lines agree with the rows"])
            )
        return verdict
    verdict.faults += comparison.faults
    if flaw := _wrong_marks(fetched, read, found.rows):
        verdict.faults.append(Fault(Kind.ALTERED_OBJECT, entry.name, flaw, entry.name))
    if wrong and comparison.claims and untrue is None:
        verdict.claims = comparison.claims
    elif wrong:
        verdict.faults.append(_ledger_fault(entry, wrong))
    verdict.is_odd = bool(verdict.faults or wrong) or comparison.matched != entry.events
    return verdict


# -- Objects that have no lines to compare ----------------------------------------------------------------------------


def _ledger_fault(entry: Entry, flaws: Iterable[str]) -> Fault:
    return Fault(Kind.WRONG_LEDGER_ROW, entry.name, "; ".join(flaws), f"ledger {entry.name}")


def _examine_foreign(entry: Entry, found: Opened) -> Verdict:
    if found.state != State.FOREIGN:
        return Verdict([_ledger_fault(entry, ["state is foreign, but this portal wrote the object"])])
    if not entry.adds_up:
        return Verdict([_ledger_fault(entry, ["a foreign object has no rows"])])
    return Verdict([Fault(Kind.FOREIGN_OBJECT, entry.name, "not written by this portal", entry.name)])


def _examine_kept(entry: Entry, found: Opened, changed: bool) -> Verdict:
    """An object that is in quarantine as a whole."""
    if not entry.adds_up:
        return Verdict([_ledger_fault(entry, ["state is quarantined, but the counts are those of a loaded object"])])
    if not changed:
        if found.reason and found.reason != entry.reason:
            return Verdict([_ledger_fault(entry, [f"reason={entry.reason}, it is {found.reason}"])])
        return Verdict()  # unreadable as ever; or readable by now: `replay` takes it
    detail = f"quarantined, and changed since; now {found.reason or 'readable: `manage.py replay`'}"
    return Verdict([Fault(Kind.ALTERED_OBJECT, entry.name, detail, entry.name)])


def _add_strays(verdict: Verdict, entry: Entry, claiming: Iterable[Stored], kept: Iterable[Kept]) -> None:
    """Rows that say to be lines of an object from which nothing was loaded."""
    for stored in claiming:
        detail = f"says that it comes from {_place(stored)}, which is {entry.state}"
        verdict.faults.append(_row_fault(Kind.ALTERED_ROW, stored.event_id, detail))
        verdict.hours.add(_hour(stored.columns["occurred_at"]))
    for item in kept:
        detail = f"the object is {entry.state} as a whole"
        verdict.faults.append(_kept_fault(Kind.ALTERED_QUARANTINED_LINE, entry, item.number, item.payload, detail))


def _examine_damaged(entry: Entry, fetched: Fetched, found: Opened, *, changed: bool) -> Verdict:
    if not changed and (entry.reason or (entry.rows and entry.quarantined_rows == entry.rows and not entry.kept_lines)):
        return Verdict([_ledger_fault(entry, [f"state is {entry.state}, but the object was quarantined"])])
    flaw = found.reason or "no metadata of this portal"
    kind = Kind.ALTERED_OBJECT
    if _is_cut_short(fetched.body):
        kind, flaw = Kind.TRUNCATED_OBJECT, f"{len(fetched.body)} of {entry.size_bytes} bytes are left"
    elif not changed:
        flaw = f"{flaw}: its metadata changed, its bytes did not"
    verdict = Verdict([Fault(kind, entry.name, f"{flaw}; {entry.rows} rows in the ledger", entry.name)])
    if not entry.adds_up:
        verdict.faults.append(_ledger_fault(entry, ["the counts do not add up"]))
    elif not entry.agrees_with_tables:
        detail = f"{entry.events} of {entry.event_rows} rows there; which, its lines would say"
        kind = Kind.MISSING_ROW if entry.events < entry.event_rows else Kind.DOUBLED_ROW
        verdict.faults.append(Fault(kind, f"rows of {entry.name}", detail, f"rows {entry.name}"))
    return verdict


def _is_cut_short(body: bytes) -> bool:
    """Whether this is the beginning of a gzip file."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        unzip.decompress(body)
    except zlib.error:
        return False
    return not unzip.eof


def _changed_object(entry: Entry, lines_count: int, comparison: "_Comparison") -> Fault:
    agree = comparison.lines_agree and comparison.duplicates <= entry.duplicate_rows
    if lines_count < entry.rows and agree:
        detail = f"{lines_count} of {entry.rows} lines are left"
        return Fault(Kind.TRUNCATED_OBJECT, entry.name, detail, entry.name)
    detail = f"size and ETag changed, and its {lines_count} lines are not those of its {entry.rows} rows"
    return Fault(Kind.ALTERED_OBJECT, entry.name, detail, entry.name)


def _wrong_marks(fetched: Fetched, read: Sequence[Sequence[Any]], last: int) -> str:
    """The metadata's times of arrival against the first and last line's, where those can be read."""
    if not read:
        return ""
    for row in (read[0], read[-1]):
        for mark, number in (("first-received-at", 1), ("last-received-at", last)):
            if row[_LINE] == number and not _same_moment(fetched.metadata.get(mark), row[_RECEIVED_AT]):
                return f"its metadata's {mark} is not its line's"
    return ""


def _same_moment(text: str | None, moment: datetime) -> bool:
    try:
        return text is None or datetime.fromisoformat(text) == moment
    except ValueError:
        return False


# -- Lines against rows -----------------------------------------------------------------------------------------------

_EVENT_ID = lines.COLUMNS.index("event_id")
_USER_ID = lines.COLUMNS.index("user_id")
_OCCURRED_AT = lines.COLUMNS.index("occurred_at")
_RECEIVED_AT = lines.COLUMNS.index("received_at")
_LINE = lines.COLUMNS.index("source_line")
_OPTIONS = lines.COLUMNS.index("options")
# What row and line must agree on; user, id and source are looked at by themselves.
_ALIKE = [
    (at, name)
    for at, name in enumerate(lines.COLUMNS)
    if name not in ("event_id", "user_id", "source_object_id", "source_line")
]


def canonical_options(options: str | None) -> str | None:
    """JSON as text, so that true and 1 differ and the order of keys does not matter."""
    return None if options is None else json.dumps(json.loads(options), sort_keys=True)


class _Comparison:
    """An object's lines against the rows, each line to what became of it."""

    def __init__(
        self,
        entry: Entry,
        texts: Mapping[int, bytes],
        read: Sequence[Sequence[Any]],
        refused: Mapping[int, str],
        by_id: Mapping[str, Stored],
        users: AbstractSet[str],
        kept: Sequence[Kept],
        claiming: Sequence[Stored] | None,
        untrue: frozenset[str],
        pruned_before: datetime | None,
    ) -> None:
        self.entry = entry
        self.texts = texts
        self.rows = {row[_LINE]: row for row in read}
        self.refused = refused
        self.by_id = by_id
        self.users = users
        self.kept = {item.number: item for item in kept}
        self.claiming = claiming
        self.untrue = untrue
        self.pruned_before = pruned_before
        # Lines by what became of them. Of the unsure it cannot be told: their rows are missing or wrong.
        self.loaded = self.duplicates = self.quarantined = self.unsure = 0
        self.pruned = 0  # of the loaded ones, those whose rows were pruned since
        self.matched = 0  # rows that name a line of this object, rightly
        self.claims: list[Stored] = []
        self.faults: list[Fault] = []
        self.installation_faults: list[Fault] = []
        self.hours: set[datetime] = set()
        self.missing: dict[int, str] = {}  # line -> id that no row has
        self.lines_agree = False  # each line that is there, with its row

    def run(self) -> None:
        """Look at each line, at the rows that claim to be one, at the quarantined lines."""
        rightly: set[str] = set()
        for number in self.texts:
            row = self.rows.get(number)
            if number in self.kept and (row is None or not self._is_loaded_from(row, number)):
                self.quarantined += 1
            elif row is None:
                self.unsure += 1  # _compare_kept says that it is missing
            elif self._compare(number, row):
                rightly.add(row[_EVENT_ID])
        self.matched = len(rightly)
        if self.pruned_before is not None and self.missing:
            self._leave_out_pruned()
        self.lines_agree = not self.faults and not self.missing
        for stored in self.claiming or ():
            if stored.event_id not in rightly:
                self._judge_claiming(stored)
        for number, event_id in self.missing.items():
            self._missing_row(number, event_id)
        self._compare_kept()

    def _is_loaded_from(self, row: Sequence[Any], number: int) -> bool:
        stored = self.by_id.get(row[_EVENT_ID])
        return stored is not None and stored.place == (self.entry.id, number)

    def _compare(self, number: int, row: Sequence[Any]) -> bool:
        """A line that can be read, with the row of its id. Whether it is the line that the row says to be."""
        stored = self.by_id.get(row[_EVENT_ID])
        if stored is None or self._is_pruned_and_came_again(row, number, stored):
            self.unsure += 1
            self.missing[number] = row[_EVENT_ID]
            return False
        if stored.place == (self.entry.id, number):
            self.loaded += 1
            self._compare_columns(number, row, stored)
            return True
        here = (row[_RECEIVED_AT], self.entry.name, number)
        if stored.event_id in self.untrue or stored.precedence >= here or self._is_no_line_here(stored):
            self.unsure += 1
            self._altered(
                stored, row, f"says that it comes from {_place(stored)}, and is line {number} of {self.entry.name}"
            )
            return False
        self.duplicates += 1
        self.claims.append(stored)
        return False

    def _is_pruned_and_came_again(self, row: Sequence[Any], number: int, stored: Stored) -> bool:
        """Whether a later copy of a line's event was loaded, as new: what is pruned is not known any more."""
        here = (row[_RECEIVED_AT], self.entry.name, number)
        return self._is_old(row) and stored.place[0] != self.entry.id and stored.precedence > here

    def _is_old(self, row: Sequence[Any]) -> bool:
        return self.pruned_before is not None and bool(row[_OCCURRED_AT] < self.pruned_before)

    def _leave_out_pruned(self) -> None:
        """Of the lines without a row, leave out those whose row was pruned, and the copies of such events.

        Which line is which cannot be told, but how many there must be: where they are more, those are missing that are
        too young to have been pruned; where none is, one cannot say which.
        """
        old = [number for number in self.missing if self._is_old(self.rows[number])]
        copies = max(0, self.entry.duplicate_rows - self.duplicates)
        if len(self.missing) <= self.entry.pruned_rows + copies:
            explained = list(self.missing)
        elif len(old) < len(self.missing):
            explained = old
        else:
            detail = f"{self.entry.events} of {self.entry.event_rows} rows there, the others were pruned"
            self.faults.append(Fault(Kind.MISSING_ROW, f"rows of {self.entry.name}", detail, f"rows {self.entry.name}"))
            self.missing.clear()
            return
        self.pruned = min(len(old), self.entry.pruned_rows)
        self.loaded += self.pruned
        self.duplicates += len(explained) - self.pruned
        self.unsure -= len(explained)
        for number in explained:
            del self.missing[number]

    def _is_no_line_here(self, stored: Stored) -> bool:
        """Whether a row claims to be another line of this object, which holds another event."""
        source, number = stored.place
        if source != self.entry.id:
            return False
        row = self.rows.get(number)
        return row is None or row[_EVENT_ID] != stored.event_id

    def _compare_columns(self, number: int, row: Sequence[Any], stored: Stored) -> None:
        differing = _differing(row, stored)
        user_id = row[_USER_ID]
        holder = stored.user_id if stored.installation_id is not None else stored.columns["placeholder"]
        if stored.installation_id is not None and stored.user_id is None:
            self._installation(Kind.MISSING_INSTALLATION, stored)
        elif holder != user_id and stored.installation_id is not None and self._is_users_alone(user_id):
            self._installation(Kind.ALTERED_INSTALLATION, stored)
        elif holder != user_id or (stored.installation_id is not None and stored.columns["placeholder"]):
            differing.append("installation")
        if differing:
            where = f"line {number} of {self.entry.name}"
            self._altered(stored, row, f"{', '.join(differing)} differ from {where}")

    def _is_users_alone(self, user_id: str) -> bool:
        """Whether the user of a line is no installation's: then an installation's row was changed, not the event's."""
        return user_id not in self.users and user_id not in contract.PLACEHOLDER_USER_IDS

    def _installation(self, kind: Kind, stored: Stored) -> None:
        name = f"installation {stored.installation_id}"
        self.installation_faults.append(
            Fault(kind, name, f"by the lines of its events, such as {stored.event_id}", name)
        )

    def _altered(self, stored: Stored, row: Sequence[Any] | None, detail: str) -> None:
        self._row_fault(Kind.ALTERED_ROW, stored.event_id, detail)
        self._distrust(stored.columns["occurred_at"])
        if row is not None:
            self._distrust(row[_OCCURRED_AT])

    def _row_fault(self, kind: Kind, event_id: str, detail: str) -> None:
        self.faults.append(_row_fault(kind, event_id, detail))

    def _distrust(self, moment: datetime) -> None:
        self.hours.add(_hour(moment))

    def _judge_claiming(self, stored: Stored) -> None:
        """A row that names this object as its source, and is none of its lines."""
        _, number = stored.place
        if number in self.missing:
            event_id = self.missing.pop(number)
            self._row_fault(
                Kind.ALTERED_ROW, event_id, f"is stored as {stored.event_id}; line {number} of {self.entry.name}"
            )
            self._distrust(stored.columns["occurred_at"])
            return
        self._distrust(stored.columns["occurred_at"])
        if any(not _differing(row, stored) and self._has_user(row, stored) for row in self.rows.values()):
            self._row_fault(Kind.DOUBLED_ROW, stored.event_id, f"a second row of line {number} of {self.entry.name}")
        else:
            self._row_fault(
                Kind.ALTERED_ROW, stored.event_id, f"says that it is line {number} of {self.entry.name}, and is not"
            )

    def _has_user(self, row: Sequence[Any], stored: Stored) -> bool:
        return bool(row[_USER_ID] == (stored.user_id or stored.columns["placeholder"]))

    def _missing_row(self, number: int, event_id: str) -> None:
        self._row_fault(Kind.MISSING_ROW, event_id, f"line {number} of {self.entry.name}")
        self._distrust(self.rows[number][_OCCURRED_AT])

    def _compare_kept(self) -> None:
        """The quarantined lines, by number; one that is under another number is told by what it holds."""
        lost = {number: self.texts[number] for number in self.refused if number not in self.kept}
        for number, item in self.kept.items():
            text = self.texts.get(number)
            row = self.rows.get(number)
            if text == item.payload and not (row is not None and self._is_loaded_from(row, number)):
                if number in self.refused and self.refused[number] != item.reason:
                    self._kept_fault(Kind.ALTERED_QUARANTINED_LINE, number, item.payload, "its reason differs")
                continue
            moved = next((number for number, line in lost.items() if line == item.payload), None)
            if moved is not None:
                del lost[moved]
                self._kept_fault(Kind.ALTERED_QUARANTINED_LINE, moved, item.payload, f"is kept as line {number}")
            elif item.payload in self.texts.values():
                self._kept_fault(Kind.DOUBLED_QUARANTINED_LINE, number, item.payload, "kept, and there otherwise")
            elif number in self.refused:
                self._kept_fault(Kind.ALTERED_QUARANTINED_LINE, number, text or b"", "is not what the object holds")
            else:
                self._kept_fault(Kind.ALTERED_QUARANTINED_LINE, number, item.payload, "is no line of the object")
        for number, line in lost.items():
            self._kept_fault(Kind.MISSING_QUARANTINED_LINE, number, line, self.refused[number])

    def _kept_fault(self, kind: Kind, number: int, payload: bytes, detail: str) -> None:
        self.faults.append(_kept_fault(kind, self.entry, number, payload, detail))


def _row_fault(kind: Kind, event_id: str, detail: str) -> Fault:
    return Fault(kind, f"event {event_id}", detail, f"event {event_id}")


def _kept_fault(kind: Kind, entry: Entry, number: int, payload: bytes, detail: str) -> Fault:
    """What is missing in one object may be kept as another's: the payload tells that it is the same."""
    return Fault(kind, f"line {number} of {entry.name}", detail, f"line {hashlib.sha256(payload).hexdigest()}")


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _place(stored: Stored) -> str:
    return f"line {stored.columns['source_line']} of {stored.source_name}"


def _differing(row: Sequence[Any], stored: Stored) -> list[str]:
    """The columns in which a row differs from what its line says."""
    return [
        name
        for at, name in _ALIKE
        if (canonical_options(row[at]) if at == _OPTIONS else row[at]) != stored.columns[name]
    ]


def _ledger_flaws(entry: Entry, found: Opened, seen: _Comparison) -> list[str]:
    """What the ledger row says otherwise than the object and its lines."""
    flaws = []
    for name, noted, counted in (
        ("state", entry.state, found.state),
        ("rows", entry.rows, found.rows),
        ("imported", entry.imported, found.imported),
    ):
        if noted != counted:
            flaws.append(f"{name}={noted}, by the object {counted}")
    for name, noted, least in (
        ("loaded_rows", entry.loaded_rows, seen.loaded),
        ("duplicate_rows", entry.duplicate_rows, seen.duplicates),
        ("quarantined_rows", entry.quarantined_rows, seen.quarantined),
    ):
        if not least <= noted <= least + seen.unsure:
            flaws.append(f"{name}={noted}, by the lines {least}")
    if not seen.pruned <= entry.pruned_rows <= seen.pruned + seen.unsure:
        flaws.append(f"pruned_rows={entry.pruned_rows}, by the lines {seen.pruned}")
    if not flaws and not entry.adds_up:
        flaws.append("the counts do not add up, or state or reason do not fit")
    return flaws

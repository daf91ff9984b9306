"""Faults: what verify.py can find, in fixed words, each with what to do about it.

In: findings. Out: a list of faults, one for each cause. Pure.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

# Kept with their details; further ones are counted by kind.
KEPT_MAX = 10_000


class Kind(StrEnum):
    """What is wrong."""

    MISSING_OBJECT = "missing_object"
    RENAMED_OBJECT = "renamed_object"
    DOUBLED_OBJECT = "doubled_object"
    TRUNCATED_OBJECT = "truncated_object"
    ALTERED_OBJECT = "altered_object"
    FOREIGN_OBJECT = "foreign_object"
    UNREADABLE_OBJECT = "unreadable_object"
    LEFT_BEHIND_OBJECT = "left_behind_object"
    WRONG_LEDGER_ROW = "wrong_ledger_row"
    MISSING_LEDGER_ROW = "missing_ledger_row"
    MISSING_ROW = "missing_row"
    DOUBLED_ROW = "doubled_row"
    ALTERED_ROW = "altered_row"
    MISSING_QUARANTINED_LINE = "missing_quarantined_line"
    DOUBLED_QUARANTINED_LINE = "doubled_quarantined_line"
    ALTERED_QUARANTINED_LINE = "altered_quarantined_line"
    MISSING_INSTALLATION = "missing_installation"
    ALTERED_INSTALLATION = "altered_installation"
    WRONG_VALUE = "wrong_value"
    WRONG_HOUR = "wrong_hour"
    WRONG_DAY = "wrong_day"


_REBUILD = "The bucket is whole: `manage.py rebuild` makes Postgres anew from it."
_RESTORE = "Its events are still in Postgres: do not rebuild before it is back."

ADVICE: dict[Kind, str] = {
    Kind.MISSING_OBJECT: f"Restore it under this name from a copy of the bucket. {_RESTORE}",
    Kind.RENAMED_OBJECT: "Copy it back to the ledger's name, with its metadata, and remove the other.",
    Kind.DOUBLED_OBJECT: "No event counts twice. Remove the copy from the bucket, then `manage.py rebuild`.",
    Kind.TRUNCATED_OBJECT: f"Restore it from a copy of the bucket. {_RESTORE}",
    Kind.ALTERED_OBJECT: f"Restore it, with its metadata, from a copy of the bucket. {_RESTORE}",
    Kind.FOREIGN_OBJECT: "`manage.py load --history PREFIX` takes it in, if it is an archive; else remove it.",
    Kind.UNREADABLE_OBJECT: "Ask the bucket's provider, or restore it from a copy; then verify again.",
    Kind.LEFT_BEHIND_OBJECT: "`manage.py load` loads it. See in its log why the loader did not.",
    Kind.WRONG_LEDGER_ROW: _REBUILD,
    Kind.MISSING_LEDGER_ROW: _REBUILD,
    Kind.MISSING_ROW: _REBUILD,
    Kind.DOUBLED_ROW: _REBUILD,
    Kind.ALTERED_ROW: _REBUILD,
    Kind.MISSING_QUARANTINED_LINE: _REBUILD,
    Kind.DOUBLED_QUARANTINED_LINE: _REBUILD,
    Kind.ALTERED_QUARANTINED_LINE: _REBUILD,
    Kind.MISSING_INSTALLATION: _REBUILD,
    Kind.ALTERED_INSTALLATION: _REBUILD,
    Kind.WRONG_VALUE: f"Dashboards name it wrongly. {_REBUILD}",
    Kind.WRONG_HOUR: f"Dashboards show it wrongly. {_REBUILD}",
    Kind.WRONG_DAY: f"Dashboards show it wrongly. {_REBUILD}",
}

_MISSING = {Kind.MISSING_ROW, Kind.MISSING_QUARANTINED_LINE}


@dataclass(frozen=True)
class Fault:
    """One cause: its kind, where it is, and what was seen.

    `cause` is what tells it from others: the same thing is seen from several places, such as a row that claims to come
    from another object. Two faults of one cause are one.
    """

    kind: Kind
    name: str
    detail: str
    cause: str

    def as_json(self) -> dict[str, str]:
        """As the report lists it."""
        return {"kind": self.kind, "name": self.name, "detail": self.detail, "advice": ADVICE[self.kind]}


class Faults:
    """The faults of one run, each cause once."""

    def __init__(self) -> None:
        self._kept: dict[str, Fault] = {}
        self._beyond: Counter[Kind] = Counter()

    def add(self, fault: Fault) -> None:
        """Note a fault. What is missing in one place may turn up in another, as altered: that says more."""
        known = self._kept.get(fault.cause)
        if known is None and len(self._kept) >= KEPT_MAX:
            self._beyond[fault.kind] += 1
        elif known is None or (known.kind in _MISSING and fault.kind not in _MISSING):
            self._kept[fault.cause] = fault

    def __len__(self) -> int:
        return len(self._kept) + self._beyond.total()

    def by_kind(self) -> dict[str, int]:
        """How many there are of each kind."""
        counts = Counter(fault.kind for fault in self._kept.values()) + self._beyond
        return {kind.value: counts[kind] for kind in Kind if counts[kind]}

    def listed(self) -> list[Fault]:
        """Those that are kept, by kind, then by name."""
        order = list(Kind)
        return sorted(self._kept.values(), key=lambda fault: (order.index(fault.kind), fault.name))

"""The books: every event in its place, each term counted where it happens.

In: the counters beside the buffer, the ledger, the bucket. Out: Books.
Fails: buffer.BufferUnavailable, archive.ArchiveUnavailable.
"""

from dataclasses import asdict, dataclass
from typing import Any

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Q, Sum, Value

from analytics import load
from analytics.models import LoadedObject
from ingest import buffer

_REJECTED = "rejected:"


@dataclass(frozen=True)
class Books:
    """The terms of design.md ("Three stores, three promises"), in events; `rejected` by reason.

    received = accepted + rejected + limited + unavailable; accepted = archived + waiting;
    archived + imported = loaded + duplicate + quarantined + not_yet_loaded.
    """

    received: int
    accepted: int
    rejected: dict[str, int]
    limited: int
    unavailable: int
    waiting: int
    oldest_waiting_seconds: int
    archived: int
    imported: int
    loaded: int
    duplicate: int
    quarantined: int
    not_yet_loaded: int

    def as_json(self) -> dict[str, Any]:
        """Under the names of design.md."""
        return asdict(self)


def books() -> Books:
    """The books as of now. Read from three stores one after the other: what moves meanwhile is between two terms."""
    relist_from = load.oldest_name_to_list()
    # Sums and names in one statement: an object that is loaded meanwhile is in one term, not in two.
    sums = LoadedObject.objects.aggregate(
        imported=Sum("rows", filter=Q(imported=True), default=0),
        loaded=Sum("loaded_rows", default=0),
        duplicate=Sum("duplicate_rows", default=0),
        quarantined=Sum("quarantined_rows", default=0),
        known=ArrayAgg("name", filter=Q(name__gt=relist_from), default=Value([])),
    )
    not_yet_loaded = load.not_yet_loaded_rows(relist_from, set(sums.pop("known")))
    counts = buffer.counters()
    oldest_ms = buffer.oldest_waiting_ms()
    waited_ms = buffer.now_ms() - oldest_ms if oldest_ms else 0
    return Books(
        received=counts.get("received", 0),
        accepted=counts.get("accepted", 0),
        rejected={n.removeprefix(_REJECTED): c for n, c in sorted(counts.items()) if n.startswith(_REJECTED)},
        limited=counts.get("limited", 0),
        unavailable=counts.get("unavailable", 0),
        waiting=counts["waiting"],
        oldest_waiting_seconds=max(0, waited_ms // 1000),
        archived=counts.get("archived", 0),
        not_yet_loaded=not_yet_loaded,
        **sums,
    )

"""Objects in the bucket for tests of what loads them, and what the warehouse then holds."""

import gzip
import hashlib
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.files.storage import storages

from analytics import rollups
from analytics.models import (
    DailyCombinations,
    DailyRollup,
    Event,
    HourlyRollup,
    Installation,
    LoadedObject,
    Quarantined,
    Value,
)
from ingest import archive, batches
from tests.analytics import canonical

HOUR = "event_date=2026-11-22/hr=12/"


def put(*lines: bytes, name: str = "a", **marks: str) -> str:
    """An object as the archiver writes it. Answers its name."""
    item = batches.archive_object(f"{HOUR}{name}.json.gz", lines, **marks)
    archive.put(item)
    return item.name


def put_raw(name: str, body: bytes, metadata: Mapping[str, str] | None = None) -> str:
    """Any object, instead of one of this name. Answers its name."""
    writer = storages["archive"].connection.meta.client  # type: ignore[attr-defined]
    writer.put_object(Bucket=settings.ARCHIVE_BUCKET, Key=name, Body=body, Metadata=metadata or {})
    return name


def put_text(*lines: bytes, name: str = "x") -> str:
    """An object of this portal with lines that no check has seen. Answers its name."""
    text = b"".join(line + b"\n" for line in lines)
    return put_raw(f"{HOUR}{name}.json.gz", gzip.compress(text, mtime=0), metadata(text, rows=len(lines)))


def metadata(text: bytes, *, rows: int) -> dict[str, str]:
    """What says that an object of this text is this portal's."""
    return {"rows": str(rows), "sha256": hashlib.sha256(text).hexdigest()}


def remove(name: str) -> None:
    """Take an object out of the bucket."""
    storages["archive"].delete(name)


def events() -> list[dict[str, Any]]:
    """Every event as loaded, without the serial numbers that depend on the order of loading."""
    columns = [field.name for field in Event._meta.fields if field.name not in ("installation", "source_object")]
    return list(Event.objects.order_by("event_id").values(*columns, "installation__user_id", "source_object__name"))


def warehouse() -> dict[str, list[Any]]:
    """All of the warehouse, up to date, without serial numbers and without when it was loaded."""
    rollups.refresh()
    ledger = [field.name for field in LoadedObject._meta.fields if field.name not in ("id", "loaded_at")]
    return {
        "events": events(),
        "ledger": list(LoadedObject.objects.order_by("name").values(*ledger)),
        "quarantine": [
            (name, number, reason, bytes(payload))
            for name, number, reason, payload in Quarantined.objects.order_by(
                "source_object__name", "source_line"
            ).values_list("source_object__name", "source_line", "reason", "payload")
        ],
        "installations": list(
            Installation.objects.order_by("user_id").values_list("user_id", "first_seen", "last_seen")
        ),
        "rollups": list(canonical.rollup_rows()),
    }


def empty_warehouse() -> None:
    """Postgres with nothing in it."""
    for model in (Event, LoadedObject, Installation, Value, HourlyRollup, DailyRollup, DailyCombinations):
        model.objects.all().delete()


def assert_books_balance() -> None:
    """Each object's rows are loaded, duplicate or quarantined; and the ledger counts what is in the other tables."""
    for source in LoadedObject.objects.all():
        assert source.rows == source.loaded_rows + source.duplicate_rows + source.quarantined_rows, source
        assert source.loaded_rows - source.pruned_rows == Event.objects.filter(source_object=source).count(), source
        if source.state != LoadedObject.State.QUARANTINED:
            assert source.quarantined_rows == Quarantined.objects.filter(source_object=source).count(), source

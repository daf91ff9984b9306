"""The checker finds what is planted, and nothing where nothing is."""

import ast
import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.storage import storages
from django.db import connection

from ingest import archive
from tests.faults import checker
from tests.faults.checker import Sent
from tests.faults.conftest import Events
from tests.faults.stage import Stages


def writer() -> Any:
    return storages["archive"].connection.meta.client  # type: ignore[attr-defined]


def put(name: str, text: bytes) -> None:
    digest = {"rows": str(text.count(b"\n")), "sha256": hashlib.sha256(text).hexdigest()}
    writer().put_object(Bucket=settings.ARCHIVE_BUCKET, Key=name, Body=gzip.compress(text), Metadata=digest)


def change(query: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(query)


def copy_object(events: Events) -> None:
    (first, *_) = archive.listing()
    put(first.name.replace("/hr=", "/hr=9"), gzip.decompress(archive.get(first.name).body))


def shorten_object(events: Events) -> None:
    (first, *_) = archive.listing()
    put(first.name, b"".join(gzip.decompress(archive.get(first.name).body).splitlines(keepends=True)[1:]))


def remove_object(events: Events) -> None:
    (first, *_) = archive.listing()
    writer().delete_object(Bucket=settings.ARCHIVE_BUCKET, Key=first.name)


def promise_another(events: Events) -> None:
    events.sent["0191e9a0-0000-7000-8000-000000000000"] = Sent(accepted=1, maybe_kept=1)


def forget_one(events: Events) -> None:
    del events.sent[next(iter(events.sent))]


def remove_row(events: Events) -> None:
    change("DELETE FROM analytics_event WHERE event_id = (SELECT min(event_id::text)::uuid FROM analytics_event)")


def move_row(events: Events) -> None:
    change("UPDATE analytics_event SET source_line = source_line + 1 WHERE source_line = 100")


def miscount(events: Events) -> None:
    change("UPDATE analytics_loadedobject SET loaded_rows = loaded_rows - 1, duplicate_rows = duplicate_rows + 1")


PLANTED: list[tuple[Callable[[Events], None], str]] = [
    (lambda events: events.accept(1), "the books do not balance: waiting = 0"),
    (move_row, "a row that is not the first copy"),
    (remove_row, "in an object and in no row"),
    (miscount, "counted wrongly in the ledger"),
    (promise_another, "answered 2xx and in no object: 0191e9a0"),
    (copy_object, "in more lines than it was sent"),
    (forget_one, "archived and never sent"),
    (shorten_object, "an object that changed"),
    (remove_object, "an object that was there and is not"),
]


@pytest.mark.xdist_group("stages")
def test_checker_finds_what_is_planted_and_nothing_before(stages: Stages, events: Events) -> None:
    events.accept(150)
    assert (stages.run("archive"), stages.run("load")) == (0, 0)
    assert events.found().faults == []
    for plant, kind in PLANTED:
        plant(events)
        assert [fault for fault in events.found().faults if fault.startswith(kind)], kind


def test_checker_imports_nothing_of_the_project() -> None:
    imported = set()
    for node in ast.walk(ast.parse(Path(checker.__file__).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert not imported & {"analytics", "ingest", "vibetel", "vibetel_client", "tests", "django"}

"""The books balance, and each term is counted where it happens."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from analytics import ledger, load
from ingest import archive, archiver, batches, buffer
from tests.events import line

pytestmark = pytest.mark.usefixtures("empty_stores")


def test_books_follow_an_event_through_the_stages() -> None:
    buffer.push([line(), line()], received=4, counts={"rejected:bad_json": 1, "rejected:bad_type": 1})
    books = ledger.books()
    assert (books.received, books.accepted, books.rejected) == (4, 2, {"bad_json": 1, "bad_type": 1})
    assert (books.waiting, books.archived, books.loaded) == (2, 0, 0)
    archiver.archive_due(force=True)
    books = ledger.books()
    assert (books.waiting, books.archived, books.not_yet_loaded, books.loaded) == (0, 2, 2, 0)
    load.catch_up(everything=False, wait=True)
    books = ledger.books()
    assert (books.archived, books.not_yet_loaded, books.loaded) == (2, 0, 2)


def test_books_count_what_was_imported_apart() -> None:
    archive.put(batches.archive_object("a.json.gz", [line(), line()], origin="simulate"))
    load.catch_up(everything=True, wait=True)
    books = ledger.books()
    assert (books.archived, books.imported, books.loaded) == (0, 2, 2)


def test_ledger_prints_the_names_of_the_books() -> None:
    buffer.push([line()], received=2, counts={"rejected:bad_json": 1})
    out = StringIO()
    call_command("ledger", "--json", stdout=out)
    printed = json.loads(out.getvalue())
    assert list(printed) == [
        "received", "accepted", "rejected", "limited", "unavailable", "waiting", "oldest_waiting_seconds",
        "archived", "imported", "loaded", "duplicate", "quarantined", "not_yet_loaded",
    ]  # fmt: skip
    assert printed["rejected"] == {"bad_json": 1}
    out = StringIO()
    call_command("ledger", stdout=out)
    assert "bad_json" in out.getvalue()


def test_ledger_says_what_to_do_where_redis_is_away(redis_away: None) -> None:
    with pytest.raises(CommandError, match="Is the portal running"):
        call_command("ledger")

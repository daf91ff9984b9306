"""Data quality: the page says whether the books balance, without asking the bucket, whatever is away."""

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from analytics import ledger, roles
from analytics.dashboards import payload
from analytics.dashboards.payload import Shape
from analytics.models import BooksReading, Installation, LoadedObject, TouchedHour, Verification
from ingest import buffer
from tests.analytics.history import record, run
from tests.analytics.test_admin import HOSTILE, assert_strict
from tests.analytics.test_ledger import delete_counter, fill
from tests.events import line

pytestmark = pytest.mark.usefixtures("empty_stores")


def look(client: Client) -> str:
    answer = client.get("/admin/data-quality/")
    assert answer.status_code == 200
    page = answer.content.decode()
    assert_strict(page)
    return page


def words(page: str) -> str:
    """What stands in the page, in one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", page[page.index('id="content"') :]).split())


@pytest.fixture
def viewer(client: Client) -> Client:
    account = User.objects.create_user("viewer")
    roles.give(account, roles.VIEWER)
    client.force_login(account)
    return client


def test_data_quality_is_for_whoever_sees_dashboards(client: Client) -> None:
    assert client.get("/admin/data-quality/").status_code == 302


def test_data_quality_tells_a_viewer_how_much_is_wrong_and_of_no_event_or_object(viewer: Client) -> None:
    now = timezone.now()
    quarantine(b"{")
    fault = {"kind": "altered_row", "name": "event 1b3c4a5e", "advice": "The object event_date=2026-11-22 is whole."}
    Verification.objects.create(started_at=now, finished_at=now, deep=False, faults_count=1, faults=[fault])
    page = look(viewer)
    assert "1 fault " in words(page)
    assert "Analysts see which." in page
    assert "bad_line 1" in words(page)
    assert not re.search("1b3c4a5e|event_date|/(verification|quarantined|loadedobject)/", page)


def test_data_quality_says_that_nothing_was_read_yet(admin_client: Client) -> None:
    page = words(look(admin_client))
    assert "The books have not been read yet" in page
    assert "No event was rejected." in page
    assert "Nothing was left out." in page
    assert "Nothing is quarantined." in page
    assert "None came to its end yet." in page


def test_data_quality_shows_the_books_as_a_flow(admin_client: Client) -> None:
    fill()
    ledger.watch(timezone.now())
    page = words(look(admin_client))
    assert "The books balance" in page
    for told in (
        "Received 24 = accepted + rejected + limited + unavailable Rejected 8 Limited 4 Unavailable 4 balances",
        "Accepted 8 = archived + waiting Waiting 2 balances",
        "Archived 6 = loaded + duplicate + quarantined + not yet loaded Duplicate 0 Quarantined 0 Not yet loaded 2",
        "Loaded 4",
        "bad_json 8 33.3%",
    ):
        assert told in page


def test_data_quality_names_what_does_not_balance_when_it_lasts(admin_client: Client) -> None:
    fill()
    delete_counter("limited")
    now = timezone.now()
    ledger.watch(now - timedelta(seconds=ledger.LASTING_SECONDS))
    assert "looking again" in words(look(admin_client))
    ledger.watch(now)
    page = words(look(admin_client))
    assert "The books do not balance" in page
    assert "Ingest: 4 events came and were neither accepted nor refused" in page
    assert "4 too few" in page


def test_data_quality_shows_the_old_reading_and_its_age_where_a_store_is_away(
    admin_client: Client, settings: Settings
) -> None:
    fill()
    ledger.watch(timezone.now() - timedelta(minutes=5))
    settings.ARCHIVE_BUCKET = "no-such-bucket"  # not asked
    page = words(look(admin_client))
    assert "The books balanced when last read" in page
    assert "The books were last read 5 minutes ago" in page
    assert "Received 24" in page


def test_data_quality_is_shown_while_redis_is_away(admin_client: Client, redis_away: None) -> None:
    BooksReading.objects.create(pk=1, read_at=timezone.now(), terms=TERMS, imbalances={})
    page = words(look(admin_client))
    assert "Redis does not answer" in page
    assert "Received 7" in page


TERMS = {
    "received": 7, "accepted": 7, "rejected": {}, "limited": 0, "unavailable": 0, "waiting": 0,
    "oldest_waiting_seconds": 0, "archived": 7, "imported": 3, "loaded": 10, "duplicate": 0, "quarantined": 0,
    "not_yet_loaded": 0,
}  # fmt: skip


def test_data_quality_tells_imported_events_apart(admin_client: Client) -> None:
    BooksReading.objects.create(pk=1, read_at=timezone.now(), terms=TERMS, imbalances={})
    assert "Archived 7 + imported = loaded" in words(look(admin_client))


def test_data_quality_says_what_lags(admin_client: Client) -> None:
    now = timezone.now()
    people = Installation.objects.create(user_id=uuid.uuid4())
    record([run(now, installation=people), run(now, placeholder="anonymous_opt_out")])
    TouchedHour.objects.create(hour=datetime(2026, 11, 22, 12, tzinfo=UTC))
    buffer.push([line()], received=1, counts={})
    with buffer.looking("archiver"):
        pass
    page = words(look(admin_client))
    assert "Rollups behind 1 hour " in page
    assert re.search(r"Oldest event that waits \d+ s", page)
    assert re.search(r"Archiver last done \d+ s ago", page)
    assert "Loader last done never" in page
    assert "Opted out, or not asked 50.0%" in page


def test_data_quality_escapes_names_that_anybody_may_have_sent(admin_client: Client) -> None:
    buffer.push([line()], received=1, counts={}, dropped={f"field:{HOSTILE}": 3, "unseen:model": 2})
    page = look(admin_client)
    assert HOSTILE not in page
    assert "field on no list" in page
    assert "one new name too many" in page


def test_data_quality_links_to_what_is_quarantined(admin_client: Client) -> None:
    quarantine(b"{", b"[")
    LoadedObject.objects.create(
        name="b",
        state="quarantined",
        reason="bad_gzip",
        size_bytes=1,
        etag="",
        imported=False,
        loaded_at=timezone.now(),
    )
    page = look(admin_client)
    lines, objects = re.findall(r'href="([^"]+)" title="bad_\w+"', page)
    assert admin_client.get(lines).context["cl"].result_count == 2
    assert admin_client.get(objects).context["cl"].result_count == 1


def quarantine(*payloads: bytes) -> LoadedObject:
    source = LoadedObject.objects.create(
        name="a", state="loaded", size_bytes=1, etag="", imported=False, loaded_at=timezone.now()
    )
    for number, text in enumerate(payloads, start=1):
        source.quarantined_set.create(source_line=number, reason="bad_line", payload=text)
    return source


def test_data_quality_shows_the_last_verification_with_its_first_faults(admin_client: Client) -> None:
    began = timezone.now() - timedelta(hours=2)
    Verification.objects.create(started_at=began, finished_at=began, deep=False)
    assert "No faults" in words(look(admin_client))
    fault = {"kind": "missing_object", "name": f"a{HOSTILE}", "detail": "100 rows", "advice": "`Restore` it."}
    Verification.objects.create(
        started_at=began,
        finished_at=began + timedelta(minutes=1),
        deep=True,
        objects_count=1200,
        faults_count=1_234,
        faults=[fault] * 11,
    )
    Verification.objects.create(started_at=timezone.now(), deep=True)  # at it
    page = look(admin_client)
    assert "1,234 faults" in words(page)
    assert "1,200 objects" in words(page)
    assert page.count("100 rows") == 10
    assert page.count("missing object") == page.count("Restore it.") == 1
    assert "1,224 more." in page
    assert HOSTILE not in page


def test_data_quality_takes_few_statements(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(12):
        look(admin_client)


# -- The shape of a payload -------------------------------------------------------------------------------------------


def test_shape_tells_names_of_the_contract_and_never_a_value() -> None:
    told = payload.shape(b'{"command": "rm -rf", "duration": 1234, "hasError": true, "options": {"a": 1}, "me": 1}')
    assert told.kind == "object, 5 keys"
    assert dict(told.fields) == {
        "command": "text, 6 characters",
        "duration": "number",
        "hasError": "true or false",
        "options": "object, 1 key",
    }
    assert told.other_keys == 1
    assert {"eventId", "receivedAt", "userId"} <= set(told.missing)


def test_shape_finds_nothing_missing_in_a_whole_line() -> None:
    assert payload.shape(line()).missing == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'"secret"', "text, 6 characters"),
        (b"[1, 2]", "list, 2 entries"),
        (b"null", "null"),
        (b" " * (payload.PARSED_MAX_BYTES + 1), "too long to be looked into"),
    ],
)
def test_shape_of_what_is_no_object_says_only_what_it_is(text: bytes, kind: str) -> None:
    assert payload.shape(text) == Shape(kind)

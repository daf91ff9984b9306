"""History: archives that Cloudflare wrote are loaded when asked for, each line through the checks, each event once."""

import gzip
import io
import json
import random
import tracemalloc
import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from analytics import history, lines, load, replay
from analytics.history import Preview
from analytics.load import Loaded
from analytics.models import Event, Installation, LoadedObject, Quarantined
from ingest import batches
from ingest.archive import Fetched, Listed
from tests.analytics import bucket
from tests.analytics.bucket import put, put_raw
from tests.events import event, line

pytestmark = pytest.mark.usefixtures("empty_stores")

GOLDEN = Path(__file__).parent.parent / "golden"
# 2025-06-01T12:34:56.789Z, as the ULID of an older pipeline's object has it.
MOMENT = datetime(2025, 6, 1, 12, 34, 56, 789_000, tzinfo=UTC)
PIPELINE = "event_date=2025-06-01/hr=12/01JWNQSV4N8ZKQ5T9XJ4M7C2RD.json.gz"
SINK = "telemetry/year=2025/month=06/day=01/0b7f0f5e-6f1c-4a55-9a55-0d6b3c1f2a10.json"


def sent(**changes: Any) -> dict[str, Any]:
    """An event as the released Node client sent it, on the day of PIPELINE and SINK."""
    fields = json.loads((GOLDEN / "released_success.json").read_text())["sent"]
    fields |= {"timestamp": "2025-06-01T12:34:50.000Z", "sessionId": str(uuid.uuid4())} | changes
    return {name: value for name, value in fields.items() if value is not None}


def twin(**changes: Any) -> dict[str, Any]:
    """The second event of a failing run."""
    fields: dict[str, Any] = json.loads((GOLDEN / "released_failure_twin.json").read_text())["sent"]
    return fields | {"timestamp": "2025-06-01T12:34:50.000Z", "sessionId": str(uuid.uuid4())} | changes


def text(*events: object) -> bytes:
    """As Cloudflare writes them: a line each, as Node's JSON.stringify gives it."""
    return b"".join(json.dumps(one, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for one in events)


def put_pipeline(*events: object, name: str = PIPELINE) -> str:
    return put_raw(name, gzip.compress(text(*events), mtime=0))


def put_sink(*events: object, name: str = SINK) -> str:
    return put_raw(name, text(*events))


def load_history(prefix: str = "") -> Loaded:
    return history.load(history.find(prefix))


def listed(name: str) -> Listed:
    return Listed(name, 1, "", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def command(*arguments: str) -> str:
    said = io.StringIO()
    call_command("load", *arguments, stdout=said)
    return said.getvalue()


# -- The formats ------------------------------------------------------------------------------------------------------


def test_history_loads_a_pipelines_object_through_the_checks() -> None:
    put_pipeline(sent(userId="alice@example.com", model="say hello to Bob", note="mine"), twin())
    assert load_history() == Loaded(objects=1, rows=2)
    run, failure = Event.objects.select_related("installation").order_by("source_line")
    assert run.installation is not None
    assert run.installation.user_id.version == 5
    assert run.options == {"debug": False, "maxTokens": 8192, "saveTo": True}
    assert run.model == "other"
    assert (run.occurred_at, run.clock_is_server) == (datetime(2025, 6, 1, 12, 34, 50, tzinfo=UTC), False)
    assert run.received_at == MOMENT
    assert run.event_id.version == 5
    assert (failure.event_name, failure.duration_ms, failure.has_error) == ("command_error", None, None)
    assert failure.error_type == "ProviderError"


def test_history_keeps_no_personal_text_of_a_line_it_loads() -> None:
    secrets = ("alice", "secret", "sk-1234", "Bob")
    put_pipeline(sent(userId="alice@example.com", provider="say hello to Bob"), twin())
    load_history()
    rows = str([list(model.objects.values_list()) for model in (Event, Installation, LoadedObject, Quarantined)])
    assert not [secret for secret in secrets if secret in rows]


def test_history_loads_a_sinks_object_plain_or_gzip() -> None:
    put_sink(sent(), sent())
    put_raw(SINK.replace("0b7f", "1b7f"), gzip.compress(text(sent())))
    assert load_history() == Loaded(objects=2, rows=3)
    assert set(Event.objects.values_list("received_at", flat=True)) == {
        datetime(2025, 6, 1, 23, 59, 59, 999_000, tzinfo=UTC)
    }


def test_history_takes_an_event_out_of_its_wrapping() -> None:
    one = sent()
    put_sink(
        one,
        {"data": one},
        {"value": one, "__ingest_ts": "2025-06-01T12:35:00.000Z"},
        {"value": json.dumps(one), "__ingest_ts": "2025-06-01T12:36:00.000Z"},
        {"value": {"data": one}},
        one | {"__ingest_ts": "2025-06-01T12:37:00.000Z"},
        dict(reversed(one.items())),
    )
    assert load_history() == Loaded(objects=1, rows=1, duplicates=6)


def test_history_reads_windows_line_ends_empty_lines_and_a_byte_order_mark() -> None:
    lines = text(sent(), sent()).splitlines()
    put_raw(SINK, b"\xef\xbb\xbf" + lines[0] + b"\r\n\r\n \t\r\n\n" + lines[1])
    assert load_history() == Loaded(objects=1, rows=2)
    assert LoadedObject.objects.get().rows == 2
    assert list(Event.objects.order_by("source_line").values_list("source_line", flat=True)) == [1, 5]


def test_history_of_an_empty_object_is_nothing() -> None:
    put_raw(SINK, b"")
    assert load_history() == Loaded(objects=1)
    assert LoadedObject.objects.get().state == "history"


def test_history_replaces_a_time_that_is_implausible() -> None:
    put_pipeline(sent(timestamp="2031-01-01T00:00:00.000Z"))
    load_history()
    wrong = Event.objects.get()
    assert (wrong.occurred_at, wrong.clock_is_server) == (MOMENT, True)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'{"eventName":', "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b'{"duration": Infinity}', "bad_json"),
        (b"1" * 5000, "bad_json"),
        (b'{"data":' * 100_000, "bad_json"),
        (b"null", "bad_type data"),
        (b'{"data": []}', "bad_type data"),
        (b'{"data": "text"}', "bad_json"),
        (b"{}", "missing_field eventName"),
        (text({"tool": "another"}).strip(), "missing_field eventName"),
        (text(sent(eventName="page_view")).strip(), "unknown_event eventName"),
        (text(sent(duration="11600")).strip(), "bad_type duration"),
        (text(sent(sessionId=None)).strip(), "missing_field sessionId"),
        (text(sent(eventId="7")).strip(), "bad_value eventId"),
        (text(sent(timestamp="yesterday")).strip(), "bad_value timestamp"),
        (b"[" + b"1," * 60_000 + b"1]", "bad_type data"),
        (text(sent(options={str(number): 1 for number in range(60_000)})).strip(), "too_many_values"),
    ],
)
def test_history_keeps_a_broken_line_aside_and_loads_the_others(broken: bytes, reason: str) -> None:
    put_raw(SINK, text(sent()) + broken + b"\n" + text(sent()))
    assert load_history() == Loaded(objects=1, rows=2, quarantined=1)
    kept = Quarantined.objects.get()
    assert (kept.source_line, kept.reason, bytes(kept.payload)) == (2, reason, broken)
    source = LoadedObject.objects.get()
    assert (source.state, source.rows, source.imported) == ("history", 3, True)
    bucket.assert_books_balance()


def test_history_keeps_a_broken_object_aside_and_loads_the_others() -> None:
    whole = gzip.compress(text(*(sent() for _ in range(20))))
    put_raw(PIPELINE, whole[:-20])
    put_sink(sent())
    assert load_history() == Loaded(objects=2, rows=1)
    broken = LoadedObject.objects.get(name=PIPELINE)
    assert (broken.state, broken.reason, broken.imported, broken.rows) == ("quarantined", "bad_gzip", True, 0)
    assert load_history() == Loaded()


# -- Once -------------------------------------------------------------------------------------------------------------


def test_history_keeps_the_beginning_of_a_line_that_is_too_long() -> None:
    """White space around a line does not count."""
    padding = b" " * lines.LINE_MAX_BYTES
    too_long = b'{"note":"' + padding + b'"}'
    put_raw(PIPELINE, gzip.compress(padding + text(sent()) + padding + too_long + b"\r\n" + padding + text(sent())))
    assert load_history() == Loaded(objects=1, rows=2, quarantined=1)
    kept = Quarantined.objects.get()
    assert (kept.source_line, kept.reason) == (2, "too_long")
    assert bytes(kept.payload) == too_long[: lines.LINE_MAX_BYTES + 1]


def test_history_keeps_an_object_aside_that_postgres_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of which nobody knows how many lines it has."""
    put_pipeline(sent(), sent())
    with monkeypatch.context() as patch:
        patch.setattr(lines, "_values", lambda archived: [None] * (len(lines.COLUMNS) - 4))
        assert load_history() == Loaded(objects=1)
    source = LoadedObject.objects.get()
    assert (source.state, source.reason, source.rows) == ("quarantined", "IntegrityError", 0)
    assert replay.replay().rows == 2
    bucket.assert_books_balance()


@pytest.mark.parametrize(
    "hostile",
    [b'{"eventName":"' + b"x" * 40_000_000 + b'"}', b"x\n" * 900_000, b"\n" * 900_000],
    ids=["one line", "broken lines", "empty lines"],
)
def test_history_takes_no_more_memory_than_some_times_the_text(hostile: bytes) -> None:
    entry = Listed(PIPELINE, 1000, "", MOMENT)
    item = Fetched(PIPELINE, gzip.compress(hostile, compresslevel=1), {})
    tracemalloc.start()
    try:
        opened = history.open_history(entry, item)
        assert opened
        lines.rows(LoadedObject(), opened.numbered, received_at=opened.received_at)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * len(hostile) + 1_000_000


def test_history_takes_copies_in_several_objects_for_one_event() -> None:
    """Cloudflare delivers at least once. The copy received first counts."""
    one, other = sent(), sent()
    put_pipeline(one, one, other)
    put_pipeline(other, one, name=PIPELINE.replace("01JWNQSV4N", "01JWNQSV40"))
    put_sink(one)
    assert load_history() == Loaded(objects=3, rows=2, duplicates=4)
    assert set(Event.objects.values_list("source_object__name", flat=True)) == {
        PIPELINE.replace("01JWNQSV4N", "01JWNQSV40")
    }
    bucket.assert_books_balance()


def test_history_keeps_apart_what_differs_in_what_no_event_may_carry() -> None:
    one = twin()
    put_pipeline(one, one | {"errorMessage": "another"})
    assert load_history().rows == 2


def test_history_keeps_an_id_that_a_line_brings() -> None:
    event_id = str(uuid.uuid4())
    put_pipeline(event(eventId=event_id))
    load_history()
    assert str(Event.objects.get().event_id) == event_id


def test_history_again_changes_nothing() -> None:
    put_pipeline(sent(), twin(), 7)
    load_history()
    before = bucket.warehouse()
    assert load_history() == Loaded()
    assert bucket.warehouse() == before


def test_history_gives_the_same_when_all_is_dropped_and_loaded_again() -> None:
    put_pipeline(sent(), twin(), "no event")
    put_raw("backup.json", text(sent()))
    load_history()
    before = bucket.warehouse()
    bucket.empty_warehouse()
    load_history()
    assert bucket.warehouse() == before


def test_history_after_the_loader_saw_the_object_turns_it_from_foreign() -> None:
    put_pipeline(sent(), sent())
    assert load.catch_up(everything=True, wait=True).foreign_objects == 1
    (before,) = LoadedObject.objects.all()
    assert load_history() == Loaded(objects=1, rows=2)
    (after,) = LoadedObject.objects.all()
    assert (after.pk, after.state, after.rows, after.imported) == (before.pk, "history", 2, True)
    assert load.catch_up(everything=True, wait=True) == Loaded()


def test_history_leaves_this_portals_objects_to_the_loader() -> None:
    put(line())
    put_pipeline(sent())
    assert load_history() == Loaded(objects=1, rows=1)
    assert load.catch_up(everything=True, wait=True) == Loaded(objects=1, rows=1)
    assert set(LoadedObject.objects.values_list("state", flat=True)) == {"loaded", "history"}


class _Killed(Exception):
    pass


@pytest.mark.parametrize("seed", range(3))
def test_history_of_random_objects_is_the_same_however_it_is_loaded(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any order, some objects at a time, killed between them, and with the loader at work as well."""
    dice = random.Random(seed)
    people = ["alice@example.com", str(uuid.UUID(int=7)), "anonymous_opt_out"]
    events: list[object] = [sent(userId=dice.choice(people), duration=number) for number in range(10)]
    events += [twin(), 7, {"data": sent()}]
    for number in range(8):
        day = date(2025, 6, dice.randint(1, 4))
        copies = dice.choices(events, k=dice.randint(1, 9))
        name = (
            f"event_date={day}/hr=0{number}/x.json.gz"
            if number % 2
            else f"p/year=2025/month=06/day=0{day.day}/{number}.json"
        )
        put_raw(name, gzip.compress(text(*copies), mtime=0) if number % 3 else text(*copies))
    load_history()
    at_once = bucket.warehouse()
    assert at_once["events"]

    def die_often(seen: Loaded) -> None:
        if dice.random() < 0.3:
            raise _Killed

    for _ in range(3):
        bucket.empty_warehouse()
        load.catch_up(everything=True, wait=True)
        found = list(history.find(""))
        left = True
        while left:
            dice.shuffle(found)
            monkeypatch.setattr(load, "OBJECTS_AT_ONCE", dice.randint(1, 4))
            try:
                history.load(found, progress=die_often)
                left = False
            except _Killed:
                load.catch_up(everything=True, wait=True)
        bucket.assert_books_balance()
        assert bucket.warehouse() == at_once


# -- Which, and when --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        (PIPELINE, MOMENT),
        (PIPELINE.rpartition("/")[2], MOMENT),
        ("copy/of/" + PIPELINE.removesuffix(".gz"), MOMENT),
        # A day later the ULID may be; another day it cannot be one.
        (PIPELINE.replace("06-01", "05-31"), MOMENT),
        (PIPELINE.replace("06-01", "06-02"), datetime(2025, 6, 2, 23, 59, 59, 999_000, tzinfo=UTC)),
        (SINK, datetime(2025, 6, 1, 23, 59, 59, 999_000, tzinfo=UTC)),
        ("year=2025/month=02/day=30/x.json", listed("").last_modified),
        ("7ZZZZZZZZZZZZZZZZZZZZZZZZZ.json", listed("").last_modified),
        ("export.json", listed("").last_modified),
    ],
)
def test_history_tells_when_lines_came_by_the_name(name: str, moment: datetime) -> None:
    assert history.received_at(listed(name)) == moment


def test_history_finds_by_prefix_and_by_day() -> None:
    put_pipeline(sent())
    june_second = put_sink(sent(), name=SINK.replace("day=01", "day=02"))
    june_third = put_sink(sent(), name=SINK.replace("day=01", "day=03"))
    undated = put_sink(sent(), name="export.json")
    put_raw("logo.png", b"")

    def found(*arguments: Any) -> set[str]:
        return {entry.name for entry in history.find(*arguments)}

    assert found("") == {PIPELINE, june_second, june_third, undated}
    assert found("telemetry/") == {june_second, june_third}
    assert found(PIPELINE) == {PIPELINE}
    assert found("", date(2025, 6, 2)) == {june_second, june_third, undated}
    assert found("", date(2025, 6, 1), date(2025, 6, 2)) == {PIPELINE, june_second}
    today = datetime.now(UTC).date()
    assert found("", today - timedelta(days=1), today + timedelta(days=1)) == {undated}


# -- The command ------------------------------------------------------------------------------------------------------


def test_load_command_shows_what_history_would_bring_and_changes_nothing() -> None:
    one = sent()
    put_pipeline(one, one, sent(duration="7"), twin())
    put_sink(one, 7)
    put_raw("a.json.gz", b"\x1f\x8b broken")
    load.catch_up(everything=True, wait=True)
    before = bucket.warehouse()
    assert history.preview(history.find("")) == Preview(
        objects=3,
        events=2,
        duplicates=2,
        quarantined={"bad_type duration": 1, "bad_type data": 1},  # type: ignore[arg-type]
        broken_objects={"bad_gzip": 1},  # type: ignore[arg-type]
    )
    assert command("--history", "", "--dry-run") == (
        "3 objects, not loaded: 2 events, 2 duplicates among them, 2 lines to quarantine (bad_type data: 1, "
        "bad_type duration: 1), 1 unreadable objects (bad_gzip: 1).\n"
    )
    assert bucket.warehouse() == before
    assert "3 objects: 2 events loaded, 2 duplicates, 2 quarantined. 1 hours" in command("--history", "")
    assert "0 objects" in command("--history", "", "--dry-run")


def test_load_command_takes_a_range_of_days() -> None:
    put_pipeline(sent())
    put_sink(sent(), name=SINK.replace("day=01", "day=02"))
    assert command("--history", "", "--since", "2025-06-02", "--until", "2025-06-02").startswith("1 objects: 1 events")
    assert Event.objects.get().source_object.name == SINK.replace("day=01", "day=02")


def test_load_command_says_what_was_left_alone() -> None:
    put_pipeline(sent())
    assert "1 objects were not written by this portal, and left alone; --history loads" in command()


@pytest.mark.parametrize("arguments", [["--since", "2025-06-02"], ["--dry-run"]])
def test_load_command_refuses_a_range_without_history(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match="go with --history"):
        command(*arguments)


def test_load_command_refuses_what_is_no_day() -> None:
    with pytest.raises(CommandError, match="a day is written 2026-01-31"):
        command("--history", "", "--since", "June")


def test_history_loads_an_object_of_ours_that_has_its_metadata_back() -> None:
    """A copy of a bucket without metadata, and then one with them."""
    ours = batches.archive_object("event_date=2026-11-22/hr=12/a.json.gz", [line(), line()])
    put_raw(ours.name, ours.body, {})
    load.catch_up(everything=True, wait=True)
    assert LoadedObject.objects.get().state == "foreign"
    put_raw(ours.name, ours.body, ours.metadata)
    history.load(history.find(""))
    found = LoadedObject.objects.get()
    assert (found.state, found.loaded_rows, found.imported) == ("loaded", 2, False)

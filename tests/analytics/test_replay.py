"""Replay: what was in quarantine is, after a fix, in Postgres as if it had been loaded from the start."""

import gzip
import io
import itertools
import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from analytics import history, lines, load, replay
from analytics.load import Loaded
from analytics.models import Event, LoadedObject, Quarantined, TouchedHour
from analytics.replay import Replayed
from ingest import archive
from ingest.archive import ArchiveUnavailable
from tests.analytics import bucket
from tests.analytics.bucket import put_raw, put_text
from tests.events import NOON, line

pytestmark = pytest.mark.usefixtures("empty_stores")


@contextmanager
def loader_that_refuses_afternoons() -> Iterator[None]:
    """A fault in the code, such as one that sends lines into quarantine; mended at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_LAST", NOON + timedelta(seconds=1))
        yield


def catch_up() -> Loaded:
    return load.catch_up(everything=True, wait=True)


def command(*arguments: str) -> str:
    said = io.StringIO()
    call_command("replay", *arguments, stdout=said)
    return said.getvalue()


def afternoon(hours: int = 1, **changes: object) -> bytes:
    return line(NOON + timedelta(hours=hours), **changes)


def test_replay_of_nothing_is_nothing() -> None:
    assert replay.replay() == Replayed()


def test_replay_loads_a_line_after_the_code_is_mended() -> None:
    put_text(line(), afternoon(), b"not json")
    with loader_that_refuses_afternoons():
        assert catch_up() == Loaded(objects=1, rows=1, quarantined=2)
    TouchedHour.objects.all().delete()
    assert replay.replay() == Replayed(lines=1, rows=1, lines_left=1)
    source = LoadedObject.objects.get()
    assert (source.loaded_rows, source.quarantined_rows) == (2, 1)
    assert Quarantined.objects.get().reason == "bad_json"
    assert list(TouchedHour.objects.values_list("hour", flat=True)) == [NOON]
    bucket.assert_books_balance()


def test_replay_keeps_what_cannot_be_read_with_the_reason_of_today() -> None:
    put_text(b"not json")
    catch_up()
    Quarantined.objects.update(reason="of an older version")
    assert replay.replay() == Replayed(lines_left=1)
    assert Quarantined.objects.get().reason == "bad_json"


def test_replay_again_changes_nothing() -> None:
    put_text(line(), afternoon(), b"not json")
    put_raw("a.json.gz", b"broken", bucket.metadata(b"", rows=3))
    with loader_that_refuses_afternoons():
        catch_up()
    replay.replay()
    before = bucket.warehouse()
    loaded_at = list(LoadedObject.objects.order_by("pk").values_list("loaded_at", flat=True))
    assert replay.replay() == Replayed(lines_left=1, objects_left=1)
    assert bucket.warehouse() == before
    assert list(LoadedObject.objects.order_by("pk").values_list("loaded_at", flat=True)) == loaded_at


def test_replay_puts_an_earlier_copy_in_the_place_of_a_later_one() -> None:
    """Also where both are of one object."""
    event_id = str(uuid.uuid4())
    one = afternoon(1, eventId=event_id, duration=1, timestamp="2026-11-22T13:00:00Z")
    put_text(one, line(NOON, eventId=event_id, duration=2), name="a")
    put_text(line(NOON, eventId=event_id, duration=3), name="b")
    catch_up()
    right = bucket.warehouse()
    bucket.empty_warehouse()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_FIRST", NOON + timedelta(seconds=1))
        catch_up()
    assert Event.objects.get().duration_ms == 1
    assert replay.replay() == Replayed(lines=2, rows=1, duplicates=1)
    assert Event.objects.get().duration_ms == 2
    assert bucket.warehouse() == right


# -- Objects ----------------------------------------------------------------------------------------------------------


def test_replay_loads_an_object_that_was_mended_in_the_bucket() -> None:
    """What the ledger says of its bytes is brought up to date."""
    text = line() + b"\n" + line() + b"\n"
    name = put_raw("a.json.gz", gzip.compress(text)[:-9], bucket.metadata(text, rows=2))
    put_text(line())
    catch_up()
    put_raw(name, gzip.compress(text), bucket.metadata(text, rows=2))
    assert replay.replay() == Replayed(objects=1, rows=2)
    source = LoadedObject.objects.get(name=name)
    (listed,) = (entry for entry in archive.listing() if entry.name == name)
    assert (source.state, source.reason, source.loaded_rows, source.quarantined_rows) == ("loaded", "", 2, 0)
    assert (source.etag, source.size_bytes) == (listed.etag, listed.size_bytes)
    bucket.assert_books_balance()
    assert catch_up() == Loaded()


def test_replay_notes_another_fault_of_an_object() -> None:
    name = put_raw("a.json.gz", b"broken", bucket.metadata(b"", rows=3))
    catch_up()
    put_raw(name, gzip.compress(b"{}\n"), bucket.metadata(b"", rows=3))
    assert replay.replay() == Replayed(objects_left=1)
    source = LoadedObject.objects.get()
    assert (source.reason, source.quarantined_rows) == ("bad_digest", 3)


def test_replay_keeps_broken_lines_of_a_mended_object_aside() -> None:
    text = line() + b"\nnot json\n"
    name = put_raw("a.json.gz", b"broken", bucket.metadata(text, rows=2))
    catch_up()
    put_raw(name, gzip.compress(text), bucket.metadata(text, rows=2))
    assert replay.replay() == Replayed(objects=1, rows=1)
    assert Quarantined.objects.get().source_line == 2
    bucket.assert_books_balance()


def test_replay_does_not_trust_an_object_that_lost_its_metadata() -> None:
    """Nothing says any more what was in it: put there by hand, it needs them (`aws s3 cp --metadata`)."""
    name = put_raw("a.json.gz", b"broken", bucket.metadata(b"", rows=3))
    catch_up()
    put_raw(name, gzip.compress(line()))
    assert replay.replay() == Replayed(objects_left=1)
    source = LoadedObject.objects.get()
    assert (source.state, source.reason, source.quarantined_rows) == ("quarantined", "no_metadata", 3)


def test_replay_goes_on_where_an_object_is_gone() -> None:
    text = line() + b"\n"
    gone, mended = (put_raw(f"{name}.json.gz", b"broken", bucket.metadata(text, rows=1)) for name in "ab")
    catch_up()
    bucket.remove(gone)
    put_raw(mended, gzip.compress(text), bucket.metadata(text, rows=1))
    assert replay.replay() == Replayed(objects=1, rows=1, objects_left=1, missing_objects=1)


def test_replay_tells_what_could_not_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ArchiveUnavailable("SlowDown")

    put_raw("a.json.gz", b"broken", bucket.metadata(b"", rows=3))
    catch_up()
    monkeypatch.setattr(archive, "get", refuse)
    assert replay.replay() == Replayed(objects_left=1, delayed_objects=1)
    with pytest.raises(CommandError, match="1 objects could not be fetched now"):
        command()


# -- History ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["event_date=2026-11-22/hr=12/x.json.gz", "export.json"])
def test_replay_loads_a_line_of_history_as_the_history_would_have(name: str) -> None:
    put_raw(name, line(eventId=None) + b"\nnot json\n")
    history.load(history.find(""))
    right = bucket.warehouse()
    bucket.empty_warehouse()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_FIRST", datetime(2100, 1, 1, tzinfo=NOON.tzinfo))
        assert history.load(history.find("")).quarantined == 2
    assert replay.replay() == Replayed(lines=1, rows=1, lines_left=1)
    assert bucket.warehouse() == right


def test_replay_leaves_a_line_whose_time_nobody_can_tell() -> None:
    """Its object told no time by its name, and is gone."""
    name = put_raw("export.json", b"not json")
    history.load(history.find(""))
    bucket.remove(name)
    assert replay.replay() == Replayed(lines_left=1)


def test_replay_loads_an_object_of_history_that_was_mended() -> None:
    name = put_raw("export.json", gzip.compress(line())[:-5])
    history.load(history.find(""))
    put_raw(name, gzip.compress(line()))
    assert replay.replay() == Replayed(objects=1, rows=1)
    source = LoadedObject.objects.get()
    assert (source.state, source.rows, source.imported) == ("history", 1, True)


# -- All of it --------------------------------------------------------------------------------------------------------


class _Killed(Exception):
    pass


@pytest.mark.parametrize("seed", range(4))
def test_replay_of_random_faults_gives_what_a_load_without_them_gives(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between its transactions, with the loader at work as well."""
    monkeypatch.setattr(load, "OBJECTS_AT_ONCE", 2)
    monkeypatch.setattr(replay, "LINES_AT_ONCE", 3)
    dice = random.Random(seed)
    ids = [str(uuid.UUID(int=number)) for number in range(1, 9)]
    copies = [afternoon(dice.choice((0, 0, 1, 30)), eventId=dice.choice(ids), userId=ids[0]) for _ in range(24)]
    groups = [copies[begin : begin + 4] for begin in range(0, 24, 4)]

    def fill(broken: set[int]) -> None:
        for number, group in enumerate(groups):
            whole = b"".join(copy + b"\n" for copy in group)
            zipped = gzip.compress(whole, mtime=0)
            put_raw(
                f"{bucket.HOUR}{number}.json.gz" if number % 3 else f"event_date=2026-11-23/hr=00/{number}.json.gz",
                zipped[: -dice.randint(1, 40)] if number in broken else zipped,
                bucket.metadata(whole, rows=4) if number % 3 else {},
            )

    fill(set())
    catch_up()
    history.load(history.find(""))
    right = bucket.warehouse()

    bucket.empty_warehouse()
    fill(set(dice.sample(range(len(groups)), 3)))
    with loader_that_refuses_afternoons():
        catch_up()
        history.load(history.find(""))
    assert Quarantined.objects.exists()
    assert LoadedObject.objects.filter(state="quarantined").count() == 3
    fill(set())

    def die_often(tried: int) -> None:
        if dice.random() < 0.4:
            raise _Killed

    for _ in itertools.count():
        try:
            replay.replay(progress=die_often)
            break
        except _Killed:
            catch_up()
            bucket.assert_books_balance()
    assert not Quarantined.objects.exists()
    assert bucket.warehouse() == right


# -- The command ------------------------------------------------------------------------------------------------------


def test_replay_command_says_what_left_and_what_stays() -> None:
    put_text(line(), afternoon(), b"not json", b"[]")
    put_raw("a.json.gz", b"broken", bucket.metadata(b"", rows=3))
    with loader_that_refuses_afternoons():
        catch_up()
    before = bucket.warehouse()
    assert command("--dry-run") == (
        "In quarantine: 1 lines bad_json, 1 lines bad_type data, 1 lines bad_value receivedAt, 1 objects bad_gzip.\n"
    )
    assert bucket.warehouse() == before
    assert command() == (
        "1 lines and 0 objects left the quarantine: 1 events loaded, 0 duplicates. 1 hours recomputed.\n"
        "In quarantine: 1 lines bad_json, 1 lines bad_type data, 1 objects bad_gzip.\n"
    )


def test_replay_command_says_that_nothing_is_there() -> None:
    assert command().endswith("In quarantine: nothing.\n")

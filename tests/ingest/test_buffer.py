"""Buffer: what is pushed is sealed once, in order, within the bounds, and forgotten only when released."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from pytest_django.fixtures import Settings

from ingest import buffer
from ingest.buffer import BufferFull, BufferUnavailable

pytestmark = pytest.mark.usefixtures("empty_buffer")


def push(*lines: bytes) -> None:
    buffer.push(lines, received=len(lines), counts={})


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_push_counts_what_came() -> None:
    buffer.push([b"a", b"b"], received=5, counts={"rejected:bad_json": 3})
    assert buffer.counters() == {"received": 5, "accepted": 2, "rejected:bad_json": 3, "waiting": 2}


def test_push_refuses_all_lines_above_the_bound_in_rows(settings: Settings) -> None:
    settings.BUFFER_MAX_ROWS = 3
    push(b"a", b"b")
    with pytest.raises(BufferFull):
        push(b"c", b"d")
    assert buffer.counters() == {"received": 4, "accepted": 2, "unavailable": 2, "waiting": 2}


def test_push_refuses_all_lines_above_the_bound_in_bytes(settings: Settings) -> None:
    settings.BUFFER_MAX_BYTES = 10
    push(b"12345")
    with pytest.raises(BufferFull):
        push(b"123456")
    buffer.seal_due(max_age_ms=0)
    buffer.release(buffer.sealed()[0])
    push(b"123456")


def test_push_says_where_redis_is_away(redis_away: None) -> None:
    with pytest.raises(BufferUnavailable):
        push(b"a")


def test_seal_waits_for_a_batch_to_be_due() -> None:
    push(*numbered(99))
    assert buffer.seal_due() == 0
    assert buffer.sealed() == []


def test_seal_takes_full_batches_in_order() -> None:
    push(*numbered(250))
    assert buffer.seal_due() == 2
    first, second = buffer.sealed()
    assert buffer.lines(first) + buffer.lines(second) == numbered(200)


def test_seal_takes_a_batch_whose_first_row_is_old(settings: Settings) -> None:
    push(b"a")
    settings.BATCH_MAX_SECONDS = 0
    assert buffer.seal_due() == 1


def test_seal_keeps_a_batch_within_its_bytes(settings: Settings) -> None:
    settings.BATCH_MAX_BYTES = 10
    push(b"1234", b"1234", b"1234")
    buffer.seal_due(max_age_ms=0)
    assert [(seal.rows, seal.bytes) for seal in buffer.sealed()] == [(2, 10), (1, 5)]


def test_seal_takes_a_line_that_is_larger_than_a_batch_by_itself(settings: Settings) -> None:
    settings.BATCH_MAX_BYTES = 3
    push(b"12345", b"1")
    buffer.seal_due(max_age_ms=0)
    assert [seal.rows for seal in buffer.sealed()] == [1, 1]


def test_seal_twice_changes_nothing() -> None:
    push(*numbered(100))
    assert buffer.seal_due() == 1
    before = buffer.sealed()
    assert buffer.seal_due() == 0
    assert buffer.sealed() == before


def test_seal_is_not_widened_by_what_comes_later() -> None:
    push(*numbered(3))
    buffer.seal_due(max_age_ms=0)
    push(b"later")
    (seal,) = buffer.sealed()
    assert buffer.lines(seal) == numbered(3)


def test_seal_by_many_at_once_puts_each_row_into_one_batch() -> None:
    push(*numbered(500))
    with ThreadPoolExecutor(8) as pool:
        made = sum(pool.map(lambda _: buffer.seal_due(max_age_ms=0), range(8)))
    assert made == 5
    assert [line for seal in buffer.sealed() for line in buffer.lines(seal)] == numbered(500)


def test_release_forgets_and_counts_once() -> None:
    push(*numbered(100))
    buffer.seal_due()
    (seal,) = buffer.sealed()
    assert buffer.release(seal) == 100
    assert buffer.release(seal) == 0
    assert buffer.counters() == {"received": 100, "accepted": 100, "archived": 100, "waiting": 0}
    assert buffer.lines(seal) == []


def test_release_leaves_other_batches() -> None:
    push(*numbered(200))
    buffer.seal_due()
    _, second = buffer.sealed()
    buffer.release(second)
    (left,) = buffer.sealed()
    assert buffer.lines(left) == numbered(100)


def test_oldest_waiting_is_none_when_nothing_waits() -> None:
    assert buffer.oldest_waiting_ms() is None


def test_oldest_waiting_is_when_the_first_row_was_accepted() -> None:
    before_ms = buffer.now_ms()
    push(b"first")
    after_ms = buffer.now_ms()
    push(b"second")
    assert before_ms <= (buffer.oldest_waiting_ms() or 0) <= after_ms


def test_lines_of_rows_that_somebody_else_made(caplog: pytest.LogCaptureFixture) -> None:
    """All that such a row holds, in one line: what comes of it the loader says."""
    push(b"1")
    buffer.connection().xadd(buffer.STREAM, {"text": b"2", "by": b"hand\n"})
    buffer.connection().xadd(buffer.STREAM, {"line": b"3\n3"})
    buffer.seal_due(max_age_ms=0)
    (seal,) = buffer.sealed()
    assert buffer.lines(seal) == [b"1", b"text 2 by hand ", b"3 3"]
    assert f"rows of another make in Redis: 1, archived as they are, from {seal.first_id} on" in caplog.text
    assert "hand" not in caplog.text
    assert buffer.release(seal) == 3


def test_a_batch_is_claimed_by_one_and_not_for_ever() -> None:
    push(b"1")
    buffer.seal_due(max_age_ms=0)
    (seal,) = buffer.sealed()
    assert [buffer.claim(seal), buffer.claim(seal)] == [True, False]
    (key,) = buffer.connection().keys("*:claim:*")
    assert 0 < buffer.connection().pttl(key) <= 1000 * buffer.CLAIM_SECONDS
    buffer.unclaim(seal)
    assert buffer.claim(seal)


def test_a_turn_is_taken_once_in_its_time() -> None:
    assert [buffer.take_turn("verify", 60), buffer.take_turn("verify", 60)] == [True, False]
    assert buffer.take_turn("books", 60)
    assert 0 < buffer.connection().pttl(buffer.turn_key("verify")) <= 60_000


def test_a_turn_of_a_clock_that_was_set_back_is_taken() -> None:
    assert buffer.take_turn("loader", 3600)
    assert buffer.take_turn("loader", 2)
    assert not buffer.take_turn("loader", 2)


def test_looks_are_counted_and_those_that_fail() -> None:
    with buffer.looking("loader"):
        pass
    with pytest.raises(ValueError, match="away"), buffer.looking("loader"):
        raise ValueError("away")
    with pytest.raises(LookupError), buffer.looking("loader", unless=(LookupError,)):
        raise LookupError  # there was no look
    counted = buffer.looks()
    assert (counted["loader:looks"], counted["loader:failures"]) == (2, 1)
    assert counted["loader:us"] >= 0
    assert set(buffer.finished()) == {"loader"}


def test_push_answers_the_id_of_its_first_line() -> None:
    assert buffer.push([], received=1, counts={"rejected:bad_json": 1}) == ""
    first = buffer.push([b"1", b"2"], received=2, counts={})
    buffer.seal_due(max_age_ms=0)
    (seal,) = buffer.sealed()
    assert seal.first_id == first < seal.last_id

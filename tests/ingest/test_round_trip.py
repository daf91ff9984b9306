"""Round trip: it ends within a second whatever Redis does, and is right again by itself."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from ingest import buffer, round_trip
from tests.events import line

pytestmark = pytest.mark.usefixtures("empty_buffer")


@pytest.fixture(autouse=True)
def own_connection() -> Iterator[None]:
    round_trip.forget()
    yield
    round_trip.forget()


@pytest.fixture
def black_hole(settings: Settings) -> Iterator[None]:
    """A Redis that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings.REDIS_URL = f"redis://127.0.0.1:{listener.getsockname()[1]}"
        yield


def push() -> None:
    buffer.push([line()], received=1, counts={})


def waiting() -> int:
    return buffer.counters()["waiting"]


def test_a_connection_that_redis_closed_is_noticed_before_anything_is_sent() -> None:
    push()
    buffer.connection().client_kill_filter(_type="normal", skipme=True)
    round_trip._idle[0]._answered_at -= 2
    push()
    assert waiting() == 2


def test_scripts_that_redis_forgot_are_loaded_again() -> None:
    push()
    buffer.connection().script_flush()
    with pytest.raises(buffer.BufferUnavailable, match="NoScript"):
        push()
    push()
    assert waiting() == 2


def test_a_script_that_comes_too_late_does_nothing() -> None:
    push()
    round_trip._idle[0]._clock_offset_ms -= 10_000
    with pytest.raises(buffer.BufferUnavailable, match="late"):
        push()
    assert waiting() == 1
    push()  # the clocks are compared anew
    assert waiting() == 2


def test_threads_that_come_and_go_share_their_connections() -> None:
    for _ in range(5):
        thread = threading.Thread(target=push)
        thread.start()
        thread.join()
    assert waiting() == 5
    assert len(round_trip._idle) == 1


@pytest.mark.usefixtures("black_hole")
def test_a_redis_that_says_nothing_is_given_up_within_a_second_and_left_alone_for_a_moment() -> None:
    took = []
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(buffer.BufferUnavailable):
            push()
        took.append(time.monotonic() - began)
    assert took[0] < 1
    assert max(took[1:]) < took[0]


def test_a_redis_without_memory_is_unavailable_until_it_has_some() -> None:
    store = buffer.connection()
    before = store.config_get("maxmemory")["maxmemory"] or 0
    store.config_set("maxmemory", 1)
    try:
        with pytest.raises(buffer.BufferUnavailable, match="OutOfMemory"):
            push()
    finally:
        store.config_set("maxmemory", before)
    push()
    assert buffer.counters() == {"received": 1, "accepted": 1, "waiting": 1}


# -- What nobody was told to be there ---------------------------------------------------------------------------------


def unsure_push(lines: list[bytes]) -> int:
    """A push whose answer is lost; by when it had to begin."""
    buffer.push(lines, received=len(lines), counts={})
    return buffer.now_ms() + 300


def test_withdraw_takes_back_what_was_appended() -> None:
    before, after = [line()], [line()]
    lost = [line(), line()]
    buffer.push(before, received=1, counts={})
    start_by_ms = unsure_push(lost)
    buffer.push(after, received=1, counts={})
    buffer.withdraw(lost, received=2, start_by_ms=start_by_ms)
    assert buffer.counters() == {"received": 4, "accepted": 2, "unavailable": 2, "waiting": 2}
    buffer.seal_due(max_age_ms=0)
    (seal,) = buffer.sealed()
    assert buffer.lines(seal) == before + after
    assert buffer.release(seal) == 2
    assert buffer.connection().hget(buffer.BUFFER, "bytes") == b"0"


def test_withdraw_counts_what_never_came() -> None:
    buffer.withdraw([line()], received=1, start_by_ms=buffer.now_ms())
    assert buffer.counters() == {"received": 1, "unavailable": 1, "waiting": 0}


def test_withdraw_leaves_a_sealed_batch_alone() -> None:
    lost = [line()]
    start_by_ms = unsure_push(lost)
    buffer.seal_due(max_age_ms=0)
    buffer.withdraw(lost, received=1, start_by_ms=start_by_ms)
    assert buffer.counters() == {"received": 1, "accepted": 1, "waiting": 1}


def test_seal_waits_for_withdrawals_when_it_was_not_asked_for_a_while() -> None:
    push()
    buffer.seal_due()
    later = buffer.now_ms() - 4000
    buffer.connection().hset(buffer.BUFFER, "looked_ms", later)
    assert buffer.seal_due(max_age_ms=1) == 0
    buffer.connection().hset(buffer.BUFFER, "held_until_ms", buffer.now_ms())
    assert buffer.seal_due(max_age_ms=1) == 1

"""Round trip: it ends within a second whatever Redis does, and is right again by itself."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest
from pytest_django.fixtures import Settings

from ingest import buffer, names, round_trip
from ingest.round_trip import Mark, RedisAway
from tests.events import line

pytestmark = pytest.mark.usefixtures("empty_buffer", "limits_as_served")


@pytest.fixture(autouse=True)
def own_connection() -> Iterator[None]:
    round_trip.forget()
    yield
    round_trip.forget()


@pytest.fixture
def black_hole(settings: Settings) -> Iterator[socket.socket]:
    """A Redis that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        settings.REDIS_URL = f"redis://127.0.0.1:{listener.getsockname()[1]}"
        yield listener


@pytest.fixture
def slow_redis(settings: Settings) -> Iterator[Callable[[float], None]]:
    """Puts a relay before Redis that delays each of its answers."""
    with ExitStack() as stack:

        def relay(delay_s: float) -> None:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            there = urlsplit(settings.REDIS_URL)
            address = str(there.hostname), int(there.port or 6379)
            threading.Thread(target=_relay, args=(listener, address, delay_s), daemon=True).start()
            settings.REDIS_URL = f"redis://:{there.password}@127.0.0.1:{listener.getsockname()[1]}/0"

        yield relay


def _relay(listener: socket.socket, address: tuple[str, int], delay_s: float) -> None:
    def pump(source: socket.socket, sink: socket.socket, pause_s: float) -> None:
        with source, sink, suppress(OSError):
            while chunk := source.recv(65536):
                time.sleep(pause_s)
                sink.sendall(chunk)

    with suppress(OSError):  # until the test is over
        while True:
            client, server = listener.accept()[0], socket.create_connection(address)
            threading.Thread(target=pump, args=(client, server, 0.0), daemon=True).start()
            threading.Thread(target=pump, args=(server, client, delay_s), daemon=True).start()


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


def test_a_redis_that_says_nothing_is_left_alone_for_a_moment(black_hole: socket.socket) -> None:
    for _ in range(3):
        with pytest.raises(buffer.BufferUnavailable):
            push()
    black_hole.accept()[0].close()
    with pytest.raises(BlockingIOError):
        black_hole.accept()


@pytest.mark.parametrize("delay_s", [0.3, 0.6])
def test_a_redis_whose_every_step_is_slow_is_given_up(slow_redis: Callable[[float], None], delay_s: float) -> None:
    slow_redis(delay_s)
    for number in range(3):
        with pytest.raises(RedisAway):
            names.admit({("model", f"model-{number}")})
        with pytest.raises(buffer.BufferUnavailable):
            push()


def test_a_redis_without_memory_is_unavailable_until_it_has_some(caplog: pytest.LogCaptureFixture) -> None:
    store = buffer.connection()
    before = store.config_get("maxmemory")["maxmemory"] or 0
    store.config_set("maxmemory", 1)
    try:
        with pytest.raises(buffer.BufferUnavailable, match="OutOfMemory"):
            push()
        assert "Redis is away or refuses (OutOfMemoryError)" in caplog.text
    finally:
        store.config_set("maxmemory", before)
    push()
    assert buffer.counters() == {"received": 1, "accepted": 1, "waiting": 1}


# -- What nobody was told to be there ---------------------------------------------------------------------------------


def unsure_push(lines: list[bytes], **counts: int) -> Mark:
    """A push whose answer is lost."""
    buffer.push(lines, received=len(lines) + sum(counts.values()), counts=counts)
    return Mark(round_trip._idle[-1].mark_key, round_trip._idle[-1].number)


def test_withdraw_takes_back_what_was_appended() -> None:
    before, after = [line()], [line()]
    lost = [line(), line()]
    buffer.push(before, received=1, counts={})
    mark = unsure_push(lost)
    round_trip._idle.clear()  # the connection is given up
    buffer.push(after, received=1, counts={})
    buffer.withdraw(mark, received=2, token="t")
    assert buffer.counters() == {"received": 4, "accepted": 2, "unavailable": 2, "waiting": 2}
    buffer.seal_due(max_age_ms=0)
    (seal,) = buffer.sealed()
    assert buffer.lines(seal) == before + after
    assert buffer.release(seal) == 2
    assert buffer.connection().hget(buffer.BUFFER, "bytes") == b"0"


def test_withdraw_leaves_the_same_lines_of_another_push_alone() -> None:
    same = [line()]
    mark = unsure_push(same)
    round_trip._idle.clear()
    buffer.push([*same, line()], received=2, counts={})
    buffer.withdraw(mark, received=1, token="t")
    assert buffer.counters() == {"received": 3, "accepted": 2, "unavailable": 1, "waiting": 2}


def test_withdraw_counts_what_never_came() -> None:
    before = unsure_push([line()])
    buffer.withdraw(before._replace(number=before.number + 1), received=1, token="t")
    assert buffer.counters() == {"received": 2, "accepted": 1, "unavailable": 1, "waiting": 1}


def test_withdraw_counts_nothing_twice_that_was_refused() -> None:
    mark = unsure_push([], rejected=3)
    buffer.withdraw(mark, received=3, token="t")
    assert buffer.counters() == {"received": 3, "rejected": 3, "waiting": 0}


@pytest.mark.parametrize("released", [False, True])
def test_withdraw_leaves_a_sealed_batch_alone(released: bool) -> None:
    mark = unsure_push([line()])
    buffer.seal_due(max_age_ms=0)
    if released:
        buffer.release(buffer.sealed()[0])
    buffer.withdraw(mark, received=1, token="t")
    found = buffer.counters()
    assert (found["received"], found["accepted"], "unavailable" in found) == (1, 1, False)


def test_a_redis_without_memory_still_drains() -> None:
    push()
    store = buffer.connection()
    buffer.sealed()
    before = store.config_get("maxmemory")["maxmemory"] or 0
    store.config_set("maxmemory", 1)
    try:
        assert buffer.seal_due(max_age_ms=0) == 1
        assert buffer.claim(buffer.sealed()[0])
        assert buffer.release(buffer.sealed()[0]) == 1
    finally:
        store.config_set("maxmemory", before)


def test_seal_waits_for_withdrawals_when_it_was_not_asked_for_a_while(settings: Settings) -> None:
    push()
    buffer.seal_due()
    settings.BATCH_MAX_SECONDS = 0
    store = buffer.connection()
    store.hset(buffer.BUFFER, "looked_ms", buffer.now_ms() - 4000)
    assert buffer.seal_due() == 0
    store.hset(buffer.BUFFER, "held_until_ms", buffer.now_ms())
    assert buffer.seal_due() == 1


def test_seal_waits_for_withdrawals_once_where_looks_are_seldom(settings: Settings) -> None:
    push()
    settings.BATCH_MAX_SECONDS = 0
    store = buffer.connection()
    store.hset(buffer.BUFFER, "looked_ms", buffer.now_ms() - 4000)
    assert buffer.seal_due() == 0
    # As if that had been four seconds ago.
    store.hset(buffer.BUFFER, mapping={"looked_ms": buffer.now_ms() - 4000, "held_until_ms": buffer.now_ms() - 2000})
    assert buffer.seal_due() == 1


def test_seal_waits_for_nobody_where_somebody_wants_it_now() -> None:
    push()
    buffer.connection().hset(buffer.BUFFER, "looked_ms", buffer.now_ms() - 4000)
    assert buffer.seal_due(max_age_ms=1) == 1

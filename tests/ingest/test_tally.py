"""Tally: what is counted without a push arrives once, whatever happens to Redis and to its answers."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest import buffer, round_trip, tally
from ingest.round_trip import Mark
from tests.events import body, event, line
from tests.ingest.server import serving
from tests.vibetel.programs import until

pytestmark = pytest.mark.usefixtures("empty_buffer", "limits_as_served")


def test_flush_writes_what_it_could_not_when_redis_is_back() -> None:
    tally.count("limited", 2)
    tally.observe(429, 0.004)
    there = buffer.connection()
    buffer.connection.cache_clear()
    buffer._script.cache_clear()
    there.client_pause(1500)  # answers nothing for longer than is waited
    tally.flush()
    tally.count("limited", 1)
    until(lambda: there.ping())
    tally.flush()
    assert buffer.counters() == {"received": 3, "limited": 3, "waiting": 0}
    assert buffer.latencies() == {"429:2": 1, "429:us": 4000}


def test_flush_counts_once_what_was_counted_unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer.push([line()], received=1, counts={})
    tally.doubt(Mark(round_trip._idle[-1].mark_key, round_trip._idle[-1].number), received=1)
    tally.count("limited", 5)
    with monkeypatch.context() as answers:
        for call in ("withdraw", "add_counts"):
            answers.setattr(buffer, call, _unheard(getattr(buffer, call)))
        for _ in range(3):
            tally.flush()
    tally.flush()
    assert buffer.counters() == {"received": 6, "accepted": 0, "unavailable": 1, "limited": 5, "waiting": 0}


def _unheard(call: Callable[..., None]) -> Callable[..., None]:
    """Redis does what it is told, and its answer does not arrive."""

    def called(*arguments: object, **named: object) -> None:
        call(*arguments, **named)
        raise buffer.BufferUnavailable

    return called


def test_flushes_at_once_count_once() -> None:
    for _ in range(20):
        tally.doubt(Mark("{vibetel}:push:never", 1), received=1)
        tally.count("limited", 1)
    threads = [threading.Thread(target=tally.flush) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert buffer.counters() == {"received": 40, "limited": 20, "unavailable": 20, "waiting": 0}


def test_a_process_that_ends_in_order_writes_what_it_counted(tmp_path: Path) -> None:
    with serving(tmp_path / "log", INGEST_RATE_PER_ADDRESS="1/h") as server:
        for _ in range(3):
            server.ask("POST", "/api/pipeline", body(event()), **{"Content-Type": "application/json"})
    assert buffer.counters() == {"received": 3, "accepted": 1, "limited": 2, "waiting": 1}

"""Tally: what this process counts that no append carries, in Redis within a second or so.

In: requests that ended without Redis, and how long each took. Out: the books' terms and the latency histogram.
Next: buffer.py

What waits here when the process is killed is lost: at most a second of it. `received` waits with the term that it
balances, so the books stay even.
"""

import atexit
import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence

from ingest import buffer

FLUSH_SECONDS = 1.0
# Upper bounds in ms of the latency histogram's buckets; the last is open.
LATENCY_BOUNDS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000)

_lock = threading.Lock()
_counts: Counter[str] = Counter()
_latencies: Counter[str] = Counter()
_observed: deque[tuple[int, float]] = deque()  # not in _latencies yet
_doubts: deque[tuple[Sequence[bytes], int, int]] = deque(maxlen=1000)
_flusher: threading.Thread | None = None


def count(term: str, events: int) -> None:
    """Count events that came and were not kept."""
    with _lock:
        _counts["received"] += events
        _counts[term] += events


def doubt(lines: Sequence[bytes], *, received: int, start_by_ms: int) -> None:
    """Note a push whose answer did not come (BufferUnsure): its sender is told 503, and its lines are taken back."""
    _doubts.append((lines, received, start_by_ms))


def observe(status: int, seconds: float) -> None:
    """Note how long a request took that was answered with `status`."""
    _observed.append((status, seconds))
    if _flusher is None:
        _start()


def flush() -> None:
    """Write what waits to Redis, and take back what nobody was told to be there; where Redis is away, both wait on."""
    while _doubts:
        lines, received, start_by_ms = _doubts[0]
        try:
            buffer.withdraw(lines, received=received, start_by_ms=start_by_ms)
        except buffer.BufferUnavailable:
            break
        _doubts.popleft()
    with _lock:
        while _observed:
            status, seconds = _observed.popleft()
            _latencies[f"{status}:{bisect_left(LATENCY_BOUNDS_MS, seconds * 1000)}"] += 1
            _latencies[f"{status}:us"] += int(seconds * 1_000_000)
        counts, latencies = Counter(_counts), Counter(_latencies)
        _counts.clear()
        _latencies.clear()
    if not counts and not latencies:
        return
    try:
        buffer.add_counts(counts, latencies)
    except buffer.BufferUnavailable:
        with _lock:
            _counts.update(counts)
            _latencies.update(latencies)


def _start() -> None:
    global _flusher
    with _lock:
        if _flusher is not None:
            return
        _flusher = threading.Thread(target=_flush_forever, name="tally", daemon=True)
    _flusher.start()
    atexit.register(flush)


def _flush_forever() -> None:
    pause = threading.Event()
    while not pause.wait(FLUSH_SECONDS):
        flush()

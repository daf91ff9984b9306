"""Tally: what this process counts that no append carries, in Redis within a second or so.

In: requests that ended without Redis, how long each took, and pushes whose answer was lost. Out: the books' terms and
the latency histogram; what was appended and answered 503 is taken back. Next: buffer.py

What waits here when the process is killed is lost: at most a second of it, unless Redis is away. `received` waits with
the term that it balances, so the books stay even.
"""

import secrets
import threading
from bisect import bisect_left
from collections import Counter, deque
from multiprocessing.util import Finalize

from ingest import buffer
from ingest.round_trip import Mark

FLUSH_SECONDS = 1.0
# Upper bounds in ms of the latency histogram's buckets; the last is open.
LATENCY_BOUNDS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000)
_DOUBTS_MAX = 1000

_counting = threading.Lock()
_counts: Counter[str] = Counter()
_observed: deque[tuple[int, float]] = deque()
_doubts: deque[tuple[str, Mark, int]] = deque(maxlen=_DOUBTS_MAX)

_flushing = threading.Lock()
_latencies: Counter[str] = Counter()
# What was sent and perhaps not added: it is sent again as it was, and its token tells Redis.
_unsure: tuple[str, Counter[str], Counter[str]] | None = None
_flusher: threading.Thread | None = None


def count(term: str, events: int) -> None:
    """Count events that came and were not kept."""
    with _counting:
        _counts["received"] += events
        _counts[term] += events


def doubt(mark: Mark, *, received: int) -> None:
    """Note a push whose answer did not come (BufferUnsure): its sender is told 503, and its lines are taken back."""
    _doubts.append((secrets.token_hex(8), mark, received))


def observe(status: int, seconds: float) -> None:
    """Note how long a request took that was answered with `status`."""
    _observed.append((status, seconds))
    if _flusher is None:
        _start()


def flush() -> None:
    """Write what waits to Redis, and take back what nobody was told to be there; where Redis is away, both wait on."""
    with _flushing:
        try:
            _settle_doubts()
            _send_counts()
        except buffer.BufferUnavailable:
            _sum_latencies()  # the next second tries again, and a sum takes less room


def _settle_doubts() -> None:
    for _ in range(len(_doubts)):
        token, mark, received = _doubts.popleft()
        try:
            buffer.withdraw(mark, received=received, token=token)
        except buffer.BufferUnavailable:
            _doubts.appendleft((token, mark, received))
            raise


def _send_counts() -> None:
    global _unsure
    while True:
        if _unsure is None:
            _sum_latencies()
            with _counting:
                counts = Counter(_counts)
                _counts.clear()
            if not counts and not _latencies:
                return
            _unsure = (secrets.token_hex(8), counts, Counter(_latencies))
            _latencies.clear()
        token, counts, latencies = _unsure
        buffer.add_counts(counts, latencies, token=token)
        _unsure = None


def _sum_latencies() -> None:
    for _ in range(len(_observed)):
        status, seconds = _observed.popleft()
        _latencies[f"{status}:{bisect_left(LATENCY_BOUNDS_MS, seconds * 1000)}"] += 1
        _latencies[f"{status}:us"] += int(seconds * 1_000_000)


def _start() -> None:
    global _flusher
    with _counting:
        if _flusher is not None:
            return
        _flusher = threading.Thread(target=_flush_forever, name="tally", daemon=True)
    _flusher.start()
    Finalize(None, flush, exitpriority=10)  # granian's workers are multiprocessing's, whose end is not atexit's


def _flush_forever() -> None:
    pause = threading.Event()
    while not pause.wait(FLUSH_SECONDS):
        flush()

"""Hostile run: the real receiving process and a real Valkey, under the requests of hostile_bodies.py.

In: how many requests, a seed, an empty folder. Out: an Outcome: what was answered and kept, memory, time, and each
finding with an example. Fails: StartFailed.

`python -m tests.ingest.hostile_run --count 100000` prints it, and ends with 1 where there are findings.
"""

import argparse
import heapq
import itertools
import json
import os
import queue
import re
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import cast

import psutil
import redis
from vibetel_client import contract
from vibetel_client.contract import Kind

from tests.ingest.hostile_bodies import MARKER, HostileRequest, bodies
from tests.ingest.hostile_judge import envelope_of, events_of, judge_answer, judge_line
from tests.servers import remove
from tests.vibetel.programs import CHECKOUT, pid_of
from vibetel import start
from vibetel.embedded import servers
from vibetel.embedded.addresses import free_ports, read_or_create, redis_url
from vibetel.embedded.child import Child, log_path
from vibetel.embedded.supervisor import Supervisor

CONNECTIONS = 8
CPU_MAX_MS = 50.0  # of one body: who sends such ones takes a core with 20 of them in a second
MEMORY_MAX_CHANGE = 0.10

_SEGMENTS = 10  # after each what is kept is judged, and memory measured
_WARM_UP = 0.05
_LIMITED_MAX = 2000  # requests, and a fifth of all at most, go to a server with the default rates
_ANSWER_MAX_SECONDS = 10
_TALLY_MAX_SECONDS = 5
_SAMPLE = 4000  # requests, by kind, whose CPU time is measured one after the other

_URL = "/api/pipeline"
_Entries = list[tuple[bytes, dict[bytes, bytes]]]  # what XRANGE answers
_NAMES = [spec.name for spec in contract.FIELDS if spec.kind is Kind.IDENTIFIER]
_NEW_NAMES_PER_DAY = 200
_DROPPED_NAMES_MAX = 200


@dataclass
class Outcome:
    """What a run saw. `findings` are what should not be: what it is, and how often, with an example."""

    requests: int = 0
    unlimited: int = 0  # of them, how many went to the server without rates
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)  # of rejected events
    accepted: int = 0
    limited_events: int = 0  # at most: in the bodies that were limited
    lines: int = 0
    names: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # kept, by field
    closed: Counter[str] = field(default_factory=Counter)  # connections that the server ended, by kind
    counters: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    rss_mb: list[tuple[int, float]] = field(default_factory=list)  # after so many requests
    cpu_ms: list[tuple[float, str, int]] = field(default_factory=list)  # of a body, kind, how many were measured
    slowest: list[tuple[float, str]] = field(default_factory=list)  # CPU ms, the request
    findings: dict[str, tuple[int, str]] = field(default_factory=dict)

    def find(self, what: str, example: str, times: int = 1) -> None:
        """Note a finding, with the first example of it."""
        count, first = self.findings.get(what, (0, example))
        self.findings[what] = count + times, first

    def memory_change(self) -> float:
        """How much the memory at the end is above that after the warm-up, as a share of it."""
        return self.rss_mb[-1][1] / self.rss_mb[0][1] - 1


# -- Sending ----------------------------------------------------------------------------------------------------------


class _Sender(threading.Thread):
    """One kept connection, and what came back over it."""

    def __init__(self, port: int, waiting: "queue.Queue[HostileRequest | None]") -> None:
        super().__init__()
        self.seen = Outcome()
        self.slowest: list[tuple[float, int, HostileRequest]] = []  # seconds, a number, the request; a heap
        self._last: HostileRequest | None = None
        self._waiting = waiting
        self._connection = HTTPConnection("127.0.0.1", port, timeout=_ANSWER_MAX_SECONDS)

    def run(self) -> None:
        while request := self._waiting.get():
            self._send(request)
        self._connection.close()

    def _send(self, request: HostileRequest) -> None:
        began = time.perf_counter()
        answer = self._answer(request)
        if answer is None:
            return
        status, headers, body = answer
        seconds = time.perf_counter() - began
        keep = heapq.heappush if len(self.slowest) < 5 else heapq.heappushpop
        keep(self.slowest, (seconds, self.seen.requests, request))
        if self._connection.sock is None:
            self.seen.closed[request.kind] += 1
        self.seen.requests += 1
        self.seen.statuses[status] += 1
        for finding in judge_answer(request, status, headers, body):
            self.seen.find(f"{request.kind}: {finding}", f"{quoted(request)} answered {status} {body[:300]!r}")
        self._count(request, status, body)

    def _answer(self, request: HostileRequest) -> tuple[int, dict[str, str], bytes] | None:
        """Its answer; over a new connection where the kept one has ended since the last answer."""
        last, self._last = self._last, request
        for attempt in ("kept", "new"):
            try:
                return post(self._connection, request)
            except (OSError, HTTPException) as error:
                self._connection.close()
                if attempt == "kept" and last is not None:
                    self.seen.closed[f"{last.kind}, unsaid"] += 1
                else:
                    self.seen.find(f"{request.kind}: no answer, {type(error).__name__}", quoted(request))
                    break
        return None

    def _count(self, request: HostileRequest, status: int, body: bytes) -> None:
        if status == 429:
            self.seen.limited_events += len(events_of(envelope_of(request)) or [None])
            return
        try:
            results = json.loads(body)["results"]
        except (ValueError, KeyError, TypeError):
            return  # judged already
        reasons = Counter(result.get("reason") for result in results)
        self.seen.accepted += reasons.pop(None, 0)
        self.seen.reasons += reasons


def post(connection: HTTPConnection, request: HostileRequest) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case and body. Raises OSError, HTTPException."""
    chunked = "Transfer-Encoding" in request.headers
    connection.putrequest(request.method, _URL, skip_accept_encoding=True)
    for name, value in request.headers.items():
        connection.putheader(name, value.encode())
    if not chunked:
        connection.putheader("Content-Length", str(len(request.body)))
    with suppress(BrokenPipeError, ConnectionResetError):  # its answer may be here before the whole of it was sent
        connection.endheaders([request.body] if chunked else request.body, encode_chunked=chunked)
    answer = connection.getresponse()
    body = answer.read()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def quoted(request: HostileRequest) -> str:
    """The request for a person to read, in a line."""
    body = repr(request.body) if len(request.body) < 1500 else f"{request.body[:200]!r} ... {request.body[-200:]!r}"
    return f"{request.kind} {request.headers} {len(request.body)} bytes {body}"


def _send_all(port: int, requests: Iterable[HostileRequest], outcome: Outcome) -> list[HostileRequest]:
    """Send them over several connections, and add to the outcome; some of those that took longest."""
    waiting: queue.Queue[HostileRequest | None] = queue.Queue(maxsize=4 * CONNECTIONS)
    senders = [_Sender(port, waiting) for _ in range(CONNECTIONS)]
    for sender in senders:
        sender.start()
    for request in itertools.chain(requests, [None] * len(senders)):
        waiting.put(request)
    for sender in senders:
        sender.join()
        outcome.requests += sender.seen.requests
        outcome.statuses += sender.seen.statuses
        outcome.reasons += sender.seen.reasons
        outcome.closed += sender.seen.closed
        outcome.accepted += sender.seen.accepted
        outcome.limited_events += sender.seen.limited_events
        for what, (count, example) in sender.seen.findings.items():
            outcome.find(what, example, count)
    slowest = heapq.nlargest(5, itertools.chain.from_iterable(sender.slowest for sender in senders), key=lambda e: e[0])
    return [request for _, _, request in slowest]


# -- The run ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ingest:
    """A receiving process."""

    data_dir: Path
    name: str
    port: int
    environment: dict[str, str]

    def child(self) -> Child:
        """As `manage.py up` starts it."""
        command = start.ingest_command(self.port)
        return Child(self.name, command, self.environment, ready=self._is_healthy, folder=CHECKOUT)

    def _is_healthy(self) -> bool:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=2)) as connection:
            try:
                connection.request("GET", "/healthz")
                return connection.getresponse().status == 200
            except (OSError, HTTPException):
                return False

    def rss_mb(self) -> float:
        """The resident memory of its processes."""
        return sum(process.memory_info().rss for process in self._processes()) / 1e6

    def cpu_seconds(self) -> float:
        """What its processes have taken so far, user and system."""
        times = [process.cpu_times() for process in self._processes()]
        return sum(taken.user + taken.system for taken in times)

    def _processes(self) -> list[psutil.Process]:
        pid = pid_of(self.data_dir, f"--port {self.port} ")
        assert pid is not None, f"{self.name} does not run"
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]

    def log(self) -> str:
        """All that it ever said."""
        return log_path(self.data_dir, self.child()).read_text(errors="replace")


def run(
    data_dir: Path, *, count: int, seed: int, sample: int = 0, say: Callable[[str], None] = lambda line: None
) -> Outcome:
    """Start the servers in the folder, send `count` requests, and judge all that came of them; then measure `sample`.

    Raises StartFailed.
    """
    outcome = Outcome()
    ports = [int(port) for port in free_ports(["unlimited", "limited"]).values()]
    given = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"DATA_DIR": str(data_dir)}
    off = {"INGEST_RATE_PER_ADDRESS": "off", "INGEST_RATE_PER_INSTALLATION": "off"}
    unlimited = _Ingest(data_dir, "unlimited", ports[0], given | off)
    limited = _Ingest(data_dir, "limited", ports[1], given)
    try:
        with Supervisor(data_dir, say) as supervisor:
            supervisor.start(servers.needed(data_dir, {"DATABASE_URL": "not needed", "ARCHIVE_BUCKET": "not needed"}))
            supervisor.start([unlimited.child(), limited.child()])
            with closing(redis.Redis.from_url(redis_url(read_or_create(data_dir)))) as store:
                slow = _send_and_judge(unlimited, limited, store, outcome, bodies(seed, count), count, say)
                if sample:
                    _measure_cpu(unlimited, outcome, slow, bodies(seed + 1, sample))
            for server in (unlimited, limited):
                _judge_log(server, outcome)
    finally:
        remove(data_dir)
    return outcome


def _send_and_judge(
    unlimited: _Ingest,
    limited: _Ingest,
    store: redis.Redis,
    outcome: Outcome,
    requests: Iterator[HostileRequest],
    count: int,
    say: Callable[[str], None],
) -> list[HostileRequest]:
    """All but the measuring; the requests that took longest."""
    outcome.unlimited = count - min(_LIMITED_MAX, count // 5)
    shares = [_WARM_UP, *(number / _SEGMENTS for number in range(1, _SEGMENTS + 1))]
    slow: list[HostileRequest] = []
    sent = 0
    began = time.monotonic()
    for target in (round(outcome.unlimited * share) for share in shares):
        slow += _send_all(unlimited.port, itertools.islice(requests, target - sent), outcome)
        sent = target
        _judge_kept(store, outcome)
        outcome.rss_mb.append((sent, unlimited.rss_mb()))
        say(f"{sent} requests, {outcome.rss_mb[-1][1]:.1f} MB, {len(outcome.findings)} findings")
    _send_all(limited.port, requests, outcome)
    _judge_kept(store, outcome)
    outcome.seconds = time.monotonic() - began
    _judge_books(store, outcome)
    _judge_store(store, outcome)
    return slow


def _judge_kept(store: redis.Redis, outcome: Outcome) -> None:
    """Judge each line of the stream and take it out; nothing else writes meanwhile."""
    size = 0
    position = "-"
    while entries := cast(_Entries, store.xrange("{vibetel}:events", position, "+", count=1000)):
        for _, fields in entries:
            line = fields[b"line"]
            outcome.lines += 1
            size += len(line)
            for finding in judge_line(line, datetime.now(UTC)):
                outcome.find(f"kept: {finding}", repr(line))
            kept = json.loads(line)
            for name in _NAMES:
                if name in kept:
                    outcome.names[name].add(kept[name])
        position = f"({entries[-1][0].decode()}"
    if int(store.hget("{vibetel}:buffer", "bytes") or 0) != size:
        outcome.find("the buffer's bytes are not those of its lines", str(size))
    with store.pipeline() as both:
        both.xtrim("{vibetel}:events", maxlen=0, approximate=False)
        both.hset("{vibetel}:buffer", "bytes", 0)
        both.execute()


def _judge_books(store: redis.Redis, outcome: Outcome) -> None:
    """The counters must agree with the answers, and the stream with both."""
    give_up_at = time.monotonic() + _TALLY_MAX_SECONDS
    while (observed := _observed(store)) < outcome.requests and time.monotonic() < give_up_at:
        time.sleep(0.1)
    if observed != outcome.requests:
        outcome.find("latencies are not those of the answers", f"{observed} for {outcome.requests} answers")
    counters = outcome.counters = _integers(store, "{vibetel}:counters")
    rejected = {name.removeprefix("rejected:"): n for name, n in counters.items() if name.startswith("rejected:")}
    received, accepted, limited = (counters.get(term, 0) for term in ("received", "accepted", "limited"))
    if received != accepted + sum(rejected.values()) + limited + counters.get("unavailable", 0):
        outcome.find("the books are not even", repr(counters))
    if not accepted == outcome.accepted == outcome.lines:
        outcome.find("accepted", f"{accepted} counted, {outcome.accepted} answered, {outcome.lines} kept")
    if rejected != outcome.reasons:
        outcome.find("rejected", f"{rejected} counted, {dict(outcome.reasons)} answered")
    if limited > outcome.limited_events or (limited == 0) != (outcome.statuses[429] == 0):
        outcome.find("limited", f"{limited} counted, {outcome.limited_events} in {outcome.statuses[429]} bodies")
    if unknown := {name.partition(":")[0] for name in counters} - {"received", "accepted", "rejected", "limited"}:
        outcome.find("counters", str(unknown))


def _observed(store: redis.Redis) -> int:
    """Requests in the latency histogram."""
    return sum(n for name, n in _integers(store, "{vibetel}:latencies").items() if not name.endswith(":us"))


def _integers(store: redis.Redis, key: str) -> dict[str, int]:
    found = cast(dict[bytes, bytes], store.hgetall(key))
    return {name.decode(): int(value) for name, value in found.items()}


# What a name of the dropped may be: whose, and what looks like an identifier of 32 characters at most.
_DROPPED = re.compile(r"(field|option):([A-Za-z][0-9A-Za-z_-]{0,31}|…)|(odd|unseen):([A-Za-z]{2,20}|…)", re.ASCII)
_KEYS = re.compile(
    r"\{vibetel\}:(events|buffer|counters|dropped|latencies|new-names|names:[A-Za-z]{2,20}|(push|done):[0-9a-f]{16}"
    r"|rate:address:[0-9a-f]{24}|rate:installation:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)


def _judge_store(store: redis.Redis, outcome: Outcome) -> None:
    """Nothing in Redis that grows with what is sent, and nobody's text in it."""
    outcome.dropped = _integers(store, "{vibetel}:dropped")
    invented = [name for name in outcome.dropped if name.startswith(("field:", "option:"))]
    if len(invented) > _DROPPED_NAMES_MAX + 2:  # and one `…` for each
        outcome.find("more names of dropped fields than the bound", str(len(invented)))
    for name in outcome.dropped:
        if MARKER.search(name) or not _DROPPED.fullmatch(name):
            outcome.find("a name of a dropped field is no identifier", name)
    for field_name, kept in outcome.names.items():
        known = {value.decode() for value in cast(set[bytes], store.smembers(f"{{vibetel}}:names:{field_name}"))}
        # A run may see a midnight, and with it another day's new names.
        if len(known) > 2 * _NEW_NAMES_PER_DAY:
            outcome.find("more new names than the bound", f"{field_name}: {len(known)}")
        if strange := kept - known - {"other"}:
            outcome.find("a kept name was not admitted", f"{field_name}: {sorted(strange)[:5]}")
    for key in cast(Iterator[bytes], store.scan_iter(count=1000)):
        if not _KEYS.fullmatch(key.decode()):
            outcome.find("a key of no known form", repr(key))
    for hash_key in ("{vibetel}:buffer", "{vibetel}:counters", "{vibetel}:latencies", "{vibetel}:new-names"):
        if MARKER.search(repr(store.hgetall(hash_key))):
            outcome.find("a secret in Redis", hash_key)


def _judge_log(server: _Ingest, outcome: Outcome) -> None:
    """Ids, counts and milliseconds only."""
    for line in server.log().splitlines():
        if MARKER.search(line) or "Traceback" in line or ("127.0.0.1" in line and "istening" not in line):
            outcome.find(f"the log of {server.name}", line[:1000])


def _measure_cpu(
    server: _Ingest, outcome: Outcome, slow: list[HostileRequest], sample: Iterable[HostileRequest]
) -> None:
    """What bodies cost the server: those of the sample, kind by kind, and the ones that took longest under load."""
    by_kind: dict[str, list[HostileRequest]] = defaultdict(list)
    for request in sample:
        by_kind[request.kind].append(request)
    for kind, requests in by_kind.items():
        outcome.cpu_ms.append((_cpu_ms(server, requests), kind, len(requests)))
    outcome.slowest = [(_cpu_ms(server, [request] * 10), quoted(request)) for request in slow]
    for ms, text in outcome.slowest:
        if ms > CPU_MAX_MS:
            outcome.find(f"a body takes more than {CPU_MAX_MS:.0f} ms", f"{ms:.0f} ms: {text}")
    outcome.cpu_ms.sort(reverse=True)
    outcome.slowest.sort(reverse=True)


def _cpu_ms(server: _Ingest, requests: list[HostileRequest]) -> float:
    """The mean."""
    before = server.cpu_seconds()
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=_ANSWER_MAX_SECONDS)) as connection:
        for request in requests:
            try:
                post(connection, request)
            except (OSError, HTTPException):  # noted where it was sent first
                connection.close()
    return 1000 * (server.cpu_seconds() - before) / len(requests)


# -- The table --------------------------------------------------------------------------------------------------------


def table(outcome: Outcome) -> str:
    """The outcome for a person to read."""
    lines = [
        f"{outcome.requests} requests in {outcome.seconds:.0f} s, {outcome.lines} lines kept",
        f"statuses: {dict(sorted(outcome.statuses.items()))}",
        f"counters: {dict(sorted(outcome.counters.items()))}",
        f"names of dropped fields: {len(outcome.dropped)}; of kept ones: "
        + ", ".join(f"{name} {len(kept)}" for name, kept in sorted(outcome.names.items())),
        f"connections ended by the server: {dict(outcome.closed)}",
        "memory: "
        + ", ".join(f"{mb:.1f} MB after {requests}" for requests, mb in outcome.rss_mb)
        + f": {outcome.memory_change():+.1%} since the warm-up",
        "CPU ms of a body, by kind:",
        *(f"  {kind:26}{ms:8.2f}" for ms, kind, _ in outcome.cpu_ms),
        "CPU ms of the slowest bodies:",
        *(f"  {ms:8.2f} {request[:160]}" for ms, request in outcome.slowest[:12]),
        f"findings: {len(outcome.findings)}",
        *(f"  {count} x {what}\n      {example}" for what, (count, example) in sorted(outcome.findings.items())),
    ]
    return "\n".join(lines)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vibetel-"))
    outcome = run(folder, count=asked.count, seed=asked.seed, sample=_SAMPLE, say=_say)
    if abs(outcome.memory_change()) > MEMORY_MAX_CHANGE:
        outcome.find("memory is not flat", repr(outcome.rss_mb))
    _say(table(outcome))
    sys.exit(bool(outcome.findings))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main()

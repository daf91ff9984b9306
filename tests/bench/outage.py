"""Outage: Valkey goes away under load and comes back. What did senders see, and does what they were told hold?

`python -m tests.bench.outage --how frozen --seconds 20`; tests/ingest/test_outage.py is the same, shorter. Nothing
archives meanwhile, so what was accepted is in the stream.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Literal, get_args

import psutil
import redis

from tests.events import body, event
from tests.servers import remove, settings_read
from tests.vibetel.programs import CHECKOUT, pid_of
from vibetel.embedded import servers
from vibetel.embedded.addresses import free_ports, read_or_create, redis_url
from vibetel.embedded.child import Child
from vibetel.embedded.supervisor import Supervisor
from vibetel.start import ingest_command

How = Literal["frozen", "stopped", "killed"]
SENDERS = 16
_BEFORE_S = 2.0
_AFTER_S = 3.0
_RECOVERY_MAX_S = 30.0
_STREAM = "{vibetel}:events"
_COUNTERS = "{vibetel}:counters"


@dataclass
class Seen:
    """What the senders were told, and what is there in the end: event ids."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0
    accepted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    back_after_s: float = 0.0
    counters: dict[str, int] = field(default_factory=dict)


def outage(data_dir: Path, how: How, seconds: float) -> Seen:
    """Senders that never retry, Valkey away for so many seconds, and three more seconds of load."""
    seen, lock, stop = Seen(), threading.Lock(), threading.Event()
    with serving(data_dir, {"INGEST_RATE_PER_ADDRESS": "off"}) as (port, supervisor):
        senders = [threading.Thread(target=_send, args=(port, seen, lock, stop)) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        time.sleep(_BEFORE_S)
        valkey = psutil.Process(pid_of(data_dir, "valkey-server") or 0)
        valkey.send_signal({"frozen": signal.SIGSTOP, "stopped": signal.SIGTERM, "killed": signal.SIGKILL}[how])
        time.sleep(seconds)  # the supervisor starts it again when it is asked to look, not before
        if how == "frozen":
            valkey.send_signal(signal.SIGCONT)
        accepted, began = len(seen.accepted), time.monotonic()
        while len(seen.accepted) == accepted and time.monotonic() - began < _RECOVERY_MAX_S:
            supervisor.tick(0.05)
        seen.back_after_s = time.monotonic() - began
        time.sleep(_AFTER_S)
        stop.set()
        for sender in senders:
            sender.join()
        time.sleep(2)  # the counts that no append carried
        _read(data_dir, seen)
    return seen


@contextmanager
def serving(data_dir: Path, given: Mapping[str, str]) -> Iterator[tuple[int, Supervisor]]:
    """The endpoint's port and its supervisor: an ingest process and Valkey, and nothing that archives."""
    port = int(free_ports(["ingest"])["ingest"])
    environment = {**os.environ, "DATA_DIR": str(data_dir), **given}
    ingest = Child("ingest", ingest_command(port), environment, ready=lambda: _serves(port), folder=CHECKOUT)
    try:
        with Supervisor(data_dir, lambda line: None) as supervisor:
            supervisor.start(servers.needed(data_dir, {"DATABASE_URL": "no", "ARCHIVE_BUCKET": "no"}))
            supervisor.start([ingest])
            yield port, supervisor
    finally:
        remove(data_dir)


def _send(port: int, seen: Seen, lock: threading.Lock, stop: threading.Event) -> None:
    """One event after the other, each once."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        while not stop.is_set():
            sent = event()
            content = body(sent)
            began = time.monotonic()
            connection.request("POST", "/api/pipeline", content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            took_s = time.monotonic() - began
            with lock:
                seen.statuses[answer.status] += 1
                seen.slowest_s = max(seen.slowest_s, took_s)
                if answer.status == 202:
                    seen.accepted.append(sent["eventId"])
            time.sleep(0.005)


def _read(data_dir: Path, seen: Seen) -> None:
    with redis.Redis.from_url(redis_url(read_or_create(data_dir))) as connection:
        seen.kept = [json.loads(fields[b"line"])["eventId"] for _, fields in connection.xrange(_STREAM)]
        seen.counters = {name.decode(): int(count) for name, count in connection.hgetall(_COUNTERS).items()}


def _serves(port: int) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False


def main() -> int:
    """Print what was seen; status 1 where a promise did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--how", choices=get_args(How), default="frozen", help="what happens to Valkey (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="how long it is away (%(default)s)")
    asked = parser.parse_args()
    for name in settings_read():
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="vibetel-") as folder:
        seen = outage(Path(folder) / "outage", asked.how, asked.seconds)
    lines = [
        f"answers: {dict(seen.statuses)}; slowest {seen.slowest_s * 1000:.0f} ms",
        f"accepted {len(seen.accepted)}, in the stream {len(seen.kept)}, "
        f"not there {len(set(seen.accepted) - set(seen.kept))}, not accepted but there "
        f"{len(set(seen.kept) - set(seen.accepted))}",
        f"accepting again {seen.back_after_s:.1f} s after it was back; counters {seen.counters}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if sorted(seen.accepted) == sorted(seen.kept) and seen.slowest_s <= 1.2 else 1


if __name__ == "__main__":
    sys.exit(main())

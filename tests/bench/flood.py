"""Flood: one address sends as fast as it can; what does another one see? `python -m tests.bench.flood`

Everything on this machine, both senders from loopback addresses, the limits at their defaults.
"""

import argparse
import json
import math
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

from tests.bench.outage import serving
from tests.events import body, event
from tests.servers import settings_read
from tests.vibetel.programs import CHECKOUT

FLOODS = 3  # load.py's 16 connections each
OTHER = "127.0.0.2"
_PAUSE_S = 0.05
P99_MAX_MS = 100


@dataclass
class Seen:
    """What the flood was answered, and the other address: statuses, and its latencies in ms, ascending."""

    flood: Counter[str] = field(default_factory=Counter)
    flood_per_s: float = 0.0
    other: Counter[int] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)

    def p99_ms(self) -> float:
        """Of the other address."""
        return self.latencies_ms[math.ceil(0.99 * len(self.latencies_ms)) - 1]


def flood(data_dir: Path, seconds: float) -> Seen:
    """Flood for so many seconds, the other address sending 20 events a second meanwhile."""
    seen = Seen()
    with serving(data_dir, {}) as (port, _), _flooding(data_dir, port, seconds) as floods:
        end = time.monotonic() + seconds
        with closing(HTTPConnection("127.0.0.1", port, timeout=10, source_address=(OTHER, 0))) as connection:
            while time.monotonic() < end:
                began = time.perf_counter()
                connection.request("POST", "/api/pipeline", body(event()), {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                seen.latencies_ms.append((time.perf_counter() - began) * 1000)
                seen.other[answer.status] += 1
                time.sleep(_PAUSE_S)
        for process in floods:
            outcome = json.loads(process.communicate()[0])
            seen.flood.update(outcome["statuses"])
            seen.flood_per_s += outcome["requests"] / outcome["seconds"]
    seen.latencies_ms.sort()
    return seen


@contextmanager
def _flooding(data_dir: Path, port: int, seconds: float) -> Iterator[list["subprocess.Popen[bytes]"]]:
    content = body(event())
    head = "POST /api/pipeline HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    requests = data_dir.with_suffix(".requests")
    requests.write_bytes(pickle.dumps([f"{head}{len(content)}\r\n\r\n".encode() + content]))
    command = [sys.executable, "-m", "tests.bench.load", str(port), str(requests), str(seconds)]
    floods = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=CHECKOUT) for _ in range(FLOODS)]
    try:
        yield floods
    finally:
        for process in floods:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def main() -> int:
    """Print what was seen; status 1 where the other address suffers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20, help="how long (%(default)s)")
    asked = parser.parse_args()
    for name in settings_read():
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="vibetel-") as folder:
        seen = flood(Path(folder) / "flood", asked.seconds)
    sys.stdout.write(
        f"flood: {seen.flood_per_s:,.0f} requests/s over {16 * FLOODS} connections, answered {dict(seen.flood)}\n"
        f"another address: {dict(seen.other)}, p50 {seen.latencies_ms[len(seen.latencies_ms) // 2]:.1f} ms, "
        f"p99 {seen.p99_ms():.1f} ms\n"
    )
    return 0 if seen.other.keys() == {202} and seen.p99_ms() <= P99_MAX_MS else 1


if __name__ == "__main__":
    sys.exit(main())

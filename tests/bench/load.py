"""Load: requests over kept connections, each with one on its way, for so many seconds. A process of its own.

In: a port, and a file with the requests as bytes (pickled list), sent in turn and from the start again. Out: a line of
JSON, an Outcome. Fails: ConnectionError, where the server hangs up; TimeoutError, where an answer stays out.

Standard library only and one thread: what it takes of its core, the stores beside it lack.
"""

import argparse
import gc
import itertools
import json
import math
import pickle
import re
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CONNECTIONS = 16

_ANSWER_MAX_S = 10
_SEND_BUFFER_BYTES = 1_048_576  # above any request: sending never waits
_RECEIVE_BYTES = 65_536
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"  # RFC 9112, section 7.1, of an answer that does not tell its length


@dataclass(frozen=True)
class Outcome:
    """What became of the requests: all of them were answered. `seconds` is until the last answer."""

    requests: int
    seconds: float
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float


class _Connection:
    """A kept connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_MAX_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.sent_ns = 0
        self._received = b""

    def send(self, request: bytes) -> None:
        self.sent_ns = time.perf_counter_ns()
        self.socket.sendall(request)

    def receive(self) -> int:
        """The status, once the whole answer is here; until then 0."""
        received = self.socket.recv(_RECEIVE_BYTES)
        if not received:
            raise ConnectionError("the server hung up")
        self._received += received
        head, ended, body = self._received.partition(b"\r\n\r\n")
        if not ended:
            return 0
        length = _CONTENT_LENGTH.search(head)
        if not (len(body) >= int(length[1]) if length else body.endswith(_LAST_CHUNK)):
            return 0
        self._received = b""
        return int(head[9:12])  # after "HTTP/1.1 "


def load(port: int, requests: Sequence[bytes], seconds: float) -> Outcome:
    """Send for so many seconds, then wait for the answers that are still to come."""
    connections = [_Connection(port) for _ in range(CONNECTIONS)]
    selector = selectors.DefaultSelector()
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    waiting = itertools.cycle(requests)
    latencies_ns: list[int] = []
    statuses: list[int] = []
    started_ns = now_ns = time.perf_counter_ns()
    end_ns = started_ns + round(seconds * 1e9)
    for connection in connections:
        connection.send(next(waiting))
    unanswered = len(connections)
    while unanswered:
        ready = selector.select(_ANSWER_MAX_S)
        if not ready:
            raise TimeoutError(f"no answer within {_ANSWER_MAX_S} s")
        for key, _ in ready:
            connection = key.data
            status = connection.receive()
            if not status:
                continue
            now_ns = time.perf_counter_ns()
            latencies_ns.append(now_ns - connection.sent_ns)
            statuses.append(status)
            if now_ns < end_ns:
                connection.send(next(waiting))
            else:
                unanswered -= 1
    for connection in connections:
        connection.socket.close()
    latencies_ns.sort()
    return Outcome(
        requests=len(statuses),
        seconds=(now_ns - started_ns) / 1e9,
        statuses={str(status): count for status, count in Counter(statuses).items()},
        p50_ms=_percentile_ms(latencies_ns, 0.5),
        p99_ms=_percentile_ms(latencies_ns, 0.99),
    )


def _percentile_ms(sorted_ns: Sequence[int], share: float) -> float:
    return sorted_ns[math.ceil(share * len(sorted_ns)) - 1] / 1e6


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("requests", type=Path)
    parser.add_argument("seconds", type=float)
    asked = parser.parse_args()
    requests = pickle.loads(asked.requests.read_bytes())
    gc.freeze()
    gc.disable()
    sys.stdout.write(json.dumps(asdict(load(asked.port, requests, asked.seconds))) + "\n")


if __name__ == "__main__":
    _main()

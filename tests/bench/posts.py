"""Posts: what the load sends, as whole HTTP requests.

In: how many. Out: POSTs to the pipeline, each with events of its own, of simulated traffic that ends now. Next: load.py
"""

import gzip
import random
import uuid
from datetime import UTC, datetime, timedelta
from itertools import islice

import msgspec

from ingest import simulation
from ingest.simulation import Traffic

INSTALLATIONS = 1_000

# As the released client sends them (wire-format.md, "A request").
_HEAD = (
    "POST /api/pipeline HTTP/1.1\r\n"
    "Host: 127.0.0.1\r\n"
    "Connection: keep-alive\r\n"
    "Content-Type: application/json\r\n"
    "Accept: */*\r\n"
    "Accept-Language: *\r\n"
    "Sec-Fetch-Mode: cors\r\n"
    "User-Agent: node\r\n"
    "Accept-Encoding: gzip, deflate\r\n"
)


def bodies(count: int) -> list[bytes]:
    """So many bodies of one event, each from one of INSTALLATIONS installations in turn."""
    users = _users()
    return [
        msgspec.json.encode({"data": event | {"userId": users[number % INSTALLATIONS]}})
        for number, event in enumerate(_events(count))
    ]


def batches(count: int, size: int) -> list[bytes]:
    """So many bodies of `size` events of one installation, as a spool holds them."""
    users, events = _users(), _events(count * size)
    sent_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return [
        msgspec.json.encode(
            {
                "sentAt": sent_at,
                "data": [
                    event | {"userId": users[number % INSTALLATIONS]}
                    for event in events[number * size : (number + 1) * size]
                ],
            }
        )
        for number in range(count)
    ]


def requests(contents: list[bytes]) -> list[bytes]:
    """The bodies as whole requests."""
    return [_request(content, "") for content in contents]


def gzip_requests(contents: list[bytes]) -> list[bytes]:
    """The bodies as whole requests, compressed."""
    return [_request(gzip.compress(content), "Content-Encoding: gzip\r\n") for content in contents]


def _request(content: bytes, header: str) -> bytes:
    return f"{_HEAD}{header}Content-Length: {len(content)}\r\n\r\n".encode() + content


def _users() -> list[str]:
    rng = random.Random(1)
    return [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(INSTALLATIONS)]


def _events(count: int) -> list[dict[str, object]]:
    until = datetime.now(UTC)
    traffic = Traffic(until - timedelta(days=1), until, events_per_day=3 * count + 1_000, users=INSTALLATIONS)
    events = [sent.event for sent in islice(simulation.events(traffic), count)]
    assert len(events) == count  # three times as many are simulated, whatever day of the week it is
    return events

"""Throttles: who is limited, how fast, and what is remembered of an address."""

import gzip
import json
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from ingest import buffer, tally, throttles
from tests.events import body, event
from vibetel.environment import networks

pytestmark = [pytest.mark.usefixtures("empty_buffer"), pytest.mark.urls("vibetel.ingest_urls")]

ALICE, BOB = "203.0.113.1", "203.0.113.2"


def post(*events: Any, address: str = ALICE, **headers: str) -> Any:
    content = body(*events) if events else b"{"
    return Client(headers=headers).post("/api/pipeline", content, content_type="application/json", REMOTE_ADDR=address)


def statuses(count: int, **how: Any) -> list[int]:
    return [post(event(), **how).status_code for _ in range(count)]


def test_an_address_has_a_burst_and_is_limited_then(settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (3, 60)
    assert statuses(4) == [202, 202, 202, 429]
    assert statuses(1, address=BOB) == [202]
    tally.flush()
    assert buffer.counters() == {"received": 5, "accepted": 4, "limited": 1, "waiting": 4}


def test_a_limited_sender_is_told_when_to_come_back(settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (2, 7200)
    statuses(2)
    answer = post(event())
    assert answer.status_code == 429
    assert 3000 < int(answer["Retry-After"]) <= 3600
    assert answer.json() == {"success": False, "results": [{"status": "rejected", "reason": "throttled"}]}


def test_a_limited_sender_may_come_back(settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (1, 3600)
    assert statuses(2) == [202, 429]
    (bucket,) = buffer.connection().scan_iter("*rate:address*")
    buffer.connection().set(bucket, buffer.now_ms())  # an hour later
    throttles.forget()
    assert statuses(1) == [202]


def test_each_process_knows_the_limit_of_all(settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (1, 60)
    assert statuses(2) == [202, 429]
    throttles.forget()  # another process
    assert statuses(1) == [429]


def test_an_address_found_limited_is_refused_without_reading_its_body(settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (1, 60)
    statuses(2)
    assert post().status_code == 429  # broken JSON
    tally.flush()
    assert buffer.counters() == {"received": 3, "accepted": 1, "limited": 2, "waiting": 1}


def test_broken_bodies_are_limited_too(settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (2, 60)
    assert [post().status_code for _ in range(3)] == [400, 400, 429]


def test_a_batch_is_limited_as_a_whole(settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (5, 60)
    assert post(event(), event(), event()).status_code == 202
    answer = post(event(), event(), event())
    assert answer.status_code == 429
    assert post(event(), event()).status_code == 202  # for these there is room
    assert buffer.counters() == {"received": 8, "accepted": 5, "limited": 3, "waiting": 5}


def test_a_batch_beyond_the_burst_passes_once_and_is_paid_for(settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (2, 7200)
    assert post(*[event() for _ in range(4)]).status_code == 202
    answer = post(event())
    assert answer.status_code == 429
    assert 10_200 < int(answer["Retry-After"]) <= 10_800  # two in debt, and one


def test_a_long_body_costs_as_much_as_several_events(settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (3, 60)
    long = event(errorMessage="x" * 2 * throttles.BYTES_PER_EVENT)
    assert [post(long).status_code, post(event()).status_code] == [202, 429]


@pytest.mark.parametrize("content", [gzip.compress(bytes(2_000_000), mtime=0), b"no gzip"])
def test_a_body_that_was_inflated_in_vain_costs_the_most_it_may_have_been(settings: Settings, content: bytes) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (600, 3600)
    found = [
        Client(headers={"Content-Encoding": "gzip"})
        .post("/api/pipeline", content, content_type="application/json", REMOTE_ADDR=ALICE)
        .status_code
        for _ in range(3)
    ]
    assert found[0] in (400, 413)
    assert found[2] == 429


def test_an_empty_body_costs_one_event(settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (2, 3600)
    found = [Client().post("/api/pipeline", b"", content_type="application/json").status_code for _ in range(3)]
    assert found == [400, 400, 429]


def test_an_installation_is_limited_wherever_it_sends_from(settings: Settings) -> None:
    settings.INGEST_RATE_PER_INSTALLATION = (2, 60)
    own = [event(userId="0c8f7e6d-0b57-4a2b-9c2c-6f0f3f6f2b11") for _ in range(3)]
    assert [post(sent, address=f"203.0.113.{n}").status_code for n, sent in enumerate(own)] == [202, 202, 429]
    assert post(event(), address="203.0.113.2").status_code == 202  # another installation behind the same address


@pytest.mark.parametrize("placeholder", ["anonymous_opt_out", "anonymous_pending_prompt"])
def test_placeholders_are_no_installation(settings: Settings, placeholder: str) -> None:
    settings.INGEST_RATE_PER_INSTALLATION = (1, 60)
    assert [post(event(userId=placeholder)).status_code for _ in range(3)] == [202] * 3


def test_off_is_off(settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = settings.INGEST_RATE_PER_INSTALLATION = None
    assert statuses(5) == [202] * 5
    assert not [key for key in buffer.connection().scan_iter() if b"rate" in key]


def test_no_address_is_stored(settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (1, 60)
    statuses(2)
    stored = [*buffer.connection().scan_iter(), *throttles._limited_until]
    assert ALICE not in str(stored)
    assert any(b"rate:address" in key for key in buffer.connection().scan_iter())
    assert ALICE not in json.dumps(buffer.counters())


# -- Who sends --------------------------------------------------------------------------------------------------------


def key(address: str, forwarded: str | None = None) -> str:
    meta = {"REMOTE_ADDR": address} | ({"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {})
    return throttles.sender_key(meta)


def test_ipv6_counts_by_its_64() -> None:
    assert key("2001:db8:0:1::1") == key("2001:db8:0:1:ffff::2")
    assert key("2001:db8:0:1::1") != key("2001:db8:0:2::1")


def test_an_ipv4_address_written_as_ipv6_is_the_same() -> None:
    assert key("::ffff:203.0.113.1") == key(ALICE)


def test_forwarded_for_is_not_believed_from_anybody() -> None:
    assert key(ALICE, forwarded=BOB) == key(ALICE)


@pytest.mark.parametrize(
    ("forwarded", "sender"),
    [
        (BOB, BOB),
        (f"{ALICE}, {BOB}", BOB),  # the left one may be invented
        (f"{ALICE}, {BOB}, 10.0.0.9", BOB),  # two proxies of ours
        ("2001:db8:0:1::5", "2001:db8:0:1::6"),
        ("nonsense", "10.0.0.1"),
        (f"{BOB}, nonsense", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("10.0.0.2", "10.0.0.2"),
        ("::ffff:203.0.113.2", BOB),
    ],
)
def test_forwarded_for_is_believed_from_a_trusted_proxy(settings: Settings, forwarded: str, sender: str) -> None:
    settings.TRUSTED_PROXIES = networks("10.0.0.0/8, ::1")
    found = key("10.0.0.1", forwarded)
    settings.TRUSTED_PROXIES = []
    assert found == key(sender)


def test_a_proxy_on_a_socket_for_both_families_is_trusted(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = networks("10.0.0.0/8")
    assert key("::ffff:10.0.0.1", BOB) == key(BOB)


@pytest.mark.parametrize("address", ["", "unix:", "nonsense:1"])
def test_a_connection_without_an_address_is_one_sender(settings: Settings, address: str) -> None:
    settings.TRUSTED_PROXIES = networks("10.0.0.0/8")
    assert key(address) == key(address)
    assert post(event(), address=address).status_code == 202

"""Checker: is each event answered 2xx in one object and in one row, and do the books say so?

In: bucket and Postgres, read by itself; what the senders know; the books. Out: what is wrong, in sentences.
Imports nothing of the project: what it shares with it, it could be wrong with.
"""

import gzip
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import boto3
import psycopg
from botocore.config import Config

ROWS_MAX = 100  # of one object
_FAULTS_SHOWN_MAX = 20  # of one kind

Books = Mapping[str, Any]


@dataclass(frozen=True)
class Stores:
    """How to read them."""

    endpoint_url: str
    bucket: str
    access_key_id: str
    secret_access_key: str
    database_url: str


@dataclass
class Sent:
    """One event as its sender knows it: how often an answer said 2xx, and how many attempts may have been kept.

    A dropped connection and a 503 may hide that the event was kept, so it may have a line for each.
    """

    accepted: int = 0
    maybe_kept: int = 0


@dataclass
class Found:
    """What there is: counts for the report, and what is wrong."""

    objects: int = 0
    lines: int = 0
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    repeated: int = 0  # kept again because the first answer was lost: two lines, one row
    faults: list[str] = field(default_factory=list)


class _Line(NamedTuple):
    received_at: datetime
    name: str
    number: int
    text: bytes


class _Object(NamedTuple):
    name: str
    etag: str
    body: bytes
    metadata: Mapping[str, str]


Names = Mapping[str, tuple[str, int]]  # ETag and size in bytes by name


def names(stores: Stores) -> Names:
    """The objects there are now; at a later moment, `check` finds each as it was."""
    listed = {}
    for page in _client(stores).get_paginator("list_objects_v2").paginate(Bucket=stores.bucket):
        for entry in page.get("Contents", []):
            listed[entry["Key"]] = (entry["ETag"].strip('"'), entry["Size"])
    return listed


def check(stores: Stores, sent: Mapping[str, Sent], books: Books, seen: Names) -> Found:
    """Compare all of it; to be called when nothing moves any more. `seen` are objects of earlier moments."""
    found = Found()
    listed = names(stores)
    lines = _read_bucket(stores, listed, found)
    _check_unchanged(seen, listed, found)
    _check_lines(lines, sent, found)
    with psycopg.connect(stores.database_url) as connection:
        _check_rows(connection, lines, sent, found)
        ledger = _check_ledger(connection, listed, lines, found)
    _check_books(books, ledger, found)
    return found


# -- The bucket -------------------------------------------------------------------------------------------------------


def _client(stores: Stores) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=stores.endpoint_url,
        region_name="auto",
        aws_access_key_id=stores.access_key_id,
        aws_secret_access_key=stores.secret_access_key,
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=8, proxies={}),
    )


def _read_bucket(stores: Stores, listed: Names, found: Found) -> dict[str, list[_Line]]:
    """Every line of every object, by event id."""
    client = _client(stores)

    def read(name: str) -> _Object:
        answer = client.get_object(Bucket=stores.bucket, Key=name)
        return _Object(name, answer["ETag"].strip('"'), answer["Body"].read(), answer["Metadata"])

    lines = defaultdict(list)
    faults = _Faults(found)
    with ThreadPoolExecutor(8) as pool:
        for item in pool.map(read, listed):
            found.objects += 1
            text = gzip.decompress(item.body)
            rows = text.splitlines()
            found.lines += len(rows)
            if hashlib.md5(item.body, usedforsecurity=False).hexdigest() != item.etag:
                faults.add("bytes that are not those of its ETag", item.name)
            if hashlib.sha256(text).hexdigest() != item.metadata.get("sha256"):
                faults.add("lines that are not those of its sha256", item.name)
            if str(len(rows)) != item.metadata.get("rows"):
                faults.add("other rows than its metadata says", item.name)
            if not 0 < len(rows) <= ROWS_MAX or not text.endswith(b"\n"):
                faults.add("a batch that is none", item.name)
            for number, row in enumerate(rows, start=1):
                fields = json.loads(row)
                received_at = datetime.fromisoformat(fields["receivedAt"])
                lines[fields["eventId"]].append(_Line(received_at, item.name, number, row))
    return lines


def _check_unchanged(seen: Names, listed: Names, found: Found) -> None:
    faults = _Faults(found)
    for name, then in seen.items():
        if name not in listed:
            faults.add("an object that was there and is not", name)
        elif listed[name] != then:
            faults.add("an object that changed", name)


def _check_lines(lines: Mapping[str, list[_Line]], sent: Mapping[str, Sent], found: Found) -> None:
    faults = _Faults(found)
    for event_id, event in sent.items():
        copies = lines.get(event_id, [])
        if event.accepted and not copies:
            found.lost += 1
            faults.add("answered 2xx and in no object", event_id)
        # The same bytes twice may be a resend of the same millisecond: a request that was given up, and the next,
        # served at the same time. Nearly all events are sent once: a batch that is written twice shows all the same.
        if len(copies) > event.maybe_kept:
            found.doubled += 1
            where = [f"{copy.name}:{copy.number}" for copy in copies]
            faults.add("in more lines than it was sent", f"{event_id} sent {event.maybe_kept} times, in {where}")
        elif len(copies) > 1:
            found.repeated += len(copies) - 1
    for event_id in lines.keys() - sent.keys():
        faults.add("archived and never sent", event_id)


# -- Postgres ---------------------------------------------------------------------------------------------------------


def _check_rows(
    connection: "psycopg.Connection[Any]", lines: Mapping[str, list[_Line]], sent: Mapping[str, Sent], found: Found
) -> None:
    faults = _Faults(found)
    query = """
        SELECT e.event_id::text, e.received_at, o.name, e.source_line
        FROM analytics_event e LEFT JOIN analytics_loadedobject o ON o.id = e.source_object_id
    """
    rows = {}
    for event_id, received_at, name, number in connection.execute(query).fetchall():
        found.rows += 1
        if event_id in rows:
            found.doubled += 1
            faults.add("in two rows", event_id)
        rows[event_id] = (received_at, name, number)
    for event_id, copies in lines.items():
        first = min(copies)
        if event_id not in rows:
            found.lost += 1
            faults.add("in an object and in no row", f"{event_id} of {first.name}")
        elif rows[event_id] != first[:3]:
            faults.add("a row that is not the first copy", f"{event_id}: {rows[event_id]}, not {first[:3]}")
    for event_id in rows.keys() - lines.keys():
        faults.add("in a row and in no object", event_id)
    for event_id in rows.keys() - sent.keys():
        faults.add("in a row and never sent", event_id)


def _check_ledger(
    connection: "psycopg.Connection[Any]", listed: Names, lines: Mapping[str, list[_Line]], found: Found
) -> Counter[str]:
    """The sums of the ledger's columns."""
    faults = _Faults(found)
    per_object = Counter(copy.name for copies in lines.values() for copy in copies)
    first_copies = Counter(min(copies).name for copies in lines.values())
    sums = Counter[str]()
    known = set()
    query = """
        SELECT name, state, etag, size_bytes, rows, loaded_rows, duplicate_rows, quarantined_rows
        FROM analytics_loadedobject
    """
    for name, state, etag, size, rows, loaded, duplicate, quarantined in connection.execute(query).fetchall():
        if name in known:
            faults.add("twice in the ledger", name)
        known.add(name)
        sums.update(rows=rows, loaded=loaded, duplicate=duplicate, quarantined=quarantined)
        if state != "loaded" or quarantined:
            faults.add("not loaded as a whole", f"{name}: {state}, {quarantined} quarantined")
        if listed.get(name) != (etag, size):
            faults.add("in the ledger otherwise than in the bucket", name)
        if (rows, loaded, duplicate) != (per_object[name], first_copies[name], per_object[name] - first_copies[name]):
            faults.add("counted wrongly in the ledger", f"{name}: {rows} rows, {loaded} loaded, {duplicate} duplicate")
    for name in listed.keys() - known:
        faults.add("in the bucket and not in the ledger", name)
    return sums


def _check_books(books: Books, ledger: Counter[str], found: Found) -> None:
    """Each equation of the books, and each term beside what it counts."""
    received = books["accepted"] + sum(books["rejected"].values()) + books["limited"] + books["unavailable"]
    dealt_with = books["loaded"] + books["duplicate"] + books["quarantined"] + books["not_yet_loaded"]
    for what, one, other in (
        ("received = accepted + rejected + limited + unavailable", books["received"], received),
        ("accepted = archived + waiting", books["accepted"], books["archived"] + books["waiting"]),
        ("archived + imported = loaded + …", books["archived"] + books["imported"], dealt_with),
        ("waiting = 0", books["waiting"], 0),
        ("not_yet_loaded = 0", books["not_yet_loaded"], 0),
        ("archived = lines in the bucket", books["archived"], found.lines),
        ("loaded = rows in Postgres", books["loaded"], found.rows),
        ("loaded = the ledger's", books["loaded"], ledger["loaded"]),
        ("duplicate = the ledger's", books["duplicate"], ledger["duplicate"]),
        ("quarantined = the ledger's", books["quarantined"], ledger["quarantined"]),
    ):
        if one != other:
            found.faults.append(f"the books do not balance: {what}: {one} and {other}")


class _Faults:
    """Adds to what was found; of each kind the first few, and how many more."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._counts = Counter[str]()

    def add(self, kind: str, which: str) -> None:
        self._counts[kind] += 1
        if self._counts[kind] <= _FAULTS_SHOWN_MAX:
            self._found.faults.append(f"{kind}: {which}")
        elif self._counts[kind] == _FAULTS_SHOWN_MAX + 1:
            self._found.faults.append(f"{kind}: more of them")

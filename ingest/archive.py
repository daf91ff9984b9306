"""Archive: write objects to the bucket, and read them back.

In: archive objects. Out: names, sizes and bytes. Fails: ArchiveUnavailable. Next: analytics/load.py

The only user of the bucket: any S3, configured as a django-storages backend in STORAGES.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, cast

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from django.conf import settings
from django.core.files.storage import storages

from ingest.batches import ArchiveObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# What `manage.py provision --check` writes, and cannot always remove (vibetel/acceptance.py). No part of the archive.
CHECK_NAME = "provision-check"

# A bucket is 100 to 300 ms away: several objects are on their way at the same time.
PUTS_AT_ONCE = 16


class ArchiveUnavailable(Exception):
    """The bucket did not answer, or not with success; the code says why."""


@dataclass(frozen=True)
class Listed:
    """An object as the bucket lists it."""

    name: str
    size_bytes: int
    etag: str
    last_modified: datetime


@dataclass(frozen=True)
class Fetched:
    """An object's bytes as stored, and its metadata."""

    name: str
    body: bytes
    metadata: dict[str, str]


def prepare() -> None:
    """To be called before threads write: boto3 makes clients in one thread only."""
    _client("archive")
    _client("archive_read")


def put(item: ArchiveObject) -> None:
    """Write an object, unless it is there: then it was written before. Raises ArchiveUnavailable.

    A server that is killed, or cut off, may keep a part of a put, or say that it has it all: that is written again.
    """
    with _bucket_errors():
        etag = _put(item, IfNoneMatch="*") or _etag_there(item)
        if not _fits(etag, item):
            etag = _put(item)
    if not _fits(etag, item):
        raise ArchiveUnavailable("NotAsWritten")


def _put(item: ArchiveObject, **conditions: str) -> str:
    """The ETag of what was written; empty where a condition was not met."""
    try:
        answer = _client("archive").put_object(
            Bucket=settings.ARCHIVE_BUCKET,
            Key=item.name,
            Body=item.body,
            ContentType="application/gzip",
            Metadata=item.metadata,
            **conditions,  # type: ignore[arg-type]
        )
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 412:
            raise
        return ""
    return answer["ETag"].strip('"')


def _etag_there(item: ArchiveObject) -> str:
    """The ETag of what is there of a put of the same lines; empty where it was of others: rows were gone since."""
    there = _client("archive_read").head_object(Bucket=settings.ARCHIVE_BUCKET, Key=item.name)
    return there["ETag"].strip('"') if there["Metadata"].get("sha256") == item.metadata["sha256"] else ""


def _fits(etag: str, item: ArchiveObject) -> bool:
    """An ETag is the MD5 of what was put in one piece; a bucket that encrypts may have others, which say nothing."""
    digest = hashlib.md5(item.body, usedforsecurity=False).hexdigest()
    return etag == digest or not re.fullmatch(r"[0-9a-f]{32}", etag)


def listing(*, prefix: str = "", start_after: str = "") -> Iterator[Listed]:
    """Every object of a prefix whose name sorts after `start_after`, in their order. Raises ArchiveUnavailable."""
    pages = _client("archive_read").get_paginator("list_objects_v2")
    with _bucket_errors():
        for page in pages.paginate(Bucket=settings.ARCHIVE_BUCKET, Prefix=prefix, StartAfter=start_after):
            for entry in page.get("Contents", []):
                if entry["Key"] != CHECK_NAME:
                    yield Listed(entry["Key"], entry["Size"], entry["ETag"].strip('"'), entry["LastModified"])


def get(name: str) -> Fetched:
    """One object, whole. Raises ArchiveUnavailable."""
    with _bucket_errors():
        answer = _client("archive_read").get_object(Bucket=settings.ARCHIVE_BUCKET, Key=name)
        return Fetched(name, answer["Body"].read(), answer["Metadata"])


def metadata(name: str) -> dict[str, str]:
    """One object's metadata. Raises ArchiveUnavailable."""
    with _bucket_errors():
        return _client("archive_read").head_object(Bucket=settings.ARCHIVE_BUCKET, Key=name)["Metadata"]


@contextmanager
def _bucket_errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise ArchiveUnavailable(_code(error)) from error
    except (BotoCoreError, ResponseParserError) as error:  # the second is of an answer that was cut short
        raise ArchiveUnavailable(type(error).__name__) from error


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "unknown")


@cache
def _client(alias: str) -> "S3Client":
    """The storage's own boto3 client: its API has no conditional put, no metadata and no start-after.

    Clients are safe to share between threads (boto3 guide, "Clients"); sessions, which make them, are not.
    """
    return cast("S3Client", storages[alias].connection.meta.client)  # type: ignore[attr-defined]

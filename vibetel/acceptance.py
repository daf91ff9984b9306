"""Acceptance: try the two keys of a bucket by use, and say what they can and cannot do.

In: how to reach the bucket with each key, as options of django-storages. Out: findings, in the order of the tries.
Fails: BucketUnreachable. Next: management/commands/provision.py

What the portal needs of a bucket is what ingest/archive.py does with it: put unless it is there, metadata, a list from
a name on, bytes as they were put. One object of a fixed name is written and removed; archive.listing passes it over.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from django.conf import settings
from django.core.files.storage import storages

from ingest import batches
from ingest.archive import CHECK_NAME

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_TOO_SOON_TRIES = 4
_TOO_SOON_SECONDS = 1.1  # R2 takes one write a second of one name, else 429 (r2/platform/limits)
_REFUSED = (401, 403)


class BucketUnreachable(Exception):
    """Nothing answers there as S3 does."""


class Outcome(StrEnum):
    """How a try went; a note is for people to judge."""

    OK = "ok"
    NOTE = "note"
    FAULT = "FAULT"


class Finding(NamedTuple):
    """What was tried, and what came of it."""

    outcome: Outcome
    text: str


class _Answer(NamedTuple):
    status: int
    code: str = ""
    content: Mapping[str, Any] = {}

    def __str__(self) -> str:
        return f"HTTP {self.status} {self.code}".strip()


class _Key:
    """The bucket as one key sees it: each call answers with its status."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.bucket = str(options["bucket_name"])
        known: Any = settings.STORAGES
        storage: Any = storages.create_storage({**known["archive"], "OPTIONS": options})
        self._client = cast("S3Client", storage.connection.meta.client)

    def put(self, body: bytes, metadata: Mapping[str, str], *, bucket: str = "", **conditions: str) -> _Answer:
        place = {"Bucket": bucket or self.bucket, "Key": CHECK_NAME, "ContentType": "application/gzip"}
        return self._try("put_object", **place, Body=body, Metadata=metadata, **conditions)

    def get(self, bucket: str = "") -> _Answer:
        return self._try("get_object", Bucket=bucket or self.bucket, Key=CHECK_NAME)

    def delete(self, bucket: str = "") -> _Answer:
        return self._try("delete_object", Bucket=bucket or self.bucket, Key=CHECK_NAME)

    def list_after(self, name: str, bucket: str = "") -> _Answer:
        place = {"Bucket": bucket or self.bucket, "Prefix": CHECK_NAME}
        return self._try("list_objects_v2", **place, StartAfter=name)

    def _try(self, call: str, **arguments: Any) -> _Answer:
        for _ in range(_TOO_SOON_TRIES):
            try:
                content = getattr(self._client, call)(**arguments)
                if "Body" in content:
                    content = {**content, "Body": content["Body"].read()}
                return _Answer(content["ResponseMetadata"]["HTTPStatusCode"], content=content)
            except ClientError as error:
                answer = _Answer(error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"])
            except (BotoCoreError, ResponseParserError) as error:
                raise BucketUnreachable(type(error).__name__) from error
            if answer.status != 429:
                break
            time.sleep(_TOO_SOON_SECONDS)
        return answer


def check(writer: Mapping[str, Any], reader: Mapping[str, Any], other_bucket: str = "") -> Iterator[Finding]:
    """Try the archiver's and the loader's key, by their options for the storage; each finding as it is made.

    `other_bucket` is one that neither key should reach; without it, a made-up name is tried. Raises BucketUnreachable.
    """
    archiver, loader = _Key(writer), _Key(reader)
    item = batches.archive_object(CHECK_NAME, [b"put by manage.py provision --check"])
    archiver.delete()  # of a check that was killed
    put = archiver.put(item.body, item.metadata, IfNoneMatch="*")
    if put.status not in (200, 412):
        yield Finding(Outcome.FAULT, f"the archiver's key cannot write to {archiver.bucket}: {put}; no more was tried")
        return
    yield _written(put)
    yield from _conditional(archiver, item)
    yield from _read_back(loader, item)
    yield from _listed(loader, item)
    yield _refused(loader.put(item.body, item.metadata), "the loader's key", "write")
    yield _refused(loader.delete(), "the loader's key", "delete")
    yield _archiver_reads(archiver)
    yield from _elsewhere(archiver, loader, item, other_bucket)
    yield _removed(archiver)


def _written(put: _Answer) -> Finding:
    if put.status == 412:
        return Finding(Outcome.NOTE, f"the archiver's key cannot delete {CHECK_NAME}, which an earlier check left")
    return Finding(Outcome.OK, "the archiver's key writes a new object with If-None-Match")


def _conditional(archiver: _Key, item: batches.ArchiveObject) -> Iterator[Finding]:
    again = archiver.put(b"something else", item.metadata, IfNoneMatch="*")
    if again.status == 412:
        yield Finding(Outcome.OK, "a second put under the same name is refused")
    else:
        yield Finding(
            Outcome.FAULT, f"a second put under the same name was answered {again}: objects could be overwritten"
        )


def _read_back(loader: _Key, item: batches.ArchiveObject) -> Iterator[Finding]:
    got = loader.get()
    if got.status != 200:
        yield Finding(Outcome.FAULT, f"the loader's key cannot read: {got}")
        return
    if got.content["Body"] == item.body:
        yield Finding(Outcome.OK, "the loader's key reads the object as it was put")
    else:
        yield Finding(Outcome.FAULT, "the loader's key reads other bytes than were put")
    if got.content["Metadata"] == item.metadata:
        yield Finding(Outcome.OK, f"metadata is kept ({', '.join(item.metadata)})")
    else:
        yield Finding(Outcome.FAULT, "metadata is not kept: the loader would take the portal's objects for others'")
    if got.content["ETag"].strip('"') != hashlib.md5(item.body, usedforsecurity=False).hexdigest():
        yield Finding(Outcome.NOTE, "an ETag is no MD5 here: a put that was cut short is noticed by the loader only")


def _listed(loader: _Key, item: batches.ArchiveObject) -> Iterator[Finding]:
    before, after = loader.list_after(item.name[:-1]), loader.list_after(item.name)
    if (before.status, after.status) != (200, 200):
        yield Finding(Outcome.FAULT, f"the loader's key cannot list: {before}, {after}")
        return
    sizes = {entry["Key"]: entry["Size"] for entry in before.content.get("Contents", [])}
    if sizes == {item.name: len(item.body)} and not after.content.get("Contents"):
        yield Finding(
            Outcome.OK, "a list shows the object at once, and begins after the name it is given (start-after)"
        )
    else:
        yield Finding(Outcome.FAULT, "a list does not show what comes after the name it is given, and nothing else")


def _refused(answer: _Answer, whose: str, what: str) -> Finding:
    if answer.status in _REFUSED:
        return Finding(Outcome.OK, f"{whose} cannot {what} ({answer})")
    return Finding(Outcome.FAULT, f"{whose} should not {what}, and was answered {answer}")


def _archiver_reads(archiver: _Key) -> Finding:
    got = archiver.get()
    if got.status in _REFUSED:
        return Finding(Outcome.OK, f"the archiver's key cannot read: it is really write-only ({got})")
    return Finding(
        Outcome.NOTE,
        "the archiver's key can also read. On R2 the permission to write objects includes reading and listing them: "
        "whoever has this key has the archive",
    )


def _elsewhere(archiver: _Key, loader: _Key, item: batches.ArchiveObject, other: str) -> Iterator[Finding]:
    name = other or f"{archiver.bucket}-not-there"
    for key, whose in ((archiver, "the archiver's key"), (loader, "the loader's key")):
        put = key.put(item.body, item.metadata, bucket=name, IfNoneMatch="*")  # what is there is somebody's
        if put.status == 200:
            key.delete(bucket=name)
        answers = [put, key.get(bucket=name), key.list_after("", bucket=name)]
        reached = ", ".join(map(str, answers))
        if all(answer.status in _REFUSED for answer in answers):
            yield Finding(Outcome.OK, f"{whose} reaches no object of the bucket {name} ({reached})")
        elif not other and all(answer.code == "NoSuchBucket" or answer.status in _REFUSED for answer in answers):
            yield Finding(
                Outcome.NOTE,
                f"whether {whose} reaches another bucket is not known: {name} is made up, and was answered {reached}. "
                "--other-bucket names one that is there",
            )
        else:
            yield Finding(Outcome.FAULT, f"{whose} should not reach the bucket {name}, and was answered {reached}")


def _removed(archiver: _Key) -> Finding:
    removed = archiver.delete()
    if removed.status < 300:
        return Finding(Outcome.OK, "the object of this check is removed again")
    return Finding(
        Outcome.NOTE, f"the archiver's key cannot delete ({removed}): {CHECK_NAME} stays, and the portal passes it over"
    )

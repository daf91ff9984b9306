"""Fixtures: the tests' own stores, empty, and stages that run on them in processes of their own."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import pytest
from django.conf import settings
from django.db import connection

from analytics import ledger
from ingest import buffer
from tests.events import line
from tests.faults import checker
from tests.faults.bucket_proxy import BucketProxy
from tests.faults.checker import Found, Names, Sent, Stores
from tests.faults.stage import Stages
from tests.servers import remove
from vibetel.embedded import environment
from vibetel.embedded.addresses import database_url, read_or_create


class Events:
    """Accepted events, and the check that each is in one object and one row."""

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self._seen: Names = {}

    def accept(self, count: int) -> None:
        """So many more."""
        lines = [line(datetime.now(UTC), timestamp=datetime.now(UTC).isoformat()) for _ in range(count)]
        buffer.push(lines, received=count, counts={})
        for text in lines:
            self.sent[text.partition(b'"eventId":"')[2][:36].decode()] = Sent(accepted=1, maybe_kept=1)

    def found(self, bucket: Mapping[str, str] = MappingProxyType({})) -> Found:
        """What the checker finds; `bucket` says where it is not the tests' own."""
        stores = _stores({**given(), **bucket})
        found = checker.check(stores, self.sent, ledger.books().as_json(), self._seen)
        self._seen = checker.names(stores)
        return found


def given() -> Mapping[str, str]:
    """The tests' own stores, by the variables that name them."""
    database = str(connection.settings_dict["NAME"])
    return environment(settings.DATA_DIR, {}) | {
        "DATABASE_URL": database_url(read_or_create(settings.DATA_DIR), database)
    }


def _stores(known: Mapping[str, str]) -> Stores:
    return Stores(
        known["ARCHIVE_ENDPOINT_URL"],
        known["ARCHIVE_BUCKET"],
        known["ARCHIVE_READ_ACCESS_KEY_ID"],
        known["ARCHIVE_READ_SECRET_ACCESS_KEY"],
        known["DATABASE_URL"],
    )


@pytest.fixture
def events(empty_buffer: None, empty_bucket: None, transactional_db: None) -> Events:
    """None yet, and nothing in the stores."""
    return Events()


@pytest.fixture(scope="session")
def programs(django_db_setup: None) -> Iterator[list[Stages]]:
    """Two of the stages' programs, which take a second or two to start."""
    with Stages(given()) as first, Stages(given()) as second:
        yield [first, second]


@pytest.fixture
def stages(events: Events, programs: list[Stages]) -> Iterator[Stages]:
    """Archiver and loader as processes on the tests' own stores."""
    yield programs[0]
    sys.stderr.write(programs[0].log())  # pytest shows it where a test fails


@pytest.fixture
def other_stages(events: Events, programs: list[Stages]) -> Iterator[Stages]:
    """The same, at the same time."""
    yield programs[1]
    sys.stderr.write(programs[1].log())


@pytest.fixture(scope="session")
def program_behind_proxy(django_db_setup: None) -> Iterator[tuple[Stages, BucketProxy]]:
    """A proxy in front of the tests' own bucket, and the stages' program that knows no other bucket."""
    port = int(read_or_create(settings.DATA_DIR)["SEAWEEDFS_S3_PORT"])
    proxy = BucketProxy(lambda: port, seed=1)
    with proxy.serving(), Stages({**given(), "ARCHIVE_ENDPOINT_URL": proxy.url}) as stages:
        yield stages, proxy


@pytest.fixture
def proxy(program_behind_proxy: tuple[Stages, BucketProxy]) -> Iterator[BucketProxy]:
    """What the stages are behind; it lets everything through."""
    proxy = program_behind_proxy[1]
    yield proxy
    proxy.mode, proxy.spares_listings = "pass", False


@pytest.fixture
def stages_behind_proxy(events: Events, program_behind_proxy: tuple[Stages, BucketProxy]) -> Iterator[Stages]:
    """Archiver and loader on a bucket that can be broken."""
    yield program_behind_proxy[0]
    sys.stderr.write(program_behind_proxy[0].log())


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not in pytest's own folder, which another user, as PostgreSQL's may be, cannot enter."""
    folder = Path(tempfile.mkdtemp(prefix="vibetel-")) / "portal"
    folder.parent.chmod(0o755)
    yield folder
    remove(folder)
    shutil.rmtree(folder.parent)

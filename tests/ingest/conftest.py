"""Fixtures: the ingest process."""

from collections.abc import Iterator

import pytest

from tests.ingest.server import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running one that limits nobody."""
    log = tmp_path_factory.mktemp("ingest") / "log"
    with serving(log, INGEST_RATE_PER_ADDRESS="off", INGEST_RATE_PER_INSTALLATION="off") as server:
        yield server

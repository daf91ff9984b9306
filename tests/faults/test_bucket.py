"""A bucket that is cut off, slow, failing, truncating or full only delays."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.bucket_proxy import BucketProxy, Mode
from tests.faults.conftest import Events, given
from tests.faults.stage import Stages
from tests.faults.weather import fill_disk, give_room
from tests.vibetel.programs import pid_of
from vibetel.embedded import environment, servers
from vibetel.embedded.supervisor import Supervisor


# The other modes are among those of the whole bench.
@pytest.mark.xdist_group("stages")
@pytest.mark.parametrize(
    "mode", ["cut_off", "slow", "500", "503", "request_truncated", "answer_lost", "answer_shortened"]
)
def test_bucket_that_is_broken_for_a_while_only_delays(
    stages_behind_proxy: Stages, proxy: BucketProxy, events: Events, mode: Mode
) -> None:
    proxy.spares_listings = True
    events.accept(150)
    for stage in ("archive", "load"):
        proxy.mode = mode
        stages_behind_proxy.run(stage)
        proxy.mode = "pass"
        assert stages_behind_proxy.run(stage) == 0
    assert events.found().faults == []


@pytest.mark.xdist_group("stages")
@pytest.mark.parametrize("mode", ["cut_off", "answer_truncated", "answer_shortened"])
def test_listing_that_is_broken_hides_nothing_for_good(
    stages_behind_proxy: Stages, proxy: BucketProxy, events: Events, mode: Mode
) -> None:
    events.accept(150)
    assert stages_behind_proxy.run("archive") == 0
    proxy.mode = mode
    assert stages_behind_proxy.run("load") == 1
    proxy.mode = "pass"
    assert stages_behind_proxy.run("load") == 0
    assert events.found().faults == []


@pytest.fixture
def own_bucket(data_dir: Path) -> Iterator[tuple[int, Path]]:
    """The process id and the folder of a SeaweedFS of one's own, whose disk can be filled."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGXFSZ])
    try:
        with Supervisor(data_dir, lambda line: None) as supervisor:
            supervisor.start(servers.needed(data_dir, {"DATABASE_URL": "no", "REDIS_URL": "no"}))
            seaweedfs = pid_of(data_dir, "weed") or 0
            yield seaweedfs, data_dir
            os.kill(seaweedfs, signal.SIGKILL)  # it would take four seconds to end
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.xdist_group("stacks")
def test_disk_of_the_bucket_that_is_full_only_delays(own_bucket: tuple[int, Path], events: Events) -> None:
    seaweedfs, folder = own_bucket
    bucket = {name: value for name, value in environment(folder, {}).items() if name.startswith("ARCHIVE")}
    with Stages({**given(), **bucket}) as stages:
        events.accept(150)
        assert stages.run("archive") == 0
        for left_bytes in (None, 100):
            fill_disk(seaweedfs, folder, left_bytes)
            events.accept(150)
            assert stages.run("archive") == 1
            give_room(seaweedfs)
            assert stages.run("archive") == 0
        assert stages.run("load") == 0
    assert events.found(bucket).faults == []

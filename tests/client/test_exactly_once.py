"""Runs that end at once, against a whole portal: each arrives, and none twice. `make bench` does it with 1,000."""

from pathlib import Path

import pytest

from tests.bench import herd
from tests.portal import Portal

RUNS_COUNT = 60


@pytest.mark.xdist_group("stacks")
def test_runs_that_end_at_once_arrive_exactly_once(portal: Portal, tmp_path: Path) -> None:
    seen = herd.run_at_once(portal, tmp_path, RUNS_COUNT)
    assert seen.killed == RUNS_COUNT // 10
    assert (seen.missing, seen.repeated) == (0, 0)

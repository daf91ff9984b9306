"""Stages that run in two processes at the same time, as tasks delivered twice do, change nothing."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.conftest import Events
from tests.faults.stage import Stages


@pytest.mark.xdist_group("stages")
@pytest.mark.parametrize("killed_at", ["-", "put:after:2", "commit:before:1"])
def test_stages_at_the_same_time_have_each_event_once(
    stages: Stages, other_stages: Stages, events: Events, killed_at: str
) -> None:
    events.accept(1000)
    with ThreadPoolExecutor(1) as beside:
        for stage in ("archive", "load"):
            other = beside.submit(other_stages.run, stage)
            stages.run(stage, killed_at)
            assert other.result() == 0
            assert stages.run(stage) == 0
    assert events.found().faults == []

"""Killed with -9 between any two steps of seal → put → release → load → commit, everything is there once."""

import pytest

from tests.faults.conftest import Events
from tests.faults.stage import Stages

pytestmark = pytest.mark.xdist_group("stages")

KILLED = -9


@pytest.mark.parametrize("step", ["seal", "lines", "put", "release"])
def test_archiver_killed_at_a_step_has_each_event_in_one_object(stages: Stages, events: Events, step: str) -> None:
    for when in ("before:1", "after:1", "before:2", "after:2"):
        events.accept(150)
        assert stages.run("archive", f"{step}:{when}") == KILLED
    assert stages.run("archive") == 0
    assert stages.run("load") == 0
    assert events.found().faults == []


@pytest.mark.parametrize("step", ["get", "look", "rollup"])
def test_loader_killed_at_a_step_has_each_event_in_one_row(stages: Stages, events: Events, step: str) -> None:
    for when in ("before:1", "after:1"):
        events.accept(150)
        assert stages.run("archive") == 0
        assert stages.run("load", f"{step}:{when}") == KILLED
    assert stages.run("load") == 0
    assert events.found().faults == []


@pytest.mark.parametrize("place", ["statement:before", "commit:before", "commit:after"])
def test_loader_killed_between_any_two_statements_has_each_event_in_one_row(
    stages: Stages, events: Events, place: str
) -> None:
    killed = 0
    while True:
        events.accept(3)
        assert stages.run("archive") == 0
        if stages.run("load", f"{place}:{killed + 1}") != KILLED:
            break
        killed += 1
    assert killed >= (10 if place == "statement:before" else 2)  # else there was nothing to be killed at
    assert events.found().faults == []

"""Killed with -9 between any two steps of seal → put → release → load → commit, everything is there once."""

import pytest

from ingest import buffer
from tests.faults.bucket_proxy import BucketProxy
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


@pytest.mark.parametrize("place", ["claim:after", "put:before", "put:after", "release:before"])
def test_archiver_killed_with_a_claim_only_delays(stages: Stages, events: Events, place: str) -> None:
    events.accept(150)
    assert stages.run("look", f"{place}:1") == KILLED
    assert stages.run("look") == 0
    left = buffer.sealed()
    assert left
    for seal in left:  # nothing but what was claimed, and that not for long
        assert 0 < buffer.connection().pttl(f"{buffer._CLAIM}{seal.first_id}") <= 1000 * buffer.CLAIM_SECONDS
    _claims_end()
    assert stages.run("look") == 0
    assert buffer.sealed() == []
    assert stages.run("load") == 0
    assert events.found().faults == []


@pytest.mark.parametrize("place", ["unclaim:before", "unclaim:after"])
def test_archiver_killed_where_it_ends_a_claim_only_delays(
    stages_behind_proxy: Stages, proxy: BucketProxy, events: Events, place: str
) -> None:
    """The bucket has the object, and says that it has not."""
    proxy.spares_listings = True
    proxy.mode = "answer_lost"
    events.accept(150)
    assert stages_behind_proxy.run("look", f"{place}:1") == KILLED
    proxy.mode = "pass"
    assert stages_behind_proxy.run("look") == 0
    _claims_end()
    assert stages_behind_proxy.run("look") == 0
    assert buffer.sealed() == []
    assert stages_behind_proxy.run("load") == 0
    assert events.found().faults == []


def _claims_end() -> None:
    """As they do by themselves, CLAIM_SECONDS later."""
    for seal in buffer.sealed():
        buffer.unclaim(seal)


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


@pytest.mark.parametrize("job", ["missed", "verify"])
def test_worker_killed_in_what_it_does_seldom_is_followed_by_one_that_does_it(
    stages: Stages, events: Events, job: str
) -> None:
    events.accept(3)
    assert stages.run("archive") == 0
    assert stages.run(job, "statement:before:3") == KILLED
    assert 0 < buffer.connection().pttl(buffer.turn_key(job)) < 3_600_000  # over before it is next asked for
    buffer.connection().delete(buffer.turn_key(job))
    assert stages.run(job) == 0
    assert set(buffer.finished()) & {"missed", "verify"} == {job}

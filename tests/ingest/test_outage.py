"""Valkey away under load: nobody waits, what was answered 202 is there and nothing else, and service resumes."""

from collections import Counter
from pathlib import Path

import pytest

from tests.bench.outage import How, outage


@pytest.mark.xdist_group("stacks")
@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_the_stream_has_what_was_answered_202_and_nothing_else(how: How, tmp_path: Path) -> None:
    seen = outage(tmp_path / "portal", how, seconds=3)
    assert seen.statuses.keys() == {202, 503}
    assert Counter(seen.kept) == Counter(seen.accepted)
    assert seen.counters == {
        "received": seen.statuses.total(),
        "accepted": seen.statuses[202],
        "unavailable": seen.statuses[503],
    }

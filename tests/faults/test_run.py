"""The fault bench in short: a whole portal under load, each part of it killed at least once."""

import random
import sys
from pathlib import Path

import pytest

from tests.faults import run
from tests.faults.killer import WEIGHTS

EVENTS = 1000
PAUSE_S = 0.3


@pytest.mark.xdist_group("stacks")
def test_portal_that_is_killed_and_broken_at_random_has_each_event_once(data_dir: Path) -> None:
    seed, kills = random.randrange(1_000_000), len(WEIGHTS)
    # pytest shows it where the test fails, wherever it does.
    sys.stdout.write(
        f"replay: python -m tests.faults.run --events {EVENTS} --kills {kills} --pause {PAUSE_S} --seed {seed}\n"
    )
    outcome = run.run(data_dir, events=EVENTS, kills=kills, seed=seed, mean_pause_s=PAUSE_S, BATCH_MAX_SECONDS="1")
    assert outcome.faults == []
    assert set(outcome.kills) >= set(WEIGHTS) - {"point"}  # that may not be reached; test_points.py has them all

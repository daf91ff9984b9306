"""The benches of archiving and loading still run, in small: what they measure is not judged here."""

import subprocess
import sys

import pytest

from tests.vibetel.programs import CHECKOUT

BENCHES = {
    ("archiving", "--rounds", "1", "--seconds", "1"): "Every event was in one object",
    ("loading", "--events", "2000"): "Every event was there once",
}


@pytest.mark.xdist_group("stacks")
def test_benches_find_every_event_where_it_belongs() -> None:
    """Side by side: both wait more than they work."""
    running = {
        said: subprocess.Popen(
            [sys.executable, "-m", f"tests.bench.{name}", *arguments],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for (name, *arguments), said in BENCHES.items()
    }
    for said, process in running.items():
        report, errors = process.communicate(timeout=120)
        assert said in report, errors

"""The benches of archiving, loading and looking still run, in small: what they measure is not judged here."""

import subprocess
import sys

import pytest

from tests.analytics.history import made_up, record
from tests.bench import looking
from tests.vibetel.programs import CHECKOUT

BENCHES = {
    ("archiving", "--rounds", "1", "--events", "1000", "--seconds", "1"): "Every event was in one object",
    ("loading", "--events", "2000"): "Every event was there once",
}


@pytest.mark.alone
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


@pytest.mark.django_db
def test_bench_of_looking_asks_every_page_and_beside_it_the_rows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(made_up(looking.NOW, days=20, a_day=30))
    monkeypatch.setattr(looking, "TURNS", 1)
    monkeypatch.setattr(looking, "PAGE_MAX_MS", {"30d": 1e6})
    monkeypatch.setattr(looking, "DIMENSIONS", ("command", "version", "error_type"))
    looking.main()
    told = capsys.readouterr().out
    for row in ("Overview, 30d", "Users & retention, 30d, one filter", "Overview, 2 excluded", "weekly retention"):
        assert f"| {row} |" in told

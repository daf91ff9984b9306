"""The ingest bench still runs, in small: what it measures is not judged here."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests.bench import ingest_report, posts
from tests.bench.ingest_report import Results, Turn
from tests.vibetel.programs import CHECKOUT

CASES = ["one event a request", "50 events a request", "50 events a request, gzip", "plain Django", "typical DRF"]


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=CHECKOUT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.alone
def test_bench_measures_every_case_and_finds_every_event_kept() -> None:
    ran = python("tests.bench.ingest", "--rounds", "1", "--seconds", "0.2", "--no-instructions")
    assert "the stream held each of them once" in ran.stdout, ran.stderr
    assert all(f"\n| {case}" in ran.stdout for case in CASES)


@pytest.mark.parametrize("yardstick", ["plain", "typical"])
def test_bench_calls_yardsticks_without_a_server(yardstick: str, tmp_path: Path, empty_buffer: None) -> None:
    requests = tmp_path / "requests"
    requests.write_bytes(pickle.dumps(posts.requests(posts.bodies(3))))
    ran = python(
        *("tests.bench.calls", "tests.bench.yardsticks.wsgi:application", "3", str(requests)),
        DJANGO_SETTINGS_MODULE=f"tests.bench.yardsticks.{yardstick}_settings",
        REDIS_URL=settings.REDIS_URL,
    )
    assert ran.returncode == 0, ran.stderr


def test_bench_names_each_figure_beyond_its_limit() -> None:
    slow = Turn(requests_per_s=10, events_per_s=10, p50_ms=50, p99_ms=60, cpu_us=9000, memory_mb=200, kept=10)
    cases = [*ingest_report.OURS, ingest_report.PLAIN, ingest_report.PLAIN_ALIKE, ingest_report.TYPICAL]
    results = Results({case: [slow] for case in cases}, {ingest_report.SINGLE: 14, ingest_report.PLAIN: 10})
    lines = ingest_report.beyond(results)
    assert len(lines) == 7
    assert all(line.startswith("Beyond its limit: ") for line in lines)

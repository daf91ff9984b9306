"""A home of its own for every test, and an environment that says nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from vibetel_client import RecordingTransport, Telemetry

ENDPOINT = "http://telemetry.invalid/api/pipeline"


@pytest.fixture(autouse=True)
def diagnostics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the tool `vibe-tools` keeps the choice; nothing is there yet."""
    for name in os.environ:
        if name not in ("PATH", "SYSTEMROOT"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path / ".vibe-tools" / "diagnostics.json"


@pytest.fixture
def transport() -> RecordingTransport:
    return RecordingTransport()


@pytest.fixture
def make_telemetry(transport: RecordingTransport) -> Callable[[], Telemetry]:
    return lambda: Telemetry(tool="vibe-tools", version="0.64.0", endpoint=ENDPOINT, transport=transport)


@pytest.fixture
def telemetry(make_telemetry: Callable[[], Telemetry]) -> Telemetry:
    """Telemetry of a user who has said yes."""
    made = make_telemetry()
    assert made.enable()
    return made

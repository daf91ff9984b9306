"""The examples as their users run them: whole processes, with a home of their own, that print what they would send."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import vibetel_client

EXAMPLES = Path(__file__).parents[2] / "client" / "examples"
NOTE = "Buy milk #shop\n#today\n"

pytestmark = pytest.mark.parametrize("example", ["argparse_cli.py", "click_cli.py"])


def run(example: str, *args: str, debug: bool = True) -> tuple[int, str, list[dict[str, object]]]:
    """Exit status, stdout, and the events that debugging shows on stderr."""
    done = subprocess.run(
        [sys.executable, "-B", str(EXAMPLES / example), *args],
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(vibetel_client.__file__).parents[1]),
            "NOTES_TELEMETRY_DEBUG": "1" if debug else "",
        },
    )
    payloads = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return done.returncode, done.stdout, [event for payload in payloads for event in payload["data"]]


@pytest.fixture
def note(tmp_path: Path) -> str:
    file = tmp_path / "note.txt"
    file.write_text(NOTE)
    return str(file)


def test_a_command_is_one_run(example: str, note: str) -> None:
    status, stdout, [event] = run(example, "count", note)
    assert (status, stdout) == (0, "2\n")
    assert (event["eventName"], event["command"], event["options"], event["hasError"]) == (
        "command_executed",
        "count",
        {},
        False,
    )
    assert event["toolVersion"] == "1.0.0"


def test_an_option_is_reported(example: str, note: str) -> None:
    status, stdout, [event] = run(example, "count", "--quiet", note)
    assert (status, stdout) == (0, "")
    assert event["options"] == {"quiet": True}


def test_a_command_of_a_group_is_called_by_both_names(example: str, note: str) -> None:
    status, stdout, [event] = run(example, "tag", "list", note)
    assert (status, stdout) == (0, "#shop\n#today\n")
    assert event["command"] == "tag:list"


def test_a_failing_command_is_one_failed_run_without_its_message(example: str, note: str) -> None:
    status, stdout, [event] = run(example, "tag", "list", note + ".missing")
    assert (status, stdout) == (1, "")
    assert (event["eventName"], event["command"], event["hasError"]) == ("command_error", "tag:list", True)
    assert event["errorType"] == "FileNotFoundError"
    assert "missing" not in json.dumps(event)


def test_a_usage_error_is_one_failed_run(example: str, note: str) -> None:
    status, stdout, [event] = run(example, "count", "--loud", note)
    assert (status, stdout) == (2, "")
    assert (event["command"], event["hasError"]) == ("count", True)
    assert event["errorType"] == {"argparse_cli.py": "ArgumentError", "click_cli.py": "NoSuchOption"}[example]


@pytest.mark.parametrize(("args", "status"), [(["--help"], 0), (["tag", "list", "--help"], 0), (["nope"], 2)])
def test_help_and_an_unknown_command_are_no_runs(example: str, args: list[str], status: int) -> None:
    found, _, events = run(example, *args)
    assert (found, events) == (status, [])


def test_the_choice_is_the_users(example: str, tmp_path: Path) -> None:
    assert run(example, "telemetry", "status", debug=False) == (0, "telemetry: pending\n", [])
    assert run(example, "telemetry", "on", debug=False)[1].endswith("\ntelemetry: enabled\n")
    assert run(example, "telemetry", "off", debug=False)[1] == "telemetry: opted out\n"
    assert json.loads((tmp_path / ".notes" / "diagnostics.json").read_text())["telemetryEnabled"] is False


def test_install_asks_nobody_where_there_is_no_terminal(example: str, tmp_path: Path) -> None:
    assert run(example, "install", debug=False) == (0, "telemetry: pending\n", [])
    assert list(tmp_path.iterdir()) == []

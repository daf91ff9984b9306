"""The whole pipeline, seen from outside: from a command's end to the figure on the Overview."""

import json
import subprocess
import sys
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.events import body, event
from tests.portal import Portal
from tests.vibetel.programs import until

pytestmark = pytest.mark.xdist_group("stacks")

EXAMPLES = Path(__file__).parent.parent / "client/examples"


def books_are(portal: Portal, events: int) -> bool:
    books = portal.ledger()
    return bool(books["accepted"] == books["archived"] == books["loaded"] == events)


@pytest.mark.parametrize("example", ["argparse_cli.py", "click_cli.py"])
def test_pipeline_carries_the_runs_of_a_tool_to_the_overview(portal: Portal, tmp_path: Path, example: str) -> None:
    home = tmp_path / "home"
    (home / ".notes").mkdir(parents=True)
    user_id = str(uuid.uuid4())
    (home / ".notes/diagnostics.json").write_text(json.dumps({"telemetryEnabled": True, "userId": user_id}))
    environment = {"HOME": str(home), "NOTES_TELEMETRY_ENDPOINT": f"{portal.ingest_url}/api/pipeline"}

    def notes(*arguments: str) -> int:
        command = [sys.executable, str(EXAMPLES / example), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, timeout=30).returncode

    assert notes("count", "--quiet", __file__) == 0
    assert notes("count", str(home / "alice.md")) == 1

    until(lambda: books_are(portal, 2), seconds=30, otherwise=portal.ledger)
    succeeded, failed = (json.loads(line) for lines in portal.bucket_lines() for line in lines)
    assert (succeeded["command"], succeeded["userId"], succeeded["options"]) == ("count", user_id, {"quiet": True})
    assert (failed["command"], failed["hasError"], failed["errorType"]) == ("count", True, "FileNotFoundError")
    figures = portal.overview()
    assert figures["Command runs"] == "2"
    assert figures["Active installations"] == "1"
    assert figures["Error rate"] == "50.0%"
    assert "alice" not in "".join(path.read_text() for path in (portal.data_dir / "log").glob("*.log"))


def test_pipeline_loses_and_doubles_nothing_when_all_of_it_is_killed(portal: Portal) -> None:
    events = [event(timestamp=datetime.now(UTC).isoformat()) for _ in range(1000)]
    for sent in events[:500]:
        assert portal.post(body(sent)) == 202
    portal.kill()
    portal.start()
    for sent in events[500:]:
        assert portal.post(body(sent)) == 202

    until(lambda: books_are(portal, 1000), seconds=30, otherwise=portal.ledger)
    objects = list(portal.bucket_lines())
    assert max(map(len, objects)) <= 100
    archived = Counter(json.loads(line)["eventId"] for lines in objects for line in lines)
    assert archived == Counter(sent["eventId"] for sent in events)
    assert portal.rows("SELECT count(*), count(DISTINCT event_id) FROM analytics_event") == [(1000, 1000)]
    books = portal.ledger()
    assert (books["waiting"], books["duplicate"], books["not_yet_loaded"]) == (0, 0, 0)
    assert portal.overview()["Command runs"] == "1,000"

"""The whole pipeline, seen from outside: from a command's end to the figure on the Overview."""

import json
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

import pytest

from tests.bench import herd
from tests.events import body, event
from tests.portal import Portal
from tests.vibetel.programs import until

pytestmark = pytest.mark.xdist_group("stacks")

HERD = 60
EXAMPLES = Path(__file__).parent.parent / "client/examples"


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A running portal: its start takes longer than what is tested with it. Each test sends another command's runs."""
    portal = Portal(tmp_path_factory.mktemp("pipeline") / "portal")
    portal.start()
    yield portal
    portal.kill()  # an orderly end takes seconds; vibetel/test_up.py has it


def until_loaded(portal: Portal, events: int) -> None:
    """And rolled up. Postgres is asked first: each look into the books is the start of a program."""
    asked = "SELECT (SELECT count(*) FROM analytics_event), (SELECT count(*) FROM analytics_touchedhour)"
    until(lambda: portal.rows(asked) == [(events, 0)], seconds=30, otherwise=portal.ledger)
    until(lambda: books_are(portal, events), seconds=30, otherwise=portal.ledger)


def books_are(portal: Portal, events: int) -> bool:
    books = portal.ledger()
    return bool(books["accepted"] == books["archived"] == books["loaded"] == events)


def test_pipeline_carries_the_runs_of_tools_to_the_overview(portal: Portal, tmp_path: Path) -> None:
    before = portal.ledger()["loaded"]
    users = {example: str(uuid.uuid4()) for example in ("argparse_cli.py", "click_cli.py")}
    for example, user_id in users.items():
        home = tmp_path / example
        (home / ".notes").mkdir(parents=True)
        (home / ".notes/diagnostics.json").write_text(json.dumps({"telemetryEnabled": True, "userId": user_id}))
        environment = {"HOME": str(home), "NOTES_TELEMETRY_ENDPOINT": f"{portal.ingest_url}/api/pipeline"}
        for arguments, status in ((("--quiet", __file__), 0), ((str(home / "alice.md"),), 1)):
            command = [sys.executable, str(EXAMPLES / example), "count", *arguments]
            assert subprocess.run(command, env=environment, capture_output=True, timeout=30).returncode == status

    until_loaded(portal, before + 4)
    archived = [json.loads(line) for lines in portal.bucket_lines() for line in lines]
    for user_id in users.values():
        succeeded, failed = sorted((one for one in archived if one["userId"] == user_id), key=itemgetter("hasError"))
        assert (succeeded["command"], succeeded["hasError"], succeeded["options"]) == ("count", False, {"quiet": True})
        assert (failed["command"], failed["hasError"], failed["errorType"]) == ("count", True, "FileNotFoundError")
    figures = portal.overview("count")
    assert figures["Command runs"] == "4"
    assert figures["Active installations"] == "2"
    assert figures["Error rate"] == "50.0%"
    assert "alice" not in "".join(path.read_text() for path in (portal.data_dir / "log").glob("*.log"))


def test_pipeline_loses_and_doubles_nothing_when_all_of_it_is_killed(portal: Portal) -> None:
    before = portal.ledger()["loaded"]
    events = [event(command="plan", timestamp=datetime.now(UTC).isoformat()) for _ in range(1000)]
    for sent in events[:500]:
        assert portal.post(body(sent)) == 202
    portal.kill()
    portal.start()
    for sent in events[500:]:
        assert portal.post(body(sent)) == 202

    until_loaded(portal, before + 1000)
    objects = list(portal.bucket_lines())
    assert max(map(len, objects)) <= 100
    archived = [json.loads(line) for lines in objects for line in lines]
    assert Counter(one["eventId"] for one in archived if one["command"] == "plan") == Counter(
        sent["eventId"] for sent in events
    )
    asked = "SELECT count(*), count(DISTINCT event_id) FROM analytics_event WHERE command = 'plan'"
    assert portal.rows(asked) == [(1000, 1000)]
    books = portal.ledger()
    assert (books["waiting"], books["duplicate"], books["not_yet_loaded"]) == (0, 0, 0)
    assert portal.overview("plan")["Command runs"] == "1,000"


def test_runs_that_end_at_once_arrive_exactly_once(portal: Portal, tmp_path: Path) -> None:
    """`make bench` does it with 1,000."""
    seen = herd.run_at_once(portal, tmp_path, HERD)
    assert seen.killed == HERD // 10
    assert (seen.missing, seen.repeated) == (0, 0)

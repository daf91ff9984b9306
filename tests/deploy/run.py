"""A production-like run: events over HTTP while one of each of the portal's processes is killed.

`python -m tests.deploy.run --events 50000`; exit status 1 where something is lost, doubled, the books do not balance,
`verify` finds a fault, or a log has an error. docs/deploy.md tells what it is made of.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy import production, stores
from tests.deploy.production import Production
from tests.faults import checker
from tests.faults.checker import Found
from tests.faults.senders import Senders
from tests.servers import remove

KILLED = ("ingest-1", "archiver-1", "loader-1", "beat-1", "web")
UNLIMITED = {"INGEST_RATE_PER_ADDRESS": "off", "INGEST_RATE_PER_INSTALLATION": "off"}
_SENT_MAX_S = 600.0
_REST_MAX_S = 120.0


@dataclass
class Outcome:
    """What the senders saw, what is there, and what is wrong."""

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    found: Found = field(default_factory=Found)
    faults: list[str] = field(default_factory=list)


def run(portal: Production, *, events: int, seed: object) -> Outcome:
    """Send half of the events to each ingest process, kill one of each process, wait for rest, check."""
    began = time.monotonic()
    senders = [Senders(portal.ports[f"ingest-{number}"], events // 2, f"{seed} {number}") for number in (1, 2)]
    with senders[0].sending(), senders[1].sending():
        for number, name in enumerate(KILLED, start=1):
            _until(portal, senders, events * number // (len(KILLED) + 1))
            portal.kill(name)
        _until(portal, senders, events)
    portal.wait_until_it_serves()
    accepted = sum(one.accepted() for one in senders)
    books = portal.come_to_rest(accepted, _REST_MAX_S)
    outcome = Outcome(statuses=senders[0].statuses + senders[1].statuses)
    outcome.faults += [f"an answer that no valid event should get: {line}" for one in senders for line in one.surprises]
    outcome.found = checker.check(portal.stores(), senders[0].sent | senders[1].sent, books, {})
    outcome.faults += outcome.found.faults + portal.verify() + errors(portal.log())
    outcome.seconds = time.monotonic() - began
    return outcome


def errors(log: str) -> list[str]:
    """The lines of a log that say that something failed. A kill -9 leaves none: who is killed says nothing."""
    return [f"in a log: {line[:500]}" for line in log.splitlines() if _is_error(line)]


def _warnings(log: str) -> Counter[str]:
    """What else was not as usual, and how often."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return Counter(f"{line['logger']}: {line['message']}" for line in lines if line["level"] == "WARNING")


def _is_error(line: str) -> bool:
    if line.startswith("{"):
        return str(json.loads(line)["level"]) in ("ERROR", "CRITICAL")
    return "Traceback" in line or "ERROR" in line


def _until(portal: Production, senders: list[Senders], events: int) -> None:
    """Let so many in all be sent, and wait until they are accepted."""
    give_up_at = time.monotonic() + _SENT_MAX_S
    for one in senders:
        one.allow(events // 2)
    while sum(one.accepted() for one in senders) < events // 2 * 2:
        assert time.monotonic() < give_up_at, "the events were not accepted in time"
        portal.tick(0.05)


def main() -> int:
    """Print what was done and found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=50_000, help="how many are sent (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of an earlier run, to replay it")
    asked = parser.parse_args()
    if lacking := stores.missing():
        sys.exit(f"Debian's packages {', '.join(lacking)} are not installed")
    folder = Path(tempfile.mkdtemp(prefix="vibetel-deploy-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    try:
        with production.running(folder / "stores", **UNLIMITED) as portal:
            outcome = run(portal, events=asked.events, seed=asked.seed)
            warnings = _warnings(portal.log())
    finally:
        remove(folder / "stores")
        shutil.rmtree(folder, ignore_errors=True)
    found = outcome.found
    print(  # noqa: T201
        f"seed {asked.seed}: killed {', '.join(KILLED)}; answers {dict(outcome.statuses)}; {found.lines} lines in "
        f"{found.objects} objects, {found.repeated} of them resends; {found.rows} rows; {found.lost} lost, "
        f"{found.doubled} doubled; {len(outcome.faults)} faults; {outcome.seconds:.0f} s"
    )
    for warning, count in warnings.most_common():
        print(f"warned {count} times: {warning}")  # noqa: T201
    for fault in outcome.faults:
        print(f"FAULT: {fault}")  # noqa: T201
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())

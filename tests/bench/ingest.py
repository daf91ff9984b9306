"""Bench: what the ingest endpoint takes in, beside yardsticks in the same rounds. `make bench`; docs/performance.md.

Out: progress on stderr, Markdown on stdout, exit status 1 where a figure is beyond its limit.
Fails: Inexact, where an event is refused, or a stream does not hold exactly what was answered with 2xx.
"""

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from tests.bench import ingest_report, instructions, posts, report, stack
from tests.bench.ingest_report import BATCH, GZIP, PLAIN, PLAIN_ALIKE, SINGLE, TYPICAL, Results, Turn
from tests.bench.load import Outcome
from tests.bench.stack import Cores, Endpoint, Stack
from tests.vibetel.programs import CHECKOUT

_BATCH_EVENTS = 50
# So many requests for each second of a load that it sends no event twice.
_SINGLES_PER_S, _BATCHES_PER_S = 8_000, 1_000
_WARM_UP_SHARE = 0.25  # of the time that is measured, before it


class Inexact(Exception):
    """An event was not accepted, or not kept, or kept twice."""


@dataclass(frozen=True)
class Case:
    """What is sent to which endpoint: a file of requests, each of so many events."""

    name: str
    endpoint: Endpoint
    requests: Path
    events: int = 1


def main() -> int:
    """Measure it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="in each, every case has a turn (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="of a turn, after a quarter to warm up (%(default)s)")
    parser.add_argument("--no-instructions", action="store_true", help="do not count instructions")
    asked = parser.parse_args()

    load_before = report.load_average()
    cores = Cores.two()
    with tempfile.TemporaryDirectory(prefix="vibetel-") as name:
        folder = Path(name)
        with (
            stack.running(folder / "portal", cores, lambda line: tqdm.write(line, sys.stderr)) as servers,
            tqdm(total=6 * asked.rounds, unit="turn") as bar,
        ):
            cases = _cases(servers, folder, asked.seconds)
            turns: dict[str, list[Turn]] = {case.name: [] for case in cases}
            appends_ms = []
            ceiling = _load(servers, servers.endpoints["trivial"], cases[0].requests, asked.seconds)
            for number in range(asked.rounds):
                appends_ms.append(servers.append_ms())
                first = number % len(cases)
                for case in cases[first:] + cases[:first]:
                    bar.set_description(case.name)
                    turns[case.name].append(_turn(servers, case, asked.seconds))
                    bar.update()
            counted: dict[str, int] = {}
            if not asked.no_instructions and instructions.can_count():
                bar.set_description("instructions")
                compared = {case.name: case.endpoint for case in cases if case.name in (SINGLE, PLAIN)}
                counted = instructions.per_request(compared, cases[0].requests, folder)
            valkey = servers.valkey_version()
    results = Results(turns, counted)
    parts = [
        ingest_report.head(load_before, cores, valkey),
        ingest_report.surroundings(ceiling.requests / ceiling.seconds, appends_ms),
        ingest_report.rates(results),
        ingest_report.instructions(results),
        ingest_report.exactness(results),
    ]
    sys.stdout.write("\n\n".join(parts) + "\n")
    beyond = ingest_report.beyond(results)
    sys.stdout.write("\n" + "\n".join(beyond or ["Every figure is within its limit."]) + "\n")
    return 1 if beyond else 0


def _cases(servers: Stack, folder: Path, seconds: float) -> list[Case]:
    """The cases, and the files of what they send."""
    single, batch, gzip = (folder / f"{name}.pickle" for name in ("single", "batch", "gzip"))
    bodies = posts.bodies(max(round(_SINGLES_PER_S * seconds), instructions.MANY))
    batches = posts.batches(round(_BATCHES_PER_S * seconds), _BATCH_EVENTS)
    single.write_bytes(pickle.dumps(posts.requests(bodies)))
    batch.write_bytes(pickle.dumps(posts.requests(batches)))
    gzip.write_bytes(pickle.dumps(posts.gzip_requests(batches)))
    ours, plain, alike, typical = (servers.endpoints[name] for name in ("ours", "plain", "plain_alike", "typical"))
    return [
        Case(SINGLE, ours, single),
        Case(BATCH, ours, batch, _BATCH_EVENTS),
        Case(GZIP, ours, gzip, _BATCH_EVENTS),
        Case(PLAIN, plain, single),
        Case(PLAIN_ALIKE, alike, single),
        Case(TYPICAL, typical, single),
    ]


def _turn(servers: Stack, case: Case, seconds: float) -> Turn:
    """One turn, from empty streams on. Raises Inexact."""
    servers.empty()
    warm_up = _load(servers, case.endpoint, case.requests, seconds * _WARM_UP_SHARE)
    cpu_before_s = servers.cpu_s(case.endpoint)
    seen = _load(servers, case.endpoint, case.requests, seconds)
    cpu_s = servers.cpu_s(case.endpoint) - cpu_before_s
    accepted = case.events * (warm_up.requests + seen.requests)
    kept = servers.entries(case.endpoint)
    if kept != accepted:
        raise Inexact(f"{case.name}: {accepted} events answered with 2xx, {kept} in the stream")
    events = case.events * seen.requests
    return Turn(
        requests_per_s=seen.requests / seen.seconds,
        events_per_s=events / seen.seconds,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        cpu_us=cpu_s * 1e6 / events,
        memory_mb=servers.memory_mb(case.endpoint),
        kept=kept,
    )


def _load(servers: Stack, endpoint: Endpoint, requests: Path, seconds: float) -> Outcome:
    """What load.py saw, run as a process of its own. Raises Inexact."""
    command = [sys.executable, "-m", "tests.bench.load", str(endpoint.port), str(requests), str(seconds)]
    with stack.pinned(servers.cores.others):
        ran = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, check=True)
    outcome = Outcome(**json.loads(ran.stdout))
    if refused := {status: count for status, count in outcome.statuses.items() if not status.startswith("2")}:
        raise Inexact(f"{endpoint.name} refused {refused} of {outcome.requests}; {servers.end_of_log(endpoint)}")
    return outcome


if __name__ == "__main__":
    sys.exit(main())

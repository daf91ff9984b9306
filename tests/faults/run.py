"""Fault bench: a whole portal under load, killed and broken from a seed; is everything there, once?

`python -m tests.faults.run --events 200000 --kills 500 --seed 7`; docs/faults.md tells what it does. Exit status 1 and
the seed where something is lost, doubled, or the books do not balance.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from tests.faults import checker
from tests.faults.bench import Bench
from tests.faults.checker import Found, Names
from tests.faults.killer import Blow, Killer, blows
from tests.faults.senders import Senders
from tests.faults.weather import Weather
from tests.faults.worker import LOOKS, side_by_side
from tests.servers import remove, settings_read

MEAN_PAUSE_S = 2.0
REST_MAX_S = 240.0
_LISTED_EVERY_S = 20.0
_BEHIND_MAX_BLOWS = 3  # that the senders may be


@dataclass
class Outcome:
    """What was done, what the senders saw, and what is there."""

    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    spells: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    tasks_sent: int = 0
    side_by_side: dict[str, int] = field(default_factory=dict)
    accepted: int = 0
    found: Found = field(default_factory=Found)
    faults: list[str] = field(default_factory=list)


def run(
    data_dir: Path,
    *,
    events: int,
    kills: int,
    seed: int,
    mean_pause_s: float = MEAN_PAUSE_S,
    say: Callable[[str], None] = lambda line: None,
    **given: str,
) -> Outcome:
    """Send, kill, wait until all is quiet, check. `given` are settings of the portal."""
    began = time.monotonic()
    seen: dict[str, tuple[str, int]] = {}
    with Bench(data_dir, seed, **given) as bench:
        say(f"serving after {time.monotonic() - began:.0f} s, data in {data_dir}")
        senders = Senders(int(bench.ports["INGEST_PORT"]), events, seed)
        killer, weather = Killer(bench), Weather(bench, seed)
        with senders.sending():
            with weather.changing():
                _strike(bench, killer, senders, seen, events, kills, blows(seed, mean_pause_s), say)
                senders.allow(events)
                _until_accepted(senders)
                for stage in LOOKS:
                    _wait(lambda: side_by_side(data_dir, stage) > 0, REST_MAX_S, f"never two of {stage} at a time")  # noqa: B023
            say(f"all sent after {time.monotonic() - began:.0f} s; waiting for rest")
        books = bench.come_to_rest(senders.accepted(), REST_MAX_S)
        say(f"at rest after {time.monotonic() - began:.0f} s: {books}")
        outcome = Outcome(
            kills=killer.kills,
            spells=weather.spells,
            statuses=senders.statuses,
            tasks_sent=weather.tasks_sent,
            side_by_side={stage: side_by_side(data_dir, stage) for stage in LOOKS},
            accepted=senders.accepted(),
        )
        if not senders.finished():
            outcome.faults.append(f"{events - senders.accepted()} events were never accepted")
        outcome.faults += [f"an answer that no valid event should get: {line}" for line in senders.surprises[:20]]
        if books:
            outcome.found = checker.check(bench.stores(), senders.sent, books, seen)
            outcome.faults += outcome.found.faults + bench.verify()
        else:
            outcome.faults.append("manage.py ledger answers nothing")
    outcome.seconds = time.monotonic() - began
    return outcome


def _strike(
    bench: Bench,
    killer: Killer,
    senders: Senders,
    seen: dict[str, tuple[str, int]],
    events: int,
    kills: int,
    planned: Iterator[Blow],
    say: Callable[[str], None],
) -> None:
    """So many kills, and with each the senders may go on; they never get far behind."""
    hit, listed_at, told_at = 0, 0.0, time.monotonic()
    while hit < kills:
        senders.allow(events * (hit + 1) // (kills + 1))
        behind_at = events * (hit - _BEHIND_MAX_BLOWS) // (kills + 1)
        _wait(lambda: senders.accepted() >= behind_at, REST_MAX_S, "the senders get nothing accepted")  # noqa: B023
        blow = next(planned)
        time.sleep(blow.pause_s)
        hit += killer.strike(blow)
        if time.monotonic() - listed_at > _LISTED_EVERY_S:
            seen.update({name: seen.get(name, then) for name, then in _names_now(bench).items()})
            listed_at = time.monotonic()
        if time.monotonic() - told_at > 10:
            say(f"{hit} of {kills} kills, {senders.accepted()} of {events} events; last: {blow.target} {blow.point}")
            told_at = time.monotonic()


def _until_accepted(senders: Senders) -> None:
    give_up_at = time.monotonic() + REST_MAX_S
    while not senders.finished() and time.monotonic() < give_up_at:
        time.sleep(0.2)


def _wait(reached: Callable[[], bool], seconds: float, otherwise: str) -> None:
    give_up_at = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < give_up_at, f"{otherwise} within {seconds} s"
        time.sleep(0.05)


def _names_now(bench: Bench) -> Names:
    """Nothing while the bucket is away."""
    try:
        return checker.names(bench.stores())
    except (BotoCoreError, ClientError):
        return {}


def report(outcome: Outcome) -> str:
    """Tables for a terminal."""
    found = outcome.found
    lines = ["", f"{'killed':<24}{'times':>7}"]
    lines += [f"{target:<24}{count:>7}" for target, count in sorted(outcome.kills.items(), key=_order)]
    lines += [f"{'in all':<24}{_blows(outcome.kills):>7}", "", f"{'bucket':<24}{'times':>7}"]
    lines += [f"{spell:<24}{count:>7}" for spell, count in sorted(outcome.spells.items())]
    lines += ["", f"{'answers to senders':<24}{'times':>7}"]
    lines += [f"{status:<24}{count:>7}" for status, count in sorted(outcome.statuses.items())]
    lines += [
        "",
        f"{outcome.tasks_sent} tasks sent beside the beats'. Looks that began while another process was at one: "
        f"{outcome.side_by_side}.",
        f"{outcome.accepted} events accepted; {found.lines} lines in {found.objects} objects, {found.repeated} of them "
        f"resends whose first answer was lost; {found.rows} rows.",
        f"{found.lost} lost, {found.doubled} doubled, {len(outcome.faults)} faults, {outcome.seconds:.0f} s.",
    ]
    return "\n".join(lines)


def _order(item: tuple[str, int]) -> tuple[bool, str]:
    return item[0].startswith(" "), item[0]


def _blows(kills: Counter[str]) -> int:
    return sum(count for target, count in kills.items() if not target.startswith(" "))


def main() -> int:
    """Print what was done and found; status 1 where a promise did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000, help="how many are sent (%(default)s)")
    parser.add_argument("--kills", type=int, default=500, help="how many kills (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of an earlier run, to replay it")
    parser.add_argument(
        "--pause", type=float, default=MEAN_PAUSE_S, help="seconds between kills, on average (%(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="leave the data folder where something was wrong")
    asked = parser.parse_args()
    for name in settings_read():
        os.environ.pop(name, None)
    folder = Path(tempfile.mkdtemp(prefix="vibetel-faults-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    print(f"seed {asked.seed}", flush=True)  # noqa: T201
    status = 1
    try:
        outcome = run(
            folder / "portal",
            events=asked.events,
            kills=asked.kills,
            seed=asked.seed,
            mean_pause_s=asked.pause,
            say=lambda line: print(line, flush=True),  # noqa: T201
        )
        print(report(outcome))  # noqa: T201
        for fault in outcome.faults:
            print(f"FAULT: {fault}")  # noqa: T201
        status = 1 if outcome.faults else 0
    finally:
        if status:
            replay = f"--events {asked.events} --kills {asked.kills} --pause {asked.pause} --seed {asked.seed}"
            print(f"FAILED. Replay: python -m tests.faults.run {replay}", flush=True)  # noqa: T201
        if status and asked.keep:
            print(f"its data are in {folder}")  # noqa: T201
        else:
            remove(folder / "portal")
            shutil.rmtree(folder, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())

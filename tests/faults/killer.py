"""Killer: which process dies next, and when. All of it is a function of the seed.

In: a running stack (bench.py). Out: kill -9, again and again; `kills` by target.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import psutil

from tests.faults.bench import Bench
from tests.faults.points import STEPS
from tests.faults.stack import WORDS

# Target -> how often, beside the others. `point` is a worker that kills itself between two steps.
WEIGHTS = {
    "point": 30,
    "archiver": 6,
    "loader": 6,
    "ingest": 14,
    "valkey": 12,
    "postgres": 10,
    "seaweedfs": 10,
    "beat": 4,
    "web": 4,
    "everything": 4,
}
BACK_MAX_S = 60.0  # until what was killed runs again
_POINT_MAX_S = 4.0
_STATEMENTS_MAX = 15  # of one program; a look of the loader sends a few more


class Blow(NamedTuple):
    """One kill: the target, how long after the last one, where (for `point`), which of its processes (0 to 1)."""

    target: str
    pause_s: float
    point: str
    which: float


def blows(seed: object, mean_pause_s: float) -> Iterator[Blow]:
    """For ever; each target once in the first few."""
    drawn = random.Random(f"killer {seed}")
    first = list(WEIGHTS)
    drawn.shuffle(first)
    while True:
        target = first.pop() if first else drawn.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        step = drawn.choice(list(STEPS))
        number = drawn.randint(1, _STATEMENTS_MAX if step == "statement" else 2)
        point = f"{step}:{drawn.choice(['before', 'after'])}:{number}"
        yield Blow(target, min(drawn.expovariate(1 / mean_pause_s), 4 * mean_pause_s), point, drawn.random())


class Killer:
    """Strikes a bench, and counts."""

    def __init__(self, bench: Bench) -> None:
        self.kills: Counter[str] = Counter()
        self._bench = bench

    def strike(self, blow: Blow) -> bool:
        """Whether it hit: a point may not be reached while a store is away. Fails where a target does not come back."""
        if blow.target == "everything":
            self._bench.kill()
            self._bench.start()
        elif blow.target == "point":
            if not self._at_point(blow.point):
                return False
        else:
            self._one(blow.target, blow.which)
        self.kills[blow.target] += 1
        return True

    def _at_point(self, point: str) -> bool:
        armed = self._bench.armed
        armed.arm(point)
        give_up_at = time.monotonic() + _POINT_MAX_S
        while not armed.fired() and time.monotonic() < give_up_at:
            time.sleep(0.05)
        if not armed.disarm():
            return False
        self.kills[f"  at {point.rpartition(':')[0]}"] += 1
        return True

    def _one(self, target: str, which: float) -> None:
        """One of its processes: as often the first as any it started."""
        give_up_at = time.monotonic() + BACK_MAX_S
        while True:
            with suppress(psutil.NoSuchProcess):
                if found := self._processes(target):
                    found = [found[0]] * len(found) + found
                    found[int(which * len(found))].kill()
                    return
            assert time.monotonic() < give_up_at, f"{target} did not start again within {BACK_MAX_S} s"
            time.sleep(0.05)

    def _processes(self, target: str) -> list[psutil.Process]:
        for child in self._bench.supervisor().children():
            with suppress(psutil.NoSuchProcess):
                if WORDS[target] in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                    return [child, *child.children(recursive=True)]
        return []

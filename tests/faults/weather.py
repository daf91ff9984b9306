"""Weather: what happens to the bucket and to tasks while processes are killed. From the seed.

In: a running stack. Out: the bucket cut off, slow, failing or full for seconds at a time; tasks sent again and again.
"""

import random
import resource
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tests.faults.bench import Bench
from tests.faults.bucket_proxy import MODES
from tests.faults.stack import WORDS

DISK_FULL = "disk_full"
# Of those of one queue, one at a time: a worker that is at one look drops the others.
TASKS = {
    "archive": ("ingest.tasks.archive_due_batches",),
    "load": ("analytics.tasks.load_new_objects", "analytics.tasks.load_missed_objects"),
}
_FAIR_S = (2.0, 8.0)
_FOUL_S = (0.5, 4.0)
_BEYOND_MAX_BYTES = 3000  # that a full disk may still take, so that a write ends in the middle


class Weather:
    """Changes by itself from `with` to the end of the block; then it is fair. `spells` counts."""

    def __init__(self, bench: Bench, seed: object) -> None:
        self.spells: Counter[str] = Counter()
        self.tasks_sent = 0
        self._bench = bench
        self._seed = seed
        self._over = threading.Event()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Until the end of the block. Fails there where it failed meanwhile."""
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(self._change), pool.submit(self._send_tasks)]
            try:
                yield
            finally:
                self._over.set()
        for one in both:
            one.result()

    def _change(self) -> None:
        drawn = random.Random(f"weather {self._seed}")
        foul = [*MODES[1:], DISK_FULL]
        first = list(foul)
        drawn.shuffle(first)
        while not self._over.wait(drawn.uniform(*_FAIR_S)):
            spell = first.pop() if first else drawn.choice(foul)
            self.spells[spell] += 1
            if spell == DISK_FULL:
                left_bytes = drawn.choice([None, drawn.randint(0, _BEYOND_MAX_BYTES)])
                if seaweedfs := self._seaweedfs():
                    fill_disk(seaweedfs, self._bench.data_dir, left_bytes)
            else:
                self._bench.proxy.spares_listings = drawn.random() < 0.5
                self._bench.proxy.mode = spell  # type: ignore[assignment]
            self._over.wait(drawn.uniform(*_FOUL_S))
            self._bench.proxy.mode = "pass"
            if spell == DISK_FULL and (seaweedfs := self._seaweedfs()):
                give_room(seaweedfs)

    def _seaweedfs(self) -> int | None:
        with suppress(psutil.Error):
            for child in self._bench.supervisor().children():
                if WORDS["seaweedfs"] in " ".join(child.cmdline()):
                    return child.pid
        return None

    def _send_tasks(self) -> None:
        """Each task to both workers and once to whoever takes it, whether it is due or not."""
        drawn = random.Random(f"tasks {self._seed}")
        while not self._over.wait(drawn.uniform(0.2, 1)):
            options = {"global_keyprefix": "{vibetel}:celery:", "socket_timeout": 2, "socket_connect_timeout": 2}
            with Celery(broker=self._bench.redis_url(), set_as_current=False) as app:
                app.conf.broker_transport_options = options
                with suppress(OperationalError, RedisError, OSError):
                    for queue, tasks in TASKS.items():
                        task = drawn.choice(tasks)
                        for one in (f"{queue}-1", f"{queue}-2", queue):
                            app.send_task(task, queue=one, retry=False, expires=5, ignore_result=True)
                            self.tasks_sent += 1


def fill_disk(seaweedfs: int, data_dir: Path, left_bytes: int | None) -> None:
    """No byte more in any file of the program, or so many more in the largest of the volumes.

    It must have been started with SIGXFSZ blocked: then a write beyond fails, as on a full disk.
    """
    sizes = [path.stat().st_size for path in data_dir.glob("seaweedfs/*.dat")]
    _limit_files(seaweedfs, 0 if left_bytes is None else max(sizes, default=0) + left_bytes)


def give_room(seaweedfs: int) -> None:
    """As much as there is."""
    _limit_files(seaweedfs, resource.RLIM_INFINITY)


def _limit_files(pid: int, limit: int) -> None:
    with suppress(ProcessLookupError):  # killed meanwhile: the next one has no limit
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

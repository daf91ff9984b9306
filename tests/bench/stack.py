"""Stack: the endpoints that are measured, side by side on one Valkey, each a granian of its own.

In: an empty folder. Out: running servers, their CPU time and memory; what they wrote. Fails: StartFailed.

The web servers have one core to themselves; Valkey and the load have another.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from typing import Self

import psutil
import redis

from tests.servers import remove
from tests.vibetel.programs import CHECKOUT, pid_of
from vibetel import start
from vibetel.embedded import servers
from vibetel.embedded.addresses import free_ports, read_or_create, redis_url
from vibetel.embedded.child import Child, end_of_log
from vibetel.embedded.supervisor import Supervisor

_YARDSTICKS = "tests.bench.yardsticks"
_STREAM = "{vibetel}:events"  # ingest/buffer.py, which cannot be imported without settings
_APPENDS = 100
_YARDSTICK_THREADS = 2  # what the figures that are to be reached were measured with
_UNLIMITED = "1000000000/min"  # the rates are checked, and never reached


@dataclass(frozen=True)
class Endpoint:
    """A web server's program and its environment; `stream` is where it keeps events."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    port: int
    stream: str = ""

    @property
    def application(self) -> str:
        """The WSGI application, as granian takes it."""
        return self.command[-1]


@dataclass(frozen=True)
class Cores:
    """The numbers of the web servers' core and of everybody else's; None where there are no two, or none can be had."""

    web: int | None
    others: int | None

    @classmethod
    def two(cls) -> Self:
        """Two of those that this process may run on."""
        if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
            return cls(None, None)
        return cls(*sorted(os.sched_getaffinity(0))[:2])


class Stack:
    """Running endpoints."""

    def __init__(self, data_dir: Path, cores: Cores, endpoints: Mapping[str, Endpoint]) -> None:
        self.cores = cores
        self.endpoints = endpoints
        self._data_dir = data_dir
        self._redis = redis.Redis.from_url(redis_url(read_or_create(data_dir)))

    def empty(self) -> None:
        """Nothing in Valkey, and a short append-only file: no turn begins with what the one before it left."""
        self._redis.flushdb()
        self._wait_for_rewrite()  # one that Valkey began by itself
        with suppress(redis.ResponseError):  # or it began another by now
            self._redis.bgrewriteaof()
        self._wait_for_rewrite()

    def entries(self, endpoint: Endpoint) -> int:
        """How many events it has kept."""
        return self._redis.xlen(endpoint.stream)

    def append_ms(self) -> float:
        """How long it takes until an event is in a stream and on disk, where nothing else goes on; the median."""
        times = []
        for _ in range(_APPENDS):
            started = time.perf_counter()
            self._redis.xadd("bench:append", {"line": b"x" * 500})
            times.append(time.perf_counter() - started)
        return 1000 * median(times)

    def cpu_s(self, endpoint: Endpoint) -> float:
        """What its processes have taken so far, user and system."""
        times = [process.cpu_times() for process in self._processes(endpoint)]
        return sum(taken.user + taken.system for taken in times)

    def memory_mb(self, endpoint: Endpoint) -> float:
        """The resident memory of its processes; what they share counts for each."""
        return sum(process.memory_info().rss for process in self._processes(endpoint)) / 1e6

    def valkey_version(self) -> str:
        """The store's."""
        return str(self._redis.info("server")["valkey_version"])

    def end_of_log(self, endpoint: Endpoint) -> str:
        """Where its log is, and the last lines."""
        return end_of_log(self._data_dir, _child(endpoint))

    def _wait_for_rewrite(self) -> None:
        while self._redis.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)

    def _processes(self, endpoint: Endpoint) -> list[psutil.Process]:
        pid = pid_of(self._data_dir, f"--port {endpoint.port} ")
        assert pid is not None, f"{endpoint.name} does not run"
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]


@contextmanager
def running(data_dir: Path, cores: Cores, say: Callable[[str], None]) -> Iterator[Stack]:
    """All of it, until the end of the block."""
    # The portal's other servers are not started: ingest never asks them.
    needed = servers.needed(data_dir, {"DATABASE_URL": "not needed", "ARCHIVE_BUCKET": "not needed"})
    endpoints = _endpoints(data_dir)
    try:
        with Supervisor(data_dir, say) as supervisor:
            with pinned(cores.others):
                supervisor.start(needed)
            with pinned(cores.web):
                supervisor.start([_child(endpoint) for endpoint in endpoints.values()])
            yield Stack(data_dir, cores, endpoints)
    finally:
        remove(data_dir)


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """What is started in the block runs on this core only; None: wherever this process may."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _endpoints(data_dir: Path) -> dict[str, Endpoint]:
    ports = [int(port) for port in free_ports(["ours", "plain", "plain_alike", "typical", "trivial"]).values()]
    # Granian hands the process environment to each request: a long one would cost whoever reads the headers.
    given = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ours = given | {
        "DATA_DIR": str(data_dir),
        "INGEST_RATE_PER_ADDRESS": _UNLIMITED,
        "INGEST_RATE_PER_INSTALLATION": _UNLIMITED,
    }
    yardstick = given | {"REDIS_URL": redis_url(read_or_create(data_dir))}
    plain = yardstick | {"DJANGO_SETTINGS_MODULE": f"{_YARDSTICKS}.plain_settings"}
    typical = yardstick | {"DJANGO_SETTINGS_MODULE": f"{_YARDSTICKS}.typical_settings"}
    endpoints = [
        Endpoint("ours", start.ingest_command(ports[0]), ours, ports[0], _STREAM),
        Endpoint("plain", _yardstick_command(ports[1], "wsgi"), plain, ports[1], "bench:plain"),
        Endpoint("plain_alike", _yardstick_command(ports[2], "wsgi", alike=True), plain, ports[2], "bench:plain"),
        Endpoint("typical", _yardstick_command(ports[3], "wsgi"), typical, ports[3], "bench:typical"),
        Endpoint("trivial", _yardstick_command(ports[4], "trivial"), yardstick, ports[4]),
    ]
    return {endpoint.name: endpoint for endpoint in endpoints}


def _yardstick_command(port: int, module: str, *, alike: bool = False) -> list[str]:
    """The server of our own endpoint for another application; with as many threads where it is to be alike."""
    command = [*start.ingest_command(port)[:-1], f"{_YARDSTICKS}.{module}:application"]
    if not alike:
        command[command.index("--blocking-threads") + 1] = str(_YARDSTICK_THREADS)
    return command


def _child(endpoint: Endpoint) -> Child:
    return Child(
        endpoint.name,
        endpoint.command,
        dict(endpoint.environment),
        ready=lambda: _answers(endpoint.port),
        folder=CHECKOUT,
    )


def _answers(port: int) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except (OSError, HTTPException):
            return False
        return True

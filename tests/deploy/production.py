"""Production: the portal as the image runs it, by its start script in a virtual environment of requirements.txt alone.

In: a data folder, Debian's servers in it (stores.py). Out: two of ingest, archiver, loader and beat, and web, each with
the variables that it needs and no other; their logs; commands. Fails: StartFailed.
"""

import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPMessage
from pathlib import Path
from types import MappingProxyType

from tests.deploy import stores
from tests.faults.bench import Commands
from tests.faults.checker import Stores
from tests.vibetel.programs import CHECKOUT, pid_of
from vibetel.embedded.addresses import free_ports, read_or_create
from vibetel.embedded.child import Child, log_path
from vibetel.embedded.supervisor import Supervisor

PYTHON = str(CHECKOUT / "build/production/bin/python")
# By what the command line of the first of them holds; ingest is told by its port.
_WORDS = {
    "web": "vibetel.wsgi",
    "archiver-1": "--queues archive",
    "loader-1": "--queues load",
    "beat-1": "-A vibetel.celery beat",
}
_START_MAX_S = 60.0
ORIGIN = "https://portal.example.org"

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Production(Commands):
    """Runs in the block of `running`; who waits for something calls `tick`, which starts again what was killed."""

    def __init__(self, data_dir: Path, supervisor: Supervisor, **given: str) -> None:
        self.data_dir = data_dir
        self.tick = supervisor.tick
        self.lines = read_or_create(data_dir)
        self.ports = {name: int(port) for name, port in free_ports(["web", "ingest-1", "ingest-2"]).items()}
        self._static = data_dir / "static"
        self._supervisor = supervisor
        # SECRET_KEY as deploy.md has one made; of the environment of the tests' own process, nothing.
        self._for_all = {
            "PATH": os.defpath,
            "SECRET_KEY": secrets.token_urlsafe(48),
            "IDENTITY_HASH_KEY": secrets.token_urlsafe(48),
            "REDIS_URL": stores.redis_url(data_dir, self.lines),
            "TRUSTED_PROXIES": "127.0.0.1",
            "LOG_FORMAT": "json",
            **given,
        }
        self._for_portal = {
            **self._for_all,
            **stores.addresses(data_dir, self.lines),
            "ALLOWED_HOSTS": "portal.example.org",
            "CSRF_TRUSTED_ORIGINS": ORIGIN,
            "STATIC_ROOT": str(self._static),
        }
        keys = stores.keys(self.lines)
        self._for_loader = self._for_portal | {name: value for name, value in keys.items() if "_READ_" in name}
        self._for_archiver = self._for_portal | keys

    def start(self) -> None:
        """As deploy.md does it: static files, migrations, processes."""
        self._supervisor.start(stores.children(self.data_dir, self.lines))
        for command in (["collectstatic", "--noinput"], ["migrate", "--noinput"]):
            ran = self._manage(self._for_portal, *command)
            assert ran.returncode == 0, ran.stderr
        self._supervisor.start(self._children())

    def _children(self) -> list[Child]:
        numbered = [f"ingest-{number}" for number in (1, 2)]
        return [
            self._child("web", self._for_portal | {"PORT": str(self.ports["web"])}),
            *(self._child(name, self._for_all | {"INGEST_PORT": str(self.ports[name])}) for name in numbered),
            *(
                self._child(f"{program}-{number}", self.environment(program))
                for program in ("archiver", "loader", "beat")
                for number in (1, 2)
            ),
        ]

    def _child(self, name: str, environment: dict[str, str]) -> Child:
        program = name.partition("-")[0]
        command = [PYTHON, "-m", "vibetel.start", program]
        port = self.ports.get(name)
        ready = (lambda: self.ask(name, "/healthz")[0] == 200) if port else None
        return Child(name, command, environment, ready=ready, folder=CHECKOUT)

    def kill(self, name: str) -> None:
        """kill -9 to a process and to those that it started."""
        word = _WORDS.get(name)
        pid = pid_of(self.data_dir, word or f"--port {self.ports[name]} ")
        assert pid is not None, f"{name} does not run"
        os.killpg(pid, signal.SIGKILL)

    def wait_until_it_serves(self) -> None:
        """What was killed has started again."""
        give_up_at = time.monotonic() + _START_MAX_S
        while any(self.ask(name, "/healthz")[0] != 200 for name in self.ports):
            assert time.monotonic() < give_up_at, "what was killed does not serve again"
            self.tick(0.2)

    def environment(self, program: str) -> dict[str, str]:
        """All that a program is given."""
        given = {"ingest": self._for_all, "archiver": self._for_archiver, "loader": self._for_loader}
        return given.get(program, self._for_portal)

    def secrets(self) -> list[str]:
        """What no log may show."""
        given = self._for_archiver | self.lines
        return [value for name, value in given.items() if re.search("SECRET|PASSWORD|HASH", name)]

    def ask(
        self, name: str, path: str, method: str = "GET", content: bytes = b"", headers: Mapping[str, str] = _NO_HEADERS
    ) -> tuple[int, HTTPMessage, str]:
        """A process's answer, as to a proxy that was asked over https: status, headers, body; 0 where it has none."""
        usual = {"Host": "portal.example.org", "X-Forwarded-Proto": "https", "Content-Type": "application/json"}
        connection = HTTPConnection("127.0.0.1", self.ports[name], timeout=5)
        try:
            connection.request(method, path, content or None, {**usual, **headers})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        except (OSError, HTTPException):
            return 0, HTTPMessage(), ""
        finally:
            connection.close()

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command with all keys, run in another terminal."""
        return self._manage(self._for_archiver, *arguments)

    def _manage(self, environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [PYTHON, "manage.py", *arguments],
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def stores(self) -> Stores:
        """For the checker."""
        known = stores.addresses(self.data_dir, self.lines)
        return Stores(
            known["ARCHIVE_ENDPOINT_URL"],
            known["ARCHIVE_BUCKET"],
            "read",
            self.lines["SEAWEEDFS_READ_SECRET"],
            known["DATABASE_URL"],
        )

    def log(self) -> str:
        """What the portal's own processes have written."""
        return "".join(log_path(self.data_dir, child).read_text() for child in self._children())


@contextmanager
def running(data_dir: Path, **given: str) -> Iterator[Production]:
    """All of it, until the end of the block. To be called by the main thread."""
    with Supervisor(data_dir, lambda line: None) as supervisor:
        production = Production(data_dir, supervisor, **given)
        production.start()
        yield production

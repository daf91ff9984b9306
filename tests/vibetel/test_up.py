"""`manage.py up`: one command, everything there, everything gone."""

import os
import signal
import socket
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from tests.vibetel.programs import pid_of, program, supervised, until
from vibetel.embedded import environment
from vibetel.embedded.addresses import free_ports

PORTAL = {"granian", "--queues archive", "--queues load", "-A vibetel.celery beat"}
SERVERS = {"postgres", "valkey-server", "weed"}
# What each process knows of the bucket's keys.
KEYS = {
    "vibetel.wsgi:": set(),
    "vibetel.ingest_wsgi:": set(),
    "-A vibetel.celery beat": set(),
    "--queues archive": {"ARCHIVE_WRITE_SECRET_ACCESS_KEY", "ARCHIVE_READ_SECRET_ACCESS_KEY"},
    "--queues load": {"ARCHIVE_READ_SECRET_ACCESS_KEY"},
}


@pytest.fixture
def port() -> int:
    return int(free_ports(["PORT"])["PORT"])


@pytest.fixture
def given() -> dict[str, str]:
    """The tests' servers, as the real servers of a portal."""
    return environment(settings.DATA_DIR, {})


@pytest.mark.alone
def test_everything_serves_and_after_ctrl_c_everything_is_gone(data_dir: Path, port: int) -> None:
    with program("manage.py", "up", data_dir=data_dir, PORT=str(port), ADMIN_PATH="inside") as portal:
        until(lambda: portal.says("Ctrl-C stops everything"))
        assert f"http://127.0.0.1:{port}/inside/" in portal.output()
        assert "Password:" in portal.output()
        assert _status(port, "/healthz") == 200
        assert _status(port, "/readyz") == 200
        assert all(pid_of(data_dir, word) for word in PORTAL | SERVERS)
        assert {word: _secrets_of(data_dir, word) for word in KEYS} == KEYS
        with ExitStack() as stack:
            for _ in range(8):
                _send_half_a_body(stack.enter_context(socket.create_connection(("127.0.0.1", port))))
            assert _status(port, "/healthz") == 200

        status, seconds = portal.stop(signal.SIGINT)

    assert status == 0, portal.output()
    assert seconds < 10  # within 5 s, where nothing else goes on
    assert not supervised(data_dir)


@pytest.mark.alone
def test_killed_and_started_again_it_comes_back(data_dir: Path, port: int, given: dict[str, str]) -> None:
    with program("manage.py", "up", data_dir=data_dir, PORT=str(port), **given) as first:
        until(lambda: first.says("Ctrl-C stops everything"))
        # A killed web process leaves its worker on the port: it has to go before the next one listens.
        os.kill(pid_of(data_dir, "granian") or 0, signal.SIGKILL)
        until(lambda: first.says("web: killed by SIGKILL, starts again in 1 s"))
        until(lambda: _status(port, "/healthz") == 200)
        first.process.kill()
        until(lambda: not supervised(data_dir), 5)

    then = ("--then", "check --tag nonsense", "--then", "check")
    with program("manage.py", "up", *then, data_dir=data_dir, PORT=str(port), **given) as second:
        until(lambda: second.says("manage.py check --tag nonsense: failed with status 1"))
        until(lambda: second.says("System check identified no issues"))
        assert "Password:" not in second.output()
        assert second.stop()[0] == 0
    # None of the servers that were given has an embedded one beside it.
    assert {path.name.partition(".")[0] for path in data_dir.iterdir()} == {"lock", "log"}


@pytest.mark.xdist_group("stacks")
def test_a_taken_port_stops_the_start_before_anything_runs(data_dir: Path, port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", port)),
        program("manage.py", "up", data_dir=data_dir, PORT=str(port)) as portal,
    ):
        assert portal.process.wait(60) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in portal.output()
    assert sorted(path.name for path in data_dir.iterdir()) == ["lock", "portal.env"]


@pytest.mark.xdist_group("stacks")
def test_a_start_that_fails_says_why(data_dir: Path, port: int, given: dict[str, str]) -> None:
    nowhere = {**given, "DATABASE_URL": "postgresql://portal@127.0.0.1:1/vibetel"}
    with program("manage.py", "up", data_dir=data_dir, PORT=str(port), **nowhere) as portal:
        assert portal.process.wait(60) == 1
    assert f"migrate failed with status 1; the end of {data_dir}/log/migrate.log:" in portal.output()
    assert "Connection refused" in portal.output()


@pytest.mark.xdist_group("stacks")
def test_without_the_embedded_packages_it_says_what_to_install(data_dir: Path, given: dict[str, str]) -> None:
    without_psutil = "import runpy, sys; sys.modules['psutil'] = None; runpy.run_path('manage.py', run_name='__main__')"
    with program("-c", without_psutil, "up", data_dir=data_dir, **given) as portal:
        assert portal.process.wait(60) == 1
    assert portal.output() == "CommandError: psutil is not installed: pip install -r requirements-embedded.txt\n"


def _secrets_of(data_dir: Path, word: str) -> set[str]:
    """The bucket's secrets that settings.py finds in a process with this word in its command line."""
    given = psutil.Process(pid_of(data_dir, word)).environ()
    found = {**environment(data_dir, given), **given}
    return {name for name in found if name.startswith("ARCHIVE_") and "SECRET" in name}


def _send_half_a_body(connection: socket.socket) -> None:
    head = "POST /api/pipeline HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100"
    connection.sendall(f"{head}\r\n\r\n{{".encode())


def _status(port: int, path: str) -> int | None:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()

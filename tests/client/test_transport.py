"""The transport, and what a host notices of it: whole processes against promises that only a process can keep."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from vibetel_client import RecordingTransport, Transport
from vibetel_client.transport import SpoolTransport, envelope

from . import host
from .host import HOST, NOWHERE, ONE_RUN, TELL, TOOL, event, finish, run, say_yes, start, wait_until
from .stand_in import StandIn, http_answer


@pytest.fixture(autouse=True)
def yes() -> None:
    say_yes()


@pytest.fixture
def portal() -> Iterator[StandIn]:
    with StandIn() as made:
        yield made


def test_envelope_is_compact_and_says_when_it_was_sent() -> None:
    sent_at = "2026-01-01T00:00:00.000Z"
    assert envelope([{"command": "repo"}, {}], sent_at) == (
        b'{"sentAt":"2026-01-01T00:00:00.000Z","data":[{"command":"repo"},{}]}'
    )


def test_recording_transport_keeps_events_as_they_are_then() -> None:
    transport, one = RecordingTransport(), {"command": "repo"}
    transport.begin(one)()
    transport.deliver(NOWHERE, one)
    one["command"] = "changed"
    assert transport.events == [{"command": "repo"}]


def test_a_transport_of_one_s_own_needs_deliver_alone() -> None:
    class Printing(Transport):
        pass

    Printing().begin({})()
    with pytest.raises(NotImplementedError):
        Printing().deliver(NOWHERE, {})


def test_spool_transport_keeps_the_event_and_starts_a_delivery(portal: StandIn) -> None:
    SpoolTransport(TOOL).deliver(portal.url, event(1))
    assert portal.requests.get(timeout=10).events == [event(1)]
    wait_until(lambda: not host.spool().waiting())


def test_spool_transport_starts_nothing_before_it_is_due(portal: StandIn) -> None:
    SpoolTransport(TOOL).deliver(NOWHERE, event(1))
    wait_until(lambda: host.spool().state().problem == "ConnectionRefusedError")
    assert run(ONE_RUN + TELL, portal.url).stdout == "\n"
    assert len(host.spool().waiting()) == 2


def test_spool_transport_raises_where_it_cannot_write(diagnostics: Path) -> None:
    (diagnostics.parent / "telemetry").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="telemetry"):
        SpoolTransport(TOOL).deliver(NOWHERE, event(1))
    with pytest.raises(OSError, match="telemetry"):
        SpoolTransport(TOOL).begin(event(1))


# -- What a host notices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["sys.argv[1]", "'ftp://127.0.0.1/'", "'no url'", "'http://['", "chr(0)", "chr(0xD800)", "'x' * 200_000"]
)
def test_no_endpoint_disturbs_a_host(url: str) -> None:
    ran = run(ONE_RUN.replace("sys.argv[1]", url) + "\nprint('done')\n")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")
    assert len(host.spool().waiting()) == 1


def test_a_host_is_not_kept_waiting_by_a_silent_portal(portal: StandIn) -> None:
    portal.release.clear()
    ran = run(ONE_RUN, portal.url)  # the request is still open when it ends
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    portal.requests.get(timeout=10)
    assert not host.spool().sent()


@pytest.mark.parametrize("status", [202, 500])
def test_a_host_that_turns_warnings_into_errors_sees_none(status: int, portal: StandIn) -> None:
    portal.answer = lambda _: http_answer(status)
    ran = subprocess.run(
        host.command(ONE_RUN * 3, portal.url, options=("-W", "error", "-X", "dev", "-b")),
        env=host.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    portal.requests.get(timeout=10)


@pytest.mark.parametrize("way", ["a file", "read-only", "no home"])
def test_a_host_whose_home_cannot_be_used_goes_on(way: str, diagnostics: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "a file":
        (diagnostics.parent / "telemetry").write_text("")
    elif way == "no home":
        monkeypatch.setenv("HOME", "/dev/null/nowhere")
    else:
        monkeypatch.setenv("HOME", "/proc")
    ran = run(ONE_RUN + "\nprint('done')\n")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")


def test_a_host_without_streams_hands_the_lock_over(portal: StandIn) -> None:
    portal.release.clear()
    run("import os\nos.closerange(0, 3)\n" + ONE_RUN, portal.url)
    portal.requests.get(timeout=10)
    assert not host.spool().delivery_lock.acquire()
    portal.release.set()
    wait_until(lambda: host.spool().sent())


def test_a_frozen_host_starts_nothing(portal: StandIn) -> None:
    ran = run(ONE_RUN.replace(HOST, HOST + "\nsys.frozen = True\n") + TELL, portal.url)
    assert (ran.stdout, ran.stderr) == ("\n", "")
    assert len(host.spool().waiting()) == 1


def test_a_process_that_delivers_starts_nothing(portal: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBETEL_DELIVERING", "1")
    assert run(ONE_RUN + TELL, portal.url).stdout == "\n"
    assert len(host.spool().waiting()) == 1


def test_a_host_whose_python_is_gone_keeps_its_events(portal: StandIn) -> None:
    ran = run(ONE_RUN.replace(HOST, HOST + "\nsys.executable = '/nowhere/python'\n") + TELL, portal.url)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "\n", "")
    assert len(host.spool().waiting()) == 1
    assert host.spool().delivery_lock.acquire()


# What the host starts takes its time to end; the host goes on meanwhile.
GOES_ON = (
    HOST
    + """
from vibetel_client.spool import Spool
slow = "import os, time; end = os._exit; os._exit = lambda status: (time.sleep(0.3), end(status)); "
transport._DELIVER = slow + transport._DELIVER
def wait_for_the_end_of(pid):
    while open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
def children():
    return open(f"/proc/self/task/{os.getpid()}/children").read().split()
for number in range(4):
    with telemetry.command("repo"):
        pass
    while Spool("vibe-tools").waiting():
        time.sleep(0.01)
    while not (lock := Spool("vibe-tools").delivery_lock).acquire():
        time.sleep(0.01)
    lock.release()
started = children()
for pid in started:
    wait_for_the_end_of(pid)
with telemetry.command("repo"):
    pass
wait_for_the_end_of(transport._started[-1])
print(len(started), len(children()))
"""
)


def test_a_host_that_goes_on_has_one_zombie_at_most(portal: StandIn) -> None:
    ran = run(GOES_ON, portal.url)
    assert ran.stderr == ""
    started, left = map(int, ran.stdout.split())
    assert started > 1
    assert left == 1


def test_a_host_that_waits_for_every_child_is_not_disturbed(portal: StandIn) -> None:
    program = (
        HOST
        + """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for number in range(3):
    with telemetry.command("repo"):
        pass
    time.sleep(0.2)
print("done")
"""
    )
    ran = run(program, portal.url)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")
    wait_until(lambda: len(host.spool().sent()) == 3)


def test_modules_beside_the_tool_are_not_those_of_the_process(portal: StandIn, tmp_path: Path) -> None:
    for folder in (tmp_path / "cwd", tmp_path / "path"):
        folder.mkdir()
        (folder / "gzip.py").write_text("raise SystemExit('not the one of Python')")
    program = f"import sys\nsys.path.append({host.environment()['PYTHONPATH']!r})\n" + ONE_RUN
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "path")}
    with start(program, portal.url, options=("-S",), cwd=tmp_path / "cwd", env=environment) as ran:
        assert finish(ran).stderr == ""
    assert portal.requests.get(timeout=10)


def test_starting_up_imports_nothing_heavy() -> None:
    heavy = (
        "typing dataclasses logging pathlib uuid subprocess contextlib tempfile urllib http http.client ssl socket "
        "asyncio email inspect threading"
    )
    program = HOST + f"print([name for name in {heavy.split()} if name in sys.modules])"
    with start(program, NOWHERE, options=("-S",)) as started:
        ended = finish(started)
    assert (ended.stdout, ended.stderr) == ("[]\n", "")

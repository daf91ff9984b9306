"""The user's view: what `python -m vibetel_client` says is what is the case, and what it is told holds."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer
from vibetel_client import TELEMETRY_DATA_DESCRIPTION, Telemetry
from vibetel_client.description import example_event
from vibetel_client.spool import Spool

from .host import ONE_RUN
from .host import run as run_program

NOWHERE = "http://127.0.0.1:9/api/pipeline"


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "vibetel_client", "--tool", "vibe-tools", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def said(*arguments: str, **environment: str) -> str:
    """What a command prints that succeeds."""
    ran = run(*arguments, **environment)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


@pytest.fixture
def spool(diagnostics: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    """A spool with the events of two runs, and nobody who delivers them."""
    monkeypatch.setenv("VIBETEL_DELIVERING", "1")
    telemetry = Telemetry(tool="vibe-tools", version="0.64.0", endpoint=NOWHERE)
    assert telemetry.enable()
    for command in ("repo", "web"):
        with telemetry.command(command, {"saveTo": "/home/alice/a.md"}):
            pass
    return Spool("vibe-tools")


@pytest.mark.parametrize(
    ("content", "variable", "line"),
    [
        (None, None, "telemetry of vibe-tools: pending (you have not chosen"),
        ("null", None, "telemetry of vibe-tools: pending (you have not chosen"),
        ('{"telemetryEnabled": true}', None, "telemetry of vibe-tools: enabled (you said yes"),
        ('{"telemetryEnabled": false}', None, "telemetry of vibe-tools: opted out (you said no"),
        ('{"telemetryEnabled": true}', "DO_NOT_TRACK", "telemetry of vibe-tools: opted out (DO_NOT_TRACK is set)"),
        (None, "VIBE_TOOLS_NO_TELEMETRY", "telemetry of vibe-tools: opted out (VIBE_TOOLS_NO_TELEMETRY is set)"),
    ],
)
def test_status_says_what_holds_and_why(
    diagnostics: Path, content: "str | None", variable: "str | None", line: str
) -> None:
    if content is not None:
        diagnostics.parent.mkdir()
        diagnostics.write_text(content)
    assert line in said("status", **({variable: "1"} if variable else {}))
    assert diagnostics.exists() is (content is not None)


def test_status_tells_what_waits_and_where_it_goes(spool: Spool, diagnostics: Path) -> None:
    spool.remember(lost_count=3, rejected_count=4, problem="HTTP status 503", not_before_s=1795401986, endpoint=NOWHERE)
    shown = said("status")
    assert "waiting: 2 events" in shown
    assert f"sends to: {NOWHERE}" in shown
    assert f"installation: {json.loads(diagnostics.read_text())['userId']}" in shown
    assert "not reported yet: 3" in shown
    assert "refused by the portal: 4" in shown
    assert "last attempt: HTTP status 503; next not before 2026-11-23T02:46:26.000Z" in shown


def test_on_and_off_are_recorded(diagnostics: Path) -> None:
    assert "enabled" in said("on")
    assert json.loads(diagnostics.read_text())["telemetryEnabled"] is True
    assert "opted out" in said("off")
    assert json.loads(diagnostics.read_text())["telemetryEnabled"] is False


def test_on_says_where_a_variable_beats_it(diagnostics: Path) -> None:
    assert "opted out (DO_NOT_TRACK is set)" in said("on", DO_NOT_TRACK="1")


def test_off_removes_what_waits_and_what_was_sent(spool: Spool, diagnostics: Path) -> None:
    event = spool.waiting()[0]
    spool.settle([event], [True], "2026-01-01T00:00:00.000Z")
    said("off")
    assert list(diagnostics.parent.iterdir()) == [diagnostics]


def test_off_fails_where_the_choice_cannot_be_saved(diagnostics: Path) -> None:
    diagnostics.parent.write_text("a file where the folder should be")
    ran = run("off")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "could not be saved" in ran.stderr


def test_show_prints_the_events_that_wait(spool: Spool) -> None:
    shown = said("show")
    assert "waiting: 2\n" in shown
    assert [json.loads(line) for line in shown.splitlines() if line.startswith("{")] == spool.waiting()
    assert "alice" not in shown


@pytest.mark.usefixtures("empty_buffer")
@pytest.mark.urls("vibetel.ingest_urls")
def test_flush_delivers_and_show_prints_what_was_sent(spool: Spool, live_server: LiveServer) -> None:
    waiting = spool.waiting()
    assert said("--endpoint", f"{live_server.url}/api/pipeline", "flush") == "accepted: 2, refused: 0, waiting: 0\n"
    assert said("flush") == "nothing waits\n"
    shown = said("show").splitlines()
    assert shown[:2] == ["waiting: 0", "sent: 2"]
    sent = [json.loads(line) for line in shown[2:]]
    assert [entry["event"] for entry in sent] == waiting
    assert {entry["status"] for entry in sent} == {"accepted"}
    assert f"sends to: {live_server.url}/api/pipeline" in said("status")


def test_flush_says_why_nothing_was_sent(spool: Spool) -> None:
    ran = run("--endpoint", NOWHERE, "flush")
    assert (ran.returncode, ran.stdout) == (1, "accepted: 0, refused: 0, waiting: 2\n")
    assert ran.stderr == "vibe-tools: ConnectionRefusedError\n"


def test_flush_prints_and_sends_nothing_where_debugging_is_on(spool: Spool) -> None:
    ran = run("--endpoint", NOWHERE, "flush", VIBE_TOOLS_TELEMETRY_DEBUG="1")
    printed, problem = ran.stderr.splitlines()
    assert json.loads(printed)["data"] == spool.waiting()
    assert (ran.returncode, problem) == (1, "vibe-tools: nothing is sent: VIBE_TOOLS_TELEMETRY_DEBUG is set")
    assert spool.state().failures_count == 0


@pytest.mark.parametrize(("command", "line"), [("status", "waiting: 3 events"), ("show", "waiting: 3")])
def test_a_run_whose_process_vanished_waits_like_any_other(spool: Spool, command: str, line: str) -> None:
    spool.watch({**spool.waiting()[0], "eventId": "01972b5d-8e00-7c41-8ce1-b4a93124fa13"})  # one that goes on
    assert "waiting: 2" in said(command)
    run_program(ONE_RUN.replace("pass", "os._exit(1)"))
    assert line in said(command)


def test_flush_gives_up_on_a_portal_that_never_comes_to_an_end(spool: Spool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=drip, args=(server,), daemon=True)
        answering.start()
        ran = run("--endpoint", f"http://127.0.0.1:{server.getsockname()[1]}/", "flush")
    assert ran.returncode == 1
    assert len(spool.waiting()) == 2
    assert spool.delivery_lock.acquire()


def drip(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection, contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            connection.sendall(b" ")
            time.sleep(0.2)


@pytest.mark.parametrize("tool", ["", "../x", "a/b", "."])
def test_a_tool_whose_name_leads_elsewhere_is_refused(tool: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "vibetel_client", "--tool", tool, "off"], capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 2
    assert "no name for a tool" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_off_leaves_alone_what_is_not_the_spool_s(spool: Spool, diagnostics: Path) -> None:
    own = diagnostics.parent / "telemetry" / "thesis.txt"
    own.write_text("mine")
    said("off")
    assert list(own.parent.iterdir()) == [own]


def test_flush_asks_for_an_endpoint_where_none_is_known(spool: Spool) -> None:
    ran = run("flush")
    assert ran.returncode == 1
    assert "--endpoint" in ran.stderr


def test_flush_leaves_it_to_the_process_that_delivers_already(spool: Spool) -> None:
    assert spool.delivery_lock.acquire()
    try:
        ran = run("--endpoint", NOWHERE, "flush")
    finally:
        spool.delivery_lock.release()
    assert ran.returncode == 1
    assert "another process" in ran.stderr


def test_flush_sends_nothing_without_consent(spool: Spool) -> None:
    ran = run("--endpoint", NOWHERE, "flush", DO_NOT_TRACK="1")
    assert ran.returncode == 1
    assert ran.stderr == "vibe-tools: nothing is sent: DO_NOT_TRACK is set\n"
    assert len(spool.waiting()) == 2


def test_example_prints_what_is_collected_and_an_event() -> None:
    shown = said("example")
    assert shown.startswith(TELEMETRY_DATA_DESCRIPTION)
    assert json.loads(shown[shown.index("\n{") :]) == example_event()


def test_help_names_every_command() -> None:
    shown = said("--help")
    for command in ("status", "on", "off", "show", "flush", "example"):
        assert f"    {command} " in shown

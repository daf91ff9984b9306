"""Prompt: a yes only from a person who typed it at a terminal; whatever else happens, nobody has been asked."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from vibetel_client import TELEMETRY_DATA_DESCRIPTION
from vibetel_client.description import example_event
from vibetel_client.prompt import ANSWERS_MAX_COUNT

INSTALLER = """
import os, time
from vibetel_client import Telemetry
time.sleep(float(os.environ.get("BUSY_S", 0)))
telemetry = Telemetry(tool="vibe-tools", version="0.64.0", endpoint="https://telemetry.invalid/api/pipeline")
print(telemetry.prompt_for_consent().value)
"""
QUESTION = "Do you agree?"


class Terminal:
    """An installer at a terminal of its own; its stdout is not the terminal."""

    def __init__(self, process: "subprocess.Popen[str]", fd: int) -> None:
        self.process = process
        self._fd = fd
        self.shown = ""

    def wait_for_question(self, count: int = 1) -> None:
        give_up_at = time.monotonic() + 30
        while self.shown.count(QUESTION) < count or not self.shown.endswith(") "):
            assert time.monotonic() < give_up_at, self.shown
            if select.select([self._fd], [], [], 0.1)[0]:
                self.shown += os.read(self._fd, 65536).decode(errors="replace")

    def type(self, text: str) -> None:
        self.type_bytes(text.encode())

    def type_bytes(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def result(self) -> str:
        """What the installer prints: what holds in the end."""
        stdout, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0
        while select.select([self._fd], [], [], 0)[0]:
            try:
                self.shown += os.read(self._fd, 65536).decode(errors="replace")
            except OSError:  # all of it is read
                break
        return stdout.strip()


@contextmanager
def installer(**environment: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", INSTALLER],
        env={**os.environ, **environment},
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.communicate()
        os.close(ours)


def saved(diagnostics: Path) -> object:
    return json.loads(diagnostics.read_text())["telemetryEnabled"] if diagnostics.exists() else None


@pytest.mark.parametrize("typed", ["yes", "y", " YES "])
def test_prompt_records_a_yes(diagnostics: Path, typed: str) -> None:
    with installer() as terminal:
        terminal.wait_for_question()
        terminal.type(f"{typed}\n")
        assert terminal.result() == "enabled"
    assert saved(diagnostics) is True


def test_prompt_records_a_no_and_never_asks_again(diagnostics: Path) -> None:
    with installer() as terminal:
        terminal.wait_for_question()
        terminal.type("no\n")
        assert terminal.result() == "opted out"
    assert saved(diagnostics) is False
    with installer() as terminal:
        assert terminal.result() == "opted out"
        assert terminal.shown == ""


def test_prompt_says_what_is_collected_and_where_it_goes(diagnostics: Path) -> None:
    with installer() as terminal:
        terminal.wait_for_question()
        shown = terminal.shown.replace("\r\n", "\n")
    assert TELEMETRY_DATA_DESCRIPTION in shown
    assert "https://telemetry.invalid/api/pipeline" in shown
    assert "VIBE_TOOLS_NO_TELEMETRY=1" in shown


def test_prompt_shows_an_example_and_asks_again(diagnostics: Path) -> None:
    with installer() as terminal:
        terminal.wait_for_question()
        terminal.type("example\n")
        terminal.wait_for_question(2)
        assert json.dumps(example_event(), indent=2) in terminal.shown.replace("\r\n", "\n")
        terminal.type("n\n")
        assert terminal.result() == "opted out"


def test_prompt_takes_enter_for_no_answer(diagnostics: Path) -> None:
    with installer() as terminal:
        for count in range(ANSWERS_MAX_COUNT):
            terminal.wait_for_question(count + 1)
            terminal.type("\n")
        assert terminal.result() == "pending"
    assert not diagnostics.parent.exists()


@pytest.mark.parametrize("typed", ["", "ye", "yes"])
def test_prompt_takes_the_end_of_the_input_for_no_answer(diagnostics: Path, typed: str) -> None:
    with installer() as terminal:
        terminal.wait_for_question()
        terminal.type(typed + "\x04\x04")
        terminal.type("\x04\x04\x04")
        assert terminal.result() == "pending"
    assert not diagnostics.parent.exists()


def test_prompt_takes_what_was_typed_before_it_asked_for_no_answer(diagnostics: Path) -> None:
    with installer(BUSY_S="1") as terminal:
        terminal.type("yes\n")
        terminal.wait_for_question()
        terminal.type("no\n")
        assert terminal.result() == "opted out"


def test_prompt_takes_what_is_no_text_for_no_answer(diagnostics: Path) -> None:
    with installer(PYTHONIOENCODING="utf-8:strict") as terminal:
        terminal.wait_for_question()
        terminal.type_bytes(b"\xfc\n")
        assert terminal.result() == "pending"
    assert not diagnostics.parent.exists()


def test_prompt_takes_ctrl_c_for_no_answer(diagnostics: Path) -> None:
    with installer() as terminal:
        terminal.wait_for_question()
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.result() == "pending"
    assert not diagnostics.parent.exists()


@pytest.mark.parametrize("variable", ["CI", "GITHUB_ACTIONS", "CLAUDECODE"])
def test_prompt_asks_nobody_in_ci_or_under_an_agent(diagnostics: Path, variable: str) -> None:
    with installer(**{variable: "1"}) as terminal:
        assert terminal.result() == "pending"
        assert terminal.shown == ""
    assert not diagnostics.parent.exists()


def test_prompt_asks_nobody_who_opted_out_by_variable(diagnostics: Path) -> None:
    with installer(DO_NOT_TRACK="1") as terminal:
        assert terminal.result() == "opted out"
        assert terminal.shown == ""
    assert not diagnostics.parent.exists()


def test_prompt_asks_nobody_without_a_terminal(diagnostics: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", INSTALLER], input="yes\n", capture_output=True, text=True, timeout=30)
    assert (ran.stdout.strip(), ran.stderr) == ("pending", "")
    assert not diagnostics.parent.exists()


def test_prompt_says_when_the_choice_cannot_be_saved(diagnostics: Path) -> None:
    diagnostics.parent.write_text("a file where the folder should be")
    with installer() as terminal:
        terminal.wait_for_question()
        terminal.type("yes\n")
        assert terminal.result() == "pending"
        assert "could not be saved" in terminal.shown

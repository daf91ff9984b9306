"""Locks: one at a time, and free again when the holder lets go or dies."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from vibetel_client.locks import FileLock, LockTimeout

from .host import finish, start

HOLD = """
import sys, time
from vibetel_client.locks import FileLock
lock = FileLock(sys.argv[1])
print(lock.acquire(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "lock")


@pytest.fixture
def holder(path: str) -> "Iterator[subprocess.Popen[str]]":
    """Another process that holds the lock."""
    with start(HOLD, path) as started:
        assert started.stdout
        assert started.stdout.readline() == "True\n"
        yield started
        started.kill()
        finish(started)


def test_a_lock_is_one_holder_s_at_a_time(path: str) -> None:
    first, second = FileLock(path), FileLock(path)
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_with_gives_up_after_its_patience(path: str, holder: "subprocess.Popen[str]") -> None:
    with pytest.raises(LockTimeout), FileLock(path, patience_s=0.1):
        pass


def test_a_lock_is_free_when_its_holder_is_killed(path: str, holder: "subprocess.Popen[str]") -> None:
    assert not FileLock(path).acquire()
    holder.send_signal(signal.SIGKILL)
    finish(holder)
    lock = FileLock(path)
    assert lock.acquire()
    lock.release()


def test_a_lock_that_is_handed_over_lasts_until_the_other_one_lets_go(path: str) -> None:
    lock, other = FileLock(path), FileLock(path)
    assert lock.acquire()
    inherited = os.dup(lock.fd)
    lock.hand_over()
    assert not FileLock(path).acquire()
    other.adopt(inherited)
    other.release()
    assert lock.acquire()
    lock.release()


def test_a_fork_that_has_the_file_open_holds_no_lock_that_was_given_back(path: str) -> None:
    lock = FileLock(path)
    with lock:
        reader, writer = os.pipe()
        fork = os.fork()
        if fork == 0:  # as by another thread of the host
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    assert lock.acquire()
    lock.release()
    os.close(writer)
    os.close(reader)
    os.waitpid(fork, 0)


def test_the_lock_of_a_removed_file_counts_for_nothing(path: str) -> None:
    stale = FileLock(path)
    assert stale.acquire()
    Path(path).unlink()
    lock = FileLock(path)
    assert lock.acquire()
    lock.release()
    stale.release()


def test_who_waited_for_a_file_that_is_removed_takes_the_new_one(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, late = FileLock(path), FileLock(path)
    opened = os.open(path, os.O_RDWR | os.O_CREAT)
    Path(path).unlink()
    monkeypatch.setattr(os, "open", lambda *_: opened)  # opened before it was removed, and locked after
    assert not waiting.acquire()
    monkeypatch.undo()
    with waiting:
        assert not late.acquire()


def test_a_lock_in_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), FileLock(str(tmp_path / "gone" / "lock")):
        pass

"""Locks: one process at a time. The lock is on an open file, and the kernel drops it when its holder dies, however."""

from __future__ import annotations

import os
import signal
import sys
import time

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_POLL_S = 0.001


class LockTimeout(OSError):
    """The lock stayed taken for all of the patience."""


class FileLock:
    """A lock by the name of a file, which is made where it is missing. For one `with` at a time.

    Raises OSError where the file cannot be opened, LockTimeout after `patience_s`: whoever holds it may be stopped, and
    nobody may wait for ever.
    """

    def __init__(self, path: str, patience_s: float = 1.0) -> None:
        self._path = path
        self._patience_s = patience_s
        self._fd: int | None = None
        self._mask: set[int] | None = None

    def __enter__(self) -> None:
        give_up_at = time.monotonic() + self._patience_s
        self._mask = _hold_signals()
        try:
            while not self.acquire():
                if time.monotonic() > give_up_at:
                    raise LockTimeout(f"{self._path} is locked")
                time.sleep(_POLL_S)
        except BaseException:
            _let_signals(self._mask)
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self.release()
        finally:
            _let_signals(self._mask)

    def acquire(self) -> bool:
        """Take the lock if it is free; it then lasts until `release`, or until this process dies."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if try_lock(fd) and self._is_named(fd):
                self._fd = fd
        finally:
            if self._fd != fd:
                os.close(fd)
        return self._fd == fd

    def adopt(self, fd: int) -> None:
        """Hold on to the lock that came with a file descriptor of the process that started this one."""
        self._fd = fd

    @property
    def fd(self) -> int:
        """The file descriptor that the lock hangs on. Only while it is held."""
        assert self._fd is not None
        return self._fd

    def release(self) -> None:
        """Give the lock back."""
        if sys.platform != "win32":
            # Closing is not enough: a process forked meanwhile, by another thread, has the file open as well.
            fcntl.flock(self.fd, fcntl.LOCK_UN)
        self.hand_over()

    def hand_over(self) -> None:
        """Leave the lock to the process that was started with its file descriptor; without one it is free."""
        os.close(self.fd)
        self._fd = None

    def _is_named(self, fd: int) -> bool:
        """Whether the file still goes by its name. Once removed, it keeps nobody out who opens it by name."""
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self._path))
        except FileNotFoundError:
            return False


def try_lock(fd: int) -> bool:
    """Lock an open file for as long as it is open, here or in a process that inherits it; False where it is taken."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # PermissionError: Windows
        return False
    return True


# A handler that reports the run under way needs the lock as well: it comes when the lock is free.
_HELD_SIGNALS = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}


def _hold_signals() -> set[int] | None:
    """Out: what `_let_signals` takes back."""
    if sys.platform == "win32":
        return None
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_SIGNALS))


def _let_signals(mask: set[int] | None) -> None:
    if sys.platform != "win32" and mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

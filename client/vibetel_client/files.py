"""Files: private to the user, and replaced whole or not at all."""

from __future__ import annotations

import os

UNFINISHED = ".unfinished"


def private(path: str, flags: int) -> int:
    """An opener: what is made is its user's alone."""
    return os.open(path, flags, 0o600)


def replace(path: str, content: bytes) -> None:
    """Who reads meanwhile, or after a crash, sees the old content or the new, no mixture. Raises OSError.

    A symbolic link stays one: some keep their settings elsewhere.
    """
    path = os.path.realpath(path)
    unfinished = f"{path}.{os.getpid()}{UNFINISHED}"
    try:
        with open(unfinished, "wb", opener=private) as file:
            file.write(content)
        os.replace(unfinished, path)
    except OSError:
        remove(unfinished)
        raise


def remove(path: str) -> None:
    """Remove a file that may be gone already. Raises OSError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass

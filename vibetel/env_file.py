"""Env file: variables on disk that only their owner may read, one `NAME=value` a line.

In: a path and variables. Out: the file, whole or as it was before. Fails: OSError. Next: embedded/addresses.py,
provisioning.py
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def read(path: Path) -> dict[str, str]:
    """The variables; none where there is no file."""
    if not path.exists():
        return {}
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def write(path: Path, variables: Mapping[str, str]) -> None:
    """Put the file in the place of what is there, in one step."""
    write_beside(path, variables).replace(path)


def write_beside(path: Path, variables: Mapping[str, str]) -> Path:
    """A temporary file in the same folder (mode 0600) with these variables, safely on disk."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.writelines(f"{name}={value}\n" for name, value in variables.items())
        file.flush()
        os.fsync(file.fileno())
    return Path(file.name)

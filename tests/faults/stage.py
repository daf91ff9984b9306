"""Stages: archiver and loader, run by another program (stage_program.py), and perhaps killed at a point."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Self

from tests.vibetel.programs import CHECKOUT


class Stages:
    """The program, from `with` to the end of the block. `environment` says which stores it works on."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._read = 0

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile("a+")  # two of us move its position
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.stage_program"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "vibetel.settings", **self._environment},
            cwd=CHECKOUT,
            text=True,
        )
        return self

    def __exit__(self, *why: object) -> None:
        self._process.communicate(timeout=60)
        self._errors.close()

    def log(self) -> str:
        """What the jobs have written since this was last asked."""
        self._errors.seek(self._read)
        text = self._errors.read()
        self._read = self._errors.tell()
        return text

    def run(self, job: str, point: str = "-") -> int:
        """A job of stage_program.py, as at this moment: its exit status; -9 where it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{job} {point}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline() or "1")

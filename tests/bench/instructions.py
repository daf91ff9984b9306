"""Instructions: how many the CPU needs for a request, counted by valgrind. The same code gives the same figure.

In: an endpoint and its requests. Out: instructions per request, without the server around the WSGI application.
Fails: CalledProcessError, where a request is not answered with 2xx. Next: calls.py
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.stack import Endpoint
from tests.vibetel.programs import CHECKOUT

# What start-up and the first requests take cancels out between the two.
FEW, MANY = 100, 400


def can_count() -> bool:
    """Whether there is a valgrind."""
    return shutil.which("valgrind") is not None


def per_request(endpoints: Mapping[str, Endpoint], requests: Path, folder: Path) -> dict[str, int]:
    """Instructions per request of each endpoint's application.

    `requests` is a pickled list of at least MANY requests, as load.py takes it; `folder` is for valgrind's files.
    """

    def counted(name: str, count: int) -> int:
        endpoint = endpoints[name]
        command = [sys.executable, "-m", "tests.bench.calls", endpoint.application, str(count), str(requests)]
        watched = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/callgrind.out.%p", *command]
        ran = subprocess.run(
            watched,
            env={**endpoint.environment, "PYTHONHASHSEED": "0"},
            cwd=CHECKOUT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
        collected = re.search(r"Collected : (\d+)", ran.stderr)
        assert collected, ran.stderr
        return int(collected[1])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = {(name, count): pool.submit(counted, name, count) for name in endpoints for count in (FEW, MANY)}
        return {name: (runs[name, MANY].result() - runs[name, FEW].result()) // (MANY - FEW) for name in endpoints}

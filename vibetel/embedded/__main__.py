"""The embedded servers without the portal: `python -m vibetel.embedded [--data-dir DIR] -- COMMAND...`

In: a command. Out: its exit status; it ran with the servers' variables in its environment, and they are stopped.
"""

import argparse
import os
import sys
from pathlib import Path

from vibetel.embedded import environment, servers
from vibetel.embedded.child import Child, StartFailed
from vibetel.embedded.supervisor import AlreadyRunning, Stopped, Supervisor


def main() -> int:
    """The command's exit status; 130 where a signal ended it first. Exits with 1 where the servers do not start."""
    parser = argparse.ArgumentParser(prog="python -m vibetel.embedded", description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("DATA_DIR") or "portal"))
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    arguments = parser.parse_args()
    data_dir = arguments.data_dir.absolute()
    supervisor = Supervisor(data_dir, lambda line: print(line, file=sys.stderr))  # noqa: T201
    supervisor.catch_signals()
    try:
        with supervisor:
            supervisor.start(servers.needed(data_dir, os.environ))
            variables = {**os.environ, **environment(data_dir, os.environ), "DATA_DIR": str(data_dir)}
            return supervisor.run_on_terminal(Child("command", arguments.command, variables, folder=Path.cwd()))
    except (AlreadyRunning, StartFailed, OSError) as error:
        sys.exit(str(error))
    except Stopped:
        return 130


if __name__ == "__main__":
    sys.exit(main())

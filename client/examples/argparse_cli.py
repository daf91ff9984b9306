"""A tool with telemetry. Try: NOTES_TELEMETRY_DEBUG=1 python argparse_cli.py count --quiet README.md"""

import argparse
import sys
from pathlib import Path

from vibetel_client import TELEMETRY_DATA_DESCRIPTION, Telemetry

telemetry = Telemetry(tool="notes", version="1.0.0")


def main() -> None:
    """Parse the arguments and run one command."""
    parser = argparse.ArgumentParser(prog="notes")
    commands = parser.add_subparsers(dest="command", required=True)
    count = commands.add_parser("count", help="count the lines of a file")
    count.add_argument("--quiet", action="store_true")
    count.add_argument("file", type=Path)
    switch = commands.add_parser("telemetry", help="what is collected, and whether")
    switch.add_argument("choice", choices=["on", "off", "status"])
    arguments = parser.parse_args()

    if arguments.command == "telemetry":
        set_telemetry(arguments.choice)
        return
    with telemetry.command(arguments.command, vars(arguments)):
        lines = len(arguments.file.read_text().splitlines())
        if not arguments.quiet:
            sys.stdout.write(f"{lines}\n")


def set_telemetry(choice: str) -> None:
    """Record the choice, `on` or `off`, and say what holds now; `status` only says it."""
    if choice == "on":
        sys.stdout.write(TELEMETRY_DATA_DESCRIPTION + "\n")
        recorded = telemetry.enable()
    else:
        recorded = choice == "status" or telemetry.disable()
    if not recorded:
        sys.exit("notes: your choice could not be saved")
    sys.stdout.write(f"telemetry: {telemetry.consent().value}\n")


if __name__ == "__main__":
    main()

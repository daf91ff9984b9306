"""A tool with telemetry. Try: NOTES_TELEMETRY_DEBUG=1 python argparse_cli.py count --quiet README.md"""

import argparse
import sys
from pathlib import Path

from vibetel_client import TELEMETRY_DATA_DESCRIPTION, Telemetry
from vibetel_client.integrations.argparse import command

telemetry = Telemetry(tool="notes", version="1.0.0")


def main() -> None:
    """Parse the arguments and run one command, which is reported."""
    with command(telemetry, build_parser()) as arguments:
        arguments.run(arguments)


def build_parser() -> argparse.ArgumentParser:
    """The commands and what they take; `run` is the function to call."""
    parser = argparse.ArgumentParser(prog="notes")
    commands = parser.add_subparsers(required=True)

    count = commands.add_parser("count", help="count the lines of a note")
    count.add_argument("--quiet", action="store_true")
    count.add_argument("file", type=Path)
    count.set_defaults(run=count_lines)

    tag = commands.add_parser("tag", help="the tags of a note").add_subparsers(required=True)
    tag_list = tag.add_parser("list", aliases=["ls"], help="list the words that start with #")
    tag_list.add_argument("file", type=Path)
    tag_list.set_defaults(run=list_tags)

    install = commands.add_parser("install", help="prepare this computer")
    install.set_defaults(run=set_up)

    switch = commands.add_parser("telemetry", help="what is collected, and whether")
    switch.add_argument("choice", choices=["on", "off", "status"])
    switch.set_defaults(run=set_telemetry)
    return parser


def count_lines(arguments: argparse.Namespace) -> None:
    """Print how many lines the note has."""
    lines = len(read_note(arguments.file).splitlines())
    if not arguments.quiet:
        sys.stdout.write(f"{lines}\n")


def list_tags(arguments: argparse.Namespace) -> None:
    """Print the note's tags, one a line."""
    for word in read_note(arguments.file).split():
        if word.startswith("#"):
            sys.stdout.write(f"{word}\n")


def read_note(file: Path) -> str:
    """The note's text. Exits with status 1 where there is none; that is reported as what caused it."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        sys.exit(f"notes: {error}")


def set_up(_: argparse.Namespace) -> None:
    """Ask for consent, if the user has not been asked yet."""
    sys.stdout.write(f"telemetry: {telemetry.prompt_for_consent().value}\n")


def set_telemetry(arguments: argparse.Namespace) -> None:
    """Record the choice, `on` or `off`, and say what holds now; `status` only says it."""
    if arguments.choice == "on":
        sys.stdout.write(TELEMETRY_DATA_DESCRIPTION + "\n")
        recorded = telemetry.enable()
    else:
        recorded = arguments.choice == "status" or telemetry.disable()
    if not recorded:
        sys.exit("notes: your choice could not be saved")
    sys.stdout.write(f"telemetry: {telemetry.consent().value}\n")


if __name__ == "__main__":
    main()

"""The same tool with click. Try: NOTES_TELEMETRY_DEBUG=1 python click_cli.py count --quiet README.md"""

from pathlib import Path

import click
from vibetel_client import TELEMETRY_DATA_DESCRIPTION, Telemetry
from vibetel_client.integrations.click import instrument

telemetry = Telemetry(tool="notes", version="1.0.0")


@click.group()
def notes() -> None:
    """Notes in plain files."""


@notes.command()
@click.option("--quiet", is_flag=True)
@click.argument("file", type=click.Path(path_type=Path))
def count(quiet: bool, file: Path) -> None:
    """Count the lines of a note."""
    lines = len(read_note(file).splitlines())
    if not quiet:
        click.echo(lines)


@notes.group()
def tag() -> None:
    """The tags of a note."""


@tag.command("list")
@click.argument("file", type=click.Path(path_type=Path))
def list_tags(file: Path) -> None:
    """List the words that start with #."""
    for word in read_note(file).split():
        if word.startswith("#"):
            click.echo(word)


@notes.command()
def install() -> None:
    """Prepare this computer: ask for consent, if the user has not been asked yet."""
    click.echo(f"telemetry: {telemetry.prompt_for_consent().value}")


@notes.command("telemetry")
@click.argument("choice", type=click.Choice(["on", "off", "status"]))
def set_telemetry(choice: str) -> None:
    """Record the choice, on or off, and say what holds now; status only says it."""
    if choice == "on":
        click.echo(TELEMETRY_DATA_DESCRIPTION)
        recorded = telemetry.enable()
    else:
        recorded = choice == "status" or telemetry.disable()
    if not recorded:
        raise click.ClickException("your choice could not be saved")
    click.echo(f"telemetry: {telemetry.consent().value}")


def read_note(file: Path) -> str:
    """The note's text. Raises ClickException where there is none; that is reported as what caused it."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    instrument(notes, telemetry)
    notes()

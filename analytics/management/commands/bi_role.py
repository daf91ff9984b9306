"""manage.py bi_role: a login for a BI tool."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, connection

from analytics import bi
from analytics.bi import RoleRefused


class Command(BaseCommand):
    """Make the role, or bring it up to date, and say how to connect."""

    help = (
        "Make a role of Postgres for analysts and BI tools: it may read the views of the schema bi, and nothing else. "
        "Run again it brings the role up to date, and changes its password where one is given. docs/analysis.md has "
        "the views."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Its name, and its password."""
        parser.add_argument("name", help="such as analyst")
        parser.add_argument(
            "--password-file",
            type=Path,
            metavar="FILE",
            help="the first line is the password; without, a new role gets one that is printed once",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the connection, and the password that was made."""
        try:
            made = bi.make_role(options["name"], _password(options["password_file"]))
        except RoleRefused as error:
            raise CommandError(str(error)) from error
        except (DatabaseError, InterfaceError) as error:
            first = str(error).partition("\n")[0]
            raise CommandError(f"Postgres refused ({first}).") from error
        there = connection.settings_dict
        self.stdout.write(
            f"{options['name']} may read the schema {bi.SCHEMA} of the database {there['NAME']} "
            f"on {there['HOST'] or 'this machine'}, port {there['PORT'] or 5432}."
        )
        if made:
            self.stdout.write(f"Password: {made}  (printed once)")


def _password(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        password = file.read_text().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: give another --password-file.") from error
    if not password:
        raise CommandError(f"{file} is empty: its first line should be the password.")
    return password

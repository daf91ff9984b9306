"""manage.py api_token: let somebody read the stats API."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rest_framework.authtoken.models import Token

from analytics import roles


class Command(BaseCommand):
    """Print or revoke the token of an account."""

    help = "Print the token with which an account reads the stats API (docs/api.md); it is made at the first time."

    def add_arguments(self, parser: CommandParser) -> None:
        """Whose; `--revoke` ends it."""
        parser.add_argument("username")
        parser.add_argument("--revoke", action="store_true", help="the token is good for nothing from now on")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the token alone, for scripts; or what was revoked."""
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no account {options['username']!r}: accounts are made in the admin.")
        if options["revoke"]:
            count, _ = Token.objects.filter(user=user).delete()
            self.stdout.write("The token is revoked." if count else "There was no token.")
            return
        if not roles.sees_dashboards(user):
            raise CommandError(
                f"{user} may not see the dashboards: make the account active, and give it a role, in the admin."
            )
        self.stdout.write(Token.objects.get_or_create(user=user)[0].key)

"""`manage.py create_administrator`: the first administrator, with a password that is shown once."""

import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

USERNAME = "admin"


class Command(BaseCommand):
    """The account that `manage.py up` makes for the first visit."""

    help = "Creates the administrator `admin` and prints its password, unless there is an administrator already."

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints name and password, or nothing where there is an administrator."""
        users = get_user_model()._default_manager
        if users.filter(is_superuser=True).exists():
            return
        password = secrets.token_urlsafe(12)
        users.create_superuser(username=USERNAME, password=password)
        self.stdout.write(f"\n    Administrator: {USERNAME}\n    Password:      {password}\n")
        self.stdout.write("    It is shown only now; `manage.py changepassword admin` sets another one.")

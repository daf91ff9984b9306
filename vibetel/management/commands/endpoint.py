"""manage.py endpoint: the live URL into the client."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from vibetel import endpoint


class Command(BaseCommand):
    """Try the URL, then write it; or, for CI, only look."""

    help = (
        "Send a test event to the URL, and write it into the client as its default endpoint once the portal has "
        f"answered 202. The event has the command {endpoint.COMMAND!r} and is in no figure. Run it in the checkout "
        "that the client is released from, and release the client: those that are out keep the URL they have."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The URL; `--check` writes nothing."""
        parser.add_argument("url", help="such as https://telemetry.example.org/api/pipeline")
        parser.add_argument(
            "--check",
            action="store_true",
            help="write nothing; exit status 1 where the client's default is another, or the URL does not answer",
        )

    def handle(self, *args: Any, url: str, check: bool, **options: Any) -> None:
        """Print what the client has now."""
        file = settings.BASE_DIR / "client/vibetel_client/endpoint.py"
        try:
            there = endpoint.read(file)
            if check and there != url:
                raise CommandError(f"The client's default endpoint is {there or 'not set'}, not {url}.")
            endpoint.try_out(url, timezone.now())
            if not check and there != url:
                endpoint.write(file, url)
        except endpoint.WrongEndpoint as error:
            raise CommandError(f"{error}.") from error
        self.stdout.write(f"{url} took a test event (202 accepted).")
        said = "is" if there == url else f"was {there or 'not set'}, and is now"
        self.stdout.write(f"The client's default endpoint {said} {endpoint.read(file)}")
        if url.startswith("http://"):
            self.stdout.write("Note: over http, anybody on the way reads and changes events.")

"""manage.py provision: the bucket and its keys, and whether they do what they should."""

import os
import re
from argparse import RawDescriptionHelpFormatter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from vibetel import acceptance, cloudflare, env_file, provisioning
from vibetel.acceptance import Outcome
from vibetel.cloudflare import Account
from vibetel.environment import Environment

_HELP = """
Make the bucket on Cloudflare R2 and its two keys, or check those there are.

With CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN (or …_FILE) in the environment it creates or finds the bucket, makes
one API token that may write objects in it (the archiver's) and one that may read them (the loader's), and writes both
as settings into a file that only you can read. Run again it changes nothing. Without them it takes the bucket and the
keys of ARCHIVE_… in the environment, and writes the same file. No secret is printed. docs/provision.md says more.

  manage.py provision --bucket NAME             bucket, keys, file
  manage.py provision --check --keys-file FILE  try the keys by use; exit status 1 where one does too little or too much
  manage.py provision --rotate                  new secrets; the old are refused from then on
  manage.py provision --destroy                 delete tokens, file and an empty bucket
"""


class Command(BaseCommand):
    """Provision, check, rotate or destroy."""

    help = _HELP
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """With the help as it is written."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """What to do, and where."""
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--check", action="store_true", help="try the keys by use, and print a report")
        what.add_argument("--rotate", action="store_true", help="replace the keys; the old are refused from then on")
        what.add_argument("--destroy", action="store_true", help="delete tokens, file and bucket, when confirmed")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
        parser.add_argument("--bucket", default=settings.ARCHIVE_BUCKET, help="its name; default: %(default)s")
        parser.add_argument("--jurisdiction", choices=("default", "eu", "fedramp"), default="default", help="of R2")
        parser.add_argument(
            "--keys-file",
            type=Path,
            metavar="FILE",
            help="where the keys are kept; default: archive.env in DATA_DIR. --check without it: the portal's own keys",
        )
        parser.add_argument(
            "--other-bucket",
            default="",
            metavar="NAME",
            help="for --check: one that is there and that the keys must not reach; default: another of the account's, "
            "where Cloudflare's API can be asked",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what was done, or the report."""
        given = Environment(os.environ, fallback={})
        account = _account(given, options["jurisdiction"])
        keys_file = options["keys_file"] or settings.DATA_DIR / "archive.env"
        try:
            if options["check"]:
                self._check(account, options["keys_file"], options["other_bucket"])
            elif options["destroy"]:
                self._destroy(account, options["bucket"], keys_file, dry_run=options["dry_run"])
            else:
                self._provision(account, given, keys_file, options)
        except (provisioning.Stopped, cloudflare.Refused) as error:
            raise CommandError(str(error)) from error
        except cloudflare.ApiUnavailable as error:
            raise CommandError(f"{error}. Run it again: it goes on where it was.") from error
        except acceptance.BucketUnreachable as error:
            raise CommandError(f"The bucket does not answer ({error}). Is ARCHIVE_ENDPOINT_URL right?") from error
        except OSError as error:
            raise CommandError(f"{error.filename or keys_file}: {error.strerror}") from error

    def _provision(
        self, account: Account | None, given: Environment, keys_file: Path, options: Mapping[str, Any]
    ) -> None:
        how = {"rotate": options["rotate"], "dry_run": options["dry_run"], "say": self.stdout.write}
        if account:
            provisioning.provision(account, options["bucket"], keys_file, **how)
        else:
            provisioning.keep_given(_given_keys(given), keys_file, **how)
        if not options["dry_run"]:
            self.stdout.write(f"Now try them: manage.py provision --check --keys-file {keys_file}")

    def _destroy(self, account: Account | None, bucket: str, keys_file: Path, *, dry_run: bool) -> None:
        if account is None:
            raise CommandError("Set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN: they say whose bucket.")
        if not dry_run:
            self.stdout.write(
                f"This deletes the bucket {bucket}, if it is empty, then the archiver's and the loader's token, and "
                f"{keys_file}. It deletes no object: of a bucket that has any, nothing is changed."
            )
            if _typed("Type the bucket's name to go on: ") != bucket:
                raise CommandError("Not confirmed: nothing was changed.")
        provisioning.destroy(account, bucket, keys_file, dry_run=dry_run, say=self.stdout.write)

    def _check(self, account: Account | None, keys_file: Path | None, other_bucket: str) -> None:
        writer, reader = _storage_options(keys_file)
        if account and not other_bucket:
            others = (name for name in account.bucket_names() if name != writer["bucket_name"])
            other_bucket = next(others, "")
        where = writer["endpoint_url"] or "AWS"
        keys = f"the keys of {keys_file}" if keys_file else "the keys that the portal of this environment uses"
        self.stdout.write(f"Trying {keys} on the bucket {writer['bucket_name']} at {where}:")
        faults_count = 0
        for finding in acceptance.check(writer, reader, other_bucket):
            self.stdout.write(f"  {finding.outcome:<5}  {finding.text}")
            faults_count += finding.outcome is Outcome.FAULT
        if faults_count:
            said = f"Not accepted: {faults_count} faults. R2 may take a minute to know a new key: try again."
            raise CommandError(said, returncode=1)
        self.stdout.write("Accepted.")


def _account(given: Environment, jurisdiction: str) -> Account | None:
    """None without access to Cloudflare's API."""
    account_id, token = given.text("CLOUDFLARE_ACCOUNT_ID", ""), given.text("CLOUDFLARE_API_TOKEN", "")
    if not token:
        return None
    if not account_id:
        raise CommandError("CLOUDFLARE_API_TOKEN is set, but CLOUDFLARE_ACCOUNT_ID not.")
    if not re.fullmatch("[!-~]+", token):  # else the error of the HTTP library would show it
        raise CommandError("CLOUDFLARE_API_TOKEN is no token: it has a space, a line's end, or what is not ASCII.")
    url = given.text("CLOUDFLARE_BASE_URL", cloudflare.API_URL)  # of the name that Cloudflare's own libraries read
    return Account(account_id, token, jurisdiction=jurisdiction, url=url)


def _given_keys(given: Environment) -> dict[str, str]:
    """The bucket and keys that the environment holds, with the settings' default for the region."""
    found = {name: given.text(name, "") for name in (*provisioning.PLACE, *provisioning.KEYS)}
    found["ARCHIVE_REGION"] = found["ARCHIVE_REGION"] or "auto"
    if lacking := [name for name, value in found.items() if not value and name != "ARCHIVE_ENDPOINT_URL"]:
        raise CommandError(
            "Set CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN; or, with keys that you made yourself, "
            f"{', '.join(lacking)}."
        )
    return found


def _storage_options(keys_file: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """How django-storages reaches the bucket with the archiver's key, and with the loader's."""
    storages: Any = settings.STORAGES
    writer, reader = (dict(storages[alias]["OPTIONS"]) for alias in ("archive", "archive_read"))
    if keys_file:
        held = env_file.read(keys_file)
        if lacking := [name for name in (*provisioning.PLACE, *provisioning.KEYS) if name not in held]:
            raise CommandError(f"{keys_file} lacks {', '.join(lacking)}: `manage.py provision` writes it.")
        for options, role in zip((writer, reader), provisioning.ROLES, strict=True):
            options |= {
                "bucket_name": held["ARCHIVE_BUCKET"],
                "endpoint_url": held["ARCHIVE_ENDPOINT_URL"] or None,
                "region_name": held["ARCHIVE_REGION"],
                "access_key": held[role.id_name],
                "secret_key": held[role.secret_name],
            }
    elif not (writer["access_key"] and reader["access_key"]):
        raise CommandError("This environment has not both keys of the bucket: name the --keys-file that has them.")
    return writer, reader


def _typed(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:
        return ""

"""Provisioning: a bucket on R2 with two keys, one to write objects and one to read them; and its end.

In: an account of Cloudflare's (cloudflare.py), a bucket's name, the file for the keys. Out: the bucket, two API tokens
of the account, the file. Fails: Stopped, before anything is changed; cloudflare.Refused, ApiUnavailable; OSError.
Next: acceptance.py

Cloudflare shows a token's value once. So the file is written after each token that is made, and no token is made anew,
rolled or forgotten unless that was asked for: somebody may be using it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from vibetel import cloudflare, env_file
from vibetel.cloudflare import Account, Key, Token


class Stopped(Exception):
    """Going on would break or lose something; the message says what to do."""


class Role(NamedTuple):
    """Who uses a key, the part of its variables' names, and what it may do."""

    name: str
    variable: str
    permission: str

    @property
    def id_name(self) -> str:
        return f"ARCHIVE_{self.variable}_ACCESS_KEY_ID"

    @property
    def secret_name(self) -> str:
        return f"ARCHIVE_{self.variable}_SECRET_ACCESS_KEY"


ROLES = (Role("archiver", "WRITE", cloudflare.OBJECT_WRITE), Role("loader", "READ", cloudflare.OBJECT_READ))
PLACE = ("ARCHIVE_BUCKET", "ARCHIVE_ENDPOINT_URL", "ARCHIVE_REGION")
KEYS = tuple(name for role in ROLES for name in (role.id_name, role.secret_name))

Say = Callable[[str], object]


def provision(account: Account, bucket: str, keys_file: Path, *, rotate: bool, dry_run: bool, say: Say) -> None:
    """Bring bucket, tokens and file to where they should be; run again it finds nothing to do.

    With `rotate` both keys get new secrets, and the old ones are refused from then on. With `dry_run` it only says
    what it would do. Raises Stopped, cloudflare.Refused, cloudflare.ApiUnavailable, OSError.
    """
    kept = env_file.read(keys_file)
    place = _place(account, bucket)
    if others := [name for name in PLACE if kept.get(name, place[name]) != place[name]]:
        raise Stopped(f"{keys_file} is for another bucket ({', '.join(others)} differ): name another --keys-file")
    is_there = account.has_bucket(bucket)
    tokens = list(account.tokens())
    steps = [_step(account, role, bucket, kept, tokens, keys_file, rotate=rotate) for role in ROLES]
    would = "would be " if dry_run else ""
    say(f"bucket {bucket}: {'is there' if is_there else would + 'created'}")
    if not dry_run and not is_there:
        account.create_bucket(bucket)
    for role, step in zip(ROLES, steps, strict=True):
        if step.make is None:
            say(f"{role.name}'s key: is there, and in {keys_file}")
            continue
        if not dry_run:
            env_file.write(keys_file, kept | place)  # a file that cannot be written stops here, before a key is lost
            key = step.make()
            kept = kept | place | {role.id_name: key.access_key_id, role.secret_name: key.secret_access_key}
            env_file.write(keys_file, kept)
        say(f"{role.name}'s key: {would}{step.what}, {would or 'and '}written to {keys_file}")


def keep_given(given: Mapping[str, str], keys_file: Path, *, rotate: bool, dry_run: bool, say: Say) -> None:
    """Write keys that somebody made by hand into the file. Raises Stopped, OSError."""
    kept = env_file.read(keys_file)
    if kept == given:
        say(f"{keys_file}: has these keys already")
        return
    if others := [name for name in (*PLACE, *KEYS) if name in kept and kept[name] != given[name]]:
        if not rotate:
            raise Stopped(f"{keys_file} has another {', '.join(others)}: --rotate replaces what it has")
        say(f"{keys_file}: replacing {', '.join(others)}")
    if not dry_run:
        env_file.write(keys_file, {**kept, **given})
    say(f"{keys_file}: {'would be ' if dry_run else ''}written")


def destroy(account: Account, bucket: str, keys_file: Path, *, dry_run: bool, say: Say) -> None:
    """Delete an empty bucket, then its tokens, then the file. Raises Stopped where it holds objects; as provision."""
    would = "would be " if dry_run else ""
    if not account.has_bucket(bucket):
        say(f"bucket {bucket}: is not there")
    elif not dry_run and not account.delete_bucket(bucket):
        raise Stopped(
            f"The bucket {bucket} holds objects. They are the archive, and no command deletes them; its keys are as "
            "they were. Empty it in Cloudflare's dashboard first, if that is what you want."
        )
    else:
        say(f"bucket {bucket}: {would}deleted{', if it is empty' if dry_run else ''}")
    names = [_token_name(account, role, bucket) for role in ROLES]
    for token in [token for token in account.tokens() if token.name in names]:
        if not dry_run:
            account.delete_token(token.id)
        say(f"token {token.name!r} ({token.id}): {would}deleted")
    if _place(account, bucket).items() <= env_file.read(keys_file).items():
        if not dry_run:
            keys_file.unlink()
        say(f"{keys_file}: {would}deleted")


class _Step(NamedTuple):
    """What to do about one key, if anything."""

    what: str = ""
    make: Callable[[], Key] | None = None


def _step(
    account: Account,
    role: Role,
    bucket: str,
    kept: Mapping[str, str],
    tokens: list[Token],
    keys_file: Path,
    *,
    rotate: bool,
) -> _Step:
    name = _token_name(account, role, bucket)
    mine = {token.id: token for token in tokens if token.name == name}
    held = kept.get(role.id_name, "") if kept.get(role.secret_name) else ""
    if held in mine and not rotate:
        if mine[held].status != "active":
            raise Stopped(f"The token {name!r} ({held}) is {mine[held].status}: see Cloudflare's dashboard.")
        return _Step()
    if held and held not in mine and not rotate:
        raise Stopped(
            f"{keys_file} has a key for the {role.name} ({held}) that is no token {name!r} of this account: it was "
            "made by hand, or deleted. --rotate puts a new one in its place."
        )
    if not mine:
        return _Step("made", lambda: account.create_token(name, bucket, role.permission))
    if not rotate:
        raise Stopped(
            f"The token {name!r} is there ({', '.join(mine)}), but its secret is not in {keys_file}, and Cloudflare "
            "shows a secret only once. Name the --keys-file that has it; or --rotate for new secrets: whoever uses the "
            "old ones is refused from then on, until they have the new."
        )
    token_id = held if held in mine else next(iter(mine))
    return _Step("given a new secret", lambda: account.roll_token(token_id))


def _token_name(account: Account, role: Role, bucket: str) -> str:
    jurisdiction = "" if account.jurisdiction == "default" else f" ({account.jurisdiction})"
    return f"vibetel {role.name}: {bucket}{jurisdiction}"


def _place(account: Account, bucket: str) -> dict[str, str]:
    endpoint_url = cloudflare.s3_endpoint(account.account_id, account.jurisdiction)
    return dict(zip(PLACE, (bucket, endpoint_url, "auto"), strict=True))

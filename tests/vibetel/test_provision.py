"""`manage.py provision`: bucket, keys and file against Cloudflare's API as documented; the keys by use on SeaweedFS."""

import io
import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from django.conf import settings
from django.core.files.storage import storages
from django.core.management import CommandError, call_command

from analytics import load
from ingest import archive
from tests.vibetel.cloudflare_api import ACCOUNT_ID, API_TOKEN, CloudflareApi
from vibetel import acceptance, cloudflare, env_file
from vibetel.acceptance import Outcome
from vibetel.embedded import addresses, seaweedfs
from vibetel.embedded.addresses import BUCKET, archive_endpoint_url, read_or_create
from vibetel.embedded.supervisor import Supervisor

GIVEN = {
    "ARCHIVE_BUCKET": "events",
    "ARCHIVE_ENDPOINT_URL": "https://s3.example.org",
    "ARCHIVE_REGION": "auto",
    "ARCHIVE_WRITE_ACCESS_KEY_ID": "write",
    "ARCHIVE_WRITE_SECRET_ACCESS_KEY": "secret one",
    "ARCHIVE_READ_ACCESS_KEY_ID": "read",
    "ARCHIVE_READ_SECRET_ACCESS_KEY": "secret two",
}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudflareApi]:
    with CloudflareApi() as api:
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", ACCOUNT_ID)
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", API_TOKEN)
        monkeypatch.setenv("CLOUDFLARE_BASE_URL", api.url)
        yield api


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "archive.env"


def provision(keys_file: Path | None, *arguments: str) -> str:
    """What the command prints."""
    output = io.StringIO()
    where = ["--keys-file", str(keys_file)] if keys_file else []
    call_command("provision", *where, *arguments, stdout=output)
    return output.getvalue()


# -- Bucket, tokens, file


def test_provision_makes_bucket_tokens_and_a_file_of_ones_own(api: CloudflareApi, keys_file: Path) -> None:
    output = provision(keys_file, "--bucket", "events")

    assert list(api.buckets) == ["events"]
    assert [token["name"] for token in api.tokens.values()] == ["vibetel archiver: events", "vibetel loader: events"]
    writer, reader = (cloudflare.s3_key(*shown) for shown in zip(api.tokens, api.values, strict=True))
    assert env_file.read(keys_file) == {
        "ARCHIVE_BUCKET": "events",
        "ARCHIVE_ENDPOINT_URL": f"https://{ACCOUNT_ID}.r2.cloudflarestorage.com",
        "ARCHIVE_REGION": "auto",
        "ARCHIVE_WRITE_ACCESS_KEY_ID": writer.access_key_id,
        "ARCHIVE_WRITE_SECRET_ACCESS_KEY": writer.secret_access_key,
        "ARCHIVE_READ_ACCESS_KEY_ID": reader.access_key_id,
        "ARCHIVE_READ_SECRET_ACCESS_KEY": reader.secret_access_key,
    }
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o600
    secrets = [API_TOKEN, *api.values, writer.secret_access_key, reader.secret_access_key]
    assert not any(secret in output for secret in secrets)


def test_provision_twice_changes_nothing(api: CloudflareApi, keys_file: Path) -> None:
    provision(keys_file, "--bucket", "events")
    before, changes = keys_file.read_text(), len(api.changes)
    assert "is there, and in" in provision(keys_file, "--bucket", "events")
    assert (keys_file.read_text(), len(api.changes)) == (before, changes)


def test_provision_stopped_between_the_tokens_goes_on_there(api: CloudflareApi, keys_file: Path) -> None:
    api.tokens_max_count = 1
    with pytest.raises(CommandError, match="HTTP 500"):
        provision(keys_file, "--bucket", "events")
    archiver = env_file.read(keys_file)
    assert "ARCHIVE_WRITE_SECRET_ACCESS_KEY" in archiver

    api.tokens_max_count = 500
    provision(keys_file, "--bucket", "events")
    assert len(api.tokens) == 2
    assert archiver.items() <= env_file.read(keys_file).items()


def test_provision_dry_run_changes_nothing(api: CloudflareApi, keys_file: Path) -> None:
    output = provision(keys_file, "--bucket", "events", "--dry-run")
    assert "bucket events: would be created" in output
    assert output.count("would be made") == 2
    assert api.changes == []
    assert not keys_file.exists()


def test_provision_without_the_file_takes_no_key_from_whoever_has_it(api: CloudflareApi, keys_file: Path) -> None:
    provision(keys_file, "--bucket", "events")
    keys_file.unlink()
    changes = len(api.changes)
    with pytest.raises(CommandError, match="Cloudflare shows a secret only once"):
        provision(keys_file, "--bucket", "events")
    assert len(api.changes) == changes


def test_provision_rotate_gives_both_tokens_new_secrets(api: CloudflareApi, keys_file: Path) -> None:
    provision(keys_file, "--bucket", "events")
    before = env_file.read(keys_file)
    keys_file.unlink()
    provision(keys_file, "--bucket", "events", "--rotate")
    after = env_file.read(keys_file)
    assert len(api.tokens) == 2
    assert {name for name in before if before[name] != after[name]} == {
        "ARCHIVE_WRITE_SECRET_ACCESS_KEY",
        "ARCHIVE_READ_SECRET_ACCESS_KEY",
    }


def test_provision_refuses_a_file_of_another_bucket(api: CloudflareApi, keys_file: Path) -> None:
    provision(keys_file, "--bucket", "events")
    before = keys_file.read_text()
    with pytest.raises(CommandError, match="is for another bucket"):
        provision(keys_file, "--bucket", "other", "--rotate")
    assert keys_file.read_text() == before
    assert list(api.buckets) == ["events"]


def test_provision_replaces_a_key_that_is_gone_only_when_told(api: CloudflareApi, keys_file: Path) -> None:
    provision(keys_file, "--bucket", "events")
    del api.tokens["token0"]
    with pytest.raises(CommandError, match=r"\(token0\) that is no token 'vibetel archiver: events'"):
        provision(keys_file, "--bucket", "events")


def test_provision_with_a_file_that_cannot_be_written_makes_no_token(api: CloudflareApi, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file or directory"):
        provision(tmp_path / "not-there" / "archive.env", "--bucket", "events")
    assert api.tokens == {}


def test_provision_with_keys_given_writes_them(monkeypatch: pytest.MonkeyPatch, keys_file: Path) -> None:
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    output = provision(keys_file)
    assert env_file.read(keys_file) == GIVEN
    assert "secret" not in output
    monkeypatch.setenv("ARCHIVE_READ_SECRET_ACCESS_KEY", "another secret")
    with pytest.raises(CommandError, match="has another ARCHIVE_READ_SECRET_ACCESS_KEY"):
        provision(keys_file)
    assert env_file.read(keys_file) == GIVEN


@pytest.mark.parametrize("token", [f"{API_TOKEN}\r", f"{API_TOKEN}\nand more", f"\u201c{API_TOKEN}\u201d"])
def test_provision_with_what_is_no_token_shows_none_of_it(
    api: CloudflareApi, keys_file: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", token)
    with pytest.raises(CommandError, match="CLOUDFLARE_API_TOKEN is no token") as refused:
        provision(keys_file)
    assert API_TOKEN not in str(refused.value)
    assert api.asked == []


def test_provision_without_api_and_keys_says_what_to_set(keys_file: Path) -> None:
    with pytest.raises(CommandError, match=r"Set CLOUDFLARE_ACCOUNT_ID .* ARCHIVE_BUCKET, ARCHIVE_WRITE_ACCESS_KEY_ID"):
        provision(keys_file)


# -- The end


@pytest.mark.parametrize("typed", ["", "yes", "event"])
def test_destroy_not_confirmed_changes_nothing(
    api: CloudflareApi, keys_file: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    provision(keys_file, "--bucket", "events")
    changes = len(api.changes)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    with pytest.raises(CommandError, match="Not confirmed"):
        provision(keys_file, "--bucket", "events", "--destroy")
    assert len(api.changes) == changes
    assert keys_file.exists()


def test_destroy_leaves_a_bucket_with_objects_and_its_keys(
    api: CloudflareApi, keys_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provision(keys_file, "--bucket", "events")
    api.buckets["events"] = 3
    monkeypatch.setattr("sys.stdin", io.StringIO("events"))
    with pytest.raises(CommandError, match="holds objects"):
        provision(keys_file, "--bucket", "events", "--destroy")
    assert (api.buckets, len(api.tokens)) == ({"events": 3}, 2)
    assert keys_file.exists()


def test_destroy_deletes_bucket_tokens_and_file(
    api: CloudflareApi, keys_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provision(keys_file, "--bucket", "events")
    api.tokens["x"] = {"id": "x", "name": "somebody else's", "status": "active"}
    assert "would be deleted" in provision(keys_file, "--bucket", "events", "--destroy", "--dry-run")
    monkeypatch.setattr("sys.stdin", io.StringIO("events"))
    provision(keys_file, "--bucket", "events", "--destroy")
    assert (api.buckets, list(api.tokens)) == ({}, ["x"])
    assert not keys_file.exists()


# -- Keys by use


def as_admin() -> dict[str, Any]:
    """How the storage reaches the tests' SeaweedFS with the key that may do everything."""
    secret = read_or_create(settings.DATA_DIR)["SEAWEEDFS_ADMIN_SECRET"]
    known: Any = settings.STORAGES
    return {**known["archive"]["OPTIONS"], "access_key": "admin", "secret_key": secret}


@pytest.fixture
def other_bucket() -> Iterator[str]:
    admin = as_admin()
    client = boto3.client(
        "s3",
        endpoint_url=admin["endpoint_url"],
        region_name="auto",
        aws_access_key_id=admin["access_key"],
        aws_secret_access_key=admin["secret_key"],
        config=admin["client_config"],
    )
    client.create_bucket(Bucket="somebody-elses")
    yield "somebody-elses"
    assert "Contents" not in client.list_objects_v2(Bucket="somebody-elses")
    client.delete_bucket(Bucket="somebody-elses")


def faults(findings: Iterator[acceptance.Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.outcome is Outcome.FAULT]


def test_check_accepts_the_portal_s_keys_and_leaves_nothing(empty_bucket: None, other_bucket: str) -> None:
    output = provision(None, "--check", "--other-bucket", other_bucket)

    assert "Accepted." in output
    for expected in (
        "a second put under the same name is refused",
        "metadata is kept (rows, sha256)",
        "the loader's key cannot write (HTTP 403 AccessDenied)",
        "the loader's key cannot delete (HTTP 403 AccessDenied)",
        "it is really write-only",
        f"the archiver's key reaches no object of the bucket {other_bucket}",
        f"the loader's key reaches no object of the bucket {other_bucket}",
        "the object of this check is removed again",
    ):
        assert f"  ok     {expected}" in output or expected in output, output
    assert "  note " not in output
    with pytest.raises(archive.ArchiveUnavailable, match="404"):
        archive.metadata(archive.CHECK_NAME)


def test_check_finds_a_key_that_may_too_much(empty_bucket: None, other_bucket: str) -> None:
    findings = list(acceptance.check(as_admin(), as_admin(), other_bucket))
    assert len(faults(iter(findings))) == 4  # the loader writes, and deletes; both reach the other bucket
    (note,) = [finding.text for finding in findings if finding.outcome is Outcome.NOTE]
    assert "the archiver's key can also read" in note


def test_check_finds_an_archiver_that_cannot_write(monkeypatch: pytest.MonkeyPatch, keys_file: Path) -> None:
    held = {name: value for name, value in addresses.environment(settings.DATA_DIR, {}).items() if "ARCHIVE" in name}
    held["ARCHIVE_WRITE_ACCESS_KEY_ID"] = held["ARCHIVE_READ_ACCESS_KEY_ID"]
    held["ARCHIVE_WRITE_SECRET_ACCESS_KEY"] = held["ARCHIVE_READ_SECRET_ACCESS_KEY"]
    env_file.write(keys_file, held)
    with pytest.raises(CommandError, match="Not accepted: 1 faults") as refused:
        provision(keys_file, "--check")
    assert refused.value.returncode == 1


def test_check_without_a_bucket_there_says_so(keys_file: Path) -> None:
    env_file.write(keys_file, GIVEN | {"ARCHIVE_ENDPOINT_URL": "http://127.0.0.1:1"})
    with pytest.raises(CommandError, match="The bucket does not answer"):
        provision(keys_file, "--check")


def test_keys_made_through_the_api_are_accepted_by_a_bucket(
    api: CloudflareApi, keys_file: Path, data_dir: Path
) -> None:
    provision(keys_file, "--bucket", BUCKET)
    made = env_file.read(keys_file)
    # A bucket that knows those two keys, as R2 does once the tokens are made.
    lines = read_or_create(data_dir)
    identities = [
        {
            "name": role,
            "credentials": [
                {
                    "accessKey": made[f"ARCHIVE_{role}_ACCESS_KEY_ID"],
                    "secretKey": made[f"ARCHIVE_{role}_SECRET_ACCESS_KEY"],
                }
            ],
            "actions": [f"{action}:{BUCKET}" for action in actions],
        }
        for role, actions in (("WRITE", ["Write", "Read", "List"]), ("READ", ["Read", "List"]))
    ]
    child = seaweedfs.child(data_dir, lines)

    def prepare() -> None:
        child.prepare()
        config = data_dir / "seaweedfs/s3.json"
        config.write_text(json.dumps({"identities": json.loads(config.read_text())["identities"] + identities}))

    with Supervisor(data_dir, lambda line: None) as supervisor:
        supervisor.start([replace(child, prepare=prepare)])
        env_file.write(keys_file, made | {"ARCHIVE_ENDPOINT_URL": archive_endpoint_url(lines)})
        output = provision(keys_file, "--check")
    assert "Accepted." in output
    assert "On R2 the permission to write objects includes reading" in output


@pytest.mark.django_db
def test_what_a_check_leaves_behind_is_no_part_of_the_archive(empty_stores: None) -> None:
    writer = storages["archive"].connection.meta.client  # type: ignore[attr-defined]
    metadata = {"rows": "1", "sha256": "0" * 64}
    writer.put_object(Bucket=settings.ARCHIVE_BUCKET, Key=archive.CHECK_NAME, Body=b"left", Metadata=metadata)
    try:
        assert list(archive.listing()) == []
        assert load.catch_up(everything=True, wait=True).objects == 0
    finally:
        writer.delete_object(Bucket=settings.ARCHIVE_BUCKET, Key=archive.CHECK_NAME)

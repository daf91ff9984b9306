"""The embedded servers: their addresses, and that nothing is lost or left however they end."""

import os
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from tests.vibetel.programs import CHECKOUT, Program, pid_of, program, supervised, until
from vibetel.embedded import addresses, environment, portal, servers

pytestmark = pytest.mark.xdist_group("stacks")

SERVERS = ("-m", "vibetel.embedded", "--", "sleep", "600")
READY = "seaweedfs: ready", "valkey: ready", "postgres: ready"
REPLACED = {"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://r/0", "ARCHIVE_BUCKET": "b"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


# -- Addresses


def test_environment_is_made_once_and_readable_by_its_owner_only(data_dir: Path) -> None:
    first = environment(data_dir, {})

    assert environment(data_dir, {}) == first
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((data_dir / "portal.env").stat().st_mode) == 0o600
    assert [path.name for path in data_dir.iterdir()] == ["portal.env"]


def test_environment_made_by_many_at_once_is_one(data_dir: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(lambda _: environment(data_dir, {}), range(64)))

    assert all(one == made[0] for one in made)
    assert [path.name for path in data_dir.iterdir()] == ["portal.env"]


@pytest.mark.parametrize(
    ("variable", "gone"),
    [
        ("DATABASE_URL", {"DATABASE_URL"}),
        ("REDIS_URL_FILE", {"REDIS_URL"}),
        (
            "ARCHIVE_BUCKET",
            {
                "ARCHIVE_BUCKET",
                "ARCHIVE_ENDPOINT_URL",
                "ARCHIVE_REGION",
                "ARCHIVE_WRITE_ACCESS_KEY_ID",
                "ARCHIVE_WRITE_SECRET_ACCESS_KEY",
                "ARCHIVE_READ_ACCESS_KEY_ID",
                "ARCHIVE_READ_SECRET_ACCESS_KEY",
            },
        ),
    ],
)
def test_environment_leaves_out_a_replaced_server(data_dir: Path, variable: str, gone: set[str]) -> None:
    everything = environment(data_dir, {})

    assert everything.keys() - environment(data_dir, {variable: "given"}).keys() == gone


def test_environment_with_everything_given_writes_nothing(data_dir: Path) -> None:
    given = {**REPLACED, "SECRET_KEY_FILE": "/run/secrets/key", "IDENTITY_HASH_KEY": "key"}

    assert environment(data_dir, given) == {}
    assert not data_dir.exists()


def test_environment_without_the_packages_writes_nothing(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "WEED", data_dir / "weed")

    assert environment(data_dir, {}) == {}
    assert not data_dir.exists()


def test_environment_that_lost_a_line_says_which(data_dir: Path) -> None:
    environment(data_dir, {})
    (data_dir / "portal.env").write_text("SECRET_KEY=x\n")

    with pytest.raises(addresses.AddressesDamaged, match="VALKEY_PORT"):
        environment(data_dir, {})


def test_a_port_that_a_stranger_has_is_replaced(data_dir: Path) -> None:
    before = addresses.read_or_create(data_dir)
    with socket.create_server(("127.0.0.1", int(before["VALKEY_PORT"]))):
        servers.needed(data_dir, {})

    after = addresses.read_or_create(data_dir)
    assert [name for name in before if before[name] != after[name]] == ["VALKEY_PORT"]


def test_replaced_servers_are_not_needed(data_dir: Path) -> None:
    assert [child.name for child in servers.needed(data_dir, {"DATABASE_URL": "x"})] == ["seaweedfs", "valkey"]
    assert servers.needed(data_dir, REPLACED) == []


# -- Servers

WRITE = """
import os, boto3, psycopg, redis
from botocore.config import Config

def client(role):
    return boto3.client(
        "s3",
        endpoint_url=os.environ["ARCHIVE_ENDPOINT_URL"],
        region_name=os.environ["ARCHIVE_REGION"],
        aws_access_key_id=os.environ[f"ARCHIVE_{role}_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ[f"ARCHIVE_{role}_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )

bucket, url = os.environ["ARCHIVE_BUCKET"], os.environ["DATABASE_URL"]
with psycopg.connect(url) as connection:
    connection.execute("CREATE TABLE kept AS SELECT 'a row' AS value")
redis.Redis.from_url(os.environ["REDIS_URL"]).set("kept", "a value")
client("WRITE").put_object(Bucket=bucket, Key="kept", Body=b"an object", IfNoneMatch="*")
print("written", flush=True)
"""
READ = (
    WRITE.partition("with psycopg")[0]
    + """
print(psycopg.connect(url).execute("SELECT value FROM kept").fetchall())
print(redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True).get("kept"))
print(client("READ").get_object(Bucket=bucket, Key="kept")["Body"].read().decode())
for role, call in (("READ", "delete_object"), ("WRITE", "get_object")):
    try:
        getattr(client(role), call)(Bucket=bucket, Key="kept")
    except Exception as error:
        print(role, error.response["Error"]["Code"])
"""
)


def test_after_kill_9_nothing_runs_and_nothing_is_lost(data_dir: Path) -> None:
    write = f"{WRITE}\nimport time; time.sleep(600)"
    with program("-m", "vibetel.embedded", "--", sys.executable, "-c", write, data_dir=data_dir) as first:
        until(lambda: first.says("written"))
        first.process.kill()
        until(lambda: not supervised(data_dir), 5)

    with program("-m", "vibetel.embedded", "--", sys.executable, "-c", READ, data_dir=data_dir) as second:
        assert second.process.wait(60) == 0, second.output()
    for line in ("[('a row',)]", "a value", "an object", "READ AccessDenied", "WRITE AccessDenied"):
        assert line in second.output().splitlines()


def test_a_killed_server_is_started_again_and_a_signal_stops_all(data_dir: Path) -> None:
    with program(*SERVERS, data_dir=data_dir) as running:
        until(lambda: all(running.says(line) for line in READY))
        until(lambda: any(command == "sleep 600" for command in supervised(data_dir).values()))
        for name in ("valkey", "seaweedfs", "postgres"):
            _kill_and_see_it_return(running, data_dir, name)
        until(lambda: _answers(environment(data_dir, {})["REDIS_URL"]))

        status, seconds = running.stop(signal.SIGTERM)

        assert status == 130
        assert seconds < 5
        assert not supervised(data_dir)


def _kill_and_see_it_return(running: Program, data_dir: Path, name: str) -> None:
    killed = pid_of(data_dir, name)
    assert killed
    os.kill(killed, signal.SIGKILL)
    until(lambda: running.says(f"{name}: killed by SIGKILL, starts again in 1 s"))
    until(lambda: pid_of(data_dir, name) not in (None, killed))


def _answers(redis_url: str) -> bool:
    try:
        with redis.Redis.from_url(redis_url) as connection:
            return bool(connection.ping())
    except redis.RedisError:
        return False


def test_a_second_supervisor_refuses(data_dir: Path) -> None:
    with program(*SERVERS, data_dir=data_dir, **REPLACED) as first:
        until(lambda: supervised(data_dir))
        second = subprocess.run(
            [sys.executable, "-m", "vibetel.embedded", "--data-dir", str(data_dir), "--", "true"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )

        assert second.returncode == 1
        assert f"{data_dir} is in use by the running portal with process id {first.process.pid}" in second.stderr
        assert first.process.poll() is None


def test_the_status_is_the_commands(data_dir: Path) -> None:
    with program("-m", "vibetel.embedded", "--", "sh", "-c", "exit 7", data_dir=data_dir, **REPLACED) as running:
        assert running.process.wait(60) == 7
    assert sorted(path.name for path in data_dir.iterdir()) == ["lock", "portal.env"]


@as_root
def test_root_without_namespaces_runs_postgres_as_nobody(data_dir: Path) -> None:
    with program("-m", "vibetel.embedded", "--", "/bin/true", data_dir=data_dir, PATH="/nonexistent") as running:
        assert running.process.wait(60) == 0, running.output()
    assert (data_dir / "postgres").stat().st_uid == 65534
    assert (data_dir / "portal.env").stat().st_uid == 0


@as_root
def test_an_ordinary_user_runs_it(data_dir: Path) -> None:
    # In a user namespace the programs see user 1000, while the interpreter in root's home stays readable.
    prefix = ["unshare", "-U", "--map-user=1000", "--map-group=1000"]
    if subprocess.run([*prefix, "true"], check=False).returncode != 0:
        pytest.skip("no user namespaces here")
    with program("-m", "vibetel.embedded", "--", "id", "-u", data_dir=data_dir, prefix=prefix) as running:
        assert running.process.wait(60) == 0, running.output()
    assert "1000" in running.output().splitlines()


@pytest.mark.parametrize("roles", [(), ("READ",), ("WRITE", "READ")])
@pytest.mark.parametrize("suffix", [None, "", "_FILE"])  # embedded, given, given as files
def test_processes_find_the_keys_of_their_roles_only(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, roles: tuple[str, ...], suffix: str | None
) -> None:
    keys = {role: {f"{name}{suffix or ''}" for name in names} for role, names in portal.ARCHIVE_KEYS.items()}
    if suffix is not None:
        for name in {"ARCHIVE_BUCKET", *keys["WRITE"], *keys["READ"]}:
            monkeypatch.setenv(name, "given")
    given = portal._with_keys(data_dir, *roles)
    found = environment(data_dir, given).keys() | given.keys()
    assert found & (keys["WRITE"] | keys["READ"]) == set().union(*(keys[role] for role in roles))


def test_a_port_is_one_portals_before_it_listens() -> None:
    port = int(addresses.free_ports(["PORT"])["PORT"])
    taken = pytest.raises(portal.PortTaken, match=f"{port}.*set INGEST_PORT")
    with portal._port_held(port, "PORT"), taken, portal._port_held(port, "INGEST_PORT"):
        pass


def test_an_endpoint_without_a_bucket_does_not_get_the_embedded_keys(data_dir: Path) -> None:
    variables = environment(data_dir, {"ARCHIVE_ENDPOINT_URL": "http://elsewhere"})
    assert not any(name.startswith("ARCHIVE_") for name in variables)


def test_a_bucket_without_its_keys_stops_the_start(data_dir: Path) -> None:
    port = addresses.free_ports(["PORT"])["PORT"]
    with program("manage.py", "up", data_dir=data_dir, PORT=port, ARCHIVE_BUCKET="b") as running:
        assert running.process.wait(60) == 1
        assert "ARCHIVE_BUCKET is set, but ARCHIVE_WRITE_ACCESS_KEY_ID, " in running.output()

"""What an image is made of, and what compose.yaml makes of it, names what there is. No image is built here."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import settings_read
from vibetel.start import PROGRAMS

ROOT = Path(__file__).parent.parent.parent
COMPOSE = (ROOT / "compose.yaml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
PORTAL = {name: service for name, service in SERVICES.items() if service["image"] == "vibetel"}
KEYS = {name for name in settings_read() if name.startswith("ARCHIVE_") and "_KEY" in name}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_compose_has_every_program_and_one_that_migrates() -> None:
    started = {service["command"][3]: name for name, service in PORTAL.items() if "vibetel.start" in service["command"]}
    assert set(started) == set(PROGRAMS)
    assert PORTAL["migrate"]["command"] == ["python", "manage.py", "migrate", "--noinput"]
    for name in ("web", "archiver", "loader", "beat"):
        assert PORTAL[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_compose_builds_the_image_once_and_never_pulls_it() -> None:
    assert [name for name, service in SERVICES.items() if "build" in service] == ["migrate"]
    assert {service["pull_policy"] for service in PORTAL.values()} == {"never"}


@pytest.mark.parametrize("name", PORTAL)
def test_compose_lets_every_program_read_further_settings(name: str) -> None:
    assert PORTAL[name]["env_file"] == [{"path": "settings.env", "required": False}]


def test_compose_bounds_every_log() -> None:
    assert all(service["logging"]["options"].keys() == {"max-size", "max-file"} for service in SERVICES.values())


def test_compose_bounds_what_is_kept_in_memory_and_downloads_are_not() -> None:
    assert {place for service in PORTAL.values() for place in service["tmpfs"]} == {"/tmp:size=64m"}
    assert (SERVICES["web"]["tmpfs"], SERVICES["web"]["volumes"]) == ([], ["downloads:/tmp"])


def test_git_ignores_files_with_secrets() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".env", "settings.env", "archive.env", "*.dump"} <= set(ignored)


@pytest.mark.parametrize("name", PORTAL)
def test_compose_gives_variables_that_settings_read(name: str) -> None:
    given = PORTAL[name]["environment"]
    assert set(given) <= settings_read()
    assert {"SECRET_KEY", "IDENTITY_HASH_KEY", "REDIS_URL"} <= set(given)


def test_compose_gives_the_buckets_keys_to_who_needs_them() -> None:
    reading = {name for name in KEYS if "_READ_" in name}
    for name, service in SERVICES.items():
        wanted = {"archiver": KEYS, "loader": reading}.get(name, set())
        assert KEYS & set(service.get("environment", {})) == wanted
    assert "DATABASE_URL" not in SERVICES["ingest"]["environment"]


def test_compose_asks_for_every_variable_and_the_example_has_each() -> None:
    example = re.findall(r"^([A-Z_]+)=", (ROOT / "deploy/env.example").read_text(), re.MULTILINE)
    assert set(re.findall(r"\$\{([A-Z_]+)", COMPOSE)) == set(example)
    assert not re.search(r"\$\{[A-Z_]+\}", COMPOSE)  # without :? an empty password would do


def test_compose_checks_what_can_be_asked() -> None:
    assert {name for name, service in SERVICES.items() if service.get("healthcheck", {}).get("disable")} == {
        "beat",
        "migrate",
    }
    assert "HEALTHCHECK" in DOCKERFILE  # of web
    assert all("healthcheck" in service for name, service in SERVICES.items() if name != "web")


def test_compose_opens_ports_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8000:8000", "127.0.0.1:8001:8001"]


def test_dockerfile_copies_what_there_is_and_what_is_not_ignored() -> None:
    copied = re.findall(r"^COPY ([a-z.]+) ", DOCKERFILE, re.MULTILINE)
    assert all((ROOT / name).exists() for name in copied)
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == let_in


def test_dockerfile_installs_hashed_requirements_and_nobody_is_root() -> None:
    assert "--require-hashes -r requirements.txt" in DOCKERFILE
    assert "requirements-" not in DOCKERFILE
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "\nUSER portal\n" in last_stage
    assert "chmod -R a+rX ." in DOCKERFILE  # so that it can read what was checked out with umask 077
    command = re.search(r"^CMD (\[.*\])$", last_stage, re.MULTILINE)
    assert command
    assert shlex.split(command[1].strip("[]").replace(",", " "))[:4] == ["python", "-m", "vibetel.start", "web"]


def test_dockerfile_collects_static_files_without_secrets_or_servers(tmp_path: Path) -> None:
    """Its own line, with nothing in the environment but what it sets."""
    line = re.search(r"^RUN (SECRET_KEY=.* collectstatic --noinput) ", DOCKERFILE.replace("\\\n", " "), re.MULTILINE)
    assert line
    command = line[1].replace("/venv/bin/python", sys.executable).replace("/portal/static", str(tmp_path))
    subprocess.run(["sh", "-c", command], cwd=ROOT, env={}, check=True, capture_output=True)
    assert (tmp_path / "staticfiles.json").exists()
    assert list(tmp_path.glob("analytics/portal.*.css.gz"))


def test_dockerfile_and_makefile_install_the_same() -> None:
    for line in ("--require-hashes -r requirements.txt", "--no-build-isolation --no-deps ./client"):
        assert line in DOCKERFILE
        assert line in (ROOT / "Makefile").read_text()

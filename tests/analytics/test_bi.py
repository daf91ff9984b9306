"""BI: views that agree with the dashboards, and a role that may read those and nothing else."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from psycopg import sql

from analytics import bi, load, prune, queries, rollups, warehouse
from analytics.models import BooksReading, Installation
from analytics.queries import Filter, Period
from ingest import archive, batches
from tests.analytics.history import record, record_made_up, run
from tests.events import NOON, line

ROLE = "test_analyst"


def ask(query: LiteralString) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


# -- Views ------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_views_agree_with_the_dashboards() -> None:
    record_made_up(NOON, days=7, a_day=30)
    week = Filter(Period.ending_today("7d", NOON))
    now = queries.totals(week, NOON).now
    ((runs, failures, tokens, installations),) = ask(
        """SELECT count(*), count(*) FILTER (WHERE failed), sum(prompt_tokens), count(DISTINCT installation)
        FROM bi.runs"""
    )
    assert (runs, failures, tokens, installations) == (now.runs, now.failures, now.prompt_tokens, now.installations)
    assert ask("SELECT sum(runs)::int, sum(failures)::int FROM bi.daily WHERE dimension = 'total'") == [
        (runs, failures)
    ]
    for dimension, column in (("command", "command"), ("error_type", "error_type"), ("model", "model")):
        counted = ask(f"SELECT {column}, count(*)::int FROM bi.runs WHERE {column} IS NOT NULL GROUP BY 1")
        summed = ask(
            f"""SELECT value, sum(runs)::int FROM bi.daily
            WHERE dimension = '{dimension}' AND value IS NOT NULL GROUP BY 1"""
        )
        assert counted
        assert sorted(counted) == sorted(summed)
        assert sorted(counted) == sorted((part.value, part.now.runs) for part in queries.parts(week, NOON, dimension))
    assert ask("SELECT who, count(*)::int FROM bi.runs WHERE who IS NOT NULL GROUP BY 1") == [
        (part.value, part.now.runs) for part in queries.parts(week, NOON, "who")
    ]


@pytest.mark.django_db
def test_runs_name_the_error_of_failed_runs_alone_and_leave_out_twins() -> None:
    record(
        [
            run(NOON, has_error=False, error_type="FileError"),
            run(NOON, has_error=None, ci=True),
            run(NOON, has_error=True, error_type="FileError", ci=False),
            run(NOON, event_name="command_error", duration_ms=None, has_error=None, error_type="FileError"),
        ]
    )
    assert ask("SELECT failed, error_type, who FROM bi.runs ORDER BY who NULLS FIRST") == [
        (False, None, None),
        (False, None, "ci"),
        (True, "FileError", "person"),
    ]
    assert ask("SELECT count(*) FROM bi.events WHERE error_type = 'FileError'") == [(3,)]


@pytest.mark.django_db
def test_installations_are_numbers_that_join() -> None:
    somebody = Installation.objects.create(user_id=uuid.uuid4())
    record([run(NOON - timedelta(days=3), installation=somebody), run(NOON, placeholder="anonymous_opt_out")])
    first = (NOON - timedelta(days=3)).date()
    assert ask(
        "SELECT r.command, i.first_seen, i.last_seen FROM bi.runs r JOIN bi.installations i USING (installation)"
    ) == [("repo", first, first)]
    assert ask("SELECT placeholder FROM bi.runs WHERE installation IS NULL") == [("anonymous_opt_out",)]


@pytest.mark.django_db
def test_no_view_has_the_id_that_clients_send() -> None:
    record([run(NOON, installation=Installation.objects.create(user_id=uuid.UUID(int=7, version=4)))])
    for name in bi.VIEWS:
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("SELECT v::text FROM bi.{} v").format(sql.Identifier(name)))
            assert not [row for (row,) in cursor.fetchall() if str(uuid.UUID(int=7, version=4)) in row]


@pytest.mark.django_db
def test_objects_and_books_are_those_of_the_ledger() -> None:
    record([run(NOON)])
    terms = dict.fromkeys((*bi._TERMS, "oldest_waiting_seconds"), 3) | {"rejected": {"bad_json": 2}}
    BooksReading.objects.create(pk=1, read_at=timezone.now(), terms=terms, imbalances={})
    assert ask("SELECT received, not_yet_loaded, rejected FROM bi.books") == [(3, 3, '{"bad_json": 2}')]
    assert ask("SELECT name, state, reason FROM bi.objects") == [
        ("event_date=2026-11-22/hr=12/a.json.gz", "loaded", None)
    ]


@pytest.mark.django_db
def test_views_move_to_other_tables_with_their_grants_and_what_stands_on_them() -> None:
    record([run(NOON)])
    with connection.cursor() as cursor:
        cursor.execute("GRANT SELECT ON bi.runs TO PUBLIC")
        cursor.execute("CREATE VIEW on_top AS SELECT count(*) AS runs FROM bi.runs")
        cursor.execute("CREATE SCHEMA elsewhere")
        tables = ("event", "dailyrollup", "value", "installation", "loadedobject")
        for table in tables:
            cursor.execute(f"CREATE TABLE elsewhere.analytics_{table} (LIKE analytics_{table})")
        bi.create(cursor, "elsewhere")
        cursor.execute("DROP TABLE analytics_quarantined")  # its foreign key
        for table in tables:
            cursor.execute(f"DROP TABLE analytics_{table}")  # no view stands on it any more
            cursor.execute(f"ALTER TABLE elsewhere.analytics_{table} SET SCHEMA public")
        cursor.execute("DROP SCHEMA elsewhere")
    assert ask("SELECT runs FROM on_top") == [(0,)]
    assert ask("SELECT has_table_privilege('public', 'bi.runs', 'SELECT')") == [(True,)]


@pytest.mark.django_db
def test_views_are_dropped_and_made_again() -> None:
    with connection.cursor() as cursor:
        bi.drop(cursor)
        bi.drop(cursor)
        assert ask("SELECT count(*) FROM pg_class WHERE relnamespace = 'bi'::regnamespace") == [(0,)]
        bi.create(cursor)
        bi.create(cursor)
    assert ask("SELECT count(*) FROM bi.events") == [(0,)]


# -- The role ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def role(transactional_db: None) -> Iterator[Callable[..., str]]:
    """The command, called for ROLE; the role is gone afterwards."""

    def make(*arguments: str) -> str:
        out = StringIO()
        call_command("bi_role", ROLE, *arguments, stdout=out)
        return out.getvalue()

    yield make
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE])
        if cursor.fetchone():
            cursor.execute(f"DROP OWNED BY {ROLE}")
            cursor.execute(f"DROP ROLE {ROLE}")


@contextmanager
def logged_in(password: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    there = connection.settings_dict
    with psycopg.connect(
        host=there["HOST"], port=there["PORT"], dbname=there["NAME"], user=ROLE, password=password, autocommit=True
    ) as analyst:
        yield analyst


def printed_password(said: str) -> str:
    return said.partition("Password: ")[2].partition(" ")[0]


def test_role_reads_every_view(role: Callable[..., str]) -> None:
    record_made_up(NOON, days=2, a_day=5)
    with logged_in(printed_password(role())) as analyst:
        for name in bi.VIEWS:
            analyst.execute(sql.SQL("SELECT * FROM bi.{}").format(sql.Identifier(name)))
        assert analyst.execute("SELECT count(*) FROM runs").fetchone() == (10,)


def test_role_reads_nothing_else(role: Callable[..., str]) -> None:
    password = printed_password(role())
    tables = [
        name
        for (name,) in ask("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
    ]
    assert {"analytics_event", "analytics_installation", "auth_user", "django_session"} <= set(tables)
    with logged_in(password) as analyst:
        for table in tables:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                analyst.execute(sql.SQL("SELECT FROM public.{}").format(sql.Identifier(table)))
        for query in ("SELECT * FROM pg_authid", "SELECT pg_read_file('PG_VERSION')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                analyst.execute(query)


_WRITES: tuple[LiteralString, ...] = (
    "CREATE TABLE bi.mine (a int)",
    "CREATE TABLE public.mine (a int)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "DROP VIEW bi.runs",
    "ALTER VIEW bi.runs RENAME TO mine",
    "GRANT SELECT ON public.auth_user TO PUBLIC",
    "DELETE FROM bi.installations",
    "UPDATE bi.objects SET state = 'loaded'",
    "INSERT INTO bi.installations (installation) VALUES (1)",
    "INSERT INTO public.analytics_touchedhour VALUES (now())",
    "TRUNCATE public.analytics_event",
    "COPY bi.runs TO PROGRAM 'true'",
    "ALTER ROLE test_analyst CREATEDB",
)


def test_role_changes_nothing(role: Callable[..., str]) -> None:
    with logged_in(printed_password(role())) as analyst:
        analyst.execute("SET default_transaction_read_only = off")  # what it may not do rests on no setting
        for statement in _WRITES:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                analyst.execute(statement)
        analyst.execute("GRANT SELECT ON bi.runs TO PUBLIC")  # a warning, says Postgres
    assert ask("SELECT has_table_privilege('public', 'bi.runs', 'SELECT')") == [(False,)]


_MODES: tuple[LiteralString, ...] = (
    *("ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE"),
    *("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"),
)


@pytest.mark.usefixtures("empty_buffer", "empty_bucket")
def test_role_takes_no_lock_that_the_loader_or_a_rebuild_waits_for(role: Callable[..., str]) -> None:
    record_made_up(NOON, days=2, a_day=5)
    archive.put(batches.archive_object("event_date=2026-11-22/hr=12/b.json.gz", [line()]))
    with logged_in(printed_password(role())) as analyst:
        analyst.execute("SET default_transaction_read_only = off")  # what it may not do rests on no setting
        with portal() as loader, portal() as rebuilder:
            loader.execute(warehouse.LOCK)
            assert warehouse.claim_rebuild(rebuilder)
            numbers = seen_in_pg_locks(analyst)
        with analyst.transaction():
            assert locked_by(analyst, numbers) == {(f"bi.{name}", "ACCESS SHARE") for name in bi.VIEWS}  # as readers do
            assert load.catch_up(everything=True, wait=False).rows == 1
            assert rollups.refresh(wait=False) > 0
            assert prune.prune(NOON.date(), NOON + prune.KEPT_AT_LEAST).events == 5
            with portal() as rebuilder:
                assert warehouse.claim_rebuild(rebuilder)


def portal() -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(settings.DATABASE_URL, dbname=connection.settings_dict["NAME"])


def seen_in_pg_locks(analyst: psycopg.Connection[tuple[Any, ...]]) -> set[int]:
    columns = ("database", "relation", "classid", "objid", "pid")
    rows = analyst.execute(sql.SQL("SELECT {} FROM pg_locks").format(sql.SQL(", ").join(map(sql.Identifier, columns))))
    return {int(number) for row in rows for number in row if number is not None}


def locked_by(analyst: psycopg.Connection[tuple[Any, ...]], numbers: set[int]) -> set[tuple[str, str]]:
    """Everything that can be tried; the tables and views that it did lock, and in which mode."""
    for number in numbers:
        analyst.execute("SELECT pg_advisory_lock(%s)", [number])
        analyst.execute("SELECT pg_advisory_lock(%s, %s)", [number, number])
    ((names,),) = ask(
        """SELECT array_agg(format('%s.%s', n.nspname, relname)) FROM pg_class
        JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('public', 'bi') AND relkind IN ('r', 'v')"""
    )
    taken = set()
    for name in names:
        table = sql.Identifier(*name.split("."))
        for mode in _MODES:
            with suppress(psycopg.errors.InsufficientPrivilege), analyst.transaction():
                analyst.execute(sql.SQL("LOCK TABLE {} IN {} MODE NOWAIT").format(table, sql.SQL(mode)))
                taken.add((name, mode))
        for strength in ("FOR UPDATE", "FOR KEY SHARE"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), analyst.transaction():
                analyst.execute(sql.SQL("SELECT FROM {} {}").format(table, sql.SQL(strength)))
    return taken


def test_sessions_begin_read_only_bounded_and_in_utc(role: Callable[..., str]) -> None:
    with logged_in(printed_password(role())) as analyst:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            analyst.execute("CREATE TEMP TABLE mine (a int)")
        assert analyst.execute("SHOW timezone").fetchone() == ("UTC",)
        assert analyst.execute("SHOW statement_timeout").fetchone() == ("1min",)
        assert analyst.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("1min",)


def test_role_made_twice_keeps_its_password_and_a_file_changes_it(role: Callable[..., str], tmp_path: Path) -> None:
    first = printed_password(role())
    assert "Password" not in role()
    with logged_in(first):
        pass
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    assert "Password" not in role("--password-file", str(file))
    with logged_in("correct horse"):
        pass
    with pytest.raises(psycopg.OperationalError, match="authentication failed"), logged_in(first):
        pass


def test_role_reads_views_that_are_made_later(role: Callable[..., str]) -> None:
    password = printed_password(role())
    with connection.cursor() as cursor:
        bi.drop(cursor)
        bi.create(cursor)
    with logged_in(password) as analyst:
        assert analyst.execute("SELECT count(*) FROM bi.events").fetchone() == (0,)


@pytest.mark.parametrize(
    ("right", "why"),
    [
        ("ALTER ROLE {} CREATEDB", "may do more than log in"),
        ("GRANT SELECT ON public.auth_user TO {}", "has rights on them, outside of the schema"),
        ("GRANT pg_read_all_data TO {}", "is a member of pg_read_all_data"),
        ("GRANT CREATE ON SCHEMA bi TO {}", "may write in the schema bi"),
    ],
)
def test_a_role_that_may_do_more_is_refused(role: Callable[..., str], right: LiteralString, why: str) -> None:
    role()
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(right).format(sql.Identifier(ROLE)))
    with pytest.raises(CommandError, match=f"{why}.*Give another name"):
        role()


def test_the_portals_own_role_is_refused(role: Callable[..., str]) -> None:
    with pytest.raises(CommandError, match="may do more than log in"):
        call_command("bi_role", connection.settings_dict["USER"])


@pytest.mark.parametrize(
    ("right", "why"),
    [
        ("SELECT ON analytics_event", "may read or write analytics_event"),
        ("CREATE ON SCHEMA public", "may write in the schema public"),  # as it was before PostgreSQL 15
    ],
)
def test_no_role_is_made_where_everybody_may_do_more(role: Callable[..., str], right: LiteralString, why: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"GRANT {right} TO PUBLIC")
    try:
        with pytest.raises(CommandError, match=rf"{why}\. REVOKE that FROM PUBLIC first"):
            role()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"REVOKE {right} FROM PUBLIC")
    assert ask("SELECT 1 FROM pg_roles WHERE rolname = 'test_analyst'") == []


def test_a_database_role_that_may_not_make_roles_is_told_so(role: Callable[..., str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE test_small")
        cursor.execute("SET ROLE test_small")
        try:
            with pytest.raises(CommandError, match="ALTER ROLE … CREATEROLE"):
                role()
        finally:
            cursor.execute("RESET ROLE")
            cursor.execute("DROP ROLE test_small")


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_password_file_without_a_password_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CommandError, match=r"is empty|cannot be read"):
        call_command("bi_role", ROLE, "--password-file", str(file))

"""BI: the schema `bi`, views for analysts and BI tools, and a role that may read those and nothing else.

In: the warehouse's tables. Out: views whose names and columns stay (docs/analysis.md); a login. Fails: RoleRefused.
Next: a BI tool

Views stand on tables: a migration that changes a column of these calls `drop` first and `create` at its end, and a
rebuild (swap.py) calls `create` with its schema before it drops the live tables, so that each view, what was granted
on it and what others have built on it stay.
"""

import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import psycopg
from django.db import DatabaseError, connection, transaction
from psycopg import sql

from analytics.dimensions import DIMENSIONS, WHO

SCHEMA = "bi"
# Shorter than a rebuild waits for its turn, and than anybody waits for a chart.
STATEMENT_TIMEOUT = "60s"


class _Cursor(Protocol):
    """Django's, or psycopg's own."""

    def execute(self, query: Any, /) -> object: ...


class View(NamedTuple):
    """What one row is, and SQL: `{tables}` stands before the name of a table that a rebuild replaces."""

    comment: str
    query: str


_EVENT = """
    event_id, event_name, occurred_at, received_at, clock_is_server, installation_id AS installation,
    nullif(placeholder, '') AS placeholder, session_id, tool_version, command, duration_ms,
    context_tokens, prompt_tokens, completion_tokens, provider, model, file_provider, file_model,
    thinking_provider, thinking_model, options, {outcome}, os, python_version, ci, agent, interactive, lost_count
"""
_RUN = _EVENT.format(outcome=f"has_error IS TRUE AS failed, {DIMENSIONS['error_type']} AS error_type, {WHO} AS who")
_TERMS = (
    *("received", "accepted", "limited", "unavailable", "waiting", "archived", "imported"),
    *("loaded", "duplicate", "quarantined", "not_yet_loaded"),
)

VIEWS: Mapping[str, View] = {
    "events": View(
        "One event, as it came; a command_error without duration is the twin of a run.",
        f"SELECT {_EVENT.format(outcome='has_error, error_type')} FROM {{tables}}analytics_event",  # noqa: S608
    ),
    "runs": View(
        "One run, an event with a duration, told apart as the dashboards do: error_type of failed runs alone; who ran "
        "it: agent, ci or person.",
        f"SELECT {_RUN} FROM {{tables}}analytics_event WHERE duration_ms IS NOT NULL",  # noqa: S608
    ),
    "daily": View(
        "One UTC day's runs with one value of a dimension; the dimension total has all of the day. Days stay when "
        "events are pruned. Installations of several days or values cannot be added: count them in runs.",
        """
        SELECT d.day, d.dimension, v.value, d.runs, d.failures, d.placeholder_runs,
               d.context_tokens, d.prompt_tokens, d.completion_tokens, d.installations_count AS installations
        FROM {tables}analytics_dailyrollup d
        LEFT JOIN {tables}analytics_value v ON v.dimension = d.dimension AND v.number = d.value
        """,
    ),
    "installations": View(
        "One installation, by a number that holds until a rebuild; the UTC days of its first and its last run.",
        "SELECT id AS installation, first_seen, last_seen FROM {tables}analytics_installation",
    ),
    "objects": View(
        "One archive object that was dealt with, and what became of its rows.",
        """
        SELECT name, state, nullif(reason, '') AS reason, size_bytes, imported, rows, loaded_rows, duplicate_rows,
               quarantined_rows, pruned_rows, loaded_at
        FROM {tables}analytics_loadedobject
        """,
    ),
    "books": View(
        "One row: the books when they were last read, in events; rejected by reason (docs/books.md).",
        f"""
        SELECT read_at, {", ".join(f"(terms->>'{term}')::bigint AS {term}" for term in _TERMS)},
               terms->'rejected' AS rejected
        FROM analytics_booksreading
        """,  # noqa: S608
    ),
}


def create(cursor: _Cursor, tables: str = "") -> None:
    """Make the schema and its views, or let them stand on these tables from now on.

    The tables are those that the cursor sees first, or those of the schema `tables`; a table that is moved to another
    schema keeps its views. In the caller's transaction.
    """
    prefix = sql.SQL("{}.").format(sql.Identifier(tables)) if tables else sql.SQL("")
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    for name, view in VIEWS.items():
        qualified, query = sql.Identifier(SCHEMA, name), sql.SQL(view.query).format(tables=prefix)
        cursor.execute(sql.SQL("CREATE OR REPLACE VIEW {} AS ").format(qualified) + query)
        cursor.execute(sql.SQL("COMMENT ON VIEW {} IS {}").format(qualified, view.comment))


def drop(cursor: _Cursor) -> None:
    """Remove the views; the schema stays, with what its future views are granted to."""
    views = ", ".join(f"{SCHEMA}.{name}" for name in VIEWS)
    cursor.execute(f"DROP VIEW IF EXISTS {views}")


# -- The role ---------------------------------------------------------------------------------------------------------


class RoleRefused(Exception):
    """The role cannot be made, or would be able to do more than read the views; the text says what to do."""


def make_role(name: str, password: str | None = None) -> str | None:
    """Make the role, or bring it up to date. Answers the password that was made for it, if none was given.

    A role that is there keeps its password where none is given. Changes nothing where it raises RoleRefused.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            is_new = not _exists(cursor, name)
            made = secrets.token_urlsafe(24) if is_new and password is None else None
            role = sql.Identifier(name)
            if is_new:
                cursor.execute(sql.SQL("CREATE ROLE {}").format(role))
            elif more := _beyond_views(cursor, name):
                raise RoleRefused(f"The role {name} is there already, and {more}. Give another name.")
            for statement in _STATEMENTS:
                cursor.execute(sql.SQL(statement).format(role=role))
            if password is not None or made is not None:
                cursor.execute(_set_password(name, password or made or ""))
            if more := _beyond_views(cursor, name):
                raise RoleRefused(f"Not made: {name}, like every role, {more}. REVOKE that FROM PUBLIC first.")
    except DatabaseError as error:
        if not isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
            raise
        raise RoleRefused(
            f"The portal's database role may not make or change roles ({error.__cause__.diag.message_primary}): "
            "ALTER ROLE … CREATEROLE, or run this once with a DATABASE_URL that may."
        ) from error
    return made


def _exists(cursor: Any, name: str) -> bool:
    cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [name])
    return cursor.fetchone() is not None


# What it may do is in the grants. The settings are for its sessions to begin with: whoever has the role may set others.
_STATEMENTS = (
    "ALTER ROLE {role} LOGIN CONNECTION LIMIT 20",  # the portal's own connections are of the same server
    "ALTER ROLE {role} SET idle_session_timeout = '1h'",
    "ALTER ROLE {role} SET default_transaction_read_only = on",
    f"ALTER ROLE {{role}} SET statement_timeout = '{STATEMENT_TIMEOUT}'",
    f"ALTER ROLE {{role}} SET idle_in_transaction_session_timeout = '{STATEMENT_TIMEOUT}'",
    f"ALTER ROLE {{role}} SET search_path = {SCHEMA}",
    "ALTER ROLE {role} SET timezone = 'UTC'",  # so that days are those of the dashboards
    f"GRANT USAGE ON SCHEMA {SCHEMA} TO {{role}}",
    f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {{role}}",
    f"ALTER DEFAULT PRIVILEGES IN SCHEMA {SCHEMA} GRANT SELECT ON TABLES TO {{role}}",
)


def _set_password(name: str, password: str) -> sql.Composed:
    """Hashed here, as Postgres keeps it: so that it is in no log of statements."""
    hashed = connection.connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
    return sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), hashed.decode())


def _beyond_views(cursor: Any, name: str) -> str:
    """The first thing found that the role may do beyond reading views; empty for none."""
    cursor.execute(_BEYOND_VIEWS, {"name": name, "schema": SCHEMA})
    row = cursor.fetchone()
    return row[0] if row else ""


_BEYOND_VIEWS = """
    WITH me AS (SELECT * FROM pg_roles WHERE rolname = %(name)s),
         of_bi AS (SELECT oid, nspname FROM pg_namespace WHERE nspname = %(schema)s)
    SELECT 'may do more than log in' FROM me
    WHERE rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
    UNION ALL
    SELECT 'is a member of ' || roleid::regrole FROM pg_auth_members JOIN me ON member = me.oid
    UNION ALL
    SELECT 'owns objects, or has rights on them, outside of the schema' FROM pg_shdepend d JOIN me ON refobjid = me.oid
    WHERE refclassid = 'pg_authid'::regclass AND (
        deptype = 'o'
        OR d.dbid <> (SELECT oid FROM pg_database WHERE datname = current_database())
        OR NOT (
            (classid = 'pg_namespace'::regclass AND objid IN (SELECT oid FROM of_bi))
            OR (classid = 'pg_class'::regclass
                AND (SELECT relnamespace FROM pg_class c WHERE c.oid = objid) IN (SELECT oid FROM of_bi))
            OR (classid = 'pg_default_acl'::regclass
                AND (SELECT defaclnamespace FROM pg_default_acl a WHERE a.oid = objid) IN (SELECT oid FROM of_bi))
        )
    )
    UNION ALL
    SELECT 'may write in the schema ' || nspname FROM pg_namespace, me
    WHERE left(nspname, 3) <> 'pg_' AND has_schema_privilege(me.oid, pg_namespace.oid, 'CREATE')
    UNION ALL
    SELECT 'may read or write ' || c.oid::regclass FROM pg_class c, me
    WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user) AND relkind IN ('r', 'p', 'v', 'm')
      AND relnamespace NOT IN (SELECT oid FROM of_bi)
      AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
      AND has_table_privilege(me.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
    LIMIT 1
"""

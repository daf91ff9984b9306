"""Swap: put rebuilt tables in the place of the live ones, and lose nothing that hangs on those.

In: the live tables, and the same ones in the schema that rebuild.py filled. Out: one set of tables, and how their
totals differ from those before. Fails: RebuildStopped. Next: queries.py
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, LiteralString

import psycopg
from django.db import models
from psycopg import sql

from analytics import bi
from analytics.models import (
    DailyCombinations,
    DailyRollup,
    Event,
    HourlyRollup,
    Installation,
    LoadedObject,
    LoadProgress,
    Quarantined,
    TouchedHour,
    Value,
)
from analytics.warehouse import REBUILD_SCHEMA

Connection = psycopg.Connection[tuple[Any, ...]]

# What the bucket makes. The app's other tables say what was seen when, and stay as they are.
DERIVED: tuple[type[models.Model], ...] = (
    LoadedObject,
    LoadProgress,
    Installation,
    Event,
    Quarantined,
    TouchedHour,
    Value,
    HourlyRollup,
    DailyRollup,
    DailyCombinations,
)

# How long the swap stands in the way of readers, at most, each time it tries: whoever comes while it waits for a long
# query waits, too. The later tries are longer than Postgres takes to send a vacuum away (deadlock_timeout, 1 s).
_SWAP_TRIES_MS = [100] * 30 + [1200] * 30
_SWAP_PAUSE_SECONDS = 1.0


class RebuildStopped(Exception):
    """The rebuild cannot go on; the text says why, and what to do. The live tables are as they were."""


@dataclass(frozen=True)
class Difference:
    """A total that is another now."""

    what: str
    before: int
    after: int


@dataclass(frozen=True)
class Rebuilt:
    """What is in place now, and which of the totals that were compared differ from those before.

    `new_objects` are those of them that the live tables did not have; these are left out of the comparison.
    """

    objects: int
    events: int
    new_objects: int
    totals: int
    differences: list[Difference]


# -- What would stop it, or be lost -----------------------------------------------------------------------------------


def check_rights(live: Connection) -> None:
    """Find out before hours of loading, not after, what the role may not do. Raises RebuildStopped."""
    if not one(live, "SELECT has_database_privilege(current_database(), 'CREATE')"):
        raise RebuildStopped("The database role may not make schemas: GRANT it CREATE ON DATABASE.")
    if not live.execute(_OWNED, [tables()]).fetchone() == (True,):
        raise RebuildStopped("The database role does not own the live tables: use the one that migrated them.")
    if not live.execute(_MAY_CREATE).fetchone() == (True,):
        raise RebuildStopped("The database role may not make tables in the live schema: GRANT it CREATE there.")


def check_what_hangs_on_them(live: Connection) -> None:
    """Find out what would be lost with the live tables, or stop their replacement. Raises RebuildStopped."""
    found = live.execute(_HANGS_ON_THEM, {"tables": tables(), "views": _views()}).fetchall()
    if found:
        names = ", ".join(name for (name,) in found)
        raise RebuildStopped(f"These hang on tables that are replaced: {names}. Drop them; make them anew after.")


_OWNED = """
    SELECT bool_and(pg_has_role(c.relowner, 'USAGE')) FROM pg_class c
    WHERE c.oid IN (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)
"""
_MAY_CREATE = """
    SELECT has_schema_privilege(relnamespace, 'CREATE') FROM pg_class WHERE oid = 'analytics_loadedobject'::regclass
"""
_HANGS_ON_THEM = """
    WITH live AS (SELECT to_regclass(name)::oid AS oid FROM unnest(%(tables)s::text[]) AS name)
    SELECT DISTINCT 'view ' || r.ev_class::regclass
    FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid IN (SELECT oid FROM live)
      AND r.ev_class NOT IN (SELECT to_regclass(name)::oid FROM unnest(%(views)s::text[]) AS name)
    UNION ALL
    SELECT 'function ' || d.objid::regprocedure FROM pg_depend d JOIN pg_type t ON t.oid = d.refobjid
    WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_type'::regclass
      AND t.typrelid IN (SELECT oid FROM live)
    UNION ALL
    SELECT 'foreign key ' || conname || ' of ' || conrelid::regclass FROM pg_constraint
    WHERE contype = 'f' AND confrelid IN (SELECT oid FROM live) AND conrelid NOT IN (SELECT oid FROM live)
    UNION ALL
    SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM live) AND NOT tgisinternal
    UNION ALL
    SELECT 'policy ' || polname FROM pg_policy WHERE polrelid IN (SELECT oid FROM live)
    UNION ALL
    SELECT 'publication ' || p.pubname FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
    WHERE r.prrelid IN (SELECT oid FROM live)
    UNION ALL
    SELECT 'grant on column ' || attrelid::regclass || '.' || attname FROM pg_attribute
    WHERE attrelid IN (SELECT oid FROM live) AND attacl IS NOT NULL
    UNION ALL
    SELECT 'settings of ' || oid::regclass FROM pg_class
    WHERE oid IN (SELECT oid FROM live) AND (reloptions IS NOT NULL OR relrowsecurity)
    UNION ALL
    SELECT 'index ' || i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid IN (SELECT oid FROM live)
      AND i.relname NOT IN (SELECT relname FROM pg_class WHERE relnamespace = 'rebuild'::regnamespace)
"""


def one(live: Connection, query: LiteralString, parameters: Sequence[Any] = ()) -> Any:
    """The one value that a query answers; None without a row."""
    row = live.execute(query, parameters).fetchone()
    return row[0] if row else None


def tables() -> list[str]:
    """What is replaced."""
    return [model._meta.db_table for model in DERIVED]


def _views() -> list[str]:
    """The project's own, on what is replaced."""
    return [f"{bi.SCHEMA}.{name}" for name in bi.VIEWS]


# -- In their place ----------------------------------------------------------------------------------------------------


def take_place(live: Connection, say: Callable[[str], None]) -> None:
    """Drop the live tables and move the rebuilt ones there. In the caller's transaction.

    Raises RebuildStopped, also where others never stop reading them. The views of bi.py are moved to the rebuilt ones
    before: they stay, with what was granted on them or built on them.
    """
    for number, milliseconds in enumerate(_SWAP_TRIES_MS):
        try:
            with live.transaction():  # left, it lets go of the locks that it got
                live.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(milliseconds))
                _take_place(live)
            live.execute("SET LOCAL lock_timeout TO DEFAULT")
            return
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if number == 3:
                say("Waiting for long queries to end.")
            time.sleep(_SWAP_PAUSE_SECONDS)
    raise RebuildStopped(
        "Long queries keep the live tables busy. The new ones are ready: run it again, and it goes on there."
    )


def _take_place(live: Connection) -> None:
    schema = one(live, _LIVE_SCHEMA)
    old, new = _qualified(schema), _qualified(REBUILD_SCHEMA)
    # Views first, as their readers do: none of these waits for the other.
    views = [sql.Identifier(*name.split(".")) for name in _views() if one(live, "SELECT to_regclass(%s)", [name])]
    live.execute(sql.SQL("LOCK TABLE {}").format(sql.SQL(", ").join(views + new + old)))
    for (grant,) in live.execute(_GRANTS, [REBUILD_SCHEMA, schema, tables()]).fetchall():
        live.execute(grant)
    if views:
        bi.create(live.cursor(), REBUILD_SCHEMA)
    try:  # it may have to wait for a vacuum of what stands beside a table, its TOAST, which could not be locked before
        live.execute(sql.SQL("DROP TABLE {}").format(sql.SQL(", ").join(old)))
    except psycopg.errors.DependentObjectsStillExist as error:
        raise RebuildStopped(f"Something needs the tables that are replaced: {error.diag.message_detail}") from error
    for table in new:  # with its indexes, constraints and sequences
        live.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(table, sql.Identifier(schema)))


_LIVE_SCHEMA = """
    SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = 'analytics_loadedobject'::regclass
"""
# Whoever was let in to a live table, other than its owner.
_GRANTS = """
    SELECT format('GRANT %%s ON %%I.%%I TO %%s', g.privilege_type, %s::text, c.relname,
                  CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END)
           || CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    FROM pg_class c, aclexplode(c.relacl) g
    WHERE c.relnamespace = to_regnamespace(%s) AND c.relname = ANY(%s) AND g.grantee <> c.relowner
"""


def _qualified(schema: str) -> list[sql.Identifier]:
    return [sql.Identifier(schema, table) for table in tables()]


# -- Compare ----------------------------------------------------------------------------------------------------------

# Of the objects that the live ledger knows, and of the days that have nothing but those.
_TOTALS = """
    WITH known AS (
        SELECT id, state FROM {schema}.analytics_loadedobject
        WHERE name IN (SELECT name FROM {live}.analytics_loadedobject)
    )
    SELECT 'events', count(*) FROM {schema}.analytics_event WHERE source_object_id IN (SELECT id FROM known)
    UNION ALL
    SELECT 'quarantined lines', count(*) FROM {schema}.analytics_quarantined
    WHERE source_object_id IN (SELECT id FROM known)
    UNION ALL SELECT 'objects ' || state, count(*) FROM known GROUP BY state
    UNION ALL
    SELECT 'runs on ' || day, runs FROM {schema}.analytics_dailyrollup
    WHERE dimension = 'total' AND day <> ALL(%s)
"""
# Days that the live rollups have yet to catch up with, and days of objects that the live ledger does not know.
_MOVING_DAYS = """
    SELECT (hour AT TIME ZONE 'UTC')::date FROM analytics_touchedhour
    UNION
    SELECT (e.occurred_at AT TIME ZONE 'UTC')::date
    FROM rebuild.analytics_event e JOIN rebuild.analytics_loadedobject r ON r.id = e.source_object_id
    WHERE NOT EXISTS (SELECT FROM analytics_loadedobject o WHERE o.name = r.name)
"""
_COUNTS = """
    SELECT (SELECT count(*) FROM rebuild.analytics_loadedobject),
           (SELECT count(*) FROM rebuild.analytics_event),
           (SELECT count(*) FROM rebuild.analytics_loadedobject r
            WHERE NOT EXISTS (SELECT FROM analytics_loadedobject o WHERE o.name = r.name))
"""


def compare(live: Connection) -> Rebuilt:
    """What is about to be in place, held against what is there."""
    moving = [day for (day,) in live.execute(_MOVING_DAYS).fetchall()]
    schema = one(live, _LIVE_SCHEMA)
    before, after = (_totals(live, one, schema, moving) for one in (schema, REBUILD_SCHEMA))
    objects, events, new_objects = live.execute(_COUNTS).fetchone() or (0, 0, 0)
    names = sorted(before | after)
    different = [Difference(what, before.get(what, 0), after.get(what, 0)) for what in names]
    return Rebuilt(objects, events, new_objects, len(names), [one for one in different if one.before != one.after])


def _totals(live: Connection, schema: str, live_schema: str, moving: list[date]) -> dict[str, int]:
    query = sql.SQL(_TOTALS).format(schema=sql.Identifier(schema), live=sql.Identifier(live_schema))
    return dict(live.execute(query, [moving]).fetchall())

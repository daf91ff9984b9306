"""Rebuild: every derived table anew from the bucket, beside the live ones, and in their place at the end.

In: the bucket; of the live ledger, which history was loaded on request. Out: the same tables, filled by the ordinary
loader. Fails: RebuildStopped, archive.ArchiveUnavailable, OperationalError; the next run goes on. Next: queries.py

The new tables are in a schema of their own, with a ledger of their own: what is killed half-way is resumed like any
load. This process's connections see that schema alone, by an option they are opened with, so that one opened anew
never falls back to the live tables. The live loader and the dashboards go on in theirs, until one transaction drops
those and moves the new ones there: whoever is killed when, the one or the other is in place, whole.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import vibetel_client
from django.db import OperationalError, connection, models
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.models import Max, Sum
from psycopg import sql

import ingest
from analytics import history, load, rollups, warehouse
from analytics.load import Loaded
from analytics.models import (
    DailyRollup,
    Event,
    HourlyRollup,
    Installation,
    LoadedObject,
    LoadProgress,
    Quarantined,
    TouchedHour,
)
from analytics.warehouse import REBUILD_SCHEMA
from ingest import archive

# What the bucket makes. The app's other tables say what was seen when, and stay as they are.
DERIVED: tuple[type[models.Model], ...] = (
    LoadedObject,
    LoadProgress,
    Installation,
    Event,
    Quarantined,
    TouchedHour,
    HourlyRollup,
    DailyRollup,
)

_APP = "analytics"
_REBUILD = sql.Identifier(REBUILD_SCHEMA)
_OURS = "vibetel rebuild, by the code "

# How long the swap stands in the way of readers, at most, each time it tries: whoever comes while it waits for a long
# query waits, too. The later tries are longer than Postgres takes to send a vacuum away (deadlock_timeout, 1 s).
_SWAP_TRIES_MS = [100] * 30 + [1200] * 30
_SWAP_PAUSE_SECONDS = 1.0

_CLAIM_SECONDS = 10  # a killed rebuild's connection may take a moment to end


class RebuildStopped(Exception):
    """The rebuild cannot go on; the text says why, and what to do. The live tables are as they were."""


@dataclass(frozen=True)
class Progress:
    """How far a step is: `done` of `total`, in `unit`; `note` says more."""

    step: str
    done: int
    total: int
    unit: str
    note: str = ""


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


_Say = Callable[[str], None]
_Tell = Callable[[Progress], None]


def run(
    *,
    anew: bool = False,
    forget_missing: bool = False,
    say: _Say = lambda text: None,
    progress: _Tell = lambda progress: None,
) -> Rebuilt:
    """Load the whole bucket into new tables and put them in the place of the live ones.

    Goes on with what an earlier run left; with `anew` that is dropped. Where the bucket has an object no more, or not
    readable, the live tables have the last copy of its events: only with `forget_missing` are they dropped. Not for a
    process that does anything else meanwhile: all of its database connections work on the new tables. Raises
    RebuildStopped; where the bucket or Postgres is away, archive.ArchiveUnavailable or OperationalError.
    """
    with _live_connection() as live:
        _claim(live)
        _check(live)
        _keep_or_drop(live, anew, say)
        with _working_in(REBUILD_SCHEMA):
            _make_tables(live)
            _check_what_hangs_on_them(live)
            bucket = _survey(live)
            if not forget_missing:
                _refuse_to_forget(bucket.missing)
            if bucket.altered:
                say("What an earlier rebuild loaded is not in the bucket as it was: starting anew.")
                _drop(live)
                _make_tables(live)
                bucket = _survey(live)
            say(_greeting(live, bucket))
            _load(bucket, progress)
            _load_history(live, progress)
            _roll_up(progress)
            _analyze()
            return _swap(live, forget_missing, say)


# -- The live side ----------------------------------------------------------------------------------------------------


_Connection = psycopg.Connection[tuple[Any, ...]]


@contextmanager
def _live_connection() -> Iterator[_Connection]:
    """A connection of its own that sees the live tables."""
    try:
        live: _Connection = connection.get_new_connection(connection.get_connection_params())
        with closing(live):
            live.autocommit = True
            yield live
    except psycopg.OperationalError as error:
        raise OperationalError(str(error)) from error


def _claim(live: _Connection) -> None:
    give_up_at = time.monotonic() + _CLAIM_SECONDS
    while not warehouse.claim_rebuild(live.cursor()):
        if time.monotonic() > give_up_at:
            raise RebuildStopped("Another rebuild is running: leave it to that one.")
        time.sleep(0.2)


def _check(live: _Connection) -> None:
    """Find out before hours of loading, not after, what would stop the swap. Raises RebuildStopped."""
    migrations = MigrationLoader(connection)
    if _of_the_app(migrations.applied_migrations) != _of_the_app(migrations.graph.nodes):
        raise RebuildStopped("The live tables are of another version than the code: run `manage.py migrate` first.")
    if not _one(live, "SELECT has_database_privilege(current_database(), 'CREATE')"):
        raise RebuildStopped("The database role may not make schemas: GRANT it CREATE ON DATABASE.")
    if not live.execute(_OWNED, [_tables()]).fetchone() == (True,):
        raise RebuildStopped("The database role does not own the live tables: use the one that migrated them.")
    if not live.execute(_MAY_CREATE).fetchone() == (True,):
        raise RebuildStopped("The database role may not make tables in the live schema: GRANT it CREATE there.")


def _check_what_hangs_on_them(live: _Connection) -> None:
    """Find out what would be lost with the live tables, or stop their replacement. Raises RebuildStopped."""
    found = live.execute(_HANGS_ON_THEM, {"tables": _tables()}).fetchall()
    if found:
        names = ", ".join(name for (name,) in found)
        raise RebuildStopped(f"These hang on tables that are replaced: {names}. Drop them; make them anew after.")


def _of_the_app(keys: Iterable[tuple[str, str]]) -> set[str]:
    return {name for app, name in keys if app == _APP}


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


def _one(live: _Connection, query: LiteralString, parameters: Sequence[Any] = ()) -> Any:
    row = live.execute(query, parameters).fetchone()
    return row[0] if row else None


def _tables() -> list[str]:
    return [model._meta.db_table for model in DERIVED]


# -- The new side -----------------------------------------------------------------------------------------------------


@contextmanager
def _working_in(schema: str) -> Iterator[None]:
    """Django's connections of this process see this schema alone, those opened anew included."""
    before = connection.settings_dict["OPTIONS"]
    options = f"{before.get('options', '')} -c search_path={schema}".strip()
    connection.close()
    connection.settings_dict["OPTIONS"] = {**before, "options": options}
    try:
        _make_sure(schema)
        yield
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"] = before


def _make_sure(schema: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('search_path')")
        (seen,) = cursor.fetchone()
    if seen != schema:
        raise RebuildStopped(
            "The database connection takes no search_path: let DATABASE_URL name Postgres itself, not a pooler."
        )


def _keep_or_drop(live: _Connection, anew: bool, say: _Say) -> None:
    """Keep what an earlier run left where this one can go on with it."""
    found = live.execute(_SCHEMA_COMMENT, [REBUILD_SCHEMA]).fetchone()
    if found is None:
        return
    (comment,) = found
    if not (comment or "").startswith(_OURS):
        raise RebuildStopped(f'The database has a schema "{REBUILD_SCHEMA}" that is not a rebuild\'s: rename it first.')
    if comment != _OURS + _code():
        say("An earlier rebuild was by another version of the code: starting anew.")
    elif not anew:
        return
    _drop(live)


_SCHEMA_COMMENT = "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s"


def _code() -> str:
    """What tells this version of everything that makes rows from any other: a load by two of them is neither's."""
    digest = hashlib.sha256()
    for package in (Path(__file__).parent, Path(ingest.__path__[0]), Path(vibetel_client.__path__[0])):
        for path in sorted(package.rglob("*.py")):
            digest.update(path.relative_to(package.parent).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _drop(live: _Connection) -> None:
    live.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(_REBUILD))


def _make_tables(live: _Connection) -> None:
    """The schema, and in it the tables as migrations make them; what is there already stays."""
    if live.execute(_SCHEMA_COMMENT, [REBUILD_SCHEMA]).fetchone() is None:
        with live.transaction():
            live.execute(sql.SQL("CREATE SCHEMA {}").format(_REBUILD))
            live.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(_REBUILD, sql.Literal(_OURS + _code())))
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes(_APP))


@dataclass
class _Bucket:
    """What there is to load, and what of it is loaded.

    `altered`: something was loaded that is not there any more as it was. `missing` are objects that the live tables
    have events of, and the bucket has not.
    """

    objects: int = 0
    size_bytes: int = 0
    loaded_objects: int = 0
    loaded_bytes: int = 0
    altered: bool = False
    missing: int = 0


def _survey(live: _Connection) -> _Bucket:
    found = _Bucket(missing=_one(live, "SELECT count(*) FROM analytics_loadedobject WHERE loaded_rows > 0"))
    entries = archive.listing()
    while page := list(islice(entries, 1000)):
        names = [listed.name for listed in page]
        loaded = set(LoadedObject.objects.filter(name__in=names).values_list("name", "size_bytes", "etag"))
        sizes = [one.size_bytes for one in page if (one.name, one.size_bytes, one.etag) in loaded]
        found.objects += len(page)
        found.size_bytes += sum(listed.size_bytes for listed in page)
        found.loaded_objects += len(sizes)
        found.loaded_bytes += sum(sizes)
        found.missing -= _one(live, _WITH_EVENTS, [names])
    found.altered = LoadedObject.objects.count() != found.loaded_objects
    return found


_WITH_EVENTS = "SELECT count(*) FROM analytics_loadedobject WHERE loaded_rows > 0 AND name = ANY(%s)"


def _refuse_to_forget(missing: int) -> None:
    if missing > 0:
        raise RebuildStopped(
            f"The live tables have events of {missing:,} objects that the bucket has not, or not readable: they are "
            "the last copy. `manage.py verify` names the objects. With --forget-missing the rebuild goes on, and "
            "drops those events."
        )


def _greeting(live: _Connection, bucket: _Bucket) -> str:
    live_bytes = live.execute(
        "SELECT sum(pg_total_relation_size(to_regclass(name)))::bigint FROM unnest(%s::text[]) AS name", [_tables()]
    ).fetchone()
    assert live_bytes is not None
    text = f"{bucket.objects:,} objects, {_megabytes(bucket.size_bytes)} in the bucket"
    if bucket.loaded_objects:
        text += f"; going on after {bucket.loaded_objects:,} of them"
    return (
        f"{text}. The live tables take {_megabytes(live_bytes[0])} of Postgres's disk, "
        "and the new ones about as much until they are in place."
    )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


# -- Load -------------------------------------------------------------------------------------------------------------


def _load(bucket: _Bucket, progress: _Tell) -> None:
    """The ordinary load, until nothing is left that came meanwhile but what comes in a moment."""
    done, newest = bucket.loaded_bytes, LoadedObject.objects.order_by("-pk").values_list("pk", flat=True).first() or 0

    def tell(loaded: Loaded) -> None:
        nonlocal done, newest
        new = LoadedObject.objects.filter(pk__gt=newest).aggregate(bytes=Sum("size_bytes", default=0), last=Max("pk"))
        done, newest = done + new["bytes"], new["last"] or newest
        progress(Progress("Loading", done, max(done, bucket.size_bytes), "B", f"{loaded.rows:,} events"))

    progress(Progress("Loading", done, bucket.size_bytes, "B"))
    _catch_up(everything=True, progress=tell)
    while _catch_up(everything=False, progress=tell).objects > load.OBJECTS_AT_ONCE:
        pass


def _catch_up(*, everything: bool, progress: Callable[[Loaded], None] = lambda loaded: None) -> Loaded:
    return _without_delay(load.catch_up(everything=everything, wait=True, progress=progress))


def _without_delay(loaded: Loaded) -> Loaded:
    """Raises RebuildStopped where objects could not be fetched."""
    if loaded.delayed_objects:
        raise RebuildStopped(
            f"{loaded.delayed_objects:,} objects could not be fetched now. Run it again: it goes on with those."
        )
    return loaded


def _load_history(live: _Connection, progress: _Tell) -> None:
    """Load what is foreign to the ordinary load and not to the live ledger: there somebody asked for it."""
    asked = {name for (name,) in live.execute(_HISTORY).fetchall()}
    if not asked:
        return
    entries = [listed for listed in archive.listing() if listed.name in asked]

    def tell(loaded: Loaded) -> None:
        progress(Progress("History", loaded.objects, len(entries), " objects", f"{loaded.rows:,} events"))

    _without_delay(history.load(entries, progress=tell))


_HISTORY = """
    SELECT name FROM analytics_loadedobject o JOIN rebuild.analytics_loadedobject r USING (name)
    WHERE o.state <> 'foreign' AND r.state = 'foreign'
"""


def _roll_up(progress: _Tell) -> None:
    total = TouchedHour.objects.count()
    done = 0

    def tell(hours: int) -> None:
        nonlocal done
        done += hours
        progress(Progress("Rolling up", done, total, " hours"))

    tell(0)
    rollups.refresh(progress=tell)


def _analyze() -> None:
    """Let the planner know the new tables before the first page reads them."""
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("ANALYZE {}").format(sql.SQL(", ").join(map(sql.Identifier, _tables()))))


# -- Swap -------------------------------------------------------------------------------------------------------------


def _swap(live: _Connection, forget_missing: bool, say: _Say) -> Rebuilt:
    """Put the new tables in the place of the live ones, with all that those have, in one transaction.

    It holds the live warehouse, so loaders wait, or come again; who reads, reads on.
    """
    with live.transaction():
        warehouse.lock(wait=True, cursor=live.cursor())
        _catch_up(everything=False)
        if _one(live, _LIVE_KNOWS_MORE):
            _catch_up(everything=True)
        _load_history(live, lambda progress: None)
        if not forget_missing:
            _refuse_to_forget(_one(live, _MISSING))
        rollups.refresh()
        live.execute(_KEEP_TIMES)
        rebuilt = _compare(live)
        _take_place(live, say)
    return rebuilt


# When an object was loaded says how fresh the figures were; that it was loaded once more says nothing.
_KEEP_TIMES = """
    UPDATE rebuild.analytics_loadedobject r SET loaded_at = o.loaded_at
    FROM analytics_loadedobject o WHERE o.name = r.name
"""
_LIVE_KNOWS_MORE = """
    SELECT EXISTS (
        SELECT name FROM analytics_loadedobject EXCEPT SELECT name FROM rebuild.analytics_loadedobject
    )
"""
_MISSING = """
    SELECT count(*) FROM analytics_loadedobject o
    WHERE loaded_rows > 0 AND NOT EXISTS (
        SELECT FROM rebuild.analytics_loadedobject r WHERE r.name = o.name AND r.state IN ('loaded', 'history')
    )
"""


def _take_place(live: _Connection, say: _Say) -> None:
    schema = _one(live, _LIVE_SCHEMA)
    old, new = _qualified(schema), _qualified(REBUILD_SCHEMA)
    _lock_all(live, new + old, say)
    for (grant,) in live.execute(_GRANTS, [REBUILD_SCHEMA, schema, _tables()]).fetchall():
        live.execute(grant)
    try:
        live.execute(sql.SQL("DROP TABLE {}").format(sql.SQL(", ").join(old)))
    except psycopg.errors.DependentObjectsStillExist as error:
        raise RebuildStopped(f"Something needs the tables that are replaced: {error.diag.message_detail}") from error
    for table in new:  # with its indexes, constraints and sequences
        live.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(table, sql.Identifier(schema)))
    _drop(live)


def _lock_all(live: _Connection, tables: list[sql.Identifier], say: _Say) -> None:
    """Keep everybody out of these tables. Raises RebuildStopped where others never stop reading them."""
    for number, milliseconds in enumerate(_SWAP_TRIES_MS):
        try:
            with live.transaction():  # left, it lets go of the locks that it got
                live.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(milliseconds))
                live.execute(sql.SQL("LOCK TABLE {}").format(sql.SQL(", ").join(tables)))
                return
        except psycopg.errors.LockNotAvailable:
            if number == 3:
                say("Waiting for long queries to end.")
            time.sleep(_SWAP_PAUSE_SECONDS)
    raise RebuildStopped(
        "Long queries keep the live tables busy. The new ones are ready: run it again, and it goes on there."
    )


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
    return [sql.Identifier(schema, table) for table in _tables()]


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


def _compare(live: _Connection) -> Rebuilt:
    moving = [day for (day,) in live.execute(_MOVING_DAYS).fetchall()]
    schema = _one(live, _LIVE_SCHEMA)
    before, after = (_totals(live, one, schema, moving) for one in (schema, REBUILD_SCHEMA))
    objects, events, new_objects = live.execute(_COUNTS).fetchone() or (0, 0, 0)
    names = sorted(before | after)
    different = [Difference(what, before.get(what, 0), after.get(what, 0)) for what in names]
    return Rebuilt(objects, events, new_objects, len(names), [one for one in different if one.before != one.after])


def _totals(live: _Connection, schema: str, live_schema: str, moving: list[date]) -> dict[str, int]:
    query = sql.SQL(_TOTALS).format(schema=sql.Identifier(schema), live=sql.Identifier(live_schema))
    return dict(live.execute(query, [moving]).fetchall())

"""Rebuild: every derived table anew from the bucket, beside the live ones, and in their place at the end.

In: the bucket; of the live tables, which history was loaded on request, and up to when events were pruned. Out: the
same tables, filled by the ordinary loader. Fails: RebuildStopped, archive.ArchiveUnavailable, OperationalError; the
next run goes on. Next: swap.py

The new tables are in a schema of their own, with a ledger of their own: what is killed half-way is resumed like any
load. This process's connections see that schema alone, by an option they are opened with, so that one opened anew
never falls back to the live tables. The live loader and the dashboards go on in theirs, until one transaction drops
those and moves the new ones there: whoever is killed when, the one or the other is in place, whole.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC
from itertools import islice
from pathlib import Path

import psycopg
import vibetel_client
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.models import Max, Sum
from psycopg import sql

import ingest
from analytics import history, load, objects, prune, rollups, swap, warehouse
from analytics.load import Loaded
from analytics.models import Event, LoadedObject, LoadProgress, TouchedHour
from analytics.swap import Connection, RebuildStopped, Rebuilt, one
from analytics.warehouse import REBUILD_SCHEMA
from ingest import archive

_APP = "analytics"
_REBUILD = sql.Identifier(REBUILD_SCHEMA)
_OURS = "vibetel rebuild, by the code "

_CLAIM_SECONDS = 10  # a killed rebuild's connection may take a moment to end


@dataclass(frozen=True)
class Progress:
    """How far a step is: `done` of `total`, in `unit`; `note` says more."""

    step: str
    done: int
    total: int
    unit: str
    note: str = ""


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
    _check_version()
    with _live_connection() as live, _live_connection() as claim:
        swap.check_rights(live)
        _claim(claim)
        _keep_or_drop(live, anew, say)
        with _working_in(REBUILD_SCHEMA):
            _make_tables(live)
            swap.check_what_hangs_on_them(live)
            bucket = _survey(live)
            if not forget_missing:
                _refuse_to_forget(bucket.missing)
            if bucket.altered:
                say("What an earlier rebuild loaded is not in the bucket as it was: starting anew.")
                _drop(live)
                _make_tables(live)
                bucket = _survey(live)
            say(_greeting(live, bucket))
            _load(live, bucket, progress)
            _load_history(live, progress)
            _roll_up(progress)
            _prune(live, progress)
            _analyze()
            claim.execute("SELECT")  # whose connection may have ended meanwhile, and another may rebuild
            return _swap(live, forget_missing, say)


# -- The live side ----------------------------------------------------------------------------------------------------


@contextmanager
def _live_connection() -> Iterator[Connection]:
    """A connection of its own that sees the live tables."""
    try:
        live: Connection = connection.get_new_connection(connection.get_connection_params())
        with closing(live):
            live.autocommit = True
            yield live
    except psycopg.OperationalError as error:
        raise OperationalError(str(error)) from error


def _claim(claim: Connection) -> None:
    claim.autocommit = False
    give_up_at = time.monotonic() + _CLAIM_SECONDS
    while not warehouse.claim_rebuild(claim):
        if time.monotonic() > give_up_at:
            raise RebuildStopped(
                "Another rebuild is running: leave it to that one. "
                "Or else something holds the table django_migrations, such as a VACUUM of it."
            )
        time.sleep(0.2)


def _check_version() -> None:
    """Raises RebuildStopped."""
    migrations = MigrationLoader(connection)
    if _of_the_app(migrations.applied_migrations) != _of_the_app(migrations.graph.nodes):
        raise RebuildStopped("The live tables are of another version than the code: run `manage.py migrate` first.")


def _of_the_app(keys: Iterable[tuple[str, str]]) -> set[str]:
    return {name for app, name in keys if app == _APP}


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


def _keep_or_drop(live: Connection, anew: bool, say: _Say) -> None:
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


def _drop(live: Connection) -> None:
    live.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(_REBUILD))


def _make_tables(live: Connection) -> None:
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


def _survey(live: Connection) -> _Bucket:
    found = _Bucket(missing=one(live, "SELECT count(*) FROM analytics_loadedobject WHERE loaded_rows > 0"))
    entries = archive.listing()
    while page := list(islice(entries, 1000)):
        names = [listed.name for listed in page]
        loaded = set(LoadedObject.objects.filter(name__in=names).values_list("name", "size_bytes", "etag"))
        sizes = [one.size_bytes for one in page if (one.name, one.size_bytes, one.etag) in loaded]
        found.objects += len(page)
        found.size_bytes += sum(listed.size_bytes for listed in page)
        found.loaded_objects += len(sizes)
        found.loaded_bytes += sum(sizes)
        found.missing -= one(live, _WITH_EVENTS, [names])
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


def _greeting(live: Connection, bucket: _Bucket) -> str:
    live_bytes = live.execute(
        "SELECT sum(pg_total_relation_size(to_regclass(name)))::bigint FROM unnest(%s::text[]) AS name", [swap.tables()]
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


def _load(live: Connection, bucket: _Bucket, progress: _Tell) -> None:
    """The ordinary load, until nothing is left that came meanwhile but what comes in a moment."""
    done, newest = bucket.loaded_bytes, LoadedObject.objects.order_by("-pk").values_list("pk", flat=True).first() or 0

    def tell(loaded: Loaded) -> None:
        nonlocal done, newest
        new = LoadedObject.objects.filter(pk__gt=newest).aggregate(bytes=Sum("size_bytes", default=0), last=Max("pk"))
        done, newest = done + new["bytes"], new["last"] or newest
        progress(Progress("Loading", done, max(done, bucket.size_bytes), "B", f"{loaded.rows:,} events"))

    progress(Progress("Loading", done, bucket.size_bytes, "B"))
    _catch_up(live, everything=True, progress=tell)
    while _catch_up(live, everything=False, progress=tell).objects > load.OBJECTS_AT_ONCE:
        pass


def _catch_up(
    live: Connection, *, everything: bool, progress: Callable[[Loaded], None] = lambda loaded: None
) -> Loaded:
    loaded = load.catch_up(everything=everything, wait=True, progress=progress)
    # Of what cannot be read, the archiver will not write once more what the live ledger has as it is.
    names = [listed.name for listed in loaded.delayed]
    settled = set(live.execute(_AS_IN_THE_LEDGER, [names]).fetchall())
    as_it_is = [one for one in loaded.delayed if (one.name, one.size_bytes, one.etag) in settled]
    again = load.load_objects(as_it_is, objects.open_ours, known=LoadedObject.objects.all(), progress=progress)
    loaded.delayed = [one for one in loaded.delayed if one not in as_it_is] + again.delayed
    return _without_delay(loaded)


_AS_IN_THE_LEDGER = "SELECT name, size_bytes, etag FROM analytics_loadedobject WHERE name = ANY(%s)"


def _without_delay(loaded: Loaded) -> Loaded:
    """Raises RebuildStopped where objects could not be fetched."""
    if loaded.delayed_objects:
        raise RebuildStopped(
            f"{loaded.delayed_objects:,} objects could not be fetched now. Run it again: it goes on with those."
        )
    return loaded


def _load_history(live: Connection, progress: _Tell) -> None:
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


def _prune(live: Connection, progress: _Tell = lambda progress: None) -> None:
    """Remove the events that were pruned from the live tables, once the rollups have them."""
    before = one(live, "SELECT max(pruned_before) FROM analytics_loadprogress")
    if before is None:
        return
    total = Event.objects.filter(occurred_at__lt=before).count()
    done = 0

    def tell(events: int) -> None:
        nonlocal done
        done += events
        progress(Progress("Pruning", done, total, " events"))

    # It was not too early for the live tables.
    prune.prune(before.astimezone(UTC).date(), before + prune.KEPT_AT_LEAST, progress=tell)
    LoadProgress.objects.update_or_create(pk=1, defaults={"pruned_before": before})


def _analyze() -> None:
    """Let the planner know the new tables before the first page reads them."""
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("ANALYZE {}").format(sql.SQL(", ").join(map(sql.Identifier, swap.tables()))))


# -- Swap -------------------------------------------------------------------------------------------------------------


def _swap(live: Connection, forget_missing: bool, say: _Say) -> Rebuilt:
    """Put the new tables in the place of the live ones, with all that those have, in one transaction.

    It holds the live warehouse, so loaders wait, or come again; who reads, reads on.
    """
    with live.transaction():
        live.execute(warehouse.LOCK)
        _catch_up(live, everything=False)
        if one(live, _LIVE_KNOWS_MORE):
            _catch_up(live, everything=True)
        _load_history(live, lambda progress: None)
        if not forget_missing:
            _refuse_to_forget(one(live, _MISSING))
        rollups.refresh()
        _prune(live)
        live.execute(_KEEP_TIMES)
        rebuilt = swap.compare(live)
        swap.take_place(live, say)
        _drop(live)
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

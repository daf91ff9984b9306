"""Rebuild: the same figures from the bucket alone, whoever is killed when, and dashboards that notice nothing."""

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import StringIO
from typing import Any, LiteralString, NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection
from django.db.models import F

from analytics import history, load, prune, queries, rebuild, rollups, swap, verify
from analytics.models import (
    Annotation,
    BooksReading,
    DailyCombinations,
    DailyRollup,
    Event,
    HourlyRollup,
    Installation,
    LoadedObject,
    LoadProgress,
    Release,
    Value,
    Verification,
)
from analytics.rebuild import Progress
from analytics.swap import RebuildStopped
from ingest import archive, batches
from ingest.archive import Fetched
from tests.analytics import canonical, copies
from tests.analytics.copies import Rows
from tests.events import NOON, line
from tests.vibetel.programs import CHECKOUT, until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("empty_buffer", "empty_bucket", "no_rebuild"),
    pytest.mark.xdist_group("rebuild"),  # what is loaded once is loaded by one worker
]

_TWICE = str(uuid.UUID(int=1))


@pytest.fixture
def no_rebuild(transactional_db: None) -> Iterator[None]:
    """Nothing left of a rebuild, before and after."""
    _drop_rebuild()
    yield
    _drop_rebuild()


def _drop_rebuild() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS rebuild CASCADE")


def put(*lines: bytes, name: str, **marks: str) -> None:
    archive.put(batches.archive_object(f"event_date=2026-11-22/hr=12/{name}.json.gz", lines, **marks))


def put_raw(name: str, body: bytes, **metadata: str) -> None:
    writer = storages["archive"].connection.meta.client  # type: ignore[attr-defined]
    writer.put_object(Bucket=settings.ARCHIVE_BUCKET, Key=name, Body=body, Metadata=metadata)


def fill_the_bucket(*, days: int = 10, events_per_day: int = 50, rows_per_object: int = 100) -> None:
    """Days of traffic, and one of everything that can go wrong with it."""
    call_command(
        "simulate",
        to="archive",
        days=days,
        events_per_day=events_per_day,
        users=30,
        until=NOON,
        rows_per_object=rows_per_object,
        stdout=StringIO(),
    )
    put(line(eventId=_TWICE, duration=1), line(), line(eventId=_TWICE, duration=2), name="a")
    put(line(NOON - timedelta(hours=1), eventId=_TWICE, duration=3), name="b")
    put(line(userId="anonymous_opt_out"), line(), b'{"eventName": "broken"}', line(), name="c")
    put_raw("event_date=2026-11-22/hr=12/d.json.gz", b"no gzip", rows="3", sha256="0")
    put_raw("notes/foreign.txt", b"not ours")


def load_all() -> None:
    load.catch_up(everything=True, wait=True)
    rollups.refresh()


def everything() -> tuple[str, dict[str, str]]:
    return canonical.answers(NOON), canonical.digests()


class Loaded(NamedTuple):
    said: tuple[str, dict[str, str]]
    rows: Rows
    objects: Sequence[Fetched]


@pytest.fixture(scope="module")
def loaded_before() -> dict[str, Loaded]:
    """By how the bucket was filled."""
    return {}


@pytest.fixture
def loaded(loaded_before: dict[str, Loaded]) -> tuple[str, dict[str, str]]:
    """A bucket with everything in it, loaded: what the warehouse says."""
    said = _loaded(loaded_before)
    assert Event.objects.count() > 400
    assert set(LoadedObject.objects.values_list("state", flat=True)) == {"loaded", "quarantined", "foreign"}
    return said


@pytest.fixture
def loaded_from_many(loaded_before: dict[str, Loaded]) -> tuple[str, dict[str, str]]:
    """The same of so many objects that they take several transactions."""
    return _loaded(loaded_before, days=4, events_per_day=60, rows_per_object=1)


def _loaded(before: dict[str, Loaded], **asked: int) -> tuple[str, dict[str, str]]:
    """Once; from then on the objects and the rows are put back."""
    if found := before.get(str(asked)):
        copies.put_back(found.rows)
        for item in found.objects:
            put_raw(item.name, item.body, **item.metadata)
    else:
        fill_the_bucket(**asked)
        load_all()
        objects = [archive.get(listed.name) for listed in archive.listing()]
        found = before[str(asked)] = Loaded(everything(), copies.of_the_warehouse(), objects)
    return found.said


def database_url() -> str:
    """The tests' own database."""
    return urlsplit(settings.DATABASE_URL)._replace(path=f"/{connection.settings_dict['NAME']}").geturl()


@contextmanager
def rebuilding(**environment: str) -> Iterator["subprocess.Popen[str]"]:
    """`manage.py rebuild` as a process of its own, on the tests' stores; killed at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "rebuild"],
        env={**os.environ, "DATABASE_URL": database_url(), **environment},
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run_rebuild(**environment: str) -> tuple[int, str]:
    with rebuilding(**environment) as process:
        output, _ = process.communicate(timeout=120)
        return process.returncode, output


@contextmanager
def another_session() -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    with psycopg.connect(database_url(), autocommit=True) as session:
        yield session


LIVE, REBUILD = "public.analytics_loadprogress", "rebuild.analytics_loadprogress"


@contextmanager
def holding(table: LiteralString) -> Iterator[None]:
    """A lock of the warehouse, once whoever has it has ended its transaction."""
    if table == REBUILD:
        make_the_tables()
    with another_session() as session, session.transaction():
        session.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
        yield


def make_the_tables() -> None:
    """Those that a rebuild makes first."""
    with rebuild._live_connection() as live, rebuild._working_in("rebuild"):
        rebuild._make_tables(live)


def waiting_for(table: str) -> int:
    return int(
        _ask(
            """SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
            WHERE datname = current_database() AND relation = to_regclass(%s) AND NOT granted""",
            table,
        )
    )


def waits_for(table: str) -> Callable[[], bool]:
    return lambda: waiting_for(table) > 0


def _ask(query: str, *parameters: object) -> Any:
    """Of the tests' own connection: a value; None where the table is not there yet."""
    with another_session() as session, suppress(psycopg.errors.UndefinedTable):
        row = session.execute(query, parameters).fetchone()
        return row[0] if row else None
    return None


def has_rows(table: str) -> Callable[[], bool]:
    return lambda: bool(_ask(f"SELECT EXISTS (SELECT FROM rebuild.{table})"))


@contextmanager
def rebuilding_held_in_the_load() -> Iterator[tuple["subprocess.Popen[str]", Callable[[], object]]]:
    """A rebuild that has loaded one transaction's objects and waits before the next, until released."""
    with another_session() as first, another_session() as second, ThreadPoolExecutor(1) as pool:
        make_the_tables()
        take = f"BEGIN; LOCK TABLE {REBUILD} IN SHARE UPDATE EXCLUSIVE MODE"
        first.execute(take)
        with rebuilding() as process:
            until(lambda: waiting_for(REBUILD) == 1)
            taken = pool.submit(second.execute, take)
            until(lambda: waiting_for(REBUILD) == 2)
            first.close()  # the rebuild has its turn, then the second session
            taken.result()
            until(waits_for(REBUILD))
            yield process, second.close


# -- The same ---------------------------------------------------------------------------------------------------------


def test_rebuild_answers_every_query_the_same(loaded: tuple[str, dict[str, str]]) -> None:
    status, output = run_rebuild()
    assert status == 0, output
    assert "equal those before" in output
    assert everything() == loaded


def test_rebuild_again_changes_nothing(loaded: tuple[str, dict[str, str]]) -> None:
    assert not rebuild.run().differences
    assert not rebuild.run().differences
    assert everything() == loaded


def test_rebuild_heals_what_was_damaged(loaded: tuple[str, dict[str, str]]) -> None:
    Event.objects.filter(pk__in=Event.objects.values("pk")[:7]).delete()
    Event.objects.exclude(duration_ms=None).update(command="altered")
    DailyRollup.objects.update(runs=1)
    DailyCombinations.objects.update(counts=b"garbled")
    HourlyRollup.objects.update(packed=b"garbled")
    Value.objects.update(number=F("number") + 100)
    Installation.objects.update(first_seen=None)
    differences = {difference.what: difference for difference in rebuild.run().differences}
    assert differences["events"].after - differences["events"].before == 7
    assert "runs on 2026-11-21" in differences
    assert everything() == loaded


def test_rebuild_keeps_when_an_object_was_loaded(loaded: tuple[str, dict[str, str]]) -> None:
    """How fresh the figures are said to be is not changed by it."""
    before = dict(LoadedObject.objects.values_list("name", "loaded_at"))
    fresh = queries.freshness().loaded_at
    rebuild.run()
    assert dict(LoadedObject.objects.values_list("name", "loaded_at")) == before
    assert queries.freshness().loaded_at == fresh


def test_rebuild_fills_an_empty_database(loaded: tuple[str, dict[str, str]]) -> None:
    for model in (Event, LoadedObject, Installation, Value, HourlyRollup, DailyRollup, DailyCombinations):
        model._base_manager.all().delete()
    rebuilt = rebuild.run()
    assert rebuilt.new_objects == rebuilt.objects == LoadedObject.objects.count()
    assert rebuilt.events == Event.objects.count()
    assert everything() == loaded


def test_rebuild_keeps_history_that_was_asked_for() -> None:
    put_raw("event_date=2026-11-01/hr=12/01JBJ0000000000000000000AA.json.gz", line())
    put_raw("event_date=2026-11-01/hr=12/01JBJ0000000000000000000BB.json.gz", line())
    load_all()
    history.load(list(history.find("event_date=2026-11-01/hr=12/01JBJ0000000000000000000AA")))
    rollups.refresh()
    before = everything()
    assert set(LoadedObject.objects.values_list("state", flat=True)) == {"history", "foreign"}
    rebuild.run()
    assert everything() == before


def prune_some() -> None:
    """Remove the events of the first days."""
    before = NOON.date() - timedelta(days=5)
    assert prune.prune(before, NOON + prune.KEPT_AT_LEAST).events > 100
    assert Event.objects.count() > 100


def test_rebuild_prunes_what_was_pruned(loaded: tuple[str, dict[str, str]]) -> None:
    prune_some()
    before = everything()
    assert before[1]["rollups"] == loaded[1]["rollups"]
    assert before[1]["pruned"] != loaded[1]["pruned"]
    steps: set[str] = set()
    assert not rebuild.run(progress=lambda progress: steps.add(progress.step)).differences
    assert "Pruning" in steps
    assert everything() == before


def test_rebuild_has_the_figures_of_pruned_days_again(loaded: tuple[str, dict[str, str]]) -> None:
    prune_some()
    before = everything()
    HourlyRollup.objects.all().delete()
    DailyRollup.objects.all().delete()
    DailyCombinations.objects.all().delete()
    Installation.objects.update(first_seen=None, last_seen=None)
    rebuild.run()
    assert everything() == before


def test_rebuild_killed_while_it_prunes_goes_on(loaded: tuple[str, dict[str, str]]) -> None:
    prune_some()
    before = everything()

    def stop(progress: Progress) -> None:
        if progress.step == "Pruning" and 0 < progress.done < progress.total:
            raise RebuildStopped("for the test")

    with pytest.raises(RebuildStopped, match="for the test"):
        rebuild.run(progress=stop)
    assert everything() == before
    assert not rebuild.run().differences
    assert everything() == before


def test_rebuild_prunes_what_is_pruned_meanwhile(loaded: tuple[str, dict[str, str]]) -> None:
    def prune_live(progress: Progress) -> None:
        if progress.step == "Rolling up" and progress.done == progress.total:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(_prune_live).result()

    rebuild.run(progress=prune_live)
    assert LoadProgress.objects.get().pruned_before == _PRUNED_BEFORE
    assert not Event.objects.filter(occurred_at__lt=_PRUNED_BEFORE).exists()
    assert everything()[1]["rollups"] == loaded[1]["rollups"]


_PRUNED_BEFORE = NOON.replace(hour=0) - timedelta(days=5)


def _prune_live() -> None:
    """As another process would."""
    with another_session() as session:
        session.execute("UPDATE analytics_loadprogress SET pruned_before = %s", [_PRUNED_BEFORE])
        session.execute("DELETE FROM analytics_event WHERE occurred_at < %s", [_PRUNED_BEFORE])


def test_rebuild_keeps_what_is_not_derived(loaded: tuple[str, dict[str, str]]) -> None:
    reading = BooksReading.objects.create(read_at=NOON, terms={}, imbalances={})
    verification = Verification.objects.create(started_at=NOON, deep=True)
    release = Release.objects.create(version="0.64.0", notes="from the tag")
    annotation = Annotation.objects.create(day=NOON.date(), text="moved to the new model")
    rebuild.run()
    assert BooksReading.objects.get() == reading
    assert Verification.objects.get() == verification
    assert Release.objects.get() == release
    assert Annotation.objects.get() == annotation


def test_rebuild_knows_every_model_as_derived_or_not() -> None:
    """A new one: is it made from the bucket? Then it is DERIVED, else named here, and refers to none that is."""
    others = {Annotation, BooksReading, Release, Verification}
    assert set(apps.get_app_config("analytics").get_models()) == {*swap.DERIVED, *others}
    for model in apps.get_models():
        related = {field.related_model for field in model._meta.get_fields() if field.many_to_one or field.one_to_one}
        assert not related or related <= set(swap.DERIVED) or not related & set(swap.DERIVED), model
        assert model not in swap.DERIVED or related <= set(swap.DERIVED), model


def test_rebuild_leaves_tables_that_work_on(loaded: tuple[str, dict[str, str]]) -> None:
    """With sequences, indexes, constraints and grants of the names they had."""
    described = """
        SELECT (SELECT array_agg(indexdef ORDER BY indexdef) FROM pg_indexes WHERE schemaname = 'public'),
               (SELECT array_agg(conname || pg_get_constraintdef(oid) ORDER BY conname) FROM pg_constraint
                WHERE connamespace = 'public'::regnamespace),
               (SELECT array_agg(sequencename ORDER BY sequencename) FROM pg_sequences WHERE schemaname = 'public'),
               (SELECT array_agg(relname || relacl::text ORDER BY relname) FROM pg_class
                WHERE relnamespace = 'public'::regnamespace AND relname LIKE 'analytics%%')
    """
    with another_session() as session:
        session.execute("GRANT SELECT ON analytics_event TO PUBLIC")
        before = session.execute(described).fetchone()
        rebuild.run()
        assert session.execute(described).fetchone() == before
        session.execute("REVOKE ALL ON analytics_event FROM PUBLIC")
        assert session.execute("SELECT to_regnamespace('rebuild')").fetchone() == (None,)
    put(line(), name="later")
    load_all()
    assert LoadedObject.objects.order_by("-pk")[0].name.endswith("later.json.gz")


def test_canonical_answers_know_every_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that they cannot ask fails the tests above, until canonical.py is taught to."""

    def of_something_new(something: bytes) -> int:
        return len(something)

    assert "who({'period': ['today']})" in canonical.answers(NOON)
    monkeypatch.setattr(queries, "of_something_new", of_something_new, raising=False)
    monkeypatch.setattr(queries, "__all__", [*queries.__all__, "of_something_new"])
    with pytest.raises(AssertionError, match="of_something_new takes"):
        canonical.answers(NOON)


# -- Killed, cut off, stopped -----------------------------------------------------------------------------------------


def test_rebuild_killed_at_five_moments_goes_on_and_answers_the_same(
    loaded_from_many: tuple[str, dict[str, str]],
) -> None:
    before = loaded_from_many
    kept: list[int] = []

    def kill_when(reached: Callable[[], bool]) -> None:
        with rebuilding() as process:
            until(reached, otherwise=lambda: process.poll())
            process.kill()
        kept.append(_ask("SELECT count(*) FROM rebuild.analytics_loadedobject"))

    with holding(LIVE):
        with holding(REBUILD):  # 1: before the first object
            kill_when(waits_for(REBUILD))
        with rebuilding_held_in_the_load() as (process, _):  # 2: between two transactions of the load
            process.kill()
            process.wait()
        kept.append(_ask("SELECT count(*) FROM rebuild.analytics_loadedobject"))
        with rebuilding() as process:  # 3: between two transactions of the rollups
            until(has_rows("analytics_dailyrollup"))
            process.kill()
        kept.append(_ask("SELECT count(*) FROM rebuild.analytics_loadedobject"))
        kill_when(waits_for(LIVE))  # 4: when all is loaded
    with another_session() as reader, reader.transaction():  # 5: in the midst of the swap
        reader.execute("SELECT FROM analytics_event LIMIT 1")
        kill_when(
            lambda: bool(
                _ask("SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted)")
            )
        )
    assert everything() == before
    assert 0 == kept[0] < kept[1] < kept[2] == kept[3] == kept[4] == LoadedObject.objects.count()

    status, output = run_rebuild()
    assert status == 0, output
    assert f"going on after {kept[4]:,} of them" in output
    assert "equal those before" in output
    assert everything() == before


def test_rebuild_opened_anew_stays_in_its_schema(loaded: tuple[str, dict[str, str]]) -> None:
    """A connection that was lost and comes back must not load into the live tables."""
    before = connection.settings_dict["OPTIONS"].copy()
    schemas = []

    def look() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_schemas(false)")
            schemas.append(cursor.fetchone()[0])
        connection.close()

    def cut(progress: Progress) -> None:
        if progress.step == "Loading":
            connection.close()
            look()
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
            assert _ask("SELECT count(*) FROM public.analytics_touchedhour") == 0

    assert not rebuild.run(progress=cut).differences
    assert len(schemas) >= 4
    assert all(seen == ["rebuild"] for seen in schemas)
    assert connection.settings_dict["OPTIONS"] == before
    assert everything() == loaded


def test_rebuild_without_its_schema_fails_rather_than_touch_the_live_tables(
    loaded: tuple[str, dict[str, str]],
) -> None:
    with pytest.raises(ProgrammingError, match="does not exist"), rebuild._working_in("rebuild"):
        load.catch_up(everything=True, wait=True)
    assert everything() == loaded


def test_rebuild_says_when_postgres_ends_the_connection_and_goes_on(loaded: tuple[str, dict[str, str]]) -> None:
    with holding(REBUILD), rebuilding() as process:
        until(waits_for(REBUILD))
        with another_session() as session:
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = %s::regclass AND NOT granted",
                [REBUILD],
            )
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Run it again and it goes on" in output
    rebuild.run()
    assert everything() == loaded


def test_rebuild_without_the_bucket_stops_and_goes_on_later(loaded_from_many: tuple[str, dict[str, str]]) -> None:
    before = loaded_from_many
    with rebuilding_held_in_the_load() as (process, _):
        process.kill()
        process.wait()
    status, output = run_rebuild(ARCHIVE_ENDPOINT_URL="http://127.0.0.1:1", ARCHIVE_BUCKET=settings.ARCHIVE_BUCKET)
    assert status == 1
    assert "The bucket does not answer" in output
    assert "run it again" in output
    assert "starting anew" not in output
    assert everything() == before
    said: list[str] = []
    rebuild.run(say=said.append)
    assert "going on after" in said[0]
    assert everything() == before


def test_rebuild_works_without_redis(loaded: tuple[str, dict[str, str]]) -> None:
    status, output = run_rebuild(REDIS_URL="redis://127.0.0.1:1")
    assert status == 0, output
    assert everything() == loaded


# -- Meanwhile --------------------------------------------------------------------------------------------------------


def test_rebuild_has_what_the_loader_loads_meanwhile(loaded_from_many: tuple[str, dict[str, str]]) -> None:
    with rebuilding_held_in_the_load() as (process, release):
        put(line(), line(), name="0-meanwhile")  # sorts before what the rebuild has listed
        put(line(), name="z-meanwhile")
        load_all()
        before = everything()
        assert before != loaded_from_many
        release()
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "equal those before" in output
    assert everything() == before


def test_rebuild_does_not_stop_dashboards(loaded: tuple[str, dict[str, str]]) -> None:
    answers: set[str] = set()
    with rebuilding() as process:
        rounds = 0
        while process.poll() is None:
            answers.add(canonical.answers(NOON))
            rounds += 1
        assert process.returncode == 0
    assert rounds > 1
    assert answers == {loaded[0]}


@pytest.mark.parametrize("toast", [False, True], ids=["table", "toast"])  # which a vacuum locks by itself
def test_rebuild_waits_for_a_long_query_and_lets_others_pass(loaded: tuple[str, dict[str, str]], toast: bool) -> None:
    read = "analytics_dailyrollup"
    if toast:
        read = _ask("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = %s::regclass", read)
    with another_session() as reader, rebuilding() as process:
        with reader.transaction():
            reader.execute(f"SELECT FROM {read} LIMIT 1")
            swapping = "SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted)"
            until(lambda: _ask(swapping))
            assert canonical.answers(NOON) == loaded[0]
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert everything() == loaded


def test_rebuild_gives_a_loader_that_waits_the_new_tables(loaded: tuple[str, dict[str, str]]) -> None:
    def load_as_another() -> None:
        load_all()
        connection.close()

    faults = verify.verify(verify.deep).faults.by_kind()  # what is foreign or unreadable
    with another_session() as reader, rebuilding() as process, ThreadPoolExecutor(1) as loader:
        with reader.transaction():
            reader.execute("SELECT FROM analytics_event LIMIT 1")
            until(lambda: waiting_for("analytics_event"))  # the swap, when it has loaded what came last
            put(line(), name="later")
            waited = loader.submit(load_as_another)
            until(waits_for(LIVE))
        output, _ = process.communicate(timeout=60)
        waited.result()
    assert process.returncode == 0, output
    assert LoadedObject.objects.order_by("-pk")[0].name.endswith("later.json.gz")
    assert verify.verify(verify.deep).faults.by_kind() == faults


def test_rebuild_holds_up_no_vacuum_though_it_takes_hours() -> None:
    with rebuild._live_connection() as claim:
        rebuild._claim(claim)
        horizon = "SELECT (backend_xid, backend_xmin)::text FROM pg_stat_activity WHERE pid = %s"
        assert _ask(horizon, claim.info.backend_pid) == "(,)"


def test_rebuild_that_lost_its_claim_stops(loaded: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    analyze = rebuild._analyze

    def analyze_and_lose_the_claim() -> None:
        analyze()
        assert _ask(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
            "WHERE d.datname = current_database() AND l.relation = 'django_migrations'::regclass "
            "AND l.mode = 'ShareUpdateExclusiveLock'"
        )

    monkeypatch.setattr(rebuild, "_analyze", analyze_and_lose_the_claim)
    with pytest.raises(CommandError, match="Run it again and it goes on"):
        call_command("rebuild")
    assert everything() == loaded


def test_rebuild_leaves_it_to_another_rebuild(
    loaded: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "_CLAIM_SECONDS", 0)
    with holding(REBUILD), rebuilding() as process:
        until(waits_for(REBUILD))
        with pytest.raises(CommandError, match="Another rebuild is running"):
            call_command("rebuild")
        process.kill()


# -- What cannot be gone on with --------------------------------------------------------------------------------------


def leave_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild that ended once everything was loaded."""

    def stop(*_: object) -> None:
        raise RebuildStopped("for the test")

    with monkeypatch.context() as patched:
        patched.setattr(rebuild, "_swap", stop)
        with pytest.raises(RebuildStopped):
            rebuild.run()


def lose(name: str) -> None:
    """Take an object out of the bucket."""
    writer = storages["archive"].connection.meta.client  # type: ignore[attr-defined]
    writer.delete_object(Bucket=settings.ARCHIVE_BUCKET, Key=f"event_date=2026-11-22/hr=12/{name}.json.gz")


def test_rebuild_keeps_events_whose_object_is_gone(loaded: tuple[str, dict[str, str]]) -> None:
    lose("c")
    with pytest.raises(RebuildStopped, match=r"events of 1 objects .* last copy"):
        rebuild.run()
    assert everything() == loaded
    assert {one.what: one.after - one.before for one in rebuild.run(forget_missing=True).differences}["events"] == -3


def test_rebuild_keeps_events_whose_object_was_damaged(loaded: tuple[str, dict[str, str]]) -> None:
    name = "event_date=2026-11-22/hr=12/c.json.gz"
    put_raw(name, b"truncated", **archive.metadata(name))
    with pytest.raises(RebuildStopped, match="last copy"):
        rebuild.run()
    assert everything() == loaded


def test_rebuild_keeps_events_whose_object_goes_meanwhile(loaded: tuple[str, dict[str, str]]) -> None:
    def lose_it(progress: Progress) -> None:
        if progress.done == 0:  # after the survey, before the load
            lose("c")

    with pytest.raises(RebuildStopped, match="last copy"):
        rebuild.run(progress=lose_it)
    assert everything() == loaded


def test_rebuild_starts_anew_when_what_it_loaded_is_gone(
    loaded: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_half(monkeypatch)
    lose("c")
    said: list[str] = []
    rebuilt = rebuild.run(say=said.append, forget_missing=True)
    assert "not in the bucket as it was" in said[0]
    assert {one.what: one.after - one.before for one in rebuilt.differences}["events"] == -3


def test_rebuild_goes_on_with_tables_half_made(loaded: tuple[str, dict[str, str]]) -> None:
    with another_session() as session:
        session.execute("CREATE SCHEMA rebuild")
        session.execute(f"COMMENT ON SCHEMA rebuild IS '{rebuild._OURS}{rebuild._code()}'")
    assert not rebuild.run().differences
    assert everything() == loaded


def test_rebuild_starts_anew_with_other_code(
    loaded: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_half(monkeypatch)
    with another_session() as session:
        session.execute("COMMENT ON SCHEMA rebuild IS 'vibetel rebuild, by the code of yesterday'")
        session.execute("DROP TABLE rebuild.analytics_quarantined")
    said: list[str] = []
    rebuild.run(say=said.append)
    assert "another version of the code" in said[0]
    assert everything() == loaded


def test_rebuild_starts_anew_when_asked(loaded: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    leave_half(monkeypatch)
    with another_session() as session:
        session.execute("DELETE FROM rebuild.analytics_event")
    rebuild.run(anew=True)
    assert everything() == loaded


def test_rebuild_leaves_a_schema_that_is_not_its_own(loaded: tuple[str, dict[str, str]]) -> None:
    with another_session() as session:
        session.execute("CREATE SCHEMA rebuild")
        session.execute("CREATE TABLE rebuild.kept ()")
    with pytest.raises(RebuildStopped, match="rename it"):
        rebuild.run()
    assert _ask("SELECT count(*) FROM rebuild.kept") == 0
    assert everything() == loaded


# What may hang on the tables: how it is made and taken away, and what it is called.
HANGING: tuple[tuple[LiteralString, LiteralString, str], ...] = (
    ("CREATE VIEW reporting AS SELECT count(*) FROM analytics_event", "DROP VIEW reporting", "view reporting"),
    (
        "CREATE FUNCTION newest() RETURNS SETOF analytics_event LANGUAGE sql AS 'SELECT * FROM analytics_event'",
        "DROP FUNCTION newest",
        "function newest",
    ),
    (
        "CREATE TABLE noted (event uuid REFERENCES analytics_event)",
        "DROP TABLE noted",
        "foreign key noted_event_fkey of noted",
    ),
    ("CREATE INDEX by_session ON analytics_event (session_id)", "DROP INDEX by_session", "index by_session"),
    ("CREATE PUBLICATION out FOR TABLE analytics_event", "DROP PUBLICATION out", "publication out"),
    (
        "CREATE POLICY own_rows ON analytics_event USING (ci)",
        "DROP POLICY own_rows ON analytics_event",
        "policy own_rows",
    ),
    (
        "GRANT SELECT (command) ON analytics_event TO pg_monitor",
        "REVOKE SELECT (command) ON analytics_event FROM pg_monitor",
        "grant on column analytics_event.command",
    ),
    (
        "ALTER TABLE analytics_event SET (fillfactor = 90)",
        "ALTER TABLE analytics_event RESET (fillfactor)",
        "settings of analytics_event",
    ),
)


def test_rebuild_keeps_the_views_for_analysts(loaded: tuple[str, dict[str, str]]) -> None:
    """And what was granted on them, or built on them."""
    asked = "SELECT of_days, runs, relacl::text FROM on_views, pg_class WHERE oid = 'bi.daily'::regclass"
    with another_session() as session:
        session.execute("GRANT SELECT ON bi.daily TO pg_monitor")
        session.execute(
            "CREATE VIEW on_views AS"
            " SELECT (SELECT sum(runs) FROM bi.daily) AS of_days, (SELECT count(*) FROM bi.runs) AS runs"
        )
        try:
            before = session.execute(asked).fetchone()
            assert not rebuild.run().differences
            assert before is not None
            assert session.execute(asked).fetchone() == before
            put(line(), name="later")
            load_all()
            assert session.execute(asked).fetchone() != before
        finally:
            session.execute("DROP VIEW on_views")
            session.execute("REVOKE SELECT ON bi.daily FROM pg_monitor")


def test_rebuild_says_beforehand_what_would_be_lost_with_the_tables(loaded: tuple[str, dict[str, str]]) -> None:
    with another_session() as session:
        for made, _, _ in HANGING:
            session.execute(made)
        try:
            with pytest.raises(RebuildStopped) as stopped:
                rebuild.run()
        finally:
            for _, removed, _ in HANGING:
                session.execute(removed)
    assert [named for _, _, named in HANGING if named not in str(stopped.value)] == []
    assert everything() == loaded

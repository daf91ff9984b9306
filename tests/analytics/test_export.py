"""Export: the same events in every form, whatever is in them, in constant memory."""

import csv
import gc
import io
import json
import os
import signal
import subprocess
import sys
import tracemalloc
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyarrow import parquet
from vibetel_client import contract
from vibetel_client.contract import Kind

from analytics import export, export_views, lines, queries
from analytics.dimensions import DIMENSIONS
from analytics.export import COLUMNS, FORMS
from analytics.models import Event, Installation, LoadProgress
from analytics.queries import Filter, Period, Selection
from tests.analytics.history import made_up, record, record_made_up, run
from tests.events import NOON
from tests.vibetel.programs import CHECKOUT, until
from vibetel.embedded.addresses import free_ports
from vibetel.start import web_command

pytestmark = pytest.mark.django_db

Row = dict[str, Any]

HOSTILE = [
    'quote " and "" comma, and\nline\r\nand\rreturn',
    "",
    " ",
    "NULL",
    "nan",
    "\\.",
    "\\N",
    "\\x01 \x01 \x02 \x7f",
    "true",
    "00012",
    "🚀 ünïcödé \u2028 \u202e",
    "</script>",
    "a" * 90,
]


def week(**chosen: Any) -> Filter:
    return Filter(Period.ending_today("7d", NOON), **chosen)


def whole(form: str, chosen: Filter, *, runs_only: bool = False) -> bytes:
    return b"".join(export.pieces(chosen, form, runs_only=runs_only))


def rows(form: str, content: bytes) -> list[Row]:
    """The rows of a file, each value as COLUMNS says it is; a time as text."""
    if form == "ndjson":
        return [json.loads(line) for line in content.decode().split("\n") if line]
    if form == "parquet":
        table = parquet.read_table(io.BytesIO(content))
        return [
            {name: value.strftime(MOMENT) if isinstance(value, datetime) else value for name, value in row.items()}
            for row in table.to_pylist()
        ]
    kinds = {column.name: column.kind for column in COLUMNS}
    return [
        {name: _value(kinds[name], text) for name, text in row.items()}
        for row in csv.DictReader(io.StringIO(content.decode(), newline=""))
    ]


MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"


def _value(kind: str, text: str) -> Any:
    """Python's csv does not tell an empty text from none: both are None here."""
    if text == "":
        return None
    if kind == export.FLAG:
        return {"true": True, "false": False}[text]
    return int(text) if kind == export.COUNT else text


def as_recorded(event: Event) -> Row:
    """An event as each form should have it."""
    row: Row = {column.name: getattr(event, column.name, None) for column in COLUMNS}
    for name in ("event_id", "session_id"):
        row[name] = str(row[name])
    for name in ("occurred_at", "received_at"):
        row[name] = row[name].strftime(MOMENT)
    row["user_id"] = str(event.installation.user_id) if event.installation else None
    row["placeholder"] = event.placeholder or None
    row["options"] = None if event.options is None else json.dumps(event.options)
    return row


def in_order(events: Iterable[Event]) -> list[Event]:
    return sorted(events, key=lambda event: (event.occurred_at, event.event_id))


@pytest.mark.parametrize("form", FORMS)
def test_export_has_every_value_as_it_was_recorded(form: str) -> None:
    somebody = Installation.objects.create(user_id=uuid.uuid4())
    events = [
        run(
            NOON - timedelta(hours=number, microseconds=number),
            installation=somebody if number % 2 else None,
            placeholder="" if number % 2 else "anonymous_opt_out",
            command=text or "empty",
            model=text,
            provider=None,
            error_type=text[:60],
            has_error=[True, False, None][number % 3],
            ci=[None, True, False][number % 3],
            options=[None, {}, {"debug": True, "reasoningEffort": text}][number % 3],
            prompt_tokens=10_000_000_000 if number % 2 else None,
            lost_count=0,
        )
        for number, text in enumerate(HOSTILE)
    ]
    events.append(run(NOON, event_name="command_error", duration_ms=None, has_error=None, options=None))
    record(events)
    expected = [as_recorded(event) for event in in_order(Event.objects.select_related("installation").all())]
    if form == "csv":  # see _value
        expected = [{name: None if value == "" else value for name, value in row.items()} for row in expected]
    assert len(expected) == len(HOSTILE) + 1
    for row, wanted in zip(rows(form, whole(form, week())), expected, strict=True):
        for each in (row, wanted):
            each["options"] = each["options"] and json.loads(each["options"])
        assert row == wanted


def test_export_has_the_contract_and_when_it_came_and_nothing_else() -> None:
    of_the_contract = {name for name in lines.COLUMNS if not name.startswith("source")}
    assert {column.name for column in COLUMNS} == of_the_contract | {"placeholder"}


def test_csv_tells_no_value_from_an_empty_one() -> None:
    record([run(NOON, model="", provider=None)])
    assert b',,"",' in whole("csv", week())


@pytest.mark.parametrize("form", FORMS)
def test_export_of_nothing_is_a_file_that_can_be_read(form: str) -> None:
    content = whole(form, week())
    assert rows(form, content) == []
    if form == "csv":
        assert content.decode() == ",".join(column.name for column in COLUMNS) + "\n"
    if form == "parquet":
        assert parquet.read_schema(io.BytesIO(content)).names == [column.name for column in COLUMNS]


def test_parquet_has_types_and_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "ROW_GROUP_ROWS", 10)
    record_made_up(NOON, days=5, a_day=5)
    file = parquet.ParquetFile(io.BytesIO(whole("parquet", week())))
    assert (file.metadata.num_rows, file.metadata.num_row_groups) == (25, 3)
    types = {field.name: str(field.type) for field in file.schema_arrow}
    assert types["occurred_at"] == "timestamp[us, tz=UTC]"
    assert (types["duration_ms"], types["has_error"], types["command"]) == ("int64", "bool", "string")


# -- Which events -----------------------------------------------------------------------------------------------------

_NAMES = {
    "command": ("repo", "ask", "nothing"),
    "version": ("0.64.0", "0.63.3"),
    "provider": ("gemini", "(none)"),
    "model": ("gpt-4.1", "(none)"),
    "error_type": ("FileError", "(none)"),
    "os": ("linux", "(none)"),
    "ci": ("true", "false", "(none)"),
    "agent": ("claude-code", "(none)"),
}


def _told_apart() -> list[Event]:
    """Runs of many kinds, with what rollups make nothing of: errors of runs that succeeded, twins."""
    events = made_up(NOON, days=20, a_day=15)
    for number, event in enumerate(events):
        event.os = ("linux", "darwin", None)[number % 3]
        event.ci = (True, False, None)[number // 3 % 3]
        event.agent = ("claude-code", None)[number % 2]
        if number % 5 == 0:
            event.error_type, event.has_error = "FileError", (False, None)[number % 2]
    twins = [run(NOON, event_name="command_error", duration_ms=None, has_error=True, error_type="FileError")]
    return [*events, *twins]


def test_a_filter_means_what_it_means_for_the_rollups() -> None:
    record(_told_apart())
    for name, values in _NAMES.items():
        for value in values:
            asked = {name: {value}}
            for selection in (Selection(asked), Selection({}, asked), Selection({"version": {"0.64.0"}} | asked)):
                chosen = Filter(Period.ending_today("30d", NOON), selection=selection)
                assert export.count(chosen, runs_only=True) == queries.totals(chosen, NOON).now.runs, selection


def test_every_dimension_is_compared_with_the_rollups() -> None:
    assert set(_NAMES) == set(DIMENSIONS)


def test_export_has_twins_and_opted_out_users_and_runs_only_leaves_out_the_first() -> None:
    twin = run(NOON, event_name="command_error", duration_ms=None)
    record([twin, run(NOON, placeholder="anonymous_opt_out")])
    assert {row["event_name"] for row in rows("ndjson", whole("ndjson", week()))} == {
        "command_executed",
        "command_error",
    }
    (left,) = rows("ndjson", whole("ndjson", week(), runs_only=True))
    assert (left["placeholder"], left["user_id"]) == ("anonymous_opt_out", None)


def test_export_ends_with_the_period() -> None:
    midnight = NOON.replace(hour=0)
    record([run(midnight + timedelta(days=offset, microseconds=less)) for offset in (-6, 1) for less in (0, -1)])
    exported = [row["occurred_at"] for row in rows("ndjson", whole("ndjson", week()))]
    assert exported == ["2026-11-16T00:00:00.000000Z", "2026-11-22T23:59:59.999999Z"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("comand=repo", "There is no “comand” to filter by"),
        ("period=9d", "There is no period “9d”."),
        ("period=7d&from=2026-11-01&to=2026-11-02", "from and to go with period=custom."),
        ("from=2026-11-01", "period=custom needs from and to as YYYY-MM-DD."),
        ("from=20261101&to=2026-11-02", "period=custom needs from and to as YYYY-MM-DD."),
        ("from=2026-11-01&to=2026-W45-1", "period=custom needs from and to as YYYY-MM-DD."),
        ("from=2026-11-02&to=2026-11-01", "from must be before to"),
        ("command=", "command= says nothing: leave it out"),
        ("command=a%00b", "control character"),
        ("command=\udcff", "control character"),
    ],
)
def test_words_that_are_not_understood_export_nothing(words: str, why: str) -> None:
    with pytest.raises(export.NotUnderstood, match=why):
        export.understood(words, NOON)


def test_words_are_those_of_the_dashboards() -> None:
    chosen = export.understood("?period=90d&command=repo&command=ask&os__not=linux&interval=week", NOON)
    assert chosen.period == Period.ending_today("90d", NOON)
    assert chosen.selection == Selection({"command": {"repo", "ask"}}, {"os": {"linux"}})
    assert export.understood("from=2026-11-01&to=2026-11-02", NOON).period.name == "custom"
    assert export.understood("from=2026-11-01&to=2026-11-30", NOON).period.last == NOON.date()


# -- How --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_export_takes_no_more_memory_for_more_events(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "ROW_GROUP_ROWS", 1000)
    whole(form, week())  # imports
    peaks = []
    for events in (4_000, 20_000):
        _many(events)
        told: list[int] = []
        gc.collect()
        tracemalloc.start()
        arrow_bytes = max(
            pa.total_allocated_bytes() for piece in export.pieces(week(), form, progress=told.append) if piece
        )
        peaks.append(tracemalloc.get_traced_memory()[1] + arrow_bytes)
        tracemalloc.stop()
        assert sum(told) == events
    assert peaks[1] < 1.3 * peaks[0], peaks


def _many(events: int) -> None:
    """So many runs in all."""
    record([run(NOON)] if not Event.objects.exists() else [])
    columns = ", ".join(str(field.column) for field in Event._meta.fields if field.name != "event_id")
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO analytics_event (event_id, {columns}) SELECT gen_random_uuid(), {columns}
            FROM (SELECT * FROM analytics_event LIMIT 1) one, generate_series(1, %s)""",
            [events - Event.objects.count()],
        )


@pytest.mark.django_db(transaction=True)
def test_an_export_that_nobody_finishes_leaves_the_connection_in_order() -> None:
    _many(5000)
    begun = export.pieces(week(), "csv")
    next(begun), next(begun)
    begun.close()  # type: ignore[attr-defined]  # as a server does
    assert Event.objects.count() == 5000


FORMULA = "=+-@\t\r\n"


@pytest.mark.parametrize("name", [spec.name for spec in contract.FIELDS if spec.kind is Kind.IDENTIFIER])
@hypothesis_settings(deadline=None)
@given(st.sampled_from(FORMULA), st.text("aZ01-_.:/=+(@|!' ", max_size=12))
def test_nothing_that_a_spreadsheet_takes_for_a_formula_can_be_recorded(name: str, first: str, rest: str) -> None:
    (spec,) = (spec for spec in contract.FIELDS if spec.name == name)
    assert spec.pattern
    assert spec.pattern.fullmatch(str(spec.example))
    for text in (first + rest, first + str(spec.example), f"{first}SUM(A1)"):
        assert not spec.pattern.fullmatch(text)


def test_no_choice_of_the_contract_is_a_formula() -> None:
    words = [word for field in contract.FIELDS for word in field.choices]
    words += [word for option in contract.OPTIONS for word in option.choices]
    words += [*contract.EVENT_NAMES, *contract.PLACEHOLDER_USER_IDS, contract.OTHER]
    assert words
    assert not [word for word in words if word[0] in FORMULA]


# -- The command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_command_writes_a_file_and_says_how_much(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record([run(datetime.now(NOON.tzinfo)) for _ in range(3)])
    file = tmp_path / "events"
    call_command("export", "--format", form, "--output", str(file), "--filter", "period=today&command=repo")
    assert len(rows(form, file.read_bytes())) == 3
    assert capsys.readouterr().err.startswith("3 events from ")
    assert list(tmp_path.iterdir()) == [file]


def test_command_leaves_the_earlier_file_where_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(*_: object, **__: object) -> Any:
        yield b"half"
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(export, "pieces", half)
    file = tmp_path / "events.csv"
    file.write_text("earlier")
    with pytest.raises(CommandError, match=r"No space left on device.*name another --output"):
        call_command("export", "--format", "csv", "--output", str(file))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]


def test_command_writes_to_a_pipe_and_leaves_it_one(tmp_path: Path) -> None:
    record([run(NOON)])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        call_command("export", "--format", "csv", "--output", str(pipe), "--filter", "period=90d", verbosity=0)
        assert read.result().startswith(b"event_id,")
    assert pipe.is_fifo()


def test_command_says_what_to_do_where_it_may_not_write(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"No such file or directory.*name another --output"):
        call_command("export", "--format", "csv", "--output", str(tmp_path / "nowhere" / "events.csv"))


def test_command_refuses_words_that_it_does_not_understand(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"--filter: There is no “model_name” to filter by. There are: agent, "):
        call_command("export", "--format", "csv", "--output", str(tmp_path / "file"), "--filter", "model_name=x")
    assert not list(tmp_path.iterdir())


def test_command_says_that_older_events_were_pruned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LoadProgress.objects.create(pk=1, pruned_before=datetime.now(NOON.tzinfo) - timedelta(days=3))
    for words, warned in (("period=today", False), ("period=7d", True)):
        call_command("export", "--format", "csv", "--output", str(tmp_path / "file"), "--filter", words)
        assert ("were pruned here" in capsys.readouterr().err) is warned


def test_command_writes_to_its_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    record([run(NOON)])
    call_command("export", "--format", "csv", "--filter", f"from={NOON.date()}&to={NOON.date()}")
    out, err = capfdbinary.readouterr()
    assert (len(rows("csv", out)), err) == (1, b"1 events from 2026-11-22 to 2026-11-22, UTC.\n")


def test_exports_to_one_file_at_once_leave_one_of_them_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, file = export.pieces, tmp_path / "events.csv"
    words = ["--filter", f"from={NOON.date()}&to={NOON.date()}"]

    def overtaken(*given: Any, **named: Any) -> Iterator[bytes]:
        first, *others = real(*given, **named)
        yield first
        monkeypatch.setattr(export, "pieces", real)
        call_command("export", "--format", "ndjson", "--output", str(file), *words)  # begins and ends meanwhile
        seen.append(file.read_bytes())
        yield from others

    seen: list[bytes] = []
    record([run(NOON), run(NOON)])
    monkeypatch.setattr(export, "pieces", overtaken)
    call_command("export", "--format", "csv", "--output", str(file), *words)
    assert [len(rows("ndjson", content)) for content in seen] == [2]
    assert len(rows("csv", file.read_bytes())) == 2
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_that_is_stopped_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    _many(1)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE analytics_event")  # the export waits, with its file begun
        with exporting("--output", str(tmp_path / "events.csv")) as stopped:
            until(lambda: list(tmp_path.iterdir()))
            stopped.send_signal(number)
            assert stopped.wait(60) == 1
            assert stopped.stderr
            assert stopped.stderr.read().decode() == "CommandError: Stopped. Nothing was kept.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.django_db(transaction=True)
def test_command_removes_what_a_killed_one_left_of_the_same_file(tmp_path: Path) -> None:
    _many(1)
    file, other = tmp_path / "events[1].csv", tmp_path / "others.csv.01234567.part"
    other.touch()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE analytics_event")
        with exporting("--output", str(file)) as killed:
            until(lambda: len(list(tmp_path.iterdir())) == 2)
            killed.kill()
            killed.wait(60)
    assert len(list(tmp_path.iterdir())) == 2
    call_command("export", "--format", "csv", "--output", str(file), verbosity=0)
    assert sorted(tmp_path.iterdir()) == [file, other]


@contextmanager
def exporting(*more: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The command as a program, on the tests' database."""
    command = [sys.executable, "manage.py", "export", "--format", "csv", "--filter", "from=2026-11-22&to=2026-11-22"]
    with subprocess.Popen(
        [*command, *more], cwd=CHECKOUT, env=os.environ | ours(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as exporting:
        try:
            yield exporting
        finally:
            exporting.kill()


def ours() -> dict[str, str]:
    """The tests' database, for a program."""
    there = connection.settings_dict
    return {"DATABASE_URL": "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**there)}


@pytest.mark.django_db(transaction=True)
def test_command_ends_in_peace_where_nobody_reads_on() -> None:
    _many(4000)
    with exporting() as cut:
        assert cut.stdout
        assert cut.stderr
        cut.stdout.read(10)
        cut.stdout.close()
        assert cut.stderr.read().decode() == "CommandError: Who was reading the output went away: it is not whole.\n"
        assert cut.wait(60) == 1


# -- Downloads --------------------------------------------------------------------------------------------------------

DOWNLOAD = "/admin/analytics/event/download/"
NOVEMBER = "from=2026-11-01&to=2026-11-30"


def test_download_needs_the_right_to_view_events(client: Client) -> None:
    assert client.get(DOWNLOAD)["Location"].startswith("/admin/login/")
    viewer = User.objects.create_user("viewer", is_staff=True)
    client.force_login(viewer)
    assert client.get(DOWNLOAD).status_code == 403
    viewer.user_permissions.add(Permission.objects.get(codename="view_event"))
    assert client.get(DOWNLOAD).getvalue()


@pytest.mark.parametrize("form", FORMS)
def test_download_has_what_was_asked_for(admin_client: Client, form: str) -> None:
    now = datetime.now(NOON.tzinfo)
    record([run(now), run(now, command="ask"), run(now, duration_ms=None), run(now - timedelta(days=20))])
    for words, count, name in (
        (f"form={form}", 4, "events"),
        (f"form={form}&period=7d&command=repo&runs=1", 1, "runs"),
    ):
        answer: Any = admin_client.get(f"{DOWNLOAD}?{words}")
        assert (answer.status_code, answer["Content-Type"]) == (200, export.MEDIA_TYPES[form])
        assert "no-store" in answer["Cache-Control"]
        assert answer["Content-Disposition"].startswith(f'attachment; filename="{name}-20')
        assert answer["Content-Disposition"].endswith(f'.{form}"')
        content = answer.getvalue()
        assert len(rows(form, content)) == count
        assert answer["Content-Length"] == str(len(content))


@pytest.mark.parametrize("words", ["form=xlsx", "period=9d", "comand=repo"])
def test_download_refuses_what_it_does_not_understand(admin_client: Client, words: str) -> None:
    answer = admin_client.get(f"{DOWNLOAD}?{words}")
    assert (answer.status_code, answer["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert "There is no" in answer.content.decode()


def _ended_midway(*given: Any, **named: Any) -> Iterator[bytes]:
    """The pieces of a file, until somebody ends their session of Postgres."""
    pieces = _pieces(*given, **named)
    yield next(pieces)
    yield next(pieces)
    with psycopg.connect(ours()["DATABASE_URL"], autocommit=True) as other:
        other.execute(
            """SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE 'COPY%'"""
        )
    yield from pieces


_pieces = export.pieces


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_download_that_is_cut_off_is_an_error(form: str, admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    _many(40_000)  # more than is on its way at any moment
    monkeypatch.setattr(export, "pieces", _ended_midway)
    answer = admin_client.get(f"{DOWNLOAD}?form={form}&{NOVEMBER}")
    connection.close()  # as after each request
    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    assert answer.content == b"Postgres went away before the file was whole. Try again in a minute. Nothing was sent.\n"
    monkeypatch.undo()
    assert len(rows(form, admin_client.get(f"{DOWNLOAD}?form={form}&{NOVEMBER}").getvalue())) == 40_000


def test_download_says_that_the_disk_is_full(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    _many(1)
    monkeypatch.setattr(export_views, "TemporaryFile", partial(Path("/dev/full").open, "w+b"))
    answer = admin_client.get(f"{DOWNLOAD}?form=csv&{NOVEMBER}")
    assert answer.status_code == 503
    assert "(No space left on device). Ask for a shorter period, or make room" in answer.content.decode()


def test_downloads_are_made_a_few_at_once(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    within: list[int] = []

    def another(*_: object, **__: object) -> Iterator[bytes]:
        yield b"half"
        answer = admin_client.get(f"{DOWNLOAD}?form=csv")
        within.append(answer.status_code)
        if answer.status_code == 503:
            assert answer["Retry-After"] == "30"
            assert answer.content.startswith(b"As many downloads as the portal makes at once are under way.")
        answer.getvalue()

    monkeypatch.setattr(export, "pieces", another)
    for _ in range(2):  # the places are free again
        assert admin_client.get(f"{DOWNLOAD}?form=csv").getvalue() == b"half"
    assert within == [503, 200, 503, 200]


@pytest.mark.django_db(transaction=True)
def test_download_that_nobody_reads_holds_a_place_and_nothing_of_postgres(admin_client: Client, tmp_path: Path) -> None:
    _many(40_000)  # more than a socket takes unread
    cookie = {"Cookie": f"sessionid={admin_client.cookies['sessionid'].value}"}
    address = f"{DOWNLOAD}?form=csv&{NOVEMBER}"
    with served(tmp_path / "web.log") as port, ExitStack() as readers:

        def begun() -> HTTPResponse:
            reader = readers.enter_context(closing(HTTPConnection("127.0.0.1", port, timeout=60)))
            reader.request("GET", address, headers=cookie)
            return reader.getresponse()

        for _ in range(export_views.OPEN_AT_ONCE):
            answer = begun()
            assert (answer.status, answer.read(10)) == (200, b"event_id,e")
            assert answer.length  # what is left to read: who is sent less knows it
        assert begun().status == 503
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE relation = 'analytics_event'::regclass")
            assert cursor.fetchone() == (0,)
        readers.close()  # they go away
        until(lambda: begun().status == 200)


@contextmanager
def served(log_path: Path) -> Iterator[int]:
    """The portal's pages as they are served, on the tests' database: the port."""
    port = int(free_ports(["PORT"])["PORT"])
    with log_path.open("wb") as log:
        web = subprocess.Popen(
            web_command(port),
            cwd=CHECKOUT,
            env=os.environ | ours(),
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: _answers(port), otherwise=log_path.read_text)
        yield port
    finally:
        web.terminate()
        web.wait(60)


def _answers(port: int) -> bool:
    with suppress(OSError), closing(HTTPConnection("127.0.0.1", port, timeout=10)) as asking:
        asking.request("GET", "/healthz")
        return asking.getresponse().status == 200
    return False


def test_download_is_only_read(admin_client: Client) -> None:
    assert admin_client.post(DOWNLOAD).status_code == 405


def test_events_list_offers_downloads(admin_client: Client) -> None:
    page = admin_client.get("/admin/analytics/event/").content.decode()
    assert f'action="{DOWNLOAD}"' in page
    for form in FORMS:
        assert f'name="form" value="{form}"' in page
    assert '<input type="hidden" name="period" value="30d">' in page

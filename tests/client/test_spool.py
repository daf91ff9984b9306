"""The spool: what is put in is there, whole, once, whoever writes at the same time or dies over it."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vibetel_client import spool as module
from vibetel_client.spool import EVENT_MAX_AGE_S, SENT_MAX_COUNT, SPOOL_MAX_BYTES, ConsentTakenBack, Spool, State
from vibetel_client.timestamps import format_timestamp

from . import host
from .host import event, finish, run, say_no, say_yes, start

NOW_S = 1_750_000_000.0
SENT_AT = "2026-01-01T00:00:00.000Z"


@pytest.fixture(autouse=True)
def yes() -> None:
    say_yes()


@pytest.fixture
def spool() -> Spool:
    return host.spool()


@pytest.fixture
def folder(diagnostics: Path) -> Path:
    return diagnostics.parent / "telemetry"


def ids(events: "list[module.Event]") -> list[object]:
    return [waiting["eventId"] for waiting in events]


# Waits for its turn on stdin, then appends the events numbered from argument 2 to argument 3.
APPEND = """
import sys
sys.path.insert(0, sys.argv[1])
from vibetel_client.spool import Spool
sys.stdin.readline()
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    event = {"eventId": f"00000000-0000-7000-8000-{number:012d}", "timestamp": "2100-01-01T00:00:00.000Z"}
    Spool("vibe-tools").append({**event, "padding": "x" * (number % 997)})
"""


def appending(processes_count: int, events_count: int) -> "list[subprocess.Popen[str]]":
    """Processes that append `events_count` events each, as soon as all of them are there."""
    source = str(Path(module.__file__).parents[1])
    bounds = [(number * events_count, (number + 1) * events_count) for number in range(processes_count)]
    writers = [start(APPEND, source, str(first), str(end), options=("-S",)) for first, end in bounds]
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    return writers


def all_end_well(writers: "list[subprocess.Popen[str]]") -> None:
    for writer in writers:
        ended = finish(writer)
        assert (ended.returncode, ended.stderr) == (0, "")


def test_append_is_safe_between_50_processes(spool: Spool, folder: Path) -> None:
    all_end_well(appending(50, 6))
    lines = (folder / "events.ndjson").read_bytes().splitlines()
    assert sorted(json.loads(line)["eventId"] for line in lines) == ids([event(number) for number in range(300)])
    for waiting in spool.waiting():
        assert len(str(waiting["padding"])) == int(str(waiting["eventId"])[-12:]) % 997


def test_appends_and_deliveries_at_the_same_time_lose_and_double_nothing(spool: Spool) -> None:
    writers = appending(8, 50)
    settled: list[object] = []
    while any(writer.poll() is None for writer in writers) or spool.waiting():
        taken = spool.take(NOW_S)
        if taken:
            spool.settle(taken, [True] * len(taken), SENT_AT)
        settled += ids(taken)
    all_end_well(writers)
    assert sorted(map(str, settled)) == ids([event(number) for number in range(400)])


def test_half_a_line_of_a_killed_writer_spoils_nothing(spool: Spool, folder: Path) -> None:
    spool.append(event(1))
    with (folder / "events.ndjson").open("ab") as file:
        file.write(b'{"eventId": "half a l')
    spool.append(event(2))
    assert spool.waiting() == [event(1), event(2)]


@pytest.mark.parametrize(
    "rest", [b'{"eventId": "half', b"\n\n", b"\x00\xff", b"[" * 100_000, b'{"eventId": {}}\n', b"1\n"]
)
def test_what_is_no_event_is_neither_taken_nor_left(rest: bytes, spool: Spool, folder: Path) -> None:
    spool.append(event(1))
    with (folder / "events.ndjson").open("ab") as file:
        file.write(rest)
    assert spool.take(NOW_S) == [event(1)]
    spool.settle([event(1)], [True], SENT_AT)
    assert not spool.is_due(NOW_S)
    assert spool.state().lost_count == 0


def test_a_spool_of_nothing_but_half_a_line_is_due_once(spool: Spool, folder: Path) -> None:
    spool.append(event(1))
    (folder / "events.ndjson").write_bytes(b'{"eventId": "half')
    assert spool.take(NOW_S) == []
    assert not spool.is_due(NOW_S)


def test_a_full_spool_gives_up_its_oldest_events_and_counts_them(spool: Spool, folder: Path) -> None:
    for number in range(2200):
        spool.append(event(number, padding="x" * 400))
    assert (folder / "events.ndjson").stat().st_size <= SPOOL_MAX_BYTES
    waiting = spool.waiting()
    lost_count = 2200 - len(waiting)
    assert 0 < lost_count < 1000
    assert ids(waiting) == ids([event(number) for number in range(lost_count, 2200)])
    assert spool.state().lost_count == lost_count


def test_half_lines_are_given_up_without_being_counted(spool: Spool, folder: Path) -> None:
    spool.append(event(1))
    with (folder / "events.ndjson").open("ab") as file:
        file.write(b"x" * SPOOL_MAX_BYTES)
    spool.append(event(2))
    assert spool.waiting() == [event(2)]
    assert spool.state().lost_count == 1


def test_what_is_older_than_30_days_is_given_up_and_counted(spool: Spool) -> None:
    for number, age_s in enumerate([EVENT_MAX_AGE_S + 1, EVENT_MAX_AGE_S - 1, -86_400]):
        spool.append(event(number, timestamp=format_timestamp(int((NOW_S - age_s) * 1000))))
    assert ids(spool.take(NOW_S)) == ids(spool.waiting()) == ids([event(1), event(2)])
    assert spool.state().lost_count == 1
    spool.take(NOW_S)
    assert spool.state().lost_count == 1


def test_take_of_a_spool_that_was_never_used_makes_none(spool: Spool, folder: Path) -> None:
    assert (spool.take(NOW_S), spool.waiting(), spool.sent(), spool.is_due(NOW_S)) == ([], [], [], False)
    assert not folder.exists()


def test_take_removes_what_a_killed_process_left_unfinished(spool: Spool, folder: Path) -> None:
    spool.append(event(1))
    (folder / "events.ndjson.123.unfinished").write_bytes(b"half")
    assert spool.take(NOW_S) == [event(1)]
    assert sorted(path.name for path in folder.iterdir()) == ["events.ndjson", "spool.lock"]


# -- What the portal said ---------------------------------------------------------------------------------------------


def test_settle_keeps_what_came_meanwhile(spool: Spool) -> None:
    spool.append(event(1))
    spool.append(event(2))
    taken = spool.take(NOW_S)
    spool.append(event(3))
    spool.settle(taken, [True, False], SENT_AT)
    assert spool.waiting() == [event(3)]
    assert spool.state().rejected_count == 1
    assert spool.sent() == [
        {"sentAt": SENT_AT, "status": "accepted", "event": event(1)},
        {"sentAt": SENT_AT, "status": "rejected", "event": event(2)},
    ]


def test_settle_twice_changes_nothing_but_the_list_of_what_was_sent(spool: Spool) -> None:
    spool.append(event(1))
    spool.append(event(2))
    for _ in range(2):  # as after a kill between the two
        spool.settle([event(1)], [True], SENT_AT)
        assert spool.waiting() == [event(2)]
        assert spool.state().lost_count == 0


def test_sent_holds_the_last_100(spool: Spool) -> None:
    for first in range(0, 150, 50):
        events = [event(number) for number in range(first, first + 50)]
        spool.append(events[0])
        spool.settle(events, [True] * 50, SENT_AT)
    assert [entry["event"] for entry in spool.sent()] == [event(number) for number in range(50, 150)]
    assert SENT_MAX_COUNT == 100


def test_losses_are_reported_by_an_event_that_is_accepted(spool: Spool) -> None:
    spool.append(event(1))
    spool.remember(lost_count=5)
    spool.settle([event(1, lostCount=5)], [False], SENT_AT)
    assert spool.state().lost_count == 5
    spool.remember(lost_count=7)  # two more while the next one is under way
    spool.append(event(2))
    spool.settle([event(2, lostCount=5)], [True], SENT_AT)
    assert spool.state().lost_count == 2


def test_what_is_given_up_while_it_is_under_way_and_arrives_is_not_lost(spool: Spool) -> None:
    for number in range(2000):
        spool.append(event(number, padding="x" * 400))
    before = spool.state().lost_count
    taken = spool.take(NOW_S)
    for number in range(2000, 2200):
        spool.append(event(number, padding="x" * 400))
    assert spool.state().lost_count > before
    spool.settle(taken, [True] * len(taken), SENT_AT)
    assert spool.state().lost_count == before
    assert ids(spool.waiting()) == ids([event(number) for number in range(2000, 2200)])


# -- A disk that is full ----------------------------------------------------------------------------------------------

# Appends until it fails, and says how often it did not.
FILL = """
import resource, sys
from vibetel_client.spool import Spool
if int(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
for number in range(100_000):
    event = {"eventId": f"00000000-0000-7000-8000-{number:012d}", "timestamp": "2100-01-01T00:00:00.000Z"}
    try:
        Spool("vibe-tools").append(event)
    except OSError:
        break
print(number, len(Spool("vibe-tools").waiting()), open(Spool("vibe-tools")._events, "rb").read()[-2:])
"""


def test_append_on_a_limited_file_raises_and_leaves_whole_lines(spool: Spool, folder: Path) -> None:
    ran = run(FILL, "10000")
    appended, waiting, end = ran.stdout.split(maxsplit=2)
    assert appended == waiting == str(len(spool.waiting()))
    assert end.strip() == repr(b"}\n")
    assert int(appended) > 10


def test_append_on_a_full_disk_raises_and_leaves_whole_lines(diagnostics: Path) -> None:
    disk = diagnostics.parent.parent
    script = 'mount -t tmpfs -o size=64k none "$1" && shift && exec "$@"'
    mount = ["unshare", "-m", "sh", "-c", script, "sh", str(disk)]
    may = subprocess.run([*mount, "true"], capture_output=True, check=False)
    if may.returncode:
        pytest.skip("may not mount a disk of its own")
    filling = [*mount, *host.command(SAY_YES + FILL, "0")]
    ran = subprocess.run(filling, env=host.environment(), capture_output=True, text=True, check=True)
    appended, waiting, end = ran.stdout.split(maxsplit=2)
    assert appended == waiting
    assert end.strip() == repr(b"}\n")
    assert int(appended) > 10


SAY_YES = """
from vibetel_client import identity
identity.record_choice(identity.path("vibe-tools"), True)
"""


def test_a_full_spool_on_a_full_disk_counts_no_loss(spool: Spool, folder: Path) -> None:
    spool.append(event(1))
    padding = json.dumps(dict(event(2), padding="x" * 900)).encode() + b"\n"
    with (folder / "events.ndjson").open("ab") as file:
        file.write(padding * (SPOOL_MAX_BYTES // len(padding) + 1))
    before = (folder / "events.ndjson").read_bytes()
    assert run(FILL, "100000").stdout.split()[0] == "0"
    assert (folder / "events.ndjson").read_bytes() == before
    assert spool.state().lost_count == 0
    assert not list(folder.glob("*.unfinished"))


# -- Whose it is ------------------------------------------------------------------------------------------------------


def test_folder_and_files_are_the_users_alone(spool: Spool, folder: Path) -> None:
    before = os.umask(0)
    try:
        spool.append(event(1))
        spool.settle([event(1)], [True], SENT_AT)
        unwatch = spool.watch(event(2))
        assert spool.delivery_lock.acquire()
        spool.delivery_lock.release()
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) == 6
    unwatch()


def test_clear_removes_everything(spool: Spool, folder: Path) -> None:
    spool.append(event(1))
    spool.append(event(2))
    spool.settle([event(1)], [True], SENT_AT)
    unwatch = spool.watch(event(3))
    spool.clear()
    assert not folder.exists()
    unwatch()
    spool.clear()
    assert not folder.exists()


def test_clear_fails_where_somebody_holds_on_to_the_spool(spool: Spool, folder: Path) -> None:
    spool.append(event(1))
    holder = start(
        "import sys, time; from vibetel_client.locks import FileLock; lock = FileLock(sys.argv[1]);"
        "print(lock.acquire(), flush=True); time.sleep(60)",
        str(folder / "spool.lock"),
    )
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == "True\n"
        with pytest.raises(OSError, match="locked"):
            spool.clear()
        holder.kill()
        finish(holder)
    spool.clear()
    assert not folder.exists()


def test_after_a_no_nothing_is_written(spool: Spool, folder: Path) -> None:
    spool.append(event(1))
    taken = spool.take(NOW_S)
    say_no()
    with pytest.raises(FileNotFoundError):
        spool.settle(taken, [True], SENT_AT)
    folder.mkdir(mode=0o700)  # as by a run that began before the no
    with pytest.raises(ConsentTakenBack):
        spool.settle(taken, [True], SENT_AT)
    with pytest.raises(ConsentTakenBack):
        spool.remember(problem="late")
    with pytest.raises(ConsentTakenBack):
        spool.append(event(2))
    with pytest.raises(ConsentTakenBack):
        spool.take(NOW_S)
    assert [path.name for path in folder.iterdir()] == ["spool.lock"]


# -- State ------------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(vars(State()))) | st.text(), inner),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=JSON.map(json.dumps).map(str.encode) | st.binary())
def test_any_state_file_is_read_and_written_over(content: bytes) -> None:
    spool = host.spool()
    os.makedirs(spool._folder, exist_ok=True)  # noqa: PTH103
    Path(spool._state).write_bytes(content)
    state = spool.state()
    assert min(state.lost_count, state.rejected_count, state.failures_count, state.not_before_s) >= 0
    format_timestamp(int(state.not_before_s * 1000))
    spool.remember(problem="another")
    assert spool.state().problem == "another"
    assert spool.state().lost_count == state.lost_count


@pytest.mark.parametrize(
    "content", ['{"lost_count": 1e999}', '{"not_before_s": NaN}', '{"lost_count": -1}', "[" * 100_000]
)
def test_a_state_that_cannot_be_remembers_nothing(content: str, spool: Spool, folder: Path) -> None:
    spool.append(event(1))
    (folder / "state.json").write_text(content)
    assert vars(spool.state()) == vars(State())


def test_a_wait_beyond_a_day_was_noted_by_a_wrong_clock(spool: Spool) -> None:
    spool.append(event(1))
    spool.remember(not_before_s=NOW_S + 86_400)
    assert not spool.is_due(NOW_S)
    assert spool.is_due(NOW_S + 86_401)
    spool.remember(not_before_s=NOW_S + 86_401)
    assert spool.is_due(NOW_S)


# -- Runs under way ---------------------------------------------------------------------------------------------------

WATCH = """
import sys, time
from vibetel_client.spool import Spool
unwatch = Spool("vibe-tools").watch({"eventId": sys.argv[1], "timestamp": "2100-01-01T00:00:00.000Z"})
print(flush=True)
time.sleep(60)
"""


def test_a_run_is_taken_once_when_its_process_has_vanished(spool: Spool) -> None:
    with start(WATCH, "a") as watched:
        assert watched.stdout
        watched.stdout.readline()
        assert spool.take(NOW_S) == []
        watched.send_signal(signal.SIGKILL)
        finish(watched)
    assert ids(spool.take(NOW_S)) == ["a"]
    assert ids(spool.take(NOW_S)) == ["a"]


def test_a_run_whose_process_vanished_after_its_report_is_taken_once(spool: Spool, folder: Path) -> None:
    spool.append(event(1, hasError=False))
    (folder / "run-1.json").write_text(json.dumps(event(1, hasError=True)))
    assert spool.take(NOW_S) == [event(1, hasError=False)]
    assert not list(folder.glob("run-*"))


def test_a_run_that_ended_is_not_taken(spool: Spool, folder: Path) -> None:
    unwatch = spool.watch(event(1))
    unwatch()
    assert spool.take(NOW_S) == []
    assert not list(folder.glob("run-*"))


def test_a_run_that_has_just_begun_is_left_alone(spool: Spool, folder: Path) -> None:
    spool.append(event(1))
    (folder / "run-2.json").touch()  # not locked yet, and nothing in it
    assert spool.take(NOW_S) == [event(1)]
    assert (folder / "run-2.json").exists()


def test_runs_that_end_while_others_look_for_vanished_ones_are_not_taken(spool: Spool) -> None:
    spool.append(event(0))
    failures: list[Exception] = []
    is_over = threading.Event()

    def begin_and_end() -> None:
        try:
            for number in range(1, 2000):
                host.spool().watch(event(number))()
        except Exception as error:  # noqa: BLE001 - shown by the test
            failures.append(error)
        is_over.set()

    runs = threading.Thread(target=begin_and_end)
    runs.start()
    while not is_over.is_set():
        assert spool.take(NOW_S) == [event(0)]
    runs.join()
    assert failures == []


def test_a_run_is_its_own_process_s_and_not_its_forks(spool: Spool) -> None:
    unwatch = spool.watch(event(1))
    pid = os.fork()
    if pid == 0:
        try:
            unwatch()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert spool.take(NOW_S) == []
    fork_and_vanish = WATCH.replace(
        "time.sleep(60)", "import os\nif os.fork() == 0:\n    unwatch()\n    os._exit(0)\nos.wait()\nos._exit(1)"
    )
    assert run(fork_and_vanish, "a").returncode == 1
    assert ids(spool.take(NOW_S)) == ["a"]
    unwatch()


def test_runs_of_a_tool_that_always_vanishes_do_not_pile_up(spool: Spool, folder: Path) -> None:
    spool.append(event(0))
    for number in range(1, 150):
        (folder / f"run-{number}.json").write_text(json.dumps(event(number)))
    spool.watch(event(200))()
    assert not list(folder.glob("run-*"))
    assert len(spool.waiting()) == 150


def test_a_run_s_file_that_cannot_be_opened_keeps_nothing_else_from_delivery(spool: Spool, folder: Path) -> None:
    spool.append(event(1))
    (folder / "run-2.json").mkdir()
    assert spool.take(NOW_S) == [event(1)]


def test_watch_on_a_full_disk_leaves_nothing_behind(spool: Spool, folder: Path) -> None:
    spool.append(event(1))
    program = """
import os, resource
from vibetel_client.spool import Spool
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
before = len(os.listdir("/dev/fd"))
try:
    Spool("vibe-tools").watch({"eventId": "a"})
except OSError:
    print(len(os.listdir("/dev/fd")) - before)
"""
    assert run(program).stdout == "0\n"
    assert not list(folder.glob("run-*"))

"""Interruption: however a run ends, it is one event, and its process ends as it would have without telemetry."""

import signal
import subprocess

import pytest

from . import host
from .host import HOST, finish, reported, run, say_yes, start

# Both ways to write a host; its body goes where the dots are.
WITH = (
    HOST
    + """
with telemetry.command("repo"):
    ...
"""
)
PLAIN = (
    HOST
    + """
telemetry.start_command("repo")
...
telemetry.end_command()
"""
)
TO_ITSELF = "os.kill(os.getpid(), signal.{}); time.sleep(60)"
FAULT = "import ctypes; ctypes.string_at(0)"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has said yes, and nobody who delivers."""
    monkeypatch.setenv("VIBETEL_DELIVERING", "1")
    say_yes()


@pytest.mark.parametrize("style", [WITH, PLAIN], ids=["with", "plain"])
@pytest.mark.parametrize(
    ("body", "error_type", "status"),
    [
        ("raise ValueError('secret')", "ValueError", 1),
        ("raise SystemExit('secret')", "SystemExit", 1),
        ("sys.exit(3)", "SystemExit", 3),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", -signal.SIGINT),
        (TO_ITSELF.format("SIGINT"), "KeyboardInterrupt", -signal.SIGINT),
        (TO_ITSELF.format("SIGTERM"), "SIGTERM", -signal.SIGTERM),
        (TO_ITSELF.format("SIGHUP"), "SIGHUP", -signal.SIGHUP),
        ("os._exit(4)", "ProcessVanished", 4),
        (TO_ITSELF.format("SIGKILL"), "ProcessVanished", -signal.SIGKILL),
        (FAULT, "ProcessVanished", -signal.SIGSEGV),
        ("os.abort()", "ProcessVanished", -signal.SIGABRT),
        ("os.execv(sys.executable, [sys.executable, '-c', 'raise SystemExit(5)'])", "ProcessVanished", 5),
        (
            "signal.signal(signal.SIGINT, signal.SIG_DFL); " + TO_ITSELF.format("SIGINT"),
            "ProcessVanished",
            -signal.SIGINT,
        ),
    ],
)
def test_a_run_that_ends_badly_is_one_event(style: str, body: str, error_type: str, status: int) -> None:
    ran = run(style.replace("...", body))
    assert ran.returncode == status
    assert ran.stdout == ""
    assert reported() == [("repo", True, error_type)]
    assert reported() == [("repo", True, error_type)]
    assert "secret" not in str(host.spool().waiting())


@pytest.mark.parametrize("style", [WITH, PLAIN], ids=["with", "plain"])
def test_a_run_that_ends_well_is_one_event(style: str) -> None:
    ran = run(style.replace("...", "pass"))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert reported() == [("repo", False, None)]


def test_an_exit_without_a_status_is_no_error() -> None:
    assert run(WITH.replace("...", "sys.exit()")).returncode == 0
    assert reported() == [("repo", False, None)]


def test_an_exception_is_shown_as_without_telemetry() -> None:
    assert run(PLAIN.replace("...", "raise ValueError('text')")).stderr.endswith("ValueError: text\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_from_outside_ends_runs_inside_each_other(name: str) -> None:
    program = (
        HOST
        + """
telemetry.start_command("outer")
with telemetry.command("inner"):
    print(flush=True)
    time.sleep(60)
"""
    )
    with start(program) as interrupted:
        assert interrupted.stdout
        interrupted.stdout.readline()
        interrupted.send_signal(getattr(signal, name))
        finish(interrupted)
    assert interrupted.returncode == -getattr(signal, name)
    error_type = "KeyboardInterrupt" if name == "SIGINT" else name
    assert sorted(reported(), key=str) == [("inner", True, error_type), ("outer", True, error_type)]


def test_the_error_before_the_signal_counts() -> None:
    run(PLAIN.replace("...", "telemetry.record_error(KeyError()); " + TO_ITSELF.format("SIGTERM")))
    assert reported() == [("repo", True, "KeyError")]


def test_sigint_is_reported_where_the_host_has_made_it_deadly() -> None:
    program = WITH.replace("with ", "signal.signal(signal.SIGINT, signal.SIG_DFL)\nwith ")
    assert run(program.replace("...", TO_ITSELF.format("SIGINT"))).returncode == -signal.SIGINT
    assert reported() == [("repo", True, "SIGINT")]


# -- What is the host's -----------------------------------------------------------------------------------------------

HANDLER = "signal.signal(signal.SIGTERM, lambda *_: print('handled', flush=True))"


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_handler_of_the_host_s_stays_the_host_s(when: str) -> None:
    raised = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.01)"
    program = WITH.replace("with ", HANDLER + "\nwith ") if when == "before" else WITH
    body = raised if when == "before" else f"{HANDLER}; {raised}"
    ran = run(program.replace("...", body) + raised + "\n")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "handled\nhandled\n", "")
    assert reported() == [("repo", False, None)]


@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM", "SIGINT"])
def test_an_ignored_signal_stays_ignored(name: str) -> None:
    program = WITH.replace("with ", f"signal.signal(signal.{name}, signal.SIG_IGN)\nwith ")
    ran = run(program.replace("...", f"os.kill(os.getpid(), signal.{name}); print('goes on')"))
    assert (ran.returncode, ran.stdout) == (0, "goes on\n")
    assert reported() == [("repo", False, None)]


def test_under_nohup_a_host_outlives_its_terminal() -> None:
    program = WITH.replace("...", "os.kill(os.getpid(), signal.SIGHUP); print('goes on')")
    ran = subprocess.run(
        ["nohup", *host.command(program)], env=host.environment(), capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "goes on\n")
    assert reported() == [("repo", False, None)]


def test_after_the_run_signals_are_as_they_were() -> None:
    before = HOST + "def tell(): print([signal.getsignal(n) for n in (1, 2, 15)])\ntell()\n"
    ran = run(
        before + WITH.removeprefix(HOST).replace("...", "pass") + "tell()\n" + PLAIN.removeprefix(HOST) + "tell()\n"
    )
    assert len(set(ran.stdout.splitlines())) == 1


def test_without_consent_no_signal_is_caught() -> None:
    host.say_no()
    ran = run(WITH.replace("...", "print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"))
    assert ran.stdout == "True\n"


def test_a_signal_after_the_run_ends_the_host_without_an_event() -> None:
    assert run(WITH.replace("...", "pass") + TO_ITSELF.format("SIGTERM")).returncode == -signal.SIGTERM
    assert reported() == [("repo", False, None)]


# -- Threads ----------------------------------------------------------------------------------------------------------


def test_a_run_in_a_thread_is_one_event() -> None:
    program = (
        HOST
        + """
import threading
def work():
    with telemetry.command("repo"):
        print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    )
    assert (run(program).stdout, reported()) == ("True\n", [("repo", False, None)])


def test_a_run_that_vanishes_in_a_thread_is_one_event() -> None:
    program = (
        HOST
        + """
import threading
threading.Thread(target=telemetry.start_command, args=("repo",)).start()
time.sleep(0.1)
os._exit(1)
"""
    )
    assert run(program).returncode == 1
    assert reported() == [("repo", True, "ProcessVanished")]


@pytest.mark.parametrize(("ending", "status"), [("pass", 0), ("os._exit(1)", 1), (TO_ITSELF.format("SIGTERM"), -15)])
def test_a_run_that_ends_in_a_thread_is_one_event(ending: str, status: int) -> None:
    program = (
        HOST
        + """
import threading
telemetry.start_command("repo")
thread = threading.Thread(target=telemetry.end_command)
thread.start()
thread.join()
"""
    )
    assert run(program + ending).returncode == status
    assert reported() == [("repo", False, None)]


def test_a_signal_reaches_a_host_that_waits_for_its_thread() -> None:
    program = (
        HOST
        + """
import threading
with telemetry.command("repo"):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    threading.Event().wait()
"""
    )
    assert run(program).returncode == -signal.SIGTERM
    assert reported() == [("repo", True, "SIGTERM")]


# -- Forks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ending",
    [
        "os._exit(0)",
        "sys.exit(1)",
        "raise ValueError",
        TO_ITSELF.format("SIGTERM"),
        TO_ITSELF.format("SIGKILL"),
        "telemetry.end_command(); os._exit(0)",
    ],
)
@pytest.mark.parametrize("style", [WITH, PLAIN], ids=["with", "plain"])
def test_a_fork_reports_nothing_of_its_own(style: str, ending: str) -> None:
    body = f"exec({FORK!r}.replace('ENDING', {ending!r}))"
    assert run(style.replace("...", body)).returncode == 0
    assert reported() == [("repo", False, None)]


@pytest.mark.parametrize("ending", ["sys.exit(1)", TO_ITSELF.format("SIGTERM"), "telemetry.end_command(); os._exit(0)"])
def test_a_run_that_vanishes_after_its_fork_has_ended_is_one_event(ending: str) -> None:
    body = f"exec({FORK!r}.replace('ENDING', {ending!r})); os._exit(1)"
    assert run(WITH.replace("...", body)).returncode == 1
    assert reported() == [("repo", True, "ProcessVanished")]


FORK = """
if os.fork() == 0:
    ENDING
os.wait()
"""


def test_a_fork_s_own_run_is_its_own_event() -> None:
    body = f"exec({FORK.replace('ENDING', OWN_RUN)!r})"
    assert run(WITH.replace("...", body)).returncode == 0
    assert sorted(reported()) == [("ask", False, None), ("repo", False, None)]


OWN_RUN = """
    with telemetry.command("ask"):
        pass
    os._exit(0)
"""


def test_in_a_fork_signals_are_as_without_telemetry() -> None:
    body = (
        "os.fork() or print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True) or os._exit(0); os.wait()"
    )
    assert run(WITH.replace("...", body)).stdout == "True\n"


def test_a_signal_to_a_fork_that_has_only_begun_ends_it() -> None:
    at_once = "import os, signal\nos.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))\n"
    body = "fork = os.fork() or os._exit(0); print(os.waitpid(fork, 0)[1])"
    ran = run(at_once + WITH.replace("...", body))
    assert (ran.returncode, ran.stdout) == (0, f"{signal.SIGTERM}\n")
    assert reported() == [("repo", False, None)]


def test_a_signal_to_a_fork_waits_until_the_fork_is_in_order() -> None:
    tell = "(lambda: print(signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, []), flush=True))"
    first = f"import os, signal\nos.register_at_fork(after_in_child={tell})\n"
    body = f"os.fork() or {tell}() or os._exit(0); os.wait(); {tell}()"
    assert run(first + WITH.replace("...", body)).stdout == "True\nFalse\nFalse\n"


def test_after_a_fork_the_host_can_be_interrupted_as_before() -> None:
    assert run(WITH.replace("...", "os.fork() or os._exit(0); " + TO_ITSELF.format("SIGTERM"))).returncode == -15
    assert reported() == [("repo", True, "SIGTERM")]


def test_a_signal_ends_a_fork_s_own_run() -> None:
    own_run = """
if os.fork() == 0:
    with telemetry.command("ask"):
        os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)
os.wait()
"""
    assert run(WITH.replace("...", f"exec({own_run!r})")).returncode == 0
    assert sorted(reported(), key=str) == [("ask", True, "SIGTERM"), ("repo", False, None)]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_of_processes_is_no_run(method: str) -> None:
    program = (
        HOST
        + f"""
import multiprocessing
with telemetry.command("repo"):
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        print(pool.map(abs, [-1, -2]))
"""
    )
    ran = run(program)
    assert (ran.returncode, ran.stdout) == (0, "[1, 2]\n")
    assert reported() == [("repo", False, None)]


def test_a_subprocess_is_no_run() -> None:
    ran = run(WITH.replace("...", "import subprocess; subprocess.run([sys.executable, '-c', 'raise SystemExit(1)'])"))
    assert ran.returncode == 0
    assert reported() == [("repo", False, None)]

"""Silence: before a yes, and after a no, a host connects to nothing, looks up nothing, writes and starts nothing.

Seen by an audit hook inside its process, and by the packet counters of a network of its own.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# A host that does everything an author can do, and tells in the end what reached beyond its process.
HOST = """
import atexit, json, os, sys
REACHES = (
    "socket.", "subprocess.", "shutil.", "tempfile.", "os.posix_spawn", "os.fork", "os.exec", "os.mkdir", "os.rename",
    "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.utime",
)
seen = []
def hook(event, arguments):
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event.startswith(REACHES):
        seen.append(event)
sys.addaudithook(hook)
atexit.register(lambda: print(json.dumps(seen)))

from vibetel_client import Telemetry
telemetry = Telemetry(tool="vibe-tools", version="0.64.0", endpoint="http://127.0.0.1:9/api/pipeline")
with telemetry.command("repo", {"debug": True}):
    telemetry.update_command_state(model="gpt-4o", prompt_tokens=12)
try:
    with telemetry.command("ask"):
        raise ValueError
except ValueError:
    pass
telemetry.track_event("command_error", {"command": "web", "error_type": "ValueError"})
telemetry.prompt_for_consent()
telemetry.start_command("plan")
telemetry.record_error(KeyError())
telemetry.end_command()
telemetry.start_command("left")
"""
YES = '{"telemetryEnabled": true, "userId": "5f0c8a3e-52d6-4b34-9f0e-0d6f0a4f7a11"}'
NO = '{"telemetryEnabled": false, "userId": "anonymous_opt_out"}'
SILENT = [
    pytest.param(None, {}, id="never asked"),
    pytest.param(None, {"CI": "1"}, id="never asked, in CI"),
    pytest.param("null", {}, id="file holds null"),
    pytest.param("{", {}, id="file broken"),
    pytest.param('{"userId": "5f0c8a3e-52d6-4b34-9f0e-0d6f0a4f7a11"}', {}, id="file without a choice"),
    pytest.param('{"telemetryEnabled": "true"}', {}, id="file with no bool"),
    pytest.param(NO, {}, id="no"),
    pytest.param(NO, {"DO_NOT_TRACK": "1"}, id="no twice"),
    pytest.param(YES, {"DO_NOT_TRACK": "1"}, id="yes, but DO_NOT_TRACK"),
    pytest.param(YES, {"VIBE_TOOLS_NO_TELEMETRY": "TRUE"}, id="yes, but VIBE_TOOLS_NO_TELEMETRY"),
    pytest.param(None, {"VIBE_TOOLS_NO_TELEMETRY": "yes"}, id="never asked, VIBE_TOOLS_NO_TELEMETRY"),
]


def home_with(tmp_path: Path, content: "str | None") -> Path:
    home = tmp_path / "home"
    home.mkdir()
    if content is not None:
        (home / ".vibe-tools").mkdir()
        (home / ".vibe-tools/diagnostics.json").write_text(content)
    return home


def files_of(home: Path) -> dict[str, str]:
    return {str(path.relative_to(home)): path.read_text() if path.is_file() else "" for path in home.rglob("*")}


def run_host(home: Path, environment: dict[str, str], prefix: tuple[str, ...] = ()) -> str:
    """What the host prints; it may not say anything else."""
    command = [*prefix, sys.executable, "-B", "-c", HOST]
    environment = {"HOME": str(home), "USERPROFILE": str(home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stderr == ""
    return ran.stdout


@pytest.mark.parametrize(("content", "environment"), SILENT)
def test_without_consent_a_host_reaches_for_nothing(
    tmp_path: Path, content: "str | None", environment: dict[str, str]
) -> None:
    home = home_with(tmp_path, content)
    before = files_of(home)
    assert json.loads(run_host(home, environment)) == []
    assert files_of(home) == before


def test_with_consent_the_same_host_is_seen_to_write_and_to_start_a_process(tmp_path: Path) -> None:
    seen = set(json.loads(run_host(home_with(tmp_path, YES), {})))
    assert {"open", "os.mkdir", "os.posix_spawn"} <= seen
    assert not {event for event in seen if event.startswith("socket.")}


# Runs a host in a network that has nothing but a loopback of its own, waits for what the host may have started, and
# prints the loopback's counter of packets.
NETWORK = """
import ctypes, fcntl, os, socket, struct, subprocess, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH", b"lo", 1))  # SIOCSIFFLAGS: IFF_UP
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: the process that delivers becomes a child of this one
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
print(open("/proc/self/net/dev").read().split("lo:")[1].split()[1])
"""
OWN_NETWORK = ("unshare", "--map-root-user", "--net", sys.executable, "-c", NETWORK)
needs_network = pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run((*OWN_NETWORK[:3], "true"), capture_output=True).returncode != 0,
    reason="this machine lets nobody make a network namespace",
)


@needs_network
@pytest.mark.parametrize(("content", "environment"), SILENT)
def test_without_consent_no_packet_leaves(tmp_path: Path, content: "str | None", environment: dict[str, str]) -> None:
    assert run_host(home_with(tmp_path, content), environment, OWN_NETWORK) == "0\n"


@needs_network
def test_with_consent_packets_are_counted(tmp_path: Path) -> None:
    assert int(run_host(home_with(tmp_path, YES), {}, OWN_NETWORK)) > 0

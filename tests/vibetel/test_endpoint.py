"""`manage.py endpoint`: only a URL that answers as the portal does becomes the client's default."""

import io
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as now_set
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from analytics import load, rollups
from analytics.models import DailyRollup, Event, HourlyRollup
from ingest import archiver, buffer
from tests.client.stand_in import StandIn, http_answer
from tests.ingest.server import Server, serving
from vibetel import endpoint

OLD = "https://old.example.org/api/pipeline"


@pytest.fixture
def client_file(tmp_path: Path, settings: Settings) -> Path:
    """A checkout's client, of which the default endpoint is OLD."""
    file = tmp_path / "client/vibetel_client/endpoint.py"
    file.parent.mkdir(parents=True)
    shutil.copy(now_set.BASE_DIR / "client/vibetel_client/endpoint.py", file)
    settings.BASE_DIR = tmp_path
    endpoint.write(file, OLD)
    return file


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The endpoint as it is served."""
    with serving(tmp_path_factory.mktemp("server") / "log") as server:
        yield server


def default_endpoint(file: Path) -> str:
    """As Python has it, not as the command reads it."""
    return str(runpy.run_path(str(file))["DEFAULT_ENDPOINT"])


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command("endpoint", *arguments, stdout=output)
    return output.getvalue()


def test_endpoint_that_answers_becomes_the_default(client_file: Path, server: Server, empty_buffer: None) -> None:
    url = f"{server.url}/api/pipeline"
    documented = client_file.read_text().splitlines()[0]

    assert f"was {OLD}, and is now {url}" in run(url)

    assert default_endpoint(client_file) == url
    assert client_file.read_text().splitlines()[0] == documented
    assert buffer.counters()["waiting"] == 1
    assert f"is {url}" in run(url, "--check")


@pytest.mark.parametrize("path", ["/", "/api/pipelin"])
def test_endpoint_of_another_path_is_refused(client_file: Path, server: Server, path: str) -> None:
    with pytest.raises(CommandError, match="answers HTTP 404: is the path /api/pipeline there"):
        run(f"{server.url}{path}")
    assert default_endpoint(client_file) == OLD


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http_answer(200, {"success": True, "message": "Data sent to pipeline."}), "answers HTTP 200"),
        (http_answer(202, b"<html>a captive portal</html>"), "not as this portal does"),
        (http_answer(202, {"success": True, "results": [{"status": "rejected"}]}), "not as this portal does"),
        (http_answer(308, b"", Location="https://elsewhere.example.org/"), "which clients do not follow"),
        (http_answer(503, b""), "try again later"),
        ([], "does not answer"),
    ],
)
def test_endpoint_that_answers_otherwise_is_refused(
    client_file: Path, stand_in: StandIn, answer: list[bytes], said: str
) -> None:
    stand_in.answer = lambda request: answer
    with pytest.raises(CommandError, match=said):
        run(stand_in.url)
    assert default_endpoint(client_file) == OLD


@pytest.mark.parametrize(
    "url",
    [
        "telemetry.example.org",
        "ftp://example.org/",
        "https://u:p@example.org/",
        "http://é/",
        "http://[::1",
        "http://example.org:no/",
        "http://example.org/ ",
        "http://example.org/#part",
    ],
)
def test_endpoint_that_is_no_url_for_clients_is_refused(client_file: Path, url: str) -> None:
    with pytest.raises(CommandError, match="not a URL such as"):
        run(url)


def test_check_fails_where_the_client_has_another(client_file: Path, stand_in: StandIn) -> None:
    with pytest.raises(CommandError, match=f"default endpoint is {OLD}, not {stand_in.url}") as refused:
        run(stand_in.url, "--check")
    assert refused.value.returncode == 1
    assert stand_in.requests.empty()
    assert default_endpoint(client_file) == OLD


def test_check_fails_where_nothing_answers(client_file: Path) -> None:
    endpoint.write(client_file, "http://127.0.0.1:1/api/pipeline")
    with pytest.raises(CommandError, match="does not answer"):
        run("http://127.0.0.1:1/api/pipeline", "--check")


def test_endpoint_outside_a_checkout_says_so(client_file: Path, stand_in: StandIn) -> None:
    client_file.unlink()
    with pytest.raises(CommandError, match="run this in a checkout"):
        run(stand_in.url)


@pytest.mark.django_db
def test_test_events_are_one_event_and_in_no_figure(client_file: Path, server: Server, empty_stores: None) -> None:
    for _ in range(3):
        run(f"{server.url}/api/pipeline")
        archiver.archive_due(force=True)
    assert load.catch_up(everything=True, wait=True).duplicates == 2
    rollups.refresh()
    (kept,) = Event.objects.all()
    assert kept.installation_id is None
    assert not HourlyRollup.objects.exists()
    assert not DailyRollup.objects.filter(runs__gt=0).exists()

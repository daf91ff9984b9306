"""Endpoint: does a URL answer as this portal, and is it where the client sends to by default?

In: a URL; the client's endpoint.py. Out: that file with the URL in it, read again. Fails: WrongEndpoint.
Next: management/commands/endpoint.py

The test event is a real one, and in no figure: a `command_error` without a duration is no run (docs/queries.md), its
user is a placeholder, and it has one id for ever, so however often it is sent Postgres keeps it once. In the archive
and the books each of them counts as what it is, an event that came.
"""

import ast
import gzip
import json
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from vibetel_client import contract
from vibetel_client.transport import envelope

COMMAND = "endpoint-check"  # by which the event is known
_EVENT_ID = "0e0d9017-0000-7000-8000-000000000001"
_NAME = "DEFAULT_ENDPOINT"
_TIMEOUT = urllib3.Timeout(connect=5, read=10)


class WrongEndpoint(Exception):
    """The URL cannot be the endpoint, or the client's file not hold it; the message says why."""


def test_event(now: datetime) -> dict[str, object]:
    """The event that is sent, by wire names."""
    return {
        "eventName": contract.COMMAND_ERROR,
        "userId": contract.PLACEHOLDER_USER_IDS[1],
        "sessionId": _EVENT_ID,
        "timestamp": now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "toolVersion": "0.0.0",
        "command": COMMAND,
        "eventId": _EVENT_ID,
    }


def try_out(url: str, now: datetime) -> None:
    """Send the test event as a client would, and wait for the portal's 202. Raises WrongEndpoint."""
    if not _is_for_clients(url):
        raise WrongEndpoint("not a URL such as https://telemetry.example.org/api/pipeline")
    event = test_event(now)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "User-Agent": "vibetel-client"}
    body = gzip.compress(envelope([event], str(event["timestamp"])))
    try:
        with urllib3.PoolManager(timeout=_TIMEOUT, retries=False) as http:
            answer = http.request("POST", url, body=body, headers=headers)
    except HTTPError as error:
        raise WrongEndpoint(f"{url} does not answer ({type(error).__name__})") from error
    if answer.status != 202:
        raise WrongEndpoint(f"{url} answers HTTP {answer.status}{_hint(answer.status)}; the portal says 202")
    try:
        verdict = json.loads(answer.data)
    except ValueError:
        verdict = None
    if verdict != {"success": True, "results": [{"status": "accepted"}]}:
        raise WrongEndpoint(f"{url} answers HTTP 202, but not as this portal does")


def _is_for_clients(url: str) -> bool:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username and parts.port != 0
    except ValueError:
        return False
    return fits and bool(re.fullmatch("[!-~]+", url)) and not parts.fragment


def _hint(status: int) -> str:
    if 300 <= status < 400:
        return ", which clients do not follow: name the URL that it leads to"
    return {404: ": is the path /api/pipeline there?", 429: ": try again later", 503: ": try again later"}.get(
        status, ""
    )


def read(file: Path) -> str:
    """The client's default endpoint, as the file has it. Raises WrongEndpoint."""
    return str(ast.literal_eval(_assignment(file).value or ast.Constant("")))


def write(file: Path, url: str) -> None:
    """Put the URL into the client's file, in one step. Raises WrongEndpoint."""
    line = _assignment(file).lineno - 1
    lines = file.read_text().splitlines()
    lines[line] = f"{_NAME}: str = {json.dumps(url)}"
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", delete=False) as beside:
        beside.write("\n".join([*lines, ""]))
    Path(beside.name).chmod(file.stat().st_mode)
    Path(beside.name).replace(file)
    if read(file) != url:
        raise WrongEndpoint(f"{file} does not hold the URL after it was written")


def _assignment(file: Path) -> ast.AnnAssign:
    try:
        tree = ast.parse(file.read_text())
    except (OSError, SyntaxError) as error:
        raise WrongEndpoint(f"{file} cannot be read: run this in a checkout, where the client is released") from error
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == _NAME:
            return node
    raise WrongEndpoint(f"{file} has no line {_NAME}")

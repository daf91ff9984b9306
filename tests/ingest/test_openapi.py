"""GET /api/schema: the document is true of the running server."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from django.test import Client
from drf_spectacular.validation import validate_schema
from pytest_django.fixtures import Settings
from rest_framework import exceptions
from vibetel_client import contract
from vibetel_client.description import example_event

from ingest import checks, views
from tests.events import body, event
from tests.ingest.server import Server
from tests.vibetel.programs import CHECKOUT

pytestmark = [
    pytest.mark.usefixtures("empty_buffer"),
    pytest.mark.urls("vibetel.ingest_urls"),
    pytest.mark.xdist_group("server"),
]

# A fixed budget: as many cases an operation, the same ones each time.
SEED = "1"
CASES = "250"


@pytest.fixture(scope="module")
def document(server: Server) -> Any:
    return json.loads(server.ask("GET", "/api/schema")[2])


def schema(document: Any, name: str) -> dict[str, Any]:
    """One of the document's components, with those that it refers to."""
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


def assert_documented(document: Any, answer: Any, status: int) -> None:
    """The document says of POST that there is an answer of this status, with these headers, and its body."""
    documented = document["paths"]["/api/pipeline"]["post"]["responses"][str(status)]
    assert answer.status_code == status
    assert answer["Content-Type"] in documented["content"]
    described = documented["content"][answer["Content-Type"]]["schema"] | {"components": document["components"]}
    jsonschema_rs.validate(described, answer.json())
    for name, header in documented.get("headers", {}).items():
        value = answer[name]
        jsonschema_rs.validate(header["schema"], int(value) if header["schema"]["type"] == "integer" else value)


def test_document_is_openapi(document: Any) -> None:
    validate_schema(document)  # type: ignore[no-untyped-call]
    assert set(document["paths"]) == {"/api/pipeline", "/api/schema"}


def test_document_is_for_everybody_and_json(server: Server) -> None:
    status, headers, _ = server.ask("GET", "/api/schema?format=yaml", Accept="text/html")
    assert (status, headers["Content-Type"]) == (200, "application/json")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
def test_document_is_only_read(server: Server, document: Any, method: str) -> None:
    status, headers, _ = server.ask(method, "/api/schema")
    assert (status, headers["Allow"]) == (405, "GET")
    assert str(status) in document["paths"]["/api/schema"]["get"]["responses"]


@pytest.mark.parametrize("name", contract.EVENT_NAMES)
def test_document_lists_every_field_and_option(document: Any, name: str) -> None:
    component = "".join(word.title() for word in name.split("_"))
    described = document["components"]["schemas"][component]
    assert list(described["properties"]) == [field.name for field in contract.FIELDS]
    options = described["properties"]["options"]["properties"]
    assert list(options) == [option.name for option in contract.OPTIONS]


def test_document_takes_the_example(document: Any) -> None:
    jsonschema_rs.validate(schema(document, "Envelope"), {"data": example_event()}, validate_formats=True)


@pytest.mark.parametrize("name", contract.EVENT_NAMES)
def test_document_requires_what_the_contract_does(document: Any, name: str) -> None:
    sent = example_event() | {"eventName": name}
    fits = jsonschema_rs.Draft202012Validator(schema(document, "Event")).is_valid
    for field in contract.FIELDS:
        without = {given: value for given, value in sent.items() if given != field.name}
        assert fits(without) == (name not in field.required_for), field.name


def test_document_lists_every_reason_that_the_code_gives(document: Any) -> None:
    assert reasons_in(document["components"]) == reasons_in_the_code()


def reasons_in(part: Any) -> set[str]:
    """What a part of the document says that `reason` may be."""
    if isinstance(part, list):
        return set().union(*(reasons_in(inner) for inner in part))
    if not isinstance(part, dict):
        return set()
    listed = set(part["reason"]["enum"]) if "reason" in part else set()
    return listed.union(*(reasons_in(inner) for inner in part.values()))


def reasons_in_the_code() -> set[str]:
    """The words that it refuses with, and the codes of the exceptions of DRF that it raises or lets DRF raise."""
    found: set[Any] = {exceptions.MethodNotAllowed.default_code}
    for node in [node for module in (checks, views) for node in ast.walk(ast.parse(inspect.getsource(module)))]:
        match node:
            case ast.Call(
                ast.Name("Rejected" | "_FieldRejected" | "BodyRejected" | "TooMuch"), [ast.Constant(word), *_]
            ):
                found.add(word)
            case ast.Assign([ast.Name("default_code")], ast.Constant(word)):
                found.add(word)
            case ast.ImportFrom("rest_framework.exceptions", names):
                raised = {alias.name for alias in names} - {"APIException"}
                found |= {getattr(exceptions, name).default_code for name in raised}
    return found


def test_endpoint_page_lists_every_reason_that_the_code_gives() -> None:
    page = (CHECKOUT / "docs/endpoint.md").read_text()
    reasons = page.partition("| reason |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", reasons, re.MULTILINE)) == reasons_in_the_code()


def post(content: bytes, **headers: str) -> Any:
    return Client(headers=headers).post("/api/pipeline", content, content_type="application/json")


def test_document_describes_what_is_taken(document: Any) -> None:
    assert_documented(document, post(body(event())), 202)
    assert_documented(document, post(body(event(), event(duration="long"), [])), 202)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"data": []}', body("no event", {}), body(event(ci=1), event(ci=2))])
def test_document_describes_what_is_refused(document: Any, content: bytes) -> None:
    assert_documented(document, post(content), 400)


def test_document_describes_other_refusals(document: Any, settings: Settings) -> None:
    assert_documented(document, Client().put("/api/pipeline"), 405)
    assert_documented(document, post(body(event()), **{"Transfer-Encoding": "chunked"}), 411)
    assert_documented(document, post(body(event()), **{"Content-Encoding": "br"}), 415)
    assert_documented(document, post(b"no stream", **{"Content-Encoding": "gzip"}), 400)
    settings.EVENTS_MAX_COUNT = 1
    assert_documented(document, post(body(event(), event())), 413)
    settings.BODY_MAX_BYTES = 10
    assert_documented(document, post(body(event())), 413)


def test_document_describes_being_limited(document: Any, settings: Settings) -> None:
    settings.INGEST_RATE_PER_ADDRESS = (1, 60)
    assert_documented(document, post(body(event())), 202)
    assert_documented(document, post(body(event())), 429)


def test_document_describes_being_unavailable(document: Any, redis_away: None) -> None:
    assert_documented(document, post(body(event())), 503)


def test_schemathesis_finds_nothing_undocumented(server: Server, document: Any, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    # Not negative_data_rejection, but openapi_hooks.py: a batch with one event that fits is not rejected.
    options = f"--checks all --exclude-checks negative_data_rejection --seed {SEED} --max-examples {CASES} --no-color"
    ran = subprocess.run(
        [
            "schemathesis",
            "run",
            "openapi.json",
            "--url",
            server.url,
            "--suppress-health-check",
            "all",
            *options.split(),
        ],
        executable=Path(sys.executable).with_name("schemathesis"),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT), "SCHEMATHESIS_HOOKS": "tests.ingest.openapi_hooks"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 selected / 2 total" in ran.stdout
    assert "Traceback" not in server.log.read_text()

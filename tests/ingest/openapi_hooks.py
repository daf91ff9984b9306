"""What schemathesis is told of this endpoint, in the process that test_openapi.py starts.

In: openapi.json, the bodies that schemathesis makes of it, and the answers to them. Out: bodies written as a sender
would, and each verdict held to the document's schema of an event. Fails: AssertionError, which schemathesis reports
"""

import gzip
import json
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import schemathesis
from schemathesis import Case, CheckContext, Response, SerializationContext

COMPRESS: dict[str | None, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
INFLATE: dict[str | None, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@schemathesis.serializer("application/json")
def encode(context: SerializationContext, content: Any) -> bytes:
    """The body in the coding that `Content-Encoding` names: otherwise many would not be looked into."""
    if isinstance(content, bytes):
        return content
    headers: Any = context.case.headers or {}
    compress = COMPRESS.get(headers.get("Content-Encoding"), bytes)
    return compress(json.dumps(_with_plain_numbers(content)).encode())


@schemathesis.check
def each_verdict_is_the_documents(context: CheckContext, response: Response, case: Case[Any]) -> None:
    """An event is accepted if it fits the schema, and only then."""
    if case.operation.label == "POST /api/pipeline" and response.status_code in (202, 400):
        results = json.loads(response.content)["results"]
        given = [result["status"] == "accepted" for result in results]
        assert given == _verdicts(response.request.body, response.request.headers.get("Content-Encoding")), results


def _with_plain_numbers(content: Any) -> Any:
    """Whole numbers without a fraction: for JSON Schema 1.0 is one, for this endpoint it is not."""
    if isinstance(content, dict):
        return {name: _with_plain_numbers(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_with_plain_numbers(value) for value in content]
    return int(content) if isinstance(content, float) and content.is_integer() else content


def _verdicts(body: Any, coding: Any) -> list[bool]:
    try:
        inflated = INFLATE.get(coding, bytes)(body.encode() if isinstance(body, str) else body or b"")
        # No field takes a list: it stands for a number with a fraction or an exponent, such as 1.0.
        envelope = json.loads(inflated, parse_float=lambda text: [], parse_constant=_refuse)
    except (ValueError, OSError, EOFError, zlib.error):
        return [False]
    events = envelope.get("data") if isinstance(envelope, dict) else None
    return [_event().is_valid(event) for event in (events if isinstance(events, list) else [events])]


def _refuse(name: str) -> None:
    raise ValueError(name)  # NaN and the like are no JSON


@cache
def _event() -> jsonschema_rs.Draft202012Validator:
    components = json.loads(Path("openapi.json").read_text())["components"]
    event = {"$ref": "#/components/schemas/Event", "components": components}
    return jsonschema_rs.Draft202012Validator(event, validate_formats=True)

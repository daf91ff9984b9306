"""OpenAPI: GET /api/schema, the document of what the process that receives events takes and answers.

In: the contract, the limits of settings.py. Out: OpenAPI 3.1 as JSON, made when it is first asked for, then kept.
Next: tests/ingest/test_openapi.py, which holds the running server to every word of it

drf-spectacular finds paths, methods and media types; what an event may be is said from the contract, so that a new
field is here by itself. The schemas say what is accepted, which is more than what is kept: text that does not look
like what its field may hold is no mistake, but becomes `other`. The words say what becomes of it.
"""

import json
from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiRequest, OpenApiResponse, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from vibetel_client import contract
from vibetel_client.contract import Field, Kind, Option
from vibetel_client.description import example_event

Schema = dict[str, Any]

# Why one event is refused; the others may be accepted.
EVENT_REASONS = {
    "missing_field": "A field is not there, or null.",
    "bad_type": "A value is of another type than its field's.",
    "bad_value": "A value is none of those that its field may have.",
    "unknown_event": "`eventName` names no event.",
}
# Why a whole request is refused, by the status of the answer.
REQUEST_REASONS = {
    400: {
        "bad_encoding": "The body is not what `Content-Encoding` says, or not one whole stream of it.",
        "bad_json": "The body is no JSON text in UTF-8.",
        "missing_data": "The body is no object with `data` in it.",
    },
    405: {"method_not_allowed": "The method is none of those that `Allow` lists."},
    411: {"length_required": "The body is chunked, so without a `Content-Length`."},
    413: {
        "too_large": "The body has more bytes than it may, as sent or inflated.",
        "too_many_events": "The body has more events than it may: sent in smaller bodies, each gets its verdict.",
        "too_many_values": "The body has more than 50,000 commas and opening brackets: no 500 events need so many.",
    },
    415: {"unsupported_media_type": "The body is no `application/json`, or in another coding than gzip or deflate."},
    429: {"throttled": "Too many events came from this address or installation: come back after `Retry-After`."},
    503: {"unavailable": "The events cannot be kept now: come back after `Retry-After`."},
}


class SchemaView(APIView):
    """This document."""

    http_method_names = ["get"]
    authentication_classes = []
    permission_classes = []
    renderer_classes = [JSONRenderer]

    @extend_schema(
        operation_id="readSchema",
        tags=["description"],
        responses={
            200: OpenApiResponse({"type": "object", "required": ["openapi", "paths"]}, "This document."),
            405: OpenApiResponse(
                {"type": "object", "required": ["detail"]}, REQUEST_REASONS[405]["method_not_allowed"]
            ),
        },
        parameters=[OpenApiParameter("Allow", str, "header", response=[405], required=True, enum=["GET"])],
    )
    def get(self, request: Request) -> HttpResponse:
        """The document, whoever asks."""
        return HttpResponse(_document(), content_type="application/json")

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """JSON whatever `Accept` says."""
        return super().perform_content_negotiation(request, force=True)


class PipelineDescription(OpenApiViewExtension):  # type: ignore[no-untyped-call]
    """What the document says of the pipeline's view. That view knows nothing of it, and is no slower for it."""

    target_class = "ingest.slim.SlimPipelineView"

    def view_replacement(self) -> type[APIView]:
        """The view with a description of its `post`; it answers no request."""

        class Described(self.target_class):  # type: ignore[name-defined, misc]
            @extend_schema(
                operation_id="sendEvents",
                tags=["events"],
                summary="Send one event, or several.",
                description=_words(),
                request=OpenApiRequest(_reference("Envelope"), examples=_request_examples()),
                responses={202: _taken(), **{status: _refused(status) for status in REQUEST_REASONS}},
                parameters=_headers(),
            )
            def post(self, request: Request) -> Response:
                raise NotImplementedError

        return Described


@cache
def _document() -> bytes:
    document = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
    document["components"] = {"schemas": _schemas()}
    # Of a body that is described by a schema and no serializer, drf-spectacular does not say so.
    document["paths"]["/api/pipeline"]["post"]["requestBody"]["required"] = True
    return json.dumps(document, indent=1).encode()


# -- The request ------------------------------------------------------------------------------------------------------


def _words() -> str:
    return (
        "At least one event accepted, and on disk: 202. None: 400. `results` has a verdict for each event, in order; "
        "a request that is refused whole has one. Answers are JSON whatever `Accept` says. A body may have "
        f"{settings.BODY_MAX_BYTES:,} bytes, as sent and inflated, and {settings.EVENTS_MAX_COUNT:,} events; it may be "
        "compressed, but not chunked. Fields and options that are not listed are left out; a field that "
        "is null is taken as not there; of a key that is there twice the last counts."
    )


def _request_examples() -> list[OpenApiExample]:
    event = example_event()
    return [
        OpenApiExample("one", {"data": event}, summary="One event"),
        OpenApiExample("batch", {"sentAt": event["timestamp"], "data": [event]}, summary="A batch"),
    ]


def _headers() -> list[OpenApiParameter]:
    seconds = {"type": "integer", "minimum": 1}
    return [
        OpenApiParameter(
            "Content-Encoding",
            str,
            "header",
            enum=["identity", "gzip", "deflate"],
            description="How the body is compressed, if it is; one coding, in small or capital letters.",
        ),
        OpenApiParameter("Allow", str, "header", response=[405], required=True, enum=["POST"]),
        OpenApiParameter(
            "X-Request-ID",
            str,
            "header",
            response=[202],
            required=True,
            description="By which the portal's logs know the request.",
        ),
        OpenApiParameter(
            "Retry-After", seconds, "header", response=[429, 503], required=True, description="In seconds."
        ),
    ]


def _event(name: str) -> Schema:
    """An event of this name: whatever fits is accepted, and nothing else."""
    return {
        "type": "object",
        "required": [field.name for field in contract.FIELDS if name in field.required_for],
        "properties": {field.name: _field(field, name) for field in contract.FIELDS},
    }


def _field(field: Field, event_name: str) -> Schema:
    schema, words = _value(field, event_name)
    if event_name not in field.required_for:
        schema["type"] = [schema["type"], "null"]
    if field.kind is not Kind.EVENT_NAME:
        schema["examples"] = [field.example]
    return schema | {"description": f"{field.purpose} {words}".rstrip()}


def _value(field: Field, event_name: str) -> tuple[Schema, str]:
    """What a value of the field must be, and what becomes of it where it is not kept as it is."""
    match field.kind:
        case Kind.EVENT_NAME:
            return {"const": event_name}, ""
        case Kind.USER_ID:
            placeholders = _listed(contract.PLACEHOLDER_USER_IDS)
            return (
                {"type": "string", "minLength": 1},
                f"A UUID or one of {placeholders}; of any other text only a keyed hash is kept.",
            )
        case Kind.UUID:
            return {"type": "string", "format": "uuid", "pattern": _UUID}, ""
        case Kind.TIMESTAMP:
            return {"type": "string", "format": "date-time", "pattern": _TIMESTAMP}, ""
        case Kind.IDENTIFIER:
            return (
                {"type": "string"},
                f"A name of at most {field.maximum} characters; what looks like none is kept as `{contract.OTHER}`.",
            )
        case Kind.CHOICE:
            return {"type": "string"}, f"One of {_listed(field.choices)}; others are kept as `{contract.OTHER}`."
        case Kind.COUNT:
            return (
                {"type": "integer", "minimum": 0, "maximum": field.maximum},
                "Written as a whole number: neither 1.0 nor 1e3.",
            )
        case Kind.FLAG:
            return {"type": "boolean"}, ""
        case Kind.OPTIONS:
            return {"type": "object", "properties": {option.name: _option(option) for option in contract.OPTIONS}}, ""


_UUID = "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"
# Narrower than `format: date-time`, which also takes small letters, more digits, leap seconds and the year 0.
_TIMESTAMP = (
    r"^(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"
)


def _option(option: Option) -> Schema:
    """No value of an option is a mistake; the words say which are kept."""
    kept = "true or false"
    if option.kind is Kind.COUNT:
        kept += f", or a whole number of at most {option.maximum:,}"
    if option.kind is Kind.CHOICE:
        kept += f", or one of {_listed(option.choices)}"
    words = f"{option.purpose} Kept is {kept}; other text is kept as true, other values are left out."
    return {"description": words, "examples": [option.example]}


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


# -- The answers ------------------------------------------------------------------------------------------------------


def _taken() -> OpenApiResponse:
    results = [{"status": "accepted"}, {"status": "rejected", "reason": "bad_type", "field": "duration"}]
    return OpenApiResponse(
        _reference("Taken"),
        "At least one event is accepted, and on disk.",
        [OpenApiExample("some", {"success": True, "results": results}, summary="One accepted, one not")],
    )


def _refused(status: int) -> OpenApiResponse:
    """An answer that accepts nothing."""
    words = "No event is accepted. " if status == 400 else ""
    return OpenApiResponse(_reference(f"Refused{status}"), words + " ".join(REQUEST_REASONS[status].values()))


def _schemas() -> dict[str, Schema]:
    """The parts that the paths refer to."""
    event = {
        "oneOf": [_reference("CommandExecuted"), _reference("CommandError")],
        "discriminator": {
            "propertyName": "eventName",
            "mapping": {
                contract.COMMAND_EXECUTED: "#/components/schemas/CommandExecuted",
                contract.COMMAND_ERROR: "#/components/schemas/CommandError",
            },
        },
    }
    return {
        "Envelope": {"oneOf": [_reference("Single"), _reference("Batch")]},
        "Single": {"type": "object", "required": ["data"], "properties": {"data": _reference("Event")}},
        "Batch": {
            "type": "object",
            "required": ["data"],
            "properties": {
                "sentAt": {
                    "description": "The sender's clock when it sent, as a date-time: what it is off by is taken off "
                    "each event's `timestamp`. Anything else is taken as not there.",
                    "examples": [example_event()["timestamp"]],
                },
                "data": {
                    "type": "array",
                    "items": _reference("Event"),
                    "minItems": 1,
                    "maxItems": settings.EVENTS_MAX_COUNT,
                    "description": "Each event has a verdict of its own.",
                },
            },
        },
        "Event": event,
        "CommandExecuted": _event(contract.COMMAND_EXECUTED),
        "CommandError": _event(contract.COMMAND_ERROR),
        "Accepted": _object(status={"const": "accepted"}),
        "Rejected": _object(
            status={"const": "rejected"},
            reason=_reason(EVENT_REASONS),
            field={
                "type": "string",
                "enum": ["data", *(field.name for field in contract.FIELDS)],
                "description": "The field to blame; `data` where an event is no object.",
            },
        ),
        "Taken": _object(
            success={"const": True},
            results={
                "type": "array",
                "items": {"oneOf": [_reference("Accepted"), _reference("Rejected")]},
                "contains": _reference("Accepted"),
                "maxItems": settings.EVENTS_MAX_COUNT,
            },
        ),
        **{f"Refused{status}": _refusal(status) for status in REQUEST_REASONS},
    }


def _refusal(status: int) -> Schema:
    """One result for the whole request; of status 400 there may be one for each event instead."""
    result = _object(status={"const": "rejected"}, reason=_reason(REQUEST_REASONS[status]))
    results: Schema = {"type": "array", "items": result, "minItems": 1, "maxItems": 1}
    if status == 400:
        events = {"type": "array", "items": _reference("Rejected"), "maxItems": settings.EVENTS_MAX_COUNT}
        results = {"oneOf": [results, events]}
    return _object(success={"const": False}, results=results)


def _reason(reasons: dict[str, str]) -> Schema:
    words = "\n".join(f"- `{reason}`: {words}" for reason, words in reasons.items())
    return {"type": "string", "enum": list(reasons), "description": words}


def _object(**properties: Schema) -> Schema:
    """An object with these properties and no others."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}

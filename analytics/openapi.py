"""OpenAPI: GET /api/stats/openapi.json, the document of what the stats API takes and answers.

In: the views of api.py, and the types that their queries declare. Out: OpenAPI 3.1 as JSON, made when it is first asked
for, then kept. Next: tests/analytics/test_api.py, which holds real answers to it

What an answer holds follows from the dataclasses, as its rendering does: a new query is here by itself, and the words
are the dataclasses' own.
"""

import inspect
import json
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from django.http import HttpRequest, HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from analytics.dimensions import DIMENSIONS
from analytics.queries import Excluded, Freshness
from analytics.queries.filters import COMPARISONS, DEFAULT_PERIOD, INTERVALS, PERIODS
from analytics.queries.selection import NONE
from analytics.rendering import item_of, kinds, members

Schema = dict[str, Any]

JSON, CSV = "application/json", "text/csv"

REFUSALS = {
    400: "More parameters than are read.",
    401: "No token that is known, and no login.",
    403: "The account may not see the dashboards.",
    404: "There is nothing of this name to list runs by; `detail` has what there is.",
    405: "The API is only read.",
    406: "The answer is not to be had in this format.",
    429: "Too many requests of this account: come back after `Retry-After` seconds.",
}
"""The answers without figures, by status."""

_PLAIN: Mapping[Any, Schema] = {
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
}


def document(request: HttpRequest) -> HttpResponse:
    """The document, whoever asks: it holds nothing that the source does not."""
    return HttpResponse(_document(), content_type=JSON)


@cache
def _document() -> bytes:
    return json.dumps(SchemaGenerator().get_schema(public=True), indent=1).encode()  # type: ignore[no-untyped-call]


class StatsSchema(AutoSchema):
    """What the document says of a view that has a `question`, and perhaps `known` names to list runs by."""

    view: Any

    def get_operation_id(self) -> str:
        """After the path: statsTotals."""
        _, *words = [word for word in self.path.strip("/").split("/") if not word.startswith("{")]
        return words[0] + "".join(word.title().replace("_", "") for word in words[1:])

    def get_tags(self) -> list[str]:
        """The same for all."""
        return ["stats"]

    def get_summary(self) -> str:
        """What the query says of itself."""
        return inspect.getdoc(self.view.question) or ""

    def get_description(self) -> str:  # type: ignore[override]
        """Nothing more."""
        return ""

    def get_override_parameters(self) -> list[Any]:
        """Path, query string, and the headers of the answers."""
        by = OpenApiParameter("by", str, "path", required=True, enum=self.view.known, description="What to list by.")
        return [
            *([by] if self.view.known else []),
            *_query_string(),
            _header("X-Filter", 200, "As `filter` in JSON."),
            _header("X-Notices", 200, "As `notices` in JSON: an array of texts."),
            _header("X-Freshness", 200, "As `freshness` in JSON."),
            _header("X-Excluded", 200, "As `excluded` in JSON."),
            _header("WWW-Authenticate", 401, "How to authenticate."),
            _header("Retry-After", 429, "In seconds."),
        ]

    def get_response_serializers(self) -> Any:
        """Each status and media type with its schema."""
        answers: dict[tuple[int, str], OpenApiResponse] = {
            (200, JSON): OpenApiResponse(self._answer(get_type_hints(self.view.question)["return"]), "The figures."),
            (200, CSV): OpenApiResponse({"type": "string"}, "The figures."),
        }
        for status, words in REFUSALS.items():
            if status != 404 or self.view.known:
                answers[status, JSON] = OpenApiResponse(_object(detail={"type": "string"}), words)
        return answers

    def _answer(self, hint: Any) -> Schema:
        text, days = _PLAIN[str], _object(first=_PLAIN[date], last=_PLAIN[date])
        return _object(
            filter={**text, "description": "The query string of this answer, without what goes without saying."},
            period={**days, "description": "UTC days, both inclusive."},
            before={
                "anyOf": [days, _PLAIN[type(None)]],
                "description": "The days to compare with; null for none, and where the portal knows only some of them.",
            },
            notices={
                "type": "array",
                "items": text,
                "description": "What was asked for and is not known, with what stands in for it.",
            },
            freshness=self._schema(Freshness),
            excluded=self._schema(Excluded),
            result=self._schema(hint),
        )

    def _schema(self, hint: Any) -> Schema:
        """As rendering.as_json writes something of this type."""
        if item := item_of(hint):
            return {"type": "array", "items": self._schema(item)}
        if get_origin(hint) is tuple:
            places = [self._schema(place) for place in get_args(hint)]
            return {"type": "array", "prefixItems": places, "minItems": len(places), "maxItems": len(places)}
        if len(kinds(hint)) > 1:
            return {"anyOf": [self._schema(kind) for kind in kinds(hint)]}
        return dict(_PLAIN[hint]) if hint in _PLAIN else self._component(hint)

    def _component(self, kind: type) -> Schema:
        described = {
            name: self._schema(inner) | ({"description": words} if words else {})
            for name, inner, words in members(kind)
        }
        component = ResolvedComponent(  # type: ignore[no-untyped-call]
            name=kind.__name__,
            type=ResolvedComponent.SCHEMA,
            schema={**_object(**described), "description": inspect.getdoc(kind) or ""},
            object=kind,
        )
        self.registry.register_on_missing(component)
        return dict(component.ref)


def _query_string() -> list[OpenApiParameter]:
    filters = [
        OpenApiParameter(
            name,
            {"type": "array", "items": {"type": "string"}},
            description=f"{words} `{dimension}` is this; several times: any of them. `{NONE}`: it has none.",
        )
        for dimension in DIMENSIONS
        for name, words in ((dimension, "Only runs whose"), (f"{dimension}__not", "No runs whose"))
    ]
    return [
        OpenApiParameter(
            "period", enum=PERIODS, default=DEFAULT_PERIOD, description="Which UTC days; today is the last."
        ),
        OpenApiParameter("from", date, description="The first day of `period=custom`."),
        OpenApiParameter("to", date, description="The last day of `period=custom`, inclusive."),
        OpenApiParameter("compare", enum=COMPARISONS, default=COMPARISONS[0], description="Beside which days."),
        OpenApiParameter(
            "interval", enum=INTERVALS, description="The steps of series; the usual one goes by the period."
        ),
        *filters,
    ]


def _header(name: str, status: int, words: str) -> OpenApiParameter:
    return OpenApiParameter(name, str, "header", response=[status], required=True, description=words)


def _object(**properties: Schema) -> Schema:
    """An object with these properties and no others."""
    return {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}

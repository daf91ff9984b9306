"""Stats API: the figures of the dashboards, for programs. Read-only.

In: GET /api/stats/<question> with the query string of the pages, and a token or the portal's login. Out: JSON, or CSV.
Fails: 400 401 403 404 405 406 429, each with `detail`. Next: rendering.py, openapi.py; docs/api.md

To put a further question, add its query to QUESTIONS: routes, rendering and document follow from it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from inspect import signature
from typing import Any, NoReturn, get_type_hints
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import TooManyFieldsSent
from django.urls import URLPattern, path
from django.utils import timezone
from rest_framework.authentication import SessionAuthentication, TokenAuthentication
from rest_framework.exceptions import NotAcceptable, NotAuthenticated, NotFound, ParseError, PermissionDenied
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from analytics import openapi, queries, roles
from analytics.dimensions import BREAKDOWNS, OPTION
from analytics.queries import Period
from analytics.rendering import as_csv, as_json, headers

PARTS = sorted(BREAKDOWNS)
"""What runs are listed by. Who ran them is never said."""


# Path -> the query that answers it. It is given what it takes; what it returns, as its signature says, is rendered.
QUESTIONS: Mapping[str, Callable[..., object]] = {
    "totals": queries.totals,
    "series": queries.series,
    "parts/<str:by>": queries.parts,
    "freshness": queries.freshness,
    "adoption": queries.adoption,
    "comparisons": queries.comparisons,
    "errors": queries.errors,
    "activity": queries.activity,
    "newcomers": queries.newcomers,
    "cohorts": queries.cohorts,
    "retention": queries.retention,
    "runs_per_installation": queries.runs_per_installation,
    "who": queries.who,
    "options": queries.options,
    "tree": queries.tree,
    "excluded": queries.excluded,
    "durations": queries.durations,
}


# Whose parts are listed by something that their path does not say.
_LISTED_BY: Mapping[Callable[..., object], str] = {queries.tree: "provider_model", queries.options: OPTION}


class CSVRenderer(BaseRenderer):
    """Text that is CSV already."""

    media_type = openapi.CSV
    format = "csv"
    charset = "utf-8"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        """As bytes."""
        return str(data).encode()


class Negotiation(DefaultContentNegotiation):
    """Says which formats there are."""

    def filter_renderers(self, renderers: Iterable[BaseRenderer], format: str) -> list[BaseRenderer]:
        """The renderer of this format."""
        renderers = list(renderers)
        found = [renderer for renderer in renderers if renderer.format == format]
        if not found:
            known = " or ".join(str(renderer.format) for renderer in renderers)
            raise NotAcceptable(f"This is not to be had as “{format[:40]}”: ask for {known}.")
        return found


class AccountThrottle(UserRateThrottle):
    """STATS_RATE_PER_ACCOUNT, as each web process counts it."""

    scope = "stats"

    def get_rate(self) -> Any:
        """Requests and seconds; None for no limit."""
        return settings.STATS_RATE_PER_ACCOUNT

    def parse_rate(self, rate: Any) -> tuple[Any, Any]:
        """The settings have it parsed."""
        return rate or (None, None)


class SeesDashboards(BasePermission):
    """Who sees the dashboards may ask."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """As roles.py has it."""
        return roles.sees_dashboards(request.user)


class StatsView(APIView):
    """Answers one question."""

    http_method_names = ["get", "head", "options"]
    authentication_classes = [TokenAuthentication, SessionAuthentication]
    permission_classes = [SeesDashboards]
    throttle_classes = [AccountThrottle]
    parser_classes = []
    renderer_classes = [JSONRenderer, CSVRenderer]
    content_negotiation_class = Negotiation
    schema = openapi.StatsSchema()

    question: Callable[..., object] = staticmethod(queries.totals)
    known: Sequence[str] = ()

    def get(self, request: Request, by: str = "") -> Response:
        """200 with the figures; 404 where nothing is listed by this."""
        if self.known and by not in self.known:
            raise NotFound(f"There are no parts by “{by[:40]}”: these are {', '.join(self.known)}.")
        now = timezone.now()
        asked = {name: values for name, values in request.query_params.lists() if name != "format"}
        chosen, notices = queries.parsed(asked, now)
        with queries.snapshot():
            freshness = queries.freshness()
            compared = freshness.comparing(chosen)
            found = _asked(self.question, chosen=compared, now=now, by=by)
            excluded = queries.excluded(chosen)
        words = queries.words(chosen)
        said = headers(words, notices, freshness=freshness, excluded=excluded)
        if isinstance(request.accepted_renderer, CSVRenderer):
            listed_by = by or _LISTED_BY.get(self.question)
            places = {"values": BREAKDOWNS[listed_by].columns} if listed_by else {}
            return Response(as_csv(found, get_type_hints(self.question)["return"], places), headers=said)
        answer = {
            "filter": urlencode(words),
            "period": _days(compared.period),
            "before": _days(compared.before),
            "notices": notices,
            "freshness": freshness,
            "excluded": excluded,
            "result": found,
        }
        return Response(as_json(answer), headers=said)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """204 with `Allow`; the document says the rest."""
        return Response(status=204)

    def permission_denied(self, request: Request, message: str | None = None, code: str | None = None) -> NoReturn:
        """401 or 403, with what to do."""
        if request.user.is_authenticated:
            raise PermissionDenied("This account may not see the dashboards: an administrator can give it a role.")
        raise NotAuthenticated("Send `Authorization: Token …`: `manage.py api_token USERNAME` prints one.")

    def handle_exception(self, exc: Exception) -> Response:
        """A refusal is JSON in any case."""
        if isinstance(exc, TooManyFieldsSent):
            exc = ParseError(f"At most {settings.DATA_UPLOAD_MAX_NUMBER_FIELDS} parameters are read.")
        self.request.accepted_renderer = JSONRenderer()
        self.request.accepted_media_type = openapi.JSON
        return super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Nobody on the way keeps figures."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "private, no-store"
        return response


def routes() -> list[URLPattern]:
    """One for each question."""
    return [
        path(route, StatsView.as_view(question=question, known=PARTS if "<" in route else ()))
        for route, question in QUESTIONS.items()
    ]


def _days(period: Period | None) -> dict[str, date] | None:
    return {"first": period.first, "last": period.last} if period else None


def _asked(question: Callable[..., object], **known: object) -> object:
    return question(**{name: known[name] for name in signature(question).parameters if name in known})

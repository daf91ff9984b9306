"""The view of views.py without what DRF finds out anew for each request though it never changes.

Here is what differs from views.py, which is ordinary DRF. tests/ingest/test_slim.py sends both views the same and
compares the answers. docs/performance.md says what it saves.
"""

from typing import IO, Any, cast

from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request

from ingest.views import BodyParser, JSONBytesRenderer, OneOfEach, PipelineView

_PARSER = BodyParser()
_RENDERER = JSONBytesRenderer()
_NEGOTIATION = OneOfEach()
_HEADERS = {"Content-Type": "application/json"}


class SlimRequest(Request):
    """DRF's request, which does not look for its parser where the body is an ordinary one."""

    def __init__(self, request: HttpRequest) -> None:
        # No lists of parsers and authenticators are made: there is one parser, and nobody logs in.
        super().__init__(request, parsers=(_PARSER,), authenticators=(), negotiator=_NEGOTIATION)
        # DRF puts this request and its view here. They would keep each other, and the body, until Python looks for
        # cycles; and it must look seldom, because a look takes its time where a hostile body has 100,000 lists.
        self.parser_context = {"request": request}
        # Which DRF would find by failing to find them here, each time.
        self.META, self.method = request.META, request.method

    @property
    def data(self) -> Any:
        """The body, read once by the view."""
        length = self.META.get("CONTENT_LENGTH", "")
        if self.META.get("CONTENT_TYPE") != _PARSER.media_type or not length.isdigit() or length == "0":
            return super().data
        return _PARSER.parse(cast(IO[bytes], self._request), _PARSER.media_type, self.parser_context)


class SlimPipelineView(PipelineView):
    """The endpoint."""

    # DRF asks the class for its methods each time.
    default_response_headers = {"Allow": "POST"}

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """A slim one."""
        self.start_clock()
        return SlimRequest(request)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Of DRF's steps before the handler, those that do something here."""
        request.accepted_renderer, request.accepted_media_type = _RENDERER, _RENDERER.media_type
        self.check_throttles(request)

    def answer(self, results: dict[str, object], code: int, headers: dict[str, str] | None = None) -> HttpResponse:
        """Rendered at once: DRF's would be a template that keeps the view, and that Django renders later."""
        return HttpResponse(_RENDERER.render(results), status=code, headers=_HEADERS | headers if headers else _HEADERS)

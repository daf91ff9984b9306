"""The view of views.py without what DRF finds out anew for each request though it never changes.

Here is what is not DRF's; all else is. tests/ingest/test_slim.py sends both views the same and compares the answers.
docs/performance.md says what it saves.
"""

from typing import Any

from django.http import HttpRequest
from django.utils.datastructures import MultiValueDict
from rest_framework.request import Request

from ingest.views import BodyParser, JSONBytesRenderer, PipelineView

_PARSER = BodyParser()
_RENDERER = JSONBytesRenderer()


class SlimRequest(Request):
    """DRF's request, which need not look for its parser where the content type is the ordinary one."""

    def _parse(self) -> tuple[Any, MultiValueDict[str, Any]]:
        if self.content_type != _PARSER.media_type or self.stream is None:
            return super()._parse()  # type: ignore[misc, no-any-return]
        return _PARSER.parse(self.stream, _PARSER.media_type, self.parser_context), MultiValueDict()


class SlimPipelineView(PipelineView):
    """The endpoint."""

    # DRF asks the class for its methods each time.
    default_response_headers = {"Allow": "POST"}

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """No lists of parsers and authenticators, and no negotiator: there is one parser, and nobody logs in."""
        self.start_clock()
        context = {"view": self, "args": args, "kwargs": kwargs, "request": request}
        return SlimRequest(request, parsers=(_PARSER,), authenticators=(), parser_context=context)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Of DRF's steps before the handler, those that do something here."""
        request.accepted_renderer, request.accepted_media_type = _RENDERER, _RENDERER.media_type
        self.check_throttles(request)

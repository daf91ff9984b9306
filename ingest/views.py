"""POST /api/pipeline: the HTTP contract over checks and buffer."""

from collections import Counter
from datetime import UTC, datetime
from typing import IO, Any

from django.conf import settings
from rest_framework import status
from rest_framework.exceptions import APIException, UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, exception_handler

from ingest import buffer, checks
from ingest.checks import Accepted, Rejected

RETRY_AFTER_SECONDS = 5

# The body came and was refused unread: an event in the books.
_BODY_REFUSED = (
    status.HTTP_411_LENGTH_REQUIRED,
    status.HTTP_413_REQUEST_ENTITY_TOO_LARGE,
    status.HTTP_415_UNSUPPORTED_MEDIA_TYPE,
)


class BodyTooLarge(APIException):
    """More than BODY_MAX_BYTES."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


class LengthRequired(APIException):
    """A body without Content-Length (RFC 9110, section 15.5.12): WSGI cannot tell where it ends."""

    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_code = "length_required"


class Unavailable(APIException):
    """The event cannot be kept now: the buffer is full or away."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"
    wait = RETRY_AFTER_SECONDS  # DRF's exception handler makes Retry-After of it


class BodyParser(BaseParser):
    """Hands the body on as bytes: decoding it is part of the checks."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: object = None, parser_context: object = None) -> Any:
        """The body, read no further than its bound. Raises BodyTooLarge."""
        body = stream.read(settings.BODY_MAX_BYTES + 1)
        if len(body) > settings.BODY_MAX_BYTES:
            raise BodyTooLarge
        return body


class PipelineView(APIView):
    """Receive events.

    202: at least one is accepted, and on disk. 400: none is; `reason` and `field` say why. 405: not POST. 411: no
    Content-Length. 413: too large. 415: not JSON, or compressed. 503: cannot be kept now, come back after `Retry-After`
    seconds.
    """

    http_method_names = ["post"]
    authentication_classes = []
    permission_classes = []
    parser_classes = [BodyParser]
    renderer_classes = [JSONRenderer]

    def post(self, request: Request) -> Response:
        """Check the body's events, keep the accepted ones, answer with a verdict each."""
        if "HTTP_TRANSFER_ENCODING" in request.META:
            raise LengthRequired
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise UnsupportedMediaType(request.headers["Content-Encoding"])
        body: Any = request.data or b""  # DRF parses no empty body
        try:
            checked = checks.check(
                body,
                received_at=datetime.now(UTC),
                identity_hash_key=settings.IDENTITY_HASH_KEY,
                events_max_count=settings.EVENTS_MAX_COUNT,
            )
        except checks.BodyRejected as rejected:
            _keep([], received=1, counts={f"rejected:{rejected.reason}": 1})
            return _answer([Rejected(rejected.reason)])
        counts = Counter({f"dropped:{name}": count for name, count in checked.dropped.items()})
        counts.update(f"rejected:{v.reason}" for v in checked.verdicts if isinstance(v, Rejected))
        lines = [verdict.line for verdict in checked.verdicts if isinstance(verdict, Accepted)]
        _keep(lines, received=len(checked.verdicts), counts=counts)
        return _answer(checked.verdicts)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """JSON whatever `Accept` says: an event is not refused over the form of its answer."""
        return super().perform_content_negotiation(request, force=True)

    def get_exception_handler(self) -> Any:
        """Answers of this view have one shape, whatever stopped the request."""
        return _refuse


def _keep(lines: list[bytes], *, received: int, counts: dict[str, int]) -> None:
    try:
        buffer.push(lines, received=received, counts=counts)
    except (buffer.BufferFull, buffer.BufferUnavailable) as error:
        raise Unavailable from error


def _answer(verdicts: list[Accepted | Rejected]) -> Response:
    results = [_result(verdict) for verdict in verdicts]
    success = any(isinstance(verdict, Accepted) for verdict in verdicts)
    code = status.HTTP_202_ACCEPTED if success else status.HTTP_400_BAD_REQUEST
    return Response({"success": success, "results": results}, status=code)


def _result(verdict: Accepted | Rejected) -> dict[str, str]:
    if isinstance(verdict, Accepted):
        return {"status": "accepted"}
    result = {"status": "rejected", "reason": verdict.reason}
    return result | {"field": verdict.field} if verdict.field else result


def _refuse(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's answer to an exception, in this view's shape; a body that is refused whole is one event in the books."""
    answer = exception_handler(error, context)
    if answer is None or not isinstance(error, APIException):
        return answer
    reason = str(error.get_codes())
    if answer.status_code in _BODY_REFUSED:
        try:
            buffer.push([], received=1, counts={f"rejected:{reason}": 1})
        except buffer.BufferUnavailable:
            return _refuse(Unavailable(), context)
    answer.data = {"success": False, "results": [{"status": "rejected", "reason": reason}]}
    return answer

"""POST /api/pipeline: the HTTP contract over checks and buffer."""

import zlib
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

# The body was refused whole: an event in the books.
_BODY_REFUSED = (
    status.HTTP_400_BAD_REQUEST,
    status.HTTP_411_LENGTH_REQUIRED,
    status.HTTP_413_REQUEST_ENTITY_TOO_LARGE,
    status.HTTP_415_UNSUPPORTED_MEDIA_TYPE,
)

# Content codings (RFC 9110, section 8.4.1) that a body may have, each with zlib's `wbits` for its format.
_WBITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class BadBody(APIException):
    """The body as a whole cannot be read: `bad_encoding`, or what the checks say."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "bad_encoding"


class BodyTooLarge(APIException):
    """More than BODY_MAX_BYTES (`too_large`) or EVENTS_MAX_COUNT (`too_many_events`): send it in smaller parts."""

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
    """Hands the body on as bytes, inflated: decoding its JSON is part of the checks."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: object = None, parser_context: Any = None) -> Any:
        """The body, read and inflated no further than BODY_MAX_BYTES.

        Raises UnsupportedMediaType, BodyTooLarge, BadBody.
        """
        coding = parser_context["request"].headers.get("Content-Encoding", "identity").lower()
        if coding != "identity" and coding not in _WBITS:
            raise UnsupportedMediaType(coding)
        body = stream.read(settings.BODY_MAX_BYTES + 1)
        if len(body) > settings.BODY_MAX_BYTES:
            raise BodyTooLarge
        return body if coding == "identity" else _inflate(body, _WBITS[coding], settings.BODY_MAX_BYTES)


class PipelineView(APIView):
    """Receive events.

    202: at least one is accepted, and on disk. 400: none is; `reason` and `field` say why. 405: not POST. 411: no
    Content-Length. 413: too large, as sent or inflated, or too many events: send fewer at a time. 415: not JSON, or
    encoded as neither gzip nor deflate. 503: cannot be kept now, come back after `Retry-After` seconds.
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
        body: Any = request.data or b""  # DRF parses no empty body
        try:
            checked = checks.check(
                body,
                received_at=datetime.now(UTC),
                identity_hash_key=settings.IDENTITY_HASH_KEY,
                events_max_count=settings.EVENTS_MAX_COUNT,
            )
        except checks.TooManyEvents as error:
            raise BodyTooLarge(code=error.reason) from error
        except checks.BodyRejected as error:
            raise BadBody(code=error.reason) from error
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


def _inflate(body: bytes, wbits: int, max_bytes: int) -> bytes:
    """The body without its coding: one whole stream and nothing after it. Raises BodyTooLarge, BadBody."""
    inflater = zlib.decompressobj(wbits)
    try:
        inflated = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BadBody from error
    if len(inflated) > max_bytes:
        raise BodyTooLarge
    if not inflater.eof or inflater.unused_data:
        raise BadBody
    return inflated


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

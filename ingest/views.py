"""POST /api/pipeline: the HTTP contract over checks, throttles and buffer."""

import logging
import time
import zlib
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import IO, Any, NoReturn, cast

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework import status
from rest_framework.exceptions import APIException, Throttled, UnsupportedMediaType
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, exception_handler

from ingest import buffer, checks, names, tally, throttles
from ingest.checks import Accepted, Checked, Rejected
from ingest.round_trip import RedisAway

RETRY_AFTER_SECONDS = 5
# The stream id of a request's first event: the log of the archiver says which object has which of them.
REQUEST_ID = "X-Request-ID"

logger = logging.getLogger(__name__)

# The body was refused whole: an event in the books.
_BODY_REFUSED = (
    status.HTTP_400_BAD_REQUEST,
    status.HTTP_411_LENGTH_REQUIRED,
    status.HTTP_413_REQUEST_ENTITY_TOO_LARGE,
    status.HTTP_415_UNSUPPORTED_MEDIA_TYPE,
)

# Content codings (RFC 9110, section 8.4.1) that a body may have, each with zlib's `wbits` for its format.
_WBITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


_ACCEPTED = {"status": "accepted"}


class BadBody(APIException):
    """The body as a whole cannot be read: `bad_encoding`, or what the checks say."""

    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "bad_encoding"


class BodyTooLarge(APIException):
    """`too_large` for BODY_MAX_BYTES, `too_many_events` for EVENTS_MAX_COUNT, `too_many_values`: send it in parts."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


class LengthRequired(APIException):
    """A chunked body (RFC 9110, section 15.5.12): WSGI cannot tell where it ends."""

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
        coding = parser_context["request"].META.get("HTTP_CONTENT_ENCODING", "identity").lower()
        if coding != "identity" and coding not in _WBITS:
            raise UnsupportedMediaType(coding)
        max_bytes = settings.BODY_MAX_BYTES
        body = stream.read(max_bytes + 1)
        if len(body) > max_bytes:
            raise BodyTooLarge
        return body if coding == "identity" else _inflate(body, _WBITS[coding], max_bytes)


class JSONBytesRenderer(BaseRenderer):
    """JSON by msgspec: DRF's own renderer takes ten times as long for the same bytes."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        """Compact UTF-8 JSON."""
        return msgspec.json.encode(data)


class OneOfEach(BaseContentNegotiation):
    """The parser for its own content type only; the renderer whatever `Accept` says.

    An event is not refused over the form of its answer, and not taken for JSON because it says `*/*`.
    """

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """The one parser, or None for another content type."""
        media_type = request.content_type.partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The one renderer."""
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


class PipelineView(APIView):
    """Receive events.

    202: at least one is accepted, and on disk. 400: none is; `reason` and `field` say why. 405: not POST. 411:
    chunked. 413: too large, as sent or inflated, or too many events or values: send fewer at a time. 415: not
    JSON, or encoded as neither gzip nor deflate. 429: too many from this address or installation; 503: cannot be kept
    now: come back after `Retry-After` seconds.
    """

    http_method_names = ["post"]
    authentication_classes = []
    permission_classes = []
    throttle_classes = [throttles.RememberedThrottle]
    parser_classes = [BodyParser]
    renderer_classes = [JSONBytesRenderer]
    content_negotiation_class = OneOfEach
    sender: str  # set by the throttle
    body_bytes: int | None = None  # inflated; None until that is known

    def post(self, request: Request) -> HttpResponse:
        """Check the body's events, keep the accepted ones, answer with a verdict each."""
        if "HTTP_TRANSFER_ENCODING" in request.META:
            raise LengthRequired
        body = cast(bytes, request.data or b"")  # DRF parses no empty body
        self.body_bytes = len(body)
        checked = _check(body, names.admit)
        request_id = self.keep(checked)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("received", extra={"request_id": request_id or "-", **_counts(checked)})
        return self.answer(*_answer(checked.verdicts), {REQUEST_ID: request_id} if request_id else None)

    def keep(self, checked: Checked) -> str:
        """Buffer what is accepted, and count the rest. Answers the request's id, empty where none is accepted.

        Raises Throttled, Unavailable.
        """
        lines = [verdict.line for verdict in checked.verdicts if isinstance(verdict, Accepted)]
        received = len(checked.verdicts)
        charges = throttles.charges(
            self.sender, checked.installations, events=received, body_bytes=self.body_bytes or 0
        )
        rejected: dict[str, int] = {}
        if len(lines) < received:
            rejected = Counter(f"rejected:{v.reason}" for v in checked.verdicts if isinstance(v, Rejected))
        try:
            return buffer.push(lines, received=received, counts=rejected, dropped=checked.dropped, charges=charges)
        except buffer.SenderLimited as limited:
            throttles.remember(limited.charge, limited.wait_ms)
            raise Throttled(limited.wait_ms / 1000) from limited
        except buffer.BufferFull as error:
            raise Unavailable from error
        except buffer.BufferUnsure as error:
            tally.doubt(error.mark, received=received)
            raise Unavailable from error
        except buffer.BufferUnavailable as error:
            tally.count("unavailable", received)
            raise Unavailable from error

    def answer(self, results: dict[str, object], code: int, headers: dict[str, str] | None = None) -> HttpResponse:
        """What every answer of this view is made by."""
        return Response(results, status=code, headers=headers)

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """DRF's first step for a request, and the time it came."""
        self.start_clock()
        return super().initialize_request(request, *args, **kwargs)

    def start_clock(self) -> None:
        """The request is here: finalize_response says how long it took."""
        self._began = time.perf_counter()

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """DRF's last step for an answer, and how long it took."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        tally.observe(answer.status_code, time.perf_counter() - self._began)
        return answer

    def throttled(self, request: Request, wait: float | None) -> NoReturn:
        """A body that is not even read is one event in the books."""
        tally.count("limited", 1)
        raise Throttled(wait)

    def get_exception_handler(self) -> Any:
        """Answers of this view have one shape, whatever stopped the request."""
        return _refuse


def _check(body: bytes, admit: checks.Admit) -> Checked:
    try:
        return checks.check(
            body,
            received_at=datetime.now(UTC),
            identity_hash_key=settings.IDENTITY_HASH_KEY,
            events_max_count=settings.EVENTS_MAX_COUNT,
            admit=admit,
        )
    except checks.TooMuch as error:
        raise BodyTooLarge(code=error.reason) from error
    except checks.BodyRejected as error:
        raise BadBody(code=error.reason) from error
    except RedisAway as error:
        tally.count("unavailable", len(_check(body, lambda names: names).verdicts))
        raise Unavailable from error


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


def _answer(verdicts: list[Accepted | Rejected]) -> tuple[dict[str, object], int]:
    results = [_result(verdict) for verdict in verdicts]
    success = _ACCEPTED in results
    code = status.HTTP_202_ACCEPTED if success else status.HTTP_400_BAD_REQUEST
    return {"success": success, "results": results}, code


def _counts(checked: Checked) -> dict[str, int]:
    accepted = sum(isinstance(verdict, Accepted) for verdict in checked.verdicts)
    return {"accepted": accepted, "rejected": len(checked.verdicts) - accepted}


def _result(verdict: Accepted | Rejected) -> dict[str, str]:
    if isinstance(verdict, Accepted):
        return _ACCEPTED
    result = {"status": "rejected", "reason": verdict.reason}
    return result | {"field": verdict.field} if verdict.field else result


def _refuse(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """DRF's answer to an exception, in this view's shape; a body that is refused whole is one event in the books."""
    answer = exception_handler(error, context)
    if answer is None or not isinstance(error, APIException):
        return answer
    reason = str(error.get_codes())
    if answer.status_code in _BODY_REFUSED:
        view: PipelineView = context["view"]
        # Refused while it was read or inflated: nobody knows how far that went, so it costs the most it may have been.
        if isinstance(error, BodyTooLarge | BadBody) and view.body_bytes is None:
            view.body_bytes = settings.BODY_MAX_BYTES
        try:
            view.keep(Checked([Rejected(reason)]))
        except (Throttled, Unavailable) as instead:
            return _refuse(instead, context)
    refusal = {"success": False, "results": [{"status": "rejected", "reason": reason}]}
    headers = {name: value for name, value in answer.items() if name != "Content-Type"}  # such as Retry-After
    refused: HttpResponse = context["view"].answer(refusal, answer.status_code, headers)
    return refused

"""Plain: a Django function view that appends the event to a stream with one packed command on a kept connection."""

import threading

import hiredis
import msgspec
import redis
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST
from redis.connection import parse_url

STREAM = "bench:plain"


class _Kept(threading.local):
    """Each thread's own connection."""

    def __init__(self) -> None:
        self.connection = redis.Connection(**parse_url(settings.REDIS_URL))  # type: ignore[no-untyped-call]


_kept = _Kept()


@require_POST
def receive(request: HttpRequest) -> HttpResponse:
    """Take one event; it is in Redis when this answers."""
    event = msgspec.json.decode(request.body)["data"]
    command = "XADD", STREAM, "*", "line", msgspec.json.encode(event)
    _kept.connection.send_packed_command([hiredis.pack_command(command)])  # type: ignore[no-untyped-call, arg-type]
    _kept.connection.read_response()
    return JsonResponse({"success": True}, status=202)


urlpatterns = [path("api/pipeline", receive)]

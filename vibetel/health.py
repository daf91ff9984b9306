"""Health: is this process alive, and can it do its work?"""

from datetime import UTC, datetime

from django.db import OperationalError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from ingest import buffer

JOBS = ("archiver", "loader")


def healthz(request: HttpRequest) -> HttpResponse:
    """200 while the process lives."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(request: HttpRequest) -> JsonResponse:
    """200 where Redis and Postgres answer, else 503; `missing` names what does not, `finished` when jobs last did."""
    missing = []
    finished: dict[str, int] = {}
    try:
        finished = buffer.finished()
    except buffer.BufferUnavailable:
        missing.append("redis")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except OperationalError:
        connection.close()  # a connection that broke is not to be kept for the next request
        missing.append("postgres")
    return JsonResponse(
        {
            "ready": not missing,
            "missing": missing,
            "finished": {job: _iso(finished.get(job)) for job in JOBS},
        },
        status=503 if missing else 200,
    )


def _iso(unix_seconds: int | None) -> str | None:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat() if unix_seconds is not None else None

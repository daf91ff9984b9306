"""Health: is this process alive, and can it do its work?"""

from datetime import UTC, datetime

import psycopg
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from ingest import buffer

POSTGRES_TIMEOUT_SECONDS = 2
JOBS = ("archiver", "loader")


def healthz(request: HttpRequest) -> HttpResponse:
    """200 while the process lives."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(request: HttpRequest) -> JsonResponse:
    """200 where Redis and Postgres answer, else 503.

    `missing` names what does not, `hazards` what in Redis's settings can lose events, `finished` when jobs last did.
    """
    missing = []
    hazards: list[str] = []
    finished: dict[str, int] = {}
    try:
        finished, hazards = buffer.finished(), buffer.hazards()
    except buffer.BufferUnavailable:
        missing.append("redis")
    try:
        # A connection of its own: opening one has a time limit, a query on a kept one has none.
        psycopg.connect(settings.DATABASE_URL, connect_timeout=POSTGRES_TIMEOUT_SECONDS).close()
    except psycopg.OperationalError:
        missing.append("postgres")
    return JsonResponse(
        {
            "ready": not missing,
            "missing": missing,
            "hazards": hazards,
            "finished": {job: _iso(finished.get(job)) for job in JOBS},
        },
        status=503 if missing else 200,
    )


def _iso(unix_seconds: int | None) -> str | None:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat() if unix_seconds is not None else None

"""Middleware: what every answer of the portal carries, and the viewer's time zone."""

from collections.abc import Callable
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

ZONE_COOKIE = "zone"
"""Written by static/analytics/zone.js: the browser's time zone, such as Europe/Paris."""

_Answer = Callable[[HttpRequest], HttpResponseBase]

_NOT_NEEDED = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"


def permissions_policy(get_response: _Answer) -> _Answer:
    """Pages ask the browser for none of these, so nothing that gets into one may."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response.headers.setdefault("Permissions-Policy", _NOT_NEEDED)
        return response

    return answer


def viewer_zone(get_response: _Answer) -> _Answer:
    """Let pages write the times of events as the viewer's clock has them; UTC where the cookie names no zone.

    Days and hours of figures are UTC's in any case: those say so themselves, and do not ask for the current zone.
    """

    def answer(request: HttpRequest) -> HttpResponseBase:
        name = request.COOKIES.get(ZONE_COOKIE, "")
        with timezone.override(ZoneInfo(name) if name in _zones() else None):
            return get_response(request)

    return answer


@lru_cache
def _zones() -> set[str]:
    """Asked for once: it goes through a folder."""
    return available_timezones()

"""Logins: slowed down after failures, and nobody's address kept. Next: django-axes, by settings.AXES_…

In: an attempt to log in. Out: after AXES_FAILURE_LIMIT failures of an account from an address, 429 with a page that
says what to do, until AXES_COOLOFF_TIME is over, or `manage.py axes_reset_username` or the admin lifts it.

What is kept of a failure, in axes' table: the name that was typed, how often, when, and a hash of the address whose key
changes each day (ingest/throttles.py). Neither the address itself nor what the browser says of itself is.
"""

import copy
from ipaddress import IPv6Address
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render

from ingest import throttles

_UNIQUE_LOCAL = b"\xfd\0\0\0"  # RFC 4193: no address that anybody has on the Internet


def address(request: HttpRequest) -> str:
    """A hash of the sender's address, as of an IPv6 /64, in the form of an address: axes keeps nothing else."""
    digest = throttles.sender_key(request.META).rpartition(":")[2]
    return str(IPv6Address(_UNIQUE_LOCAL + bytes.fromhex(digest)))


class QuietHandler(AxesDatabaseHandler):
    """Axes' own, which keeps neither user agent nor headers, path or form of an attempt."""

    def user_login_failed(
        self, sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
    ) -> None:
        """Count the failure; marks the request where the account is locked now."""
        bare: Any = copy.copy(request)
        if bare is not None:
            bare.GET = bare.POST = QueryDict()
            bare.axes_user_agent = bare.axes_http_accept = bare.axes_path_info = ""
        super().user_login_failed(sender, credentials, bare, **kwargs)
        if request is not None:
            for name in ("axes_locked_out", "axes_credentials", "axes_failures_since_start"):
                setattr(request, name, getattr(bare, name))


def locked(request: HttpRequest, response: HttpResponse | None, credentials: object) -> HttpResponse:
    """429 with how long to wait and whom to ask; the right password is not looked at meanwhile."""
    cooloff = settings.AXES_COOLOFF_TIME
    context = {
        **admin.site.each_context(request),
        "title": "Too many failed logins",
        "failures": settings.AXES_FAILURE_LIMIT,
        "minutes": int(cooloff.total_seconds() // 60),
    }
    page = render(request, "registration/locked.html", context, status=429)
    page["Retry-After"] = str(int(cooloff.total_seconds()))
    return page

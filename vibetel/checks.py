"""Checks: what `manage.py check --deploy` looks at beyond Django's own.

In: the settings. Out: warnings with what to do.
"""

from typing import Any

from django.conf import settings
from django.core import checks


def proxies_named(**kwargs: Any) -> list[checks.CheckMessage]:
    """A portal on https is behind a proxy: unless that is named, everybody has its address."""
    if not settings.SECURE_PROXY_SSL_HEADER or settings.TRUSTED_PROXIES:
        return []
    return [
        checks.Warning(
            "CSRF_TRUSTED_ORIGINS has an https origin, which takes a proxy, and TRUSTED_PROXIES names none: everybody"
            f" has the proxy's address, and {settings.AXES_FAILURE_LIMIT} failed logins of anybody lock an account for"
            " all.",
            hint="Name the proxy's address, as this process sees it, in TRUSTED_PROXIES.",
            id="vibetel.W001",
        )
    ]

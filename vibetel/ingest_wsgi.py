"""The WSGI entry point of the process that receives events; the portal's is wsgi.py."""

import gc
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

# Not only where it is unset: `manage.py up` starts this process, and has the portal's settings.
os.environ["DJANGO_SETTINGS_MODULE"] = "vibetel.ingest_settings"

from django.core.cache import close_caches
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries
from django.urls import get_resolver

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_django = get_wsgi_application()
get_resolver().url_patterns  # noqa: B018 - else the first event waits for its view to be imported, a second on busy cores

# What Django does around each request for databases and caches: this process has none.
request_started.disconnect(reset_queries)
request_started.disconnect(close_old_connections)
request_finished.disconnect(close_old_connections)
request_finished.disconnect(close_caches)

# A request leaves no garbage that Python would have to look for (tests/ingest/test_slim.py), so it need not look often,
# and not at what Django is made of: a hostile body of 20,000 lists takes a tenth of the time.
gc.collect()
gc.freeze()
gc.set_threshold(50_000)


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Django, which does not get to see the parameters of a content type.

    It would look up a charset, each unknown one of which Python remembers for ever, and fail on a broken parameter
    before any view could answer. JSON has no charset but UTF-8 (RFC 8259, section 8.1).
    """
    environ["CONTENT_TYPE"] = environ.get("CONTENT_TYPE", "").partition(";")[0]
    return _django(environ, start_response)

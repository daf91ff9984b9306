"""The WSGI entry point of the process that receives events; the portal's is wsgi.py."""

import os

# Not only where it is unset: `manage.py up` starts this process, and has the portal's settings.
os.environ["DJANGO_SETTINGS_MODULE"] = "vibetel.ingest_settings"

from django.core.cache import close_caches
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries

application = get_wsgi_application()

# What Django does around each request for databases and caches: this process has none.
request_started.disconnect(reset_queries)
request_started.disconnect(close_old_connections)
request_finished.disconnect(close_old_connections)
request_finished.disconnect(close_caches)

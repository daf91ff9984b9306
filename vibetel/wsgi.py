"""The WSGI entry point: ingest and admin in one process."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibetel.settings")

application = get_wsgi_application()

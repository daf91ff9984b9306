"""The portal's WSGI entry point; that of the process which receives events is ingest_wsgi.py."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibetel.settings")

application = get_wsgi_application()

"""The WSGI entry point of `plain` and of `typical`."""

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

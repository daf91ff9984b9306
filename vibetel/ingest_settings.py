"""Settings of the process that receives events: what the portal's are, without what an event does not need."""

from vibetel.settings import *  # noqa: F403

ROOT_URLCONF = "vibetel.ingest_urls"
WSGI_APPLICATION = "vibetel.ingest_wsgi.application"
INSTALLED_APPS = ["ingest", "rest_framework"]
MIDDLEWARE = []
TEMPLATES = []
DATABASES = {}
FORCE_SCRIPT_NAME = ""
REST_FRAMEWORK = {
    "UNAUTHENTICATED_USER": None,  # nobody logs in here
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {"OAS_VERSION": "3.1.0", "TITLE": "vibetel: receiving events", "VERSION": "1"}

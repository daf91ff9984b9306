"""Settings of the process that archives: what the portal's are, without what a batch does not need."""

from vibetel.settings import *  # noqa: F403

ROOT_URLCONF = ""
INSTALLED_APPS = ["ingest"]
MIDDLEWARE = []
TEMPLATES = []
CSRF_FAILURE_VIEW = "django.views.csrf.csrf_failure"  # no page is shown, but it is looked up

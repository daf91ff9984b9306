"""URLs of the process that receives events."""

from django.urls import path

from ingest.openapi import SchemaView
from ingest.urls import urlpatterns as ingest
from vibetel import health

# Not included but joined: looking into a second list costs each event as much as its JSON.
urlpatterns = [*ingest, path("api/schema", SchemaView.as_view()), path("healthz", health.healthz)]
# Who asks here is a program.
handler404 = "vibetel.answers.not_found"
handler500 = "vibetel.answers.failed"

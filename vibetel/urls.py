"""URLs of the portal: health, and the dashboards under /admin/. Events go to another process: ingest_urls.py."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from vibetel import health

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("admin/", admin.site.urls),
]

"""URLs of the portal: health, metrics, the dashboards under /admin/. Another process takes events: ingest_urls.py."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from vibetel import health, metrics

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics.metrics),
    path("admin/", admin.site.urls),
]

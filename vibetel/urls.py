"""URLs: ingest, health, and the portal under /admin/."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from vibetel import health

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("", include("ingest.urls")),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("admin/", admin.site.urls),
]

"""URLs of the portal: health, metrics, the stats API, the dashboards under /admin/.

Another process takes events: ingest_urls.py.
"""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from vibetel import health, metrics

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics.metrics),
    path("api/stats/", include("analytics.urls")),
    path("admin/", admin.site.urls),
]
handler403 = "vibetel.errors.forbidden"
handler404 = "vibetel.errors.not_found"

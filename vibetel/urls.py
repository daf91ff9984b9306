"""URLs of the portal: health, metrics, the stats API, the dashboards under ADMIN_PATH.

Another process takes events: ingest_urls.py.
"""

from django.conf import settings
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
    path(f"{settings.ADMIN_PATH}/", admin.site.urls),
]
handler403 = "vibetel.errors.forbidden"
handler404 = "vibetel.errors.not_found"
handler500 = "vibetel.errors.failed"

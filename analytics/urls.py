"""URLs under /api/stats/: the stats API and its document."""

from django.urls import path

from analytics import api, openapi

urlpatterns = [*api.routes(), path("openapi.json", openapi.document)]

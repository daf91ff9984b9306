"""The ingest endpoint."""

from django.urls import path

from ingest.views import PipelineView

urlpatterns = [path("api/pipeline", PipelineView.as_view(), name="pipeline")]

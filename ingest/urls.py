"""The ingest endpoint."""

from django.urls import path

from ingest.slim import SlimPipelineView

urlpatterns = [path("api/pipeline", SlimPipelineView.as_view(), name="pipeline")]

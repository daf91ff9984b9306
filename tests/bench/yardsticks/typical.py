"""Typical: an APIView, a Serializer that names every field, Django's usual middleware, redis-py's usual call."""

# ruff: noqa: N815 - the names on the wire

import json
from typing import Any

import redis
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.urls import path
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

STREAM = "bench:typical"

_connection = redis.Redis.from_url(settings.REDIS_URL)


class OptionsSerializer(serializers.Serializer[Any]):
    debug = serializers.BooleanField(required=False)
    maxTokens = serializers.IntegerField(required=False, min_value=0)
    saveTo = serializers.JSONField(required=False)  # true, or a path
    quiet = serializers.BooleanField(required=False)
    html = serializers.BooleanField(required=False)
    headless = serializers.BooleanField(required=False)
    console = serializers.BooleanField(required=False)
    network = serializers.BooleanField(required=False)
    reasoningEffort = serializers.ChoiceField(
        ["none", "minimal", "low", "medium", "high", "xhigh", "max"], required=False
    )
    timeout = serializers.IntegerField(required=False, min_value=0)
    hasWithDoc = serializers.BooleanField(required=False)
    withDocCount = serializers.IntegerField(required=False, min_value=0)


class EventSerializer(serializers.Serializer[Any]):
    eventName = serializers.ChoiceField(["command_executed", "command_error"])
    userId = serializers.CharField(max_length=64)
    sessionId = serializers.UUIDField()
    timestamp = serializers.DateTimeField()
    toolVersion = serializers.RegexField(r"^[0-9]+\.[0-9]+\.[0-9]+[-.+0-9A-Za-z]*$", max_length=64)
    command = serializers.RegexField(r"^[A-Za-z0-9:_-]+$", max_length=98)
    duration = serializers.IntegerField(required=False, min_value=0)
    contextTokens = serializers.IntegerField(required=False, min_value=0)
    promptTokens = serializers.IntegerField(required=False, min_value=0)
    completionTokens = serializers.IntegerField(required=False, min_value=0)
    provider = serializers.RegexField(r"^[A-Za-z0-9_-]+$", required=False, max_length=32)
    model = serializers.RegexField(r"^[A-Za-z0-9./:_-]+$", required=False, max_length=100)
    fileProvider = serializers.RegexField(r"^[A-Za-z0-9_-]+$", required=False, max_length=32)
    fileModel = serializers.RegexField(r"^[A-Za-z0-9./:_-]+$", required=False, max_length=100)
    thinkingProvider = serializers.RegexField(r"^[A-Za-z0-9_-]+$", required=False, max_length=32)
    thinkingModel = serializers.RegexField(r"^[A-Za-z0-9./:_-]+$", required=False, max_length=100)
    options = OptionsSerializer(required=False)
    hasError = serializers.BooleanField(required=False)
    errorType = serializers.RegexField(r"^[A-Za-z0-9_]+$", required=False, max_length=64)
    os = serializers.ChoiceField(["darwin", "linux", "windows", "other"], required=False)
    pythonVersion = serializers.RegexField(r"^[0-9]+\.[0-9]+$", required=False, max_length=6)
    ci = serializers.BooleanField(required=False)
    agent = serializers.RegexField(r"^[A-Za-z0-9_-]+$", required=False, max_length=32)
    interactive = serializers.BooleanField(required=False)
    lostCount = serializers.IntegerField(required=False, min_value=0)
    eventId = serializers.UUIDField(required=False)


class EnvelopeSerializer(serializers.Serializer[Any]):
    data = EventSerializer()  # type: ignore[assignment]  # no attribute: a field is made of it


class EventView(APIView):
    """Receive an event."""

    def post(self, request: Request) -> Response:
        envelope = EnvelopeSerializer(data=request.data)
        envelope.is_valid(raise_exception=True)
        line = json.dumps(envelope.validated_data["data"], cls=DjangoJSONEncoder)
        _connection.xadd(STREAM, {"line": line})
        return Response({"success": True}, status=status.HTTP_202_ACCEPTED)


urlpatterns = [path("api/pipeline", EventView.as_view())]

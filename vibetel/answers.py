"""Answers: errors for programs, as JSON like DRF's own. People get pages: errors.py."""

from django.http import HttpRequest, JsonResponse


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """404."""
    return JsonResponse({"detail": "Not found."}, status=404)


def failed(request: HttpRequest) -> JsonResponse:
    """500."""
    return JsonResponse({"detail": "It failed; the log says why."}, status=500)

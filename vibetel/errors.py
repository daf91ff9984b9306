"""Errors: pages for what is not there, and for who may not. 500.html stands alone: nothing may work then."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from analytics import roles
from vibetel import answers

API = "/api/"


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404; under /api/ as JSON."""
    if request.path.startswith(API):
        return answers.not_found(request, exception)
    return render(request, "404.html", {**admin.site.each_context(request), "title": "Not here"}, status=404)


def failed(request: HttpRequest) -> HttpResponse:
    """500; under /api/ as JSON."""
    if request.path.startswith(API):
        return answers.failed(request)
    return HttpResponse(render_to_string("500.html"), status=500)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403, with the account's role and who can give another."""
    context = {
        **admin.site.each_context(request),
        "title": "Not for this account",
        "role": roles.of(request.user) if request.user.is_authenticated else None,
        "administrators": roles.administrators() if request.user.is_authenticated else [],
    }
    return render(request, "403.html", context, status=403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a form that another site may have sent, or that is older than the login."""
    return render(request, "403_csrf.html", {**admin.site.each_context(request), "title": "Form not taken"}, status=403)

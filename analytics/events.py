"""Events: the admin's list of single events, of the dashboards' filter, and the page of one. Next: admin.py

In: the query string of a dashboard. Out: the newest events of that filter, at most LIMIT of them; or the one of an id.
Rollups say on which days to look for them: nothing goes through all events for the few of a rare value.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ALL_VAR, ERROR_FLAG, ORDER_VAR, PAGE_VAR, SEARCH_VAR, ChangeList
from django.db.models import BooleanField, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from analytics import export, queries
from analytics.dashboards import payload, urls, wording
from analytics.dashboards.controls import ADD, IS, Controls, added, controls, label
from analytics.dashboards.page import FRONT_PAGE, Asked, Link, Page
from analytics.dashboards.view import ways_out
from analytics.export_views import EventsDownload
from analytics.lists import BoundedPaginator, ReadOnly, count, flag, moment
from analytics.models import Event
from analytics.queries.filters import Period
from analytics.queries.reach import reach

LOOKED_AT_MAX_COUNT = 100_000
"""Rows that one page may go through to find those of a filter; those of one day in any case."""

_OWN_WORDS = (ADD, IS, SEARCH_VAR, PAGE_VAR, ORDER_VAR, ALL_VAR, ERROR_FLAG)

_PAGE = Page(name=urls.EVENTS, title="Events", icon="events", panels=lambda asked: [], steps=False)


def _asked(request: HttpRequest, site: admin.AdminSite) -> Asked:
    now = timezone.now()
    words = {
        name: [value for value in values if "\0" not in value]  # Postgres knows no NUL
        for name, values in request.GET.lists()
        if name not in _OWN_WORDS
    }
    chosen, notices = queries.parsed(words, now)
    return Asked(chosen=chosen, now=now, page=_PAGE.name, paths=urls.paths(site, request), notices=notices)


# -- The list ---------------------------------------------------------------------------------------------------------


class _Events(ChangeList):
    """The newest events of a filter; `earlier` leads to those of before what was looked through, if there are any."""

    asked: Asked
    earlier: str = ""

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """None are Django's."""
        return {}

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """The newest first, as the index has them."""
        return ["-occurred_at", "-pk"]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """The event of the id that was searched for, or those of the filter."""
        self.asked = _asked(request, self.model_admin.admin_site)
        found = super().get_queryset(request, exclude_parameters)
        return found if self.query else self._of_the_filter(found)

    def _of_the_filter(self, events: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.asked.chosen
        condition, parameters = export.where(chosen)
        events = events.filter(RawSQL(condition, parameters, BooleanField()))  # noqa: S611 - of constants; values apart
        if not self.asked.filters:
            return events
        there = reach(chosen, runs_max_count=BoundedPaginator.LIMIT, others_max_count=LOOKED_AT_MAX_COUNT)
        if there.further:
            days = {"from": chosen.period.first.isoformat(), "to": f"{there.days[-1] - timedelta(days=1)}"}
            self.earlier = self.asked.url(period="custom", **days)
        return events.filter(_on(there.days)) if there.days else events.none()

    @property
    def controls(self) -> Controls:
        """As above the dashboards, but for what only figures have."""
        above = controls(_PAGE, self.asked, adding=ADD in self.params)
        zone = timezone.get_current_timezone_name()
        return replace(
            above,
            comparison=None,
            compared="days and times of UTC" if zone == "UTC" else f"days of UTC, times of {zone}",
        )

    @property
    def ways_out(self) -> Sequence[Link]:
        """Where nothing was found; where there is nothing at all, to what waits for the first event."""
        newest = queries.freshness().newest_day
        return (
            ways_out(self.asked, newest) if newest else [Link("How to send the first one", self.asked.url(FRONT_PAGE))]
        )

    @property
    def at_most(self) -> str:
        """How many are listed, where there may be more; else empty."""
        return wording.exact(BoundedPaginator.LIMIT) if self.result_count >= BoundedPaginator.LIMIT else ""


def _on(days: Sequence[date]) -> Q:
    """On one of these days, the newest of which is first; those that follow each other together."""
    found = Q()
    last = days[0]
    for day, earlier in zip(days, [*days[1:], None], strict=True):
        if earlier is None or earlier < day - timedelta(days=1):
            found |= Q(occurred_at__gte=_midnight(day), occurred_at__lt=_midnight(last + timedelta(days=1)))
            last = earlier or last
    return found


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


# -- One event --------------------------------------------------------------------------------------------------------


def _leading(dimension: str, column: str) -> Callable[[object, Event], SafeString | str]:
    """A value, with a link to the events that share it."""

    @admin.display(description=label(dimension))
    def shown(_: object, event: Event) -> SafeString | str:
        value = getattr(event, column)
        if value is None:
            return wording.NOTHING
        if value == "":
            return "(empty)"  # no word of a filter says it
        said = ("no", "yes")[value] if isinstance(value, bool) else value
        if dimension == "error_type" and not event.has_error:
            return format_html("<bdi>{}</bdi>", said)  # of no failed run: no figure counts it
        words = [*_days_with(event), (dimension, str(value).lower() if isinstance(value, bool) else value)]
        url = f"{reverse('admin:analytics_event_changelist')}?{urlencode(words)}"
        return format_html('<a href="{}"><bdi>{}</bdi></a>', url, said)

    return shown


def _days_with(event: Event) -> list[tuple[str, str]]:
    """The words of a period that the event is in."""
    day, now = event.occurred_at.astimezone(UTC).date(), timezone.now()
    for name in (queries.DEFAULT_PERIOD, "90d", "12mo"):
        if Period.ending_today(name, now).first <= day:
            return [("period", name)]
    return [("period", "custom"), ("from", day.replace(day=1).isoformat()), ("to", day.isoformat())]


class EventAdmin(ReadOnly):
    """The newest events, downloads, and each as it was sent."""

    takes_filter = True
    list_display = (
        "occurred",
        "command",
        "tool_version",
        "model",
        "duration",
        "outcome",
        "installation_beginning",
    )
    list_select_related = ("installation",)
    ordering = ("-occurred_at",)
    sortable_by = ()
    search_fields = ("event_id",)
    search_help_text = "By the whole id of an event"
    fieldsets = (
        ("Run", {"fields": ("of_command", "of_version", "duration", "failed", "of_error_type", "options")}),
        ("Event", {"fields": ("event_id", "event_name", "occurred", "received", "server_clock", "session_id")}),
        ("Model", {"fields": ("of_provider", "of_model")}),
        ("Further models", {"fields": ("file_provider", "file_model", "thinking_provider", "thinking_model")}),
        ("Environment", {"fields": ("of_os", "python_version", "of_ci", "of_agent", "at_terminal", "lost_count")}),
        ("Tokens", {"fields": ("context", "prompt", "completion")}),
        ("Installation", {"fields": ("installation", "placeholder")}),
        ("Archive", {"fields": ("source_object", "source_line")}),
    )
    readonly_fields = (
        *("of_command", "of_version", "of_error_type", "of_provider", "of_model", "of_os", "of_ci", "of_agent"),
        *("duration", "occurred", "received", "server_clock", "failed", "at_terminal"),
        *("context", "prompt", "completion"),
    )

    occurred = moment("occurred_at", label="occurred")
    received = moment("received_at", label="received")
    failed, at_terminal = flag("has_error", "failed"), flag("interactive", "at a terminal")
    server_clock = flag("clock_is_server", "time is the server's")
    context, prompt, completion = (count(f"{name}_tokens", name) for name in ("context", "prompt", "completion"))
    of_command, of_version = _leading("command", "command"), _leading("version", "tool_version")
    of_error_type = _leading("error_type", "error_type")
    of_provider, of_model = _leading("provider", "provider"), _leading("model", "model")
    of_os, of_ci, of_agent = _leading("os", "os"), _leading("ci", "ci"), _leading("agent", "agent")

    def get_urls(self) -> list[URLPattern]:
        """Django's, and the download's."""
        download = self.admin_site.admin_view(EventsDownload.as_view())
        return [path("download/", download, name="analytics_event_download"), *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Of the dashboards' filter."""
        return _Events

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list; or to that with the filter that the form adds."""
        if request.GET.get(ADD) and self.has_view_permission(request):
            asked = _asked(request, self.admin_site)
            if target := added(asked, request.GET[ADD], request.GET.get(IS, "")):
                return HttpResponseRedirect(target)
        return super().changelist_view(request, {"forms": export.FORMS, **(extra_context or {})})

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        """The event of that id, or nothing."""
        if not search_term:
            return queryset, False
        try:
            return queryset.filter(pk=uuid.UUID(search_term.strip())), False
        except ValueError:
            return queryset.none(), False

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """With the event as JSON."""
        return super().render_change_form(request, {**context, "json": payload.written(kwargs["obj"])}, *args, **kwargs)

    @admin.display(description="duration")
    def duration(self, event: Event) -> str:
        """As people read it."""
        return wording.duration(event.duration_ms)

    @admin.display(description="result")
    def outcome(self, event: Event) -> SafeString | str:
        """The error type of a run that failed, as the rollups count it; of one that succeeded, that."""
        if event.duration_ms is None:
            return f"twin: {event.error_type or 'error'}"
        if not event.has_error:
            return "ok"
        return format_html('<span class="failed">{}</span>', event.error_type or "failed")

    @admin.display(description="installation")
    def installation_beginning(self, event: Event) -> SafeString | str:
        """The beginning of the id: enough to see what belongs together."""
        if event.installation is None:
            return event.placeholder
        return format_html("<code>{}</code>", str(event.installation.user_id)[:8])

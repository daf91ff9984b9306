"""The admin: the Overview as front page, Data quality, and read-only lists of what the loader and verify.py wrote.

Users and groups are Django's own, API tokens REST framework's; they register them themselves.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core.paginator import Paginator
from django.db.models import IntegerField, Model, QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from rest_framework.authtoken.models import TokenProxy

from analytics import queries
from analytics.dashboards import data_quality, overview, payload, wording
from analytics.export import FORMS
from analytics.export_views import EventsDownload
from analytics.models import Event, LoadedObject, Quarantined, Verification


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # generic in the stubs only
    """Counts to LIMIT and no further: a table of millions is neither counted nor paged through."""

    LIMIT = 10_000

    @cached_property
    def count(self) -> int:
        """Rows, at most LIMIT."""
        rows = cast("QuerySet[Model]", self.object_list)
        return rows.order_by()[: self.LIMIT].count()


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list to look at: what it shows is derived from the archive, and changed by the loader alone."""

    paginator = BoundedPaginator
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would count the table
    actions = None
    empty_value_display = wording.NOTHING

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False


def _moment(name: str) -> Callable[[object, Model], str]:
    """A column for a time, to the second."""

    @admin.display(description=name.replace("_", " "), ordering=name)
    def column(_: object, row: Model) -> str:
        at: datetime = getattr(row, name)
        return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"

    return column


def _count(name: str, label: str) -> Callable[[object, Model], str]:
    """A column for a number that may be large."""

    @admin.display(description=label)
    def column(_: object, row: Model) -> str:
        return wording.exact(getattr(row, name))

    return column


def _flag(name: str) -> Callable[[object, Model], str]:
    """A column for what is true, false or unknown, in words: neither of them is a warning."""

    @admin.display(description=name.replace("_", " "))
    def column(_: object, row: Model) -> str:
        return {True: "yes", False: "no", None: wording.NOTHING}[getattr(row, name)]

    return column


class EventAdmin(ReadOnly):
    """The newest events, and downloads. Only its id finds a single one: there is no index on anything else."""

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
    sortable_by = ("occurred",)
    search_fields = ("event_id",)
    search_help_text = (
        f"By the whole id of an event. Times are UTC; the list holds the newest {BoundedPaginator.LIMIT:,}. "
        "A twin reports the error of a run that is an event of its own."
    )
    fieldsets = (
        ("Run", {"fields": ("command", "tool_version", "duration", "failed", "error_type", "options")}),
        ("Event", {"fields": ("event_id", "event_name", "occurred", "received", "server_clock", "session_id")}),
        (
            "Models",
            {"fields": ("provider", "model", "file_provider", "file_model", "thinking_provider", "thinking_model")},
        ),
        ("Environment", {"fields": ("os", "python_version", "in_ci", "agent", "at_terminal", "lost_count")}),
        ("Tokens", {"fields": ("context_tokens", "prompt_tokens", "completion_tokens")}),
        ("Installation", {"fields": ("installation", "placeholder")}),
        ("Archive", {"fields": ("source_object", "source_line")}),
    )
    readonly_fields = (
        "duration",
        "occurred",
        "received",
        "server_clock",
        "failed",
        "in_ci",
        "at_terminal",
    )

    occurred, received = _moment("occurred_at"), _moment("received_at")
    failed, server_clock = _flag("has_error"), _flag("clock_is_server")
    in_ci, at_terminal = _flag("ci"), _flag("interactive")

    def get_urls(self) -> list[URLPattern]:
        """Django's, and the download's."""
        download = self.admin_site.admin_view(EventsDownload.as_view())
        return [path("download/", download, name="analytics_event_download"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, with what there is to download."""
        periods = {name: f"the last {days} days" for name, days in queries.PERIOD_DAYS.items()} | {"today": "today"}
        downloads = {"periods": periods, "period": queries.DEFAULT_PERIOD, "forms": FORMS}
        return super().changelist_view(request, {"downloads": downloads, **(extra_context or {})})

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


class LoadedObjectAdmin(ReadOnly):
    """The ledger, in the order of loading."""

    list_display = (
        "name",
        "outcome",
        "events",
        "duplicates",
        "quarantined",
        "loaded",
    )
    list_filter = ("state",)
    ordering = ("-id",)
    sortable_by = ("name",)
    search_fields = ("name",)
    search_help_text = "By the beginning of its name, such as event_date=2026-11-22"

    loaded = _moment("loaded_at")
    events, duplicates = _count("loaded_rows", "loaded"), _count("duplicate_rows", "duplicate")
    quarantined = _count("quarantined_rows", "quarantined")

    @admin.display(description="state")
    def outcome(self, item: LoadedObject) -> SafeString | str:
        """What became of it, and why it could not be read."""
        state = item.get_state_display()
        return format_html("{} <code>{}</code>", state, item.reason) if item.reason else state

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[LoadedObject], search_term: str
    ) -> tuple[QuerySet[LoadedObject], bool]:
        """The objects whose names begin so."""
        return queryset.filter(name__startswith=search_term.strip()), False


class ReasonFilter(admin.SimpleListFilter):
    """By the reason of the newest lines: the whole table is not gone through for its reasons."""

    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> Iterator[tuple[str, str]]:  # type: ignore[type-arg]
        """The reasons, and the one that was asked for."""
        newest = Quarantined.objects.order_by("-pk").values("reason")[: BoundedPaginator.LIMIT]
        reasons = {row["reason"] for row in newest} | ({asked} if (asked := self.value()) else set())
        yield from ((reason, reason) for reason in sorted(reasons))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Quarantined]) -> QuerySet[Quarantined]:
        """The lines of the chosen reason."""
        reason = self.value()
        return queryset.filter(reason=reason) if reason else queryset


class QuarantinedAdmin(ReadOnly):
    """Lines that could not be read. What is in them is never shown, for nothing has checked it: only their shape is."""

    list_display = ("source_object", "source_line", "reason", "payload_bytes")
    list_display_links = ("source_line",)
    list_select_related = ("source_object",)
    list_filter = (ReasonFilter,)
    fieldsets = (
        ("Line", {"fields": ("source_object", "source_line", "reason", "payload_bytes")}),
        ("Payload, without its values", {"fields": ("kind", "fields_found", "fields_missing", "other_keys")}),
    )
    ordering = ("-id",)
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Quarantined]:
        """Lines with the length of their payload in place of it."""
        length = Length("payload", output_field=IntegerField())
        return Quarantined.objects.defer("payload").annotate(payload_bytes=length)

    @admin.display(description="size")
    def payload_bytes(self, line: Any) -> str:
        """How long the line is."""
        return filesizeformat(line.payload_bytes)

    @admin.display(description="is")
    def kind(self, line: Quarantined) -> str:
        """What it is as a whole."""
        return _shape(line).kind

    @admin.display(description="fields")
    def fields_found(self, line: Quarantined) -> SafeString | None:
        """Those with names of the contract, or of a line: their types and lengths."""
        return format_html_join("", "<div><code>{}</code> {}</div>", _shape(line).fields) or None

    @admin.display(description="missing")
    def fields_missing(self, line: Quarantined) -> SafeString | None:
        """What each line has, and this one has not."""
        return format_html_join(", ", "<code>{}</code>", ((name,) for name in _shape(line).missing)) or None

    @admin.display(description="other keys")
    def other_keys(self, line: Quarantined) -> str:
        """How many: their names are somebody else's."""
        return f"{_shape(line).other_keys:,}"


def _shape(line: Quarantined) -> payload.Shape:
    return payload.shape(bytes(line.payload))


class VerificationAdmin(ReadOnly):
    """What verify.py found, the newest first."""

    list_display = ("started", "faults_found", "depth", "objects", "events", "finished")
    fieldsets = (
        ("Verification", {"fields": ("started", "finished", "depth", "objects", "events", "faults_found")}),
        ("First faults", {"fields": ("first_faults",)}),
    )
    ordering = ("-started_at",)
    sortable_by = ()

    started = _moment("started_at")
    objects, events = _count("objects_count", "objects"), _count("events_count", "events")
    faults_found = _count("faults_count", "faults")

    @admin.display(description="finished at")
    def finished(self, verification: Verification) -> str:
        """When, if it came to its end."""
        at = verification.finished_at
        return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if at else "not finished"

    @admin.display(description="read")
    def depth(self, verification: Verification) -> str:
        """What was compared."""
        return "objects and rows" if verification.deep else "listing and ledger"

    @admin.display(description="as reported")
    def first_faults(self, verification: Verification) -> SafeString | None:
        """One a line."""
        told = (data_quality.fault_in_words(fault) for fault in verification.faults)
        return format_html_join("", '<div class="fault"><b>{}</b> {} <span>{}</span></div>', told) or None


@dataclass(frozen=True)
class Page:
    """An entry of the sidebar."""

    label: str
    icon: str
    url: str
    current: bool


@dataclass(frozen=True)
class Section:
    """Some entries of the sidebar."""

    title: str
    pages: Sequence[Page]


# Title -> model, icon.
_LISTS: dict[str, Sequence[tuple[type[Model], str]]] = {
    "Explore": (
        (Event, "events"),
        (LoadedObject, "archive"),
        (Quarantined, "quarantine"),
        (Verification, "verification"),
    ),
    "Manage": ((User, "accounts"), (Group, "groups"), (TokenProxy, "verification")),
}


class PortalSite(admin.AdminSite):
    """Django's admin with the dashboards."""

    site_header = "vibetel"
    site_title = "vibetel"
    enable_nav_sidebar = False  # templates/admin/base_site.html has its own

    def __init__(self, name: str = "admin") -> None:
        """With the lists. (`@admin.register` in this module would need the site that it is imported for.)"""
        super().__init__(name)
        self.register(Event, EventAdmin)
        self.register(LoadedObject, LoadedObjectAdmin)
        self.register(Quarantined, QuarantinedAdmin)
        self.register(Verification, VerificationAdmin)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Django's, and the dashboards'."""
        pages: list[URLPattern | URLResolver] = [
            path("data-quality/", self.admin_view(self.data_quality), name="data_quality")
        ]
        return pages + super().get_urls()

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The Overview."""
        page = overview.context(
            request.GET.dict(),
            pipeline_url=settings.PIPELINE_URL,
            now=timezone.now(),
        )
        return TemplateResponse(
            request, "analytics/overview.html", {**self.each_context(request), **page, **(extra_context or {})}
        )

    def data_quality(self, request: HttpRequest) -> TemplateResponse:
        """Whether the figures are whole, and how fresh they are."""
        page = data_quality.context(timezone.now())
        return TemplateResponse(request, "analytics/data_quality.html", {**self.each_context(request), **page})

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Django's, and the sidebar with the pages that this account may see."""
        context = super().each_context(request)
        if context["has_permission"]:
            context["sidebar"] = self._sidebar(request)
        return context

    def _sidebar(self, request: HttpRequest) -> list[Section]:
        dashboards = (("Overview", "overview", "admin:index"), ("Data quality", "quality", "admin:data_quality"))
        pages = [
            Page(label, icon, url, request.path == url)
            for label, icon, name in dashboards
            if (url := reverse(name, current_app=self.name))
        ]
        sections = [Section("Dashboards", pages)]
        for title, lists in _LISTS.items():
            pages = [
                _page(request, model, icon)
                for model, icon in lists
                if self._registry[model].has_view_permission(request)
            ]
            if pages:
                sections.append(Section(title, pages))
        return sections


def _page(request: HttpRequest, model: type[Model], icon: str) -> Page:
    """Named as the list's own heading."""
    label = capfirst(str(model._meta.verbose_name_plural))
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return Page(label, icon, url, request.path.startswith(url))

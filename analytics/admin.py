"""The admin: the Overview as front page, and read-only lists of what the loader wrote.

Users and groups are Django's own; it registers them itself.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core.paginator import Paginator
from django.db.models import IntegerField, Model, QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from analytics.dashboards import overview, wording
from analytics.models import Event, LoadedObject, Quarantined


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


def _flag(name: str) -> Callable[[object, Model], str]:
    """A column for what is true, false or unknown, in words: neither of them is a warning."""

    @admin.display(description=name.replace("_", " "))
    def column(_: object, row: Model) -> str:
        return {True: "yes", False: "no", None: wording.NOTHING}[getattr(row, name)]

    return column


class EventAdmin(ReadOnly):
    """The newest events. Only its id finds a single one: there is no index on anything else."""

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
        "state",
        "rows",
        "loaded_rows",
        "duplicate_rows",
        "quarantined_rows",
        "loaded",
    )
    ordering = ("-id",)
    sortable_by = ("name",)
    search_fields = ("name",)
    search_help_text = "By the beginning of its name, such as event_date=2026-11-22"

    loaded = _moment("loaded_at")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[LoadedObject], search_term: str
    ) -> tuple[QuerySet[LoadedObject], bool]:
        """The objects whose names begin so."""
        return queryset.filter(name__startswith=search_term.strip()), False


class QuarantinedAdmin(ReadOnly):
    """Lines that could not be read. What is in them is never shown: nothing has checked it."""

    list_display = ("source_object", "source_line", "reason", "payload_bytes")
    list_select_related = ("source_object",)
    fields = ("source_object", "source_line", "reason", "payload_bytes")
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
    "Explore": ((Event, "events"), (LoadedObject, "archive"), (Quarantined, "quarantine")),
    "Manage": ((User, "accounts"), (Group, "groups")),
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

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Django's, and the sidebar with the pages that this account may see."""
        context = super().each_context(request)
        if context["has_permission"]:
            context["sidebar"] = self._sidebar(request)
        return context

    def _sidebar(self, request: HttpRequest) -> list[Section]:
        index = reverse("admin:index", current_app=self.name)
        sections = [Section("Dashboards", [Page("Overview", "overview", index, request.path == index)])]
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

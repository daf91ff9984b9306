"""The admin: the dashboards, read-only lists of what the loader and verify.py wrote, releases and annotations.

Accounts, groups, tokens and the audit log: accounts.py. Events: events.py.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.db.models import IntegerField, Model, QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat, truncatechars
from django.template.loader import render_to_string
from django.urls import URLPattern, URLResolver, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from rest_framework.authtoken.models import TokenProxy

from analytics import roles
from analytics.dashboards import data_quality, payload, urls, wording
from analytics.dashboards.urls import Entry
from analytics.events import EventAdmin
from analytics.lists import BoundedPaginator, ReadOnly, count, day, flag, heading, in_viewers_zone, moment
from analytics.models import Annotation, Event, LoadedObject, Quarantined, Release, Verification


class LoadedObjectAdmin(ReadOnly):
    """The ledger, in the order of loading."""

    nothing = "None was loaded yet. The first one comes some seconds after the first event."
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
    fields = (
        *("name", "state", "reason", "size", "etag", "came_otherwise", "lines"),
        *("events", "duplicates", "quarantined", "pruned", "loaded"),
    )
    readonly_fields = ("size", "came_otherwise", "lines", "events", "duplicates", "quarantined", "pruned", "loaded")

    loaded, came_otherwise = moment("loaded_at"), flag("imported", "not through this portal's buffer")
    lines, pruned = count("rows", "lines"), count("pruned_rows", "loaded, and pruned since")
    events, duplicates = count("loaded_rows", "loaded"), count("duplicate_rows", "duplicate")
    quarantined = count("quarantined_rows", "quarantined")

    @admin.display(description="size")
    def size(self, item: LoadedObject) -> str:
        """Of the object as it is stored."""
        return filesizeformat(item.size_bytes)

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

    nothing = "None: the loader could read every line."
    list_display = ("line", "reason", "payload_bytes", "source_object")
    list_select_related = ("source_object",)
    list_filter = (ReasonFilter,)
    fieldsets = (
        ("Line", {"fields": ("source_object", "line", "reason", "payload_bytes")}),
        ("Payload, without its values", {"fields": ("kind", "fields_found", "fields_missing", "other_keys")}),
    )
    ordering = ("-id",)
    sortable_by = ()

    line = count("source_line", "line")

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


def _counted(name: str, label: str) -> Callable[[object, Verification], str]:
    """A column for what a verification counted: nothing before it came to its end."""

    @admin.display(description=label)
    def column(_: object, verification: Verification) -> str:
        return wording.exact(getattr(verification, name) if verification.finished_at else None)

    return column


class VerificationAdmin(ReadOnly):
    """What verify.py found, the newest first."""

    nothing = "None was run yet. One runs each night; manage.py verify --deep runs one now."
    list_display = ("started", "faults_found", "depth", "objects", "events", "finished")
    fieldsets = (
        ("Verification", {"fields": ("started", "finished", "depth", "objects", "events", "faults_found")}),
        ("First faults", {"fields": ("first_faults",)}),
    )
    ordering = ("-started_at",)
    sortable_by = ()

    started = moment("started_at")
    objects, events = _counted("objects_count", "objects"), _counted("events_count", "events")
    faults_found = _counted("faults_count", "faults")

    @admin.display(description="finished at")
    def finished(self, verification: Verification) -> str:
        """When, if it came to its end."""
        at = verification.finished_at
        return in_viewers_zone(at) if at else "not finished"

    @admin.display(description="read")
    def depth(self, verification: Verification) -> str:
        """What was compared."""
        return "objects and rows" if verification.deep else "listing and ledger"

    @admin.display(description="as reported")
    def first_faults(self, verification: Verification) -> SafeString | None:
        """One a line, and what to do about those that are alike."""
        told = data_quality.faults_in_words(verification.faults)
        return render_to_string("analytics/faults.html", {"faults": told}) if told else None


class ReleaseAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Versions as charts mark them. What was noticed would be noticed again: it is left unmarked, not deleted."""

    nothing = "None was noticed yet: one is when enough installations run a new version. You can also add one."
    list_display = ("version", "released", "first_seen", "notes_begin")
    list_per_page = 50
    sortable_by = ("released", "first_seen")
    search_fields = ("version",)
    search_help_text = "By a part of the version"
    fields = ("version", "released_on", "first_seen", "notes")
    empty_value_display = wording.NOTHING

    released, first_seen = day("released_on", "released"), day("first_seen_on", "first seen")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """The version stays what it was seen as."""
        return ("version", "first_seen") if obj else ("first_seen",)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False

    @admin.display(description="notes")
    def notes_begin(self, release: Release) -> str:
        """Their beginning."""
        return truncatechars(release.notes, 80)


class AnnotationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What else is to be remembered of a day."""

    nothing = "None is written yet. What you add is drawn on the charts, on its day."
    list_display = ("on", "text")
    list_per_page = 50
    sortable_by = ("on",)
    actions = None

    on = day("day", "day")


@dataclass(frozen=True)
class Section:
    """Some entries of the sidebar."""

    title: str
    pages: Sequence[Entry]


# Title -> model, icon.
_LISTS: dict[str, Sequence[tuple[type[Model], str]]] = {
    "Explore": (
        (Event, "events"),
        (LoadedObject, "archive"),
        (Quarantined, "quarantine"),
        (Verification, "verification"),
    ),
    "Manage": (
        (Release, "releases"),
        (Annotation, "annotations"),
        (User, "accounts"),
        (Group, "groups"),
        (TokenProxy, "keys"),
        (LogEntry, "audit"),
    ),
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
        self.register(Release, ReleaseAdmin)
        self.register(Annotation, AnnotationAdmin)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Django's, and the dashboards'."""
        return [*urls.routes(self), *super().get_urls()]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:  # type: ignore[override]
        """The Overview; an answer may be a CSV, which is no template's."""
        return urls.front_page(self, request)

    def app_index(self, request: HttpRequest, app_label: str, extra_context: object = None) -> HttpResponse:  # type: ignore[override]
        """The Overview, too: what Django lists by its app stands in the sidebar."""
        return redirect("admin:index")

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Django's, and the sidebar with the pages that this account may see."""
        context = super().each_context(request)
        if context["has_permission"]:
            context["sidebar"] = self._sidebar(request)
        return context

    def _sidebar(self, request: HttpRequest) -> list[Section]:
        sections = []
        if roles.sees_dashboards(request.user):
            sections.append(Section("Dashboards", urls.entries(self, request)))
        for title, lists in _LISTS.items():
            pages = [
                _page(request, self._registry[model], icon)
                for model, icon in lists
                if self._registry[model].has_view_permission(request)
            ]
            if pages:
                sections.append(Section(title, pages))
        return sections


def _page(request: HttpRequest, shown: "admin.ModelAdmin[Any]", icon: str) -> Entry:
    """Named as the list's own heading. A list whose admin `takes_filter` is given that of the page that is shown."""
    url = reverse(f"admin:{shown.opts.app_label}_{shown.opts.model_name}_changelist")
    carried = urls.carried(request) if getattr(shown, "takes_filter", False) else ""
    return Entry(heading(shown), icon, url + carried, request.path.startswith(url))

"""Lists: what the admin's lists have in common. Next: admin.py, accounts.py"""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any, cast

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.forms import Media
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.text import capfirst

from analytics.dashboards import wording


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # generic in the stubs only
    """Counts to LIMIT and no further: a table of millions is neither counted nor paged through."""

    LIMIT = 10_000

    @cached_property
    def count(self) -> int:
        """Rows, at most LIMIT."""
        rows = cast("QuerySet[Model]", self.object_list)
        return rows.order_by()[: self.LIMIT].count()

    @property
    def at_limit(self) -> bool:
        """Whether there may be more."""
        return self.count >= self.LIMIT


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list to look at: what it shows is written by the portal alone."""

    paginator = BoundedPaginator
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would count the table
    actions = None
    empty_value_display = wording.NOTHING

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Its filters only: by others one could ask for what the list does not show, letter by letter."""
        filters = {getattr(one, "parameter_name", one) for one in self.list_filter}
        return lookup.split("__", maxsplit=1)[0] in filters

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Without the scripts of forms, of which there is none: they weigh more than the page."""
        return super().changelist_view(request, {"media": Media(), **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False


def heading(shown: "admin.ModelAdmin[Any]") -> str:
    """What a list is called: by its admin's `heading`, if it has one, else as Django calls what is in it."""
    return getattr(shown, "heading", "") or capfirst(str(shown.opts.verbose_name_plural))


def moment(name: str, label: str = "") -> Callable[[object, Model], str]:
    """A column for a time as the viewer's clock had it."""
    return _dated(name, label, in_viewers_zone)


def day(name: str, label: str) -> Callable[[object, Model], str]:
    """A column for a UTC day."""
    return _dated(name, label, date.isoformat)


def in_viewers_zone(at: datetime) -> str:
    """As in `2026-11-23 15:12:44 CET`."""
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S %Z}"


def _dated(name: str, label: str, write: Callable[[Any], str]) -> Callable[[object, Model], str]:
    @admin.display(description=label or name.replace("_", " "), ordering=name)
    def column(_: object, row: Model) -> str:
        at = getattr(row, name)
        return write(at) if at else wording.NOTHING

    return column


def count(name: str, label: str) -> Callable[[object, Model], str]:
    """A column for a number that may be large."""

    @admin.display(description=label)
    def column(_: object, row: Model) -> str:
        return wording.exact(getattr(row, name))

    return column


def flag(name: str, label: str) -> Callable[[object, Model], str]:
    """A column for what is true, false or unknown, in words: neither of them is a warning."""

    @admin.display(description=label)
    def column(_: object, row: Model) -> str:
        return {True: "yes", False: "no", None: wording.NOTHING}[getattr(row, name)]

    return column

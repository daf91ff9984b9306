"""URLs: the dashboards' places in the admin, and their entries in its sidebar, which carry the query string along.

In: an admin site. Out: routes and entries. Next: view.py
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from analytics import queries, roles
from analytics.dashboards import data_quality, view
from analytics.dashboards.page import FRONT_PAGE, Page
from analytics.dashboards.pages import PAGES

DATA_QUALITY = "data_quality"

EVENTS = "events"
"""No dashboard, but pages lead to it as to one: `asked.url("events")` is empty for who may not see events."""


PRESERVED_FILTERS = "_changelist_filters"
"""Django's word, on the page of one event, for the query string of the list that led to it."""


class Entry(NamedTuple):
    """Of the sidebar."""

    label: str
    icon: str
    url: str
    current: bool


def routes(site: AdminSite) -> list[URLPattern]:
    """One for each page but the front page, which is the site's index."""
    found = [
        path(page.route, site.admin_view(_shown(site, page)), name=page.name) for page in PAGES.values() if page.route
    ]
    return [*found, path("data-quality/", site.admin_view(_data_quality(site)), name=DATA_QUALITY)]


def front_page(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """The page that the site begins with."""
    return _shown(site, PAGES[FRONT_PAGE])(request)


def entries(site: AdminSite, request: HttpRequest) -> list[Entry]:
    """The pages that have one."""
    words, known = carried(request), paths(site, request)
    here = next((page for page in PAGES.values() if known[page.name] == request.path), None)
    found = [
        Entry(page.title, page.icon, known[page.name] + words, bool(here and page.name in (here.name, here.parent)))
        for page in PAGES.values()
        if not page.of
    ]
    quality = reverse(f"admin:{DATA_QUALITY}", current_app=site.name)
    return [*found, Entry("Data quality", "quality", quality + words, request.path == quality)]


def carried(request: HttpRequest) -> str:
    """The filter of the page that is shown, or of the list it was opened from; empty where there is none."""
    words = QueryDict(request.GET[PRESERVED_FILTERS]) if PRESERVED_FILTERS in request.GET else request.GET
    if not {*words} & {*queries.WORDS}:
        return ""
    chosen, _ = queries.parsed(dict(words.lists()), timezone.now())
    return "?" + urlencode(queries.words(chosen))


def paths(site: AdminSite, request: HttpRequest) -> Mapping[str, str]:
    """Where each page is that this account may see, by its name."""

    def name(page: Page) -> str:
        return page.name if page.route else "index"

    found = {page.name: reverse(f"admin:{name(page)}", current_app=site.name) for page in PAGES.values()}
    if request.user.has_perm("analytics.view_event"):
        found[EVENTS] = reverse("admin:analytics_event_changelist", current_app=site.name)
    return found


def _shown(site: AdminSite, page: Page) -> Callable[[HttpRequest], HttpResponse]:
    def show(request: HttpRequest) -> HttpResponse:
        roles.require_dashboards(request.user)
        return view.show(request, page, paths(site, request), site.each_context(request))

    return show


def _data_quality(site: AdminSite) -> Callable[[HttpRequest], HttpResponse]:
    """Not about the runs of some days, but about whether all of them are there: it takes no filter."""

    def show(request: HttpRequest) -> HttpResponse:
        roles.require_dashboards(request.user)
        found = data_quality.context(timezone.now(), request.user.has_perm)
        if name := request.GET.get(view.CSV):
            return view.csv_of(data_quality.panels_of(found), name, "data-quality")
        return TemplateResponse(request, "analytics/data_quality.html", {**site.each_context(request), **found})

    return show

"""View: every dashboard, from a request to its answer.

In: a request and a Page. Out: 200 with the page, its fragment or a CSV, 204 for a fragment that is shown already, 302
to what is meant. Next: templates/analytics/page.html

Whoever may see the portal may see every dashboard: admin_view asks for the login.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone
from vibetel_client import contract

from analytics import queries, rendering
from analytics.dashboards import wording
from analytics.dashboards.controls import ADD, IS, PERIODS, added, controls
from analytics.dashboards.first_event import first_event
from analytics.dashboards.page import Asked, Link, Page
from analytics.dashboards.panel import Panel, laid_out, linked
from analytics.queries import Freshness, Period

CSV, FRAGMENT = "csv", "fragment"
"""`csv=<panel>` is that panel as CSV; `fragment=<what is shown>` is what is below the controls, if that is not it."""

_OWN_WORDS = (CSV, FRAGMENT, ADD, IS)

FIGURES, NOTHING_IN_RANGE, WAITING = "figures", "nothing in range", "waiting"

_POLL_SECONDS = {FIGURES: 15, NOTHING_IN_RANGE: 15, WAITING: 3}


def show(
    request: HttpRequest,
    page: Page,
    paths: Mapping[str, str],
    context: Mapping[str, object],
    now: datetime | None = None,
) -> HttpResponse:
    """The answer; `context` is what the shell around a page shows, `paths` the path of each page by name."""
    now = now or timezone.now()
    words = dict(request.GET.lists())
    own = {name: words.pop(name, None) for name in _OWN_WORDS}
    chosen, notices = queries.parsed(words, now)
    asked = Asked(
        chosen=chosen,
        now=now,
        page=page.name,
        paths=paths,
        metric=_metric(page, words, notices),
        sort=_last(words, "sort"),
        notices=notices,
    )
    if page.of and len(asked.chosen.selection.only.get(page.of, ())) != 1:
        return HttpResponseRedirect(asked.url(page.parent))
    if target := added(asked, _last(own, ADD), _last(own, IS)):
        return HttpResponseRedirect(target)
    with queries.snapshot():
        freshness = queries.freshness()
        shown = _shown(freshness, now)
        if own[FRAGMENT] is not None and own[FRAGMENT] == [shown]:
            return HttpResponse(status=204)
        asked = replace(asked, compared=freshness.comparing(chosen).before is not None)
        if freshness.newest_day:
            chosen.read_ahead(page.lists)
        state, runs = _state(asked, freshness)
        panels = _panels(page, asked) if state == FIGURES else []
        if name := _last(own, CSV):
            said = rendering.headers(queries.words(chosen), notices, freshness=freshness, excluded=runs)
            return csv_of(panels, name, f"{page.name} {chosen.period.first} {chosen.period.last}", said)
        found = {
            "title": _title(page, asked),
            "page": page,
            "state": state,
            "panels": panels,
            "laid_out": laid_out(panels),
            "notices": notices,
            "filtered": bool(asked.filters),
            "shown": shown,
            "poll_seconds": _POLL_SECONDS[state],
            "freshness": _freshness(freshness, asked),
            "excluded": _excluded(runs),
            "placeholders": contract.PLACEHOLDER_USER_IDS,
            "percentile_min_runs": queries.PERCENTILE_MIN_RUNS,
        }
        if own[FRAGMENT] is None and state != WAITING:
            found["controls"] = controls(page, asked, adding=own[ADD] is not None)
        if state == NOTHING_IN_RANGE:
            found |= {"newest_day": freshness.newest_day, "ways_out": ways_out(asked, freshness.newest_day)}
        if state == WAITING:
            found["counting"] = freshness.waiting_hours  # after an upgrade that has figures counted otherwise
            found["first_event"] = first_event(settings.PIPELINE_URL, now)
    if own[FRAGMENT] is not None:
        return _fresh(TemplateResponse(request, "analytics/figures.html", found))
    return _fresh(TemplateResponse(request, page.template, {**context, **found}))


def csv_of(panels: Sequence[Panel], name: str, title: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """The CSV of the panel of this id, with these headers; 404 where the page has none, as when nothing is in range."""
    for panel in panels:
        for each in panel.all():
            if each.id == name:
                answer = HttpResponse(each.table.csv(), "text/csv; charset=utf-8", headers=headers)
                filename = f"{title} {each.id}".replace(" ", "-")
                answer["Content-Disposition"] = f'attachment; filename="{filename}.csv"'
                return _fresh(answer)
    return HttpResponse(
        f"There is no panel “{name[:40]}” on this page.", status=404, content_type="text/plain; charset=utf-8"
    )


def _fresh(answer: HttpResponse) -> HttpResponse:
    """Nobody on the way keeps figures."""
    answer["Cache-Control"] = "private, no-store"
    return answer


def _last(words: Mapping[str, Sequence[str] | None], name: str) -> str:
    values = words.get(name)
    return values[-1] if values else ""


def _metric(page: Page, words: Mapping[str, Sequence[str]], notices: list[str]) -> str:
    metric = _last(words, "metric")
    if not metric or metric in page.metrics:
        return metric
    if page.metrics:
        notices.append(f"There is no metric “{metric[:40]}”: this is metric={next(iter(page.metrics))}.")
    return ""


def _title(page: Page, asked: Asked) -> str:
    return next(iter(asked.chosen.selection.only[page.of])) if page.of else page.title


def _shown(freshness: Freshness, now: datetime) -> str:
    """Which figures are shown: changes whenever they may have."""
    said = f"{freshness.loaded_at} {freshness.waiting_hours} {freshness.newest_day} {now:%Y-%m-%d}"
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _state(asked: Asked, freshness: Freshness) -> tuple[str, queries.Excluded]:
    runs = queries.excluded(asked.chosen) if freshness.newest_day else queries.Excluded(0, 0)
    return FIGURES if runs.runs else NOTHING_IN_RANGE if freshness.newest_day else WAITING, runs


def _panels(page: Page, asked: Asked) -> list[Panel]:
    panels = page.panels(asked)
    names = {column.name for panel in panels for each in panel.all() for column in each.columns}
    if asked.sort and asked.sort.removeprefix("-") not in names:
        asked.notices.append(f"There is no column “{asked.sort[:40]}” to sort by.")
    url = asked.url()
    csv_url = f"{url}{'&' if '?' in url else '?'}{urlencode({CSV: ''})}"
    return [linked(panel, csv_url) for panel in panels]


def _freshness(freshness: Freshness, asked: Asked) -> str:
    loaded = wording.ago(freshness.loaded_at, asked.now) if freshness.loaded_at else "never"
    hours = freshness.waiting_hours
    waiting = f"; {hours} hour{'s are' if hours > 1 else ' is'} about to be counted again" if hours else ""
    return f"Events were last loaded {loaded}{waiting}."


def _excluded(runs: queries.Excluded) -> str:
    return wording.percent(runs.share)


def ways_out(asked: Asked, newest: date | None) -> list[Link]:
    """Without the filters; and the shortest period that has a run in it."""
    links = [Link("Clear all filters", asked.unfiltered())] if asked.filters else []
    if newest and not asked.chosen.period.first <= newest <= asked.chosen.period.last:
        for name in queries.PERIOD_DAYS:
            if newest >= Period.ending_today(name, asked.now).first:
                return [*links, Link(f"Show {PERIODS[name].lower()}", asked.url(period=name))]
        days = {"period": "custom", "from": newest.replace(day=1).isoformat(), "to": newest.isoformat()}
        links.append(Link(f"Show {newest:%B %Y}", asked.url(**days)))
    elif asked.chosen.period.name != "12mo":
        links.append(Link("Show 12 months", asked.url(period="12mo")))
    return links

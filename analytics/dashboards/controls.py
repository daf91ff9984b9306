"""Controls: what stands above a page: its days, what they are compared with, its filters, its CSV. Links and forms.

In: Asked. Out: Controls, which templates/analytics/controls.html shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from analytics import queries
from analytics.dashboards import wording
from analytics.dashboards.page import COMPARISONS, Asked, Link, Page
from analytics.dimensions import DIMENSIONS
from analytics.queries.present import present

PERIODS: Mapping[str, str] = {
    "today": "Today",
    "7d": "7 days",
    "30d": "30 days",
    "90d": "90 days",
    "12mo": "12 months",
    "month": "This month",
}
_SHORT = {"7d": "7 d", "30d": "30 d", "90d": "90 d", "12mo": "12 mo", "month": "Month"}
_KEYS = {"7d": "w", "30d": "t", "90d": "n"}
_INTERVALS = {"hour": "By hour", "day": "By day", "week": "By week", "month": "By month"}
_HOURS_MAX_DAYS = 7

_LABELS = {"error_type": "Error type", "os": "System", "ci": "In CI", "agent": "Agent"}

ADD, IS = "add", "is"
"""Words of the form that adds a filter: `add=command:repo`, and `is=not`."""


@dataclass(frozen=True)
class Menu:
    """Links that open under what is chosen."""

    label: str
    links: Sequence[Link]


@dataclass(frozen=True)
class Chip:
    """A filter, and the way without it."""

    label: str
    value: str
    without: bool
    remove: str


@dataclass(frozen=True)
class Group:
    """Values of a dimension to choose from, as words of the form."""

    label: str
    options: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Controls:
    """What stands above a page. `groups` is there while the form that adds a filter is open.

    `events` is the list of the events behind the figures; empty on that list, and for who may not see it.
    """

    stretch: str
    compared: str
    periods: Sequence[Link]
    comparison: Menu | None
    interval: Menu | None
    chips: Sequence[Chip]
    clear: str
    first: str
    last: str
    today: str
    custom: bool
    words_but_period: Sequence[tuple[str, str]]
    words: Sequence[tuple[str, str]]
    path: str
    add: str
    events: str
    groups: Sequence[Group] | None


def controls(page: Page, asked: Asked, *, adding: bool) -> Controls:
    """Of a page."""
    chosen = asked.chosen
    words = [*queries.words(chosen), *((name, value) for name, value in (("metric", asked.metric),) if value)]
    own_url = asked.url()
    return Controls(
        stretch=wording.stretch(chosen.period.first, chosen.period.last),
        compared=_compared(asked),
        periods=[
            Link(
                _SHORT.get(name, label),
                asked.url(period=name),
                chosen.period.name == name,
                _KEYS.get(name, ""),
                title=label,
            )
            for name, label in PERIODS.items()
        ],
        comparison=_comparison(asked),
        interval=_interval(asked) if page.steps else None,
        chips=[_chip(page, asked, *word) for word in asked.filters],
        clear=asked.unfiltered(page.parent),
        first=chosen.period.first.isoformat(),
        last=chosen.period.last.isoformat(),
        today=f"{asked.now:%Y-%m-%d}",
        custom=chosen.period.name == "custom",
        words_but_period=[pair for pair in words if pair[0] not in ("period", "from", "to", "interval")],
        words=words,
        path=asked.paths[asked.page],
        add="" if adding else f"{own_url}{'&' if '?' in own_url else '?'}{ADD}=",
        events=asked.url("events") if asked.page != "events" else "",
        groups=_groups(asked) if adding else None,
    )


def label(dimension: str) -> str:
    """A dimension's name, as a heading."""
    return _LABELS.get(dimension, dimension.capitalize())


def added(asked: Asked, add: str, how: str) -> str:
    """Where the form that adds a filter leads: the page with it; an empty string for none that is known."""
    dimension, _, value = add.partition(":")
    if dimension not in DIMENSIONS or not value:
        return ""
    return asked.adding(f"{dimension}__not" if how == "not" else dimension, value)


def _compared(asked: Asked) -> str:
    before = asked.chosen.before
    if not before:
        return "not compared"
    if not asked.compared:
        return f"no figures of all of {wording.stretch(before.first, before.last)} to compare with"
    today = asked.now.date() == asked.chosen.period.last
    return f"compared with {wording.stretch(before.first, before.last)}" + (", until the same hour" if today else "")


def _comparison(asked: Asked) -> Menu:
    compare = asked.chosen.compare
    toggled = "previous" if compare == "off" else "off"
    links = [
        Link(text, asked.url(compare="" if name == "previous" else name), name == compare, "x" * (name == toggled))
        for name, text in COMPARISONS.items()
    ]
    return Menu(asked.before_in_words, links)


def _interval(asked: Asked) -> Menu:
    short = asked.chosen.period.until - asked.chosen.period.start <= timedelta(days=_HOURS_MAX_DAYS)
    links = [
        Link(text, asked.url(interval=name), name == asked.chosen.interval)
        for name, text in _INTERVALS.items()
        if short or name != "hour"
    ]
    return Menu(_INTERVALS[asked.chosen.interval], links)


def _chip(page: Page, asked: Asked, word: str, value: str) -> Chip:
    dimension, without = word.removesuffix("__not"), word.endswith("__not")
    subject = dimension == page.of and not without
    remove = asked.url(page.parent, **{dimension: ""}) if subject else asked.removing(word, value)
    return Chip(label(dimension), value, without, remove)


def _groups(asked: Asked) -> list[Group]:
    return [
        Group(label(dimension), [(f"{dimension}:{value}", value) for value in (*values, queries.NONE)])
        for dimension, values in present(asked.chosen).items()
        if values
    ]

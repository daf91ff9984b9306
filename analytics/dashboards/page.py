"""Page: what a dashboard is made of, and what it was asked for.

In: a query string. Out: Asked, from which a page makes its panels, and every link on it. Next: view.py

The query string is the state: each link on a page is that of the page itself, changed in one thing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from urllib.parse import urlencode

from analytics import queries, releases
from analytics.dashboards.metrics import Metric
from analytics.dashboards.panel import Panel
from analytics.queries import Filter

COMPARISONS: Mapping[str, str] = {"previous": "Previous period", "yoy": "Year before", "off": "No comparison"}


@dataclass(frozen=True)
class Link:
    """To somewhere; `current` where it leads to what is shown.

    `key` is a letter that follows it, `title` says in full what `label` says in short.
    """

    label: str
    url: str
    current: bool = False
    key: str = ""
    title: str = ""


@dataclass(frozen=True)
class Asked:
    """What a page is asked for. `paths` has the path of each page there is, by name.

    `compared` says whether there are figures to stand beside: there are none of days before the first event's.
    `metric` and `sort` are words of a page's own, empty where the query string has none. What is not known goes into
    `notices`, and falls back.
    """

    chosen: Filter
    now: datetime
    page: str
    paths: Mapping[str, str]
    compared: bool = True
    metric: str = ""
    sort: str = ""
    notices: list[str] = field(default_factory=list)

    def url(self, page: str = "", **changes: str) -> str:
        """This page, or another one, with the same words, but for the changes; an empty value takes a word away.

        Words of the page's own stay behind. An empty string where there is no such page.
        """
        path = self.paths.get(page or self.page, "")
        own = {} if page and page != self.page else {"metric": self.metric, "sort": self.sort}
        words = [*queries.words(self.chosen), *own.items()]
        if "period" in changes:
            changes = {"from": "", "to": "", "interval": ""} | changes
        changed = dict.fromkeys([name for name, _ in words] + [*changes])
        said = urlencode(
            [
                (name, value)
                for name in changed
                for value in (
                    [changes[name]] if name in changes else [value for other, value in words if other == name]
                )
                if value
            ]
        )
        return f"{path}?{said}" if path and said else path

    def only(self, dimension: str, value: str, page: str = "") -> str:
        """With runs of this value only; on another page, such as that of one value, if one is named."""
        return self.url(page, **{dimension: value, f"{dimension}__not": ""})

    def adding(self, word: str, value: str) -> str:
        """With one more value of a dimension, or of `<dimension>__not`."""
        return self._with_words([*self._words(), (word, value)])

    def removing(self, word: str, value: str) -> str:
        """Without one of them."""
        return self._with_words([pair for pair in self._words() if pair != (word, value)])

    def unfiltered(self, page: str = "") -> str:
        """All runs of the period; on another page, if one is named."""
        return self.url(page, **{word: "" for word, _ in self.filters})

    @property
    def before_in_words(self) -> str:
        """What is compared with."""
        return COMPARISONS[self.chosen.compare]

    @property
    def filters(self) -> list[tuple[str, str]]:
        """The words that filter, and their values: `("command__not", "repo")`."""
        selection = self.chosen.selection
        of = [(name, value) for name, values in selection.only.items() for value in sorted(values)]
        return of + [(f"{name}__not", value) for name, values in selection.without.items() for value in sorted(values)]

    @cached_property
    def markers(self) -> Sequence[releases.Marker]:
        """Releases and annotations of the period. One statement, however often it is asked."""
        return releases.markers(self.chosen.period.first, self.chosen.period.last)

    def _words(self) -> list[tuple[str, str]]:
        own = [(name, value) for name, value in (("metric", self.metric), ("sort", self.sort)) if value]
        return queries.words(self.chosen) + own

    def _with_words(self, words: Sequence[tuple[str, str]]) -> str:
        return f"{self.paths[self.page]}?{urlencode(list(dict.fromkeys(words)))}"


@dataclass(frozen=True)
class Page:
    """A dashboard: how it is called, and what it shows.

    `name` is that of its route, `admin:<name>`, `icon` a symbol in icons.svg. `panels` is called only when the period
    has runs of the filter. `steps` offers the choice of an interval. A page of one value names its dimension in `of`
    and the page that lists them in `parent`: it is found at a filter by that value, and has no link in the sidebar.
    `lists` is the dimension of which it asks for all values, whatever the filter says of them (Selection.of_any).
    """

    name: str
    title: str
    icon: str
    panels: Callable[[Asked], Sequence[Panel]]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    steps: bool = True
    of: str = ""
    parent: str = ""
    lists: str = ""
    template: str = "analytics/page.html"

    @property
    def route(self) -> str:
        """Under /admin/."""
        return "" if self.name == FRONT_PAGE else f"{self.name}/"


FRONT_PAGE = "overview"

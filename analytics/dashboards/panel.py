"""Panel: a box on a dashboard, with a table in it: to read, or beside a chart. HTML and CSV are made of the same cells.

In: exact figures, their words, and pictures from charts/. Out: what templates/analytics/panels/ show, and CSV. Pure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import groupby
from typing import ClassVar, NamedTuple

from django.utils.safestring import SafeString

from analytics import rendering

NO_PICTURE = SafeString("")

Exact = None | bool | int | float | str | date | datetime


class Cell(NamedTuple):
    """A figure or a name: exactly, for CSV and sorting, and as it is shown. `look` is a CSS class.

    `order` is for names that are not sorted by their letters, such as versions.
    """

    exact: Exact
    shown: str
    look: str = ""
    order: int | None = None


@dataclass(frozen=True)
class Column:
    """Of a table. `name` is the one in CSV and in `sort=`; a column of pictures has none, and is in neither.

    `look` is a CSS class: wide ones are left out on narrow screens. `url` sorts by it, `order` is how it is sorted:
    ascending, descending or not at all.
    """

    label: str
    name: str = ""
    look: str = ""
    url: str = ""
    order: str = ""


@dataclass(frozen=True)
class Row:
    """A cell for each column. The first is the row's name, perhaps with a bar behind it, a link or a flag after it.

    `depth` is 1 in a tree, under the last row of depth 0. `title` explains the flag.
    """

    cells: Sequence[Cell]
    bar: SafeString = NO_PICTURE
    url: str = ""
    depth: int = 0
    flag: str = ""
    flag_title: str = ""


@dataclass(frozen=True)
class Table:
    """Columns, and rows as they are shown."""

    columns: Sequence[Column]
    rows: Sequence[Row]

    def sorted_by(self, sort: str) -> "Table":
        """By a column, `-` before its name for the greatest first; what has no figure comes last, and stays as it is.

        Branches of a tree go with what they are under. Unchanged for a name that no column has.
        """
        name = sort.removeprefix("-")
        place = next((place for place, column in enumerate(self.columns) if name and column.name == name), None)
        if place is None:
            return self
        trees: list[list[Row]] = []
        for row in self.rows:
            if row.depth and trees:
                trees[-1].append(row)
            else:
                trees.append([row])
        descending = sort.startswith("-")
        rows = [
            row for top, *under in _in_order(trees, place, descending) for row in _tree(top, under, place, descending)
        ]
        return Table(self.columns, rows)

    def csv(self) -> str:
        """Exact figures, days and times as ISO 8601, no pictures; cells that a spreadsheet would run are quoted."""
        places = [place for place, column in enumerate(self.columns) if column.name]
        return rendering.written(
            [self.columns[place].name for place in places],
            ([row.cells[place].exact for place in places] for row in self.rows),
        )


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A table of parts, and what is said where it has no rows.

    `id` is that of its CSV, and its own in the page. `at_most` rows are shown, `rest` says what is left out, `none` how
    many runs are in no row. `more` are panels in the same box, `details` is the page that says more, `look` a CSS
    class; a `wide` one is as wide as the page.
    """

    template: ClassVar[str] = "analytics/panels/table.html"

    id: str
    title: str
    table: Table
    note: str = ""
    look: str = ""
    wide: bool = False
    at_most: int = 100
    columns_at_most: int = 100
    rest: str = ""
    none: str = ""
    none_url: str = ""
    nothing: str = "There is nothing to show."
    details: str = ""
    csv: str = ""
    more: "Sequence[Panel]" = ()

    @property
    def columns(self) -> Sequence[Column]:
        """Those that are shown."""
        return self.table.columns[: self.columns_at_most]

    @property
    def rows(self) -> "Iterator[tuple[Row, Cell, list[tuple[Cell, Column]]]]":
        """Those that are shown: the row, its name, and each other cell with its column."""
        for row in self.table.rows[: self.at_most]:
            yield row, row.cells[0], [*zip(row.cells[1:], self.columns[1:], strict=False)]

    def all(self) -> "Iterator[Panel]":
        """It, and those in its box."""
        yield self
        for panel in self.more:
            yield from panel.all()


@dataclass(frozen=True)
class Card:
    """A figure on top of a chart; a link that redraws the chart with it. `note` is said where nothing was before."""

    label: str
    figure: str
    exactly: str
    change: SafeString
    before: str
    sparkline: SafeString
    url: str = ""
    current: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ChartPanel(Panel):
    """A chart with its table folded away; cards on top of it, if there are any."""

    template: ClassVar[str] = "analytics/panels/chart.html"

    chart: SafeString
    legend: SafeString = NO_PICTURE
    cards: Sequence[Card] = ()


@dataclass(frozen=True, kw_only=True)
class CardsPanel(Panel):
    """Figures alone, side by side: the table has a row for each."""

    template: ClassVar[str] = "analytics/panels/cards.html"

    cards: Sequence[Card]


@dataclass(frozen=True, kw_only=True)
class GridPanel(Panel):
    """A table of coloured cells: weekly cohorts, or a matrix. It scrolls sideways where there is no room."""

    template: ClassVar[str] = "analytics/panels/grid.html"


def linked(panel: Panel, csv_url: str) -> Panel:
    """With the link to its CSV, and those of the panels in its box; `csv_url` ends where the id belongs."""
    return replace(panel, csv=csv_url + panel.id, more=[linked(each, csv_url) for each in panel.more])


@dataclass(frozen=True)
class Columns:
    """Panels side by side, filled in turn. The last one of the shorter column grows, so that both end evenly."""

    left: Sequence[Panel]
    right: Sequence[Panel]


def laid_out(panels: Sequence[Panel]) -> Iterator[Panel | Columns]:
    """Wide panels as they are; those between them in two columns."""
    for wide, run in groupby(panels, key=lambda panel: panel.wide):
        group = list(run)
        yield from group if wide else [Columns(group[::2], group[1::2])]


def _in_order(trees: list[list[Row]], place: int, descending: bool) -> list[list[Row]]:
    def of(tree: list[Row]) -> Exact:
        cell = tree[0].cells[place]
        return cell.exact if cell.order is None else cell.order

    told = [tree for tree in trees if of(tree) is not None]
    told.sort(key=lambda tree: _key(of(tree)), reverse=descending)
    return told + [tree for tree in trees if of(tree) is None]


def _tree(top: Row, under: list[Row], place: int, descending: bool) -> list[Row]:
    return [top, *(row for [row] in _in_order([[row] for row in under], place, descending))]


def _key(exact: Exact) -> tuple[float, str]:
    """Numbers before words, words without regard to case; days and times as ISO 8601 has them."""
    return (exact, "") if isinstance(exact, int | float) else (0, str(exact).casefold())

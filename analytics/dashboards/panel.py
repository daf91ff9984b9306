"""Panel: a table on a dashboard, its first column a name with a bar behind it.

In: words, and bars from charts.py. Out: what templates/analytics/panel.html and parts.html show.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.safestring import SafeString


@dataclass(frozen=True)
class Column:
    """Of a table. `look` is a CSS class: wide ones are left out on narrow screens."""

    label: str
    look: str = ""


@dataclass(frozen=True)
class Row:
    """A bar with a label, perhaps a link, and a cell for each column but the first, with the column's look."""

    label: str
    bar: SafeString
    cells: Sequence[tuple[str, str]]
    url: str = ""


@dataclass(frozen=True)
class Panel:
    """A table of parts, and what is said where it has no rows."""

    title: str
    note: str
    look: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    rest: str
    nothing: str


def row(columns: Sequence[Column], label: str, bar: SafeString, *cells: str, url: str = "") -> Row:
    """A row of these columns."""
    return Row(label, bar, [(cell, column.look) for cell, column in zip(cells, columns[1:], strict=True)], url)

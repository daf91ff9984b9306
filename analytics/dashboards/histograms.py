"""Histograms: how many there are of each size, as a chart with its table."""

from collections.abc import Sequence
from dataclasses import dataclass

from analytics import charts
from analytics.dashboards import wording
from analytics.dashboards.metrics import exact
from analytics.dashboards.panel import Cell, ChartPanel, Column, Row, Table


@dataclass(frozen=True)
class Bucket:
    """Sizes of `first` and more, called `label`; `share` (0 to 1) of all."""

    label: str
    first: float
    count: int
    share: float


def histogram(
    buckets: Sequence[Bucket],
    *,
    id: str,
    title: str,
    size: str,
    size_name: str,
    count: str,
    count_name: str,
    note: str = "",
    wide: bool = False,
) -> ChartPanel:
    """A bar for each bucket, the smallest sizes first; `size` and `count` are headings, the names are those in CSV."""
    columns = [Column(size, size_name), Column(count, count_name), Column("Share", "share")]
    rows = [
        Row(
            [
                Cell(exact(bucket.first), bucket.label),
                Cell(bucket.count, wording.exact(bucket.count)),
                Cell(exact(bucket.share), wording.percent(bucket.share)),
            ]
        )
        for bucket in buckets
    ]
    return ChartPanel(
        id=id,
        title=title,
        note=note,
        wide=wide,
        table=Table(columns, rows),
        chart=charts.histogram(
            [bucket.label for bucket in buckets],
            [bucket.count for bucket in buckets],
            summary=f"{title}, as bars",
            write_tick=wording.compact,
            finest=1,
        ),
    )

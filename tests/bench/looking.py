"""Bench: how long what the pages ask takes, beside the same questions put to the rows, in Postgres and in DuckDB.

In: the warehouse of DATA_DIR, as loading.py leaves it. Out: Markdown on stdout, exit status 1 where a figure is beyond
its limit. Run by loading.py, which has the servers; docs/performance.md.

Each page is asked anew, as by a process that has seen nothing of the warehouse but its connection.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import median

import django
import duckdb

django.setup()

from django.db import connection  # noqa: E402 - models need Django

from analytics import queries as q  # noqa: E402
from analytics.dashboards.page import Asked, Page  # noqa: E402
from analytics.dashboards.pages import PAGES  # noqa: E402
from analytics.dimensions import DIMENSIONS  # noqa: E402
from analytics.queries import Filter, Period, Selection  # noqa: E402
from tests.bench import report  # noqa: E402

TURNS = 3
# Period -> the slowest that a page may be, in milliseconds: by default and filtered by one value, and with several.
PAGE_MAX_MS = {"30d": 100.0, "90d": 1000.0}
COMBINATION_MAX_MS = 1000.0
_Ask = Callable[[Filter], object]
NOW = datetime(2026, 10, 31, 18, 20, tzinfo=UTC)
_DAYS = 90


def main() -> int:
    """Measure it all."""
    rows, beyond = _pages()
    sys.stdout.write(report.table(["page", "asked", "median ms", "p95 ms", "slowest"], rows) + "\n\n")
    rows, more = _combinations()
    sys.stdout.write(report.table(["filters together, 90 days", "asked", "median ms", "p95 ms", "slowest"], rows))
    beyond += more
    sys.stdout.write("\n\n" + report.table(["question", "rollups", "Postgres", "DuckDB"], _beside()) + "\n\n")
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"Milliseconds; the slowest is named. {memory_mb:,.0f} MB in the process, DuckDB's included.\n\n")
    sys.stdout.write("\n".join(beyond or ["Every page is within its limit."]) + "\n")
    return 1 if beyond else 0


# -- Pages ------------------------------------------------------------------------------------------------------------


def _show(page: Page, chosen: Filter) -> object:
    """What the page's view does with a filter, up to its panels, drawings included: the template is what is left."""
    paths = {each.name: f"/{each.route}" for each in PAGES.values()}
    chosen.read_ahead(page.lists)
    q.freshness()
    return page.panels(Asked(chosen, NOW, page.name, paths)) if q.excluded(chosen).runs else []


def _pages() -> tuple[list[list[str]], list[str]]:
    """Each page by default, over 90 days, and filtered by the most used values of each dimension."""
    found, beyond = [], []
    singly = _single()
    for page in PAGES.values():
        of = {name: each for name, each in singly.items() if page.of in each.only}
        default = dict(list(of.items())[:1]) or {"": Selection()}  # that of one value shows the one with the most runs
        for period, limit_ms in PAGE_MAX_MS.items():
            for what, selections in (("", default), (", one filter", {} if page.of else singly)):
                if not selections:
                    continue
                times = {name: _time(partial(_show, page), period, each) for name, each in selections.items()}
                row, p95 = _row(f"{page.title}, {period}{what}", times)
                found.append(row)
                if p95 > limit_ms:
                    beyond.append(f"Beyond its limit: {page.title}, {period}{what}: {p95:.0f} ms > {limit_ms:.0f}")
    return found, beyond


def _combinations() -> tuple[list[list[str]], list[str]]:
    """Pages filtered by two dimensions, the Overview also by three: their most used value wanted, or excluded."""
    used: dict[str, AbstractSet[str]] = {}
    for selection in _single().values():
        for dimension, values in selection.only.items():
            used.setdefault(dimension, values)
    found, beyond = [], []
    pages = [page for page in PAGES.values() if not page.of]
    for page, count in [*((page, 2) for page in pages), (pages[0], 3)]:
        for wanted in (True, False):
            times = {}
            for dimensions in combinations(used, count):
                named = {dimension: used[dimension] for dimension in dimensions}
                selection = Selection(named) if wanted else Selection({}, named)
                times[", ".join(dimensions)] = _time(partial(_show, page), "90d", selection, turns=1)
            what = f"{page.title}, {count} {'wanted' if wanted else 'excluded'}"
            row, p95 = _row(what, times)
            found.append(row)
            if p95 > COMBINATION_MAX_MS:
                beyond.append(f"Beyond its limit: filters together, {what}: {p95:.0f} ms > {COMBINATION_MAX_MS:.0f}")
    return found, beyond


def _single() -> dict[str, Selection]:
    """Each dimension by its most used value and by one that few use."""
    found: dict[str, Selection] = {}
    for dimension in DIMENSIONS:
        names = [part.value for part in q.parts(Filter(Period.ending_today("90d", NOW)), NOW, dimension)]
        found |= {f"{dimension}={name}": Selection({dimension: {name}}) for name in names[:1] + names[-1:]}
    return found


def _time(ask: _Ask, period: str, selection: Selection, *, compare: str = "previous", turns: int = TURNS) -> float:
    """The median of some turns, in milliseconds. In each the filter has read nothing yet."""

    def anew() -> Filter:
        unread = Selection(selection.only, selection.without)
        return Filter(Period.ending_today(period, NOW), compare=compare, selection=unread)

    return _median_ms(lambda: ask(anew()), turns)


def _median_ms(ask: Callable[[], object], turns: int) -> float:
    times = []
    for _ in range(turns):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)
    return median(times)


def _row(name: str, times: Mapping[str, float]) -> tuple[list[str], float]:
    in_order = sorted(times.values())
    p95 = in_order[-(len(in_order) // 20 + 1)]
    slowest = max(times, key=lambda which: times[which])
    return [name, str(len(times)), f"{median(in_order):.0f}", f"{p95:.0f}", f"{slowest} {in_order[-1]:.0f}"], p95


# -- Beside the rows --------------------------------------------------------------------------------------------------

_SINCE = NOW.replace(hour=0, minute=0) - timedelta(days=_DAYS - 1)
# The questions of performance.md, "Looking", in the SQL of both.
_QUESTIONS = {
    "active installations by day, 90 days": """
        SELECT floor(extract(epoch FROM occurred_at) / 86400) AS day, count(DISTINCT installation_id) FROM {rows}
        WHERE occurred_at >= '{since}' AND duration_ms IS NOT NULL GROUP BY 1
    """,
    "by day and command": """
        SELECT floor(extract(epoch FROM occurred_at) / 86400), command, count(*), count(CASE WHEN has_error THEN 1 END)
        FROM {rows}
        WHERE occurred_at >= '{since}' AND duration_ms IS NOT NULL GROUP BY 1, 2
    """,
    "p50 and p99 by command": """
        SELECT command, percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms),
               percentile_disc(0.99) WITHIN GROUP (ORDER BY duration_ms) FROM {rows}
        WHERE occurred_at >= '{since}' AND duration_ms IS NOT NULL AND NOT has_error GROUP BY 1
    """,
    "weekly retention": """
        WITH seen AS (
            SELECT DISTINCT installation_id, floor((extract(epoch FROM occurred_at) / 86400 + 3) / 7) AS week
            FROM {rows}
            WHERE duration_ms IS NOT NULL AND installation_id IS NOT NULL
        ), cohort AS (SELECT installation_id, min(week) AS first FROM seen GROUP BY 1)
        SELECT first, week, count(*) FROM seen JOIN cohort USING (installation_id)
        WHERE first >= floor((extract(epoch FROM TIMESTAMPTZ '{since}') / 86400 + 3) / 7) GROUP BY 1, 2
    """,
}


def _beside() -> list[list[str]]:
    ours: Mapping[str, _Ask] = {
        "active installations by day, 90 days": lambda chosen: q.series(chosen, NOW),
        "by day and command": lambda chosen: q.parts(chosen, NOW, "command", in_steps=True),
        "p50 and p99 by command": lambda chosen: q.parts(chosen, NOW, "command"),
        "weekly retention": lambda chosen: q.cohorts(chosen, NOW),
    }
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as duck:
        duck.execute("SET threads = 1")
        _to_duckdb(duck, Path(folder) / "events.csv")
        found = []
        for name, question in _QUESTIONS.items():
            of_postgres, of_duckdb = (
                question.format(rows=rows, since=_SINCE.isoformat()) for rows in ("analytics_event", "events")
            )
            times = (
                _time(ours[name], "90d", Selection(), compare="off"),
                _median_ms(partial(_postgres, of_postgres), 1),
                _median_ms(partial(_duckdb, duck, of_duckdb), TURNS),
            )
            found.append([name, *(f"{took:,.0f}" for took in times)])
        return found


def _postgres(question: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(question)
        cursor.fetchall()


def _duckdb(duck: duckdb.DuckDBPyConnection, question: str) -> None:
    duck.execute(question).fetchall()


def _to_duckdb(duck: duckdb.DuckDBPyConnection, file: Path) -> None:
    """The same rows, as a table of DuckDB's own."""
    columns = "occurred_at, installation_id, command, duration_ms, has_error"
    with (
        connection.cursor() as cursor,
        file.open("wb") as csv,
        cursor.copy(f"COPY (SELECT {columns} FROM analytics_event) TO STDOUT (FORMAT CSV, HEADER)") as copy,
    ):
        for block in copy:
            csv.write(block)
    duck.execute(f"CREATE TABLE events AS SELECT * FROM read_csv('{file}')")


if __name__ == "__main__":
    sys.exit(main())

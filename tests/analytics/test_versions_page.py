"""Versions, and one of them: which are flagged, what a flag promises, and what they are compared with."""

import uuid
from collections.abc import Iterable
from datetime import timedelta

import pytest

from analytics import queries
from analytics.dashboards.page import Asked
from analytics.dashboards.pages import PAGES
from analytics.dashboards.panel import Panel, Row
from analytics.models import Event, Installation
from analytics.queries import INSTALLATIONS_MIN
from tests.analytics.history import record, run
from tests.events import NOON

pytestmark = pytest.mark.django_db

PATHS = {name: f"/admin/{page.route}" for name, page in PAGES.items()}
OLD, NEW = "0.9.0", "0.10.0"


def panels(page: str = "versions", sort: str = "", **words: str) -> dict[str, Panel]:
    """Those of a page at noon, by id."""
    chosen, _ = queries.parsed({name: [value] for name, value in words.items()}, NOON)
    asked = Asked(chosen, NOON, page, PATHS, chosen.before is not None, sort=sort)
    return {each.id: each for panel in PAGES[page].panels(asked) for each in panel.all()}


def somebody(count: int) -> list[Installation]:
    return Installation.objects.bulk_create([Installation(user_id=uuid.uuid4()) for _ in range(count)])


def runs_of(
    people: Iterable[Installation], version: str, *, failures: int = 0, duration_ms: int = 1000, days_ago: int = 2
) -> list[Event]:
    """Ten runs of each, some of them failed."""
    return [
        run(
            NOON - timedelta(days=days_ago),
            installation=person,
            tool_version=version,
            has_error=place < failures,
            duration_ms=duration_ms,
        )
        for person in people
        for place in range(10)
    ]


def worse(*, failures: int = 1, duration_ms: int = 1000) -> None:
    """The new version is run by as many as the old one, of whose runs each tenth fails, and which take a second."""
    people = somebody(INSTALLATIONS_MIN)
    record(runs_of(people, OLD, failures=1, days_ago=4))
    record(runs_of(people, NEW, failures=failures, duration_ms=duration_ms))


def by_version(panel: Panel) -> dict[object, Row]:
    return {row.cells[0].exact: row for row in panel.table.rows}


def shown(panel: Panel, row: Row) -> dict[str, str]:
    return {column.name: str(cell.shown) for column, cell in zip(panel.columns, row.cells, strict=True)}


# -- Versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "duration_ms", "flag"),
    [
        (1, 1000, ""),
        (0, 500, ""),
        (5, 1000, "▲ fails more"),
        (1, 3000, "▲ slower"),
        (5, 3000, "▲ fails more, slower"),
    ],
)
def test_versions_flag_in_words_what_is_worse(failures: int, duration_ms: int, flag: str) -> None:
    worse(failures=failures, duration_ms=duration_ms)
    rows = by_version(panels()["versions"])
    assert (rows[NEW].flag, rows[OLD].flag) == (flag, "")
    assert rows[NEW].flag_title == (f"than {OLD}, beyond chance" if flag else "")


def test_versions_say_what_they_are_compared_with() -> None:
    worse(failures=3, duration_ms=2000)
    panel = panels()["versions"]
    rows = by_version(panel)
    new, old = shown(panel, rows[NEW]), shown(panel, rows[OLD])
    assert f">{OLD}</bdi>" in new["before"]
    assert "20.0 pp" in new["error_rate_difference"]
    assert "bad" in new["error_rate_difference"]
    place = [column.name for column in panel.columns].index("duration_ratio")
    assert rows[NEW].cells[place].exact == pytest.approx(2, rel=0.05)
    assert {old[name] for name in ("before", "error_rate_difference", "duration_ratio")} == {"\N{EN DASH}"}
    assert (new["first_day"], new["days_to_half"]) == ("20 Nov", "0")


def test_versions_colour_no_difference_that_may_be_chance() -> None:
    people = somebody(INSTALLATIONS_MIN)
    record([*runs_of(people, OLD), *runs_of(people[1:], NEW), *runs_of(people[:1], NEW, failures=10)])
    panel = panels()["versions"]
    told = shown(panel, by_version(panel)[NEW])["error_rate_difference"]
    assert "up" in told
    assert "bad" not in told


def test_versions_say_what_a_flag_promises() -> None:
    worse()
    told = panels()["versions"].rest
    assert "a chance of at most 5%, even if you look every day" in told
    assert f"at least {INSTALLATIONS_MIN} installations" in told


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", ["nightly", "0.10.0", "0.10.0rc1", "0.9.0"]),
        ("version", ["0.9.0", "0.10.0rc1", "0.10.0", "nightly"]),
        ("-version", ["nightly", "0.10.0", "0.10.0rc1", "0.9.0"]),
        ("-runs", ["0.10.0rc1", "0.9.0", "nightly", "0.10.0"]),
    ],
)
def test_versions_are_sorted_by_age_rather_than_by_letters(sort: str, order: list[str]) -> None:
    for version, count in {"0.9.0": 3, "0.10.0": 1, "nightly": 2, "0.10.0rc1": 4}.items():
        record(run(NOON, tool_version=version) for _ in range(count))
    assert [row.cells[0].exact for row in panels(sort=sort)["versions"].table.rows] == order


def test_versions_lead_to_their_pages() -> None:
    record([run(NOON, tool_version="a/b?c=d&e#f")])
    [row] = panels(period="7d", command="repo")["versions"].table.rows
    assert row.url == "/admin/version/?period=7d&command=repo&version=a%2Fb%3Fc%3Dd%26e%23f"


# -- One version ------------------------------------------------------------------------------------------------------


def test_version_shows_both_sides_and_what_is_worse() -> None:
    worse(failures=5)
    panel = panels("version", version=NEW)["against"]
    rows = {name: shown(panel, row) for name, row in by_version(panel).items()}
    assert (rows["runs"]["now"], rows["runs"]["before"]) == ("500", "500")
    assert (rows["error_rate"]["now"], rows["error_rate"]["before"]) == ("50.0%", "10.0%")
    assert "▲ fails more" in rows["error_rate"]["p"]
    assert rows["duration_ms"]["p"] == "no"
    assert f"/admin/version/?period=30d&amp;version={OLD}" in rows["version"]["before"]


@pytest.mark.parametrize("version", [OLD, "0.9.9"])
def test_version_says_where_there_is_nothing_to_compare(version: str) -> None:
    worse()
    record(runs_of(somebody(3), "0.9.9"))
    panel = panels("version", version=version)["against"]
    assert not panel.table.rows
    assert f"at least {INSTALLATIONS_MIN} installations" in panel.nothing


def test_version_stands_beside_all_others() -> None:
    three, one = somebody(3), somebody(1)
    record([*runs_of(three, OLD, days_ago=3), *runs_of(one, NEW, days_ago=3), *runs_of(three, OLD, days_ago=1)])
    panel = panels("version", version=NEW)["adoption"]
    assert [column.label for column in panel.columns] == ["Step", NEW, "other versions"]
    exact = [[cell.exact for cell in row.cells[1:]] for row in panel.table.rows[-4:]]
    assert exact == [[0.25, 0.75], [0, 0], [0, 1], [0, 0]]
    assert "first seen on 19 Nov" in panel.note

"""Every dashboard: its states, its filters, its CSV, and what it costs. A page that is added is tested here, too."""

import csv
import io
import json
import re
import uuid
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from analytics.dashboards import view
from analytics.dashboards.page import Page
from analytics.dashboards.pages import PAGES
from analytics.dashboards.panel import NO_PICTURE, Cell, Column, Panel, Row, Table
from analytics.models import Annotation, Installation
from tests.analytics.history import record, record_made_up, run
from tests.analytics.test_admin import HOSTILE, assert_strict

pytestmark = pytest.mark.django_db

SUBJECTS = {"command": "repo", "version": "0.64.0", "error_type": "FileError", "model": "gpt-4.1"}
"""What pages of one value are about; values of made_up."""

STATEMENTS_MAX_COUNT = 14  # and one that makes all of them see the same, but in a test, which is in a transaction

every_page = pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.name)


def path(page: Page, *words: str) -> str:
    """Of a page, at these words."""
    said = [*words, *([f"{page.of}={SUBJECTS[page.of]}"] if page.of else [])]
    return f"/admin/{page.route}" + (f"?{'&'.join(said)}" if said else "")


def look(client: Client, page: Page, *words: str) -> Any:
    answer = client.get(path(page, *words))
    assert answer.status_code == 200
    return answer


def text(answer: Any) -> str:
    page: str = answer.content.decode()
    return page


@pytest.fixture
def history() -> None:
    record_made_up(timezone.now(), days=20, a_day=20)


@every_page
def test_page_asks_for_a_login(client: Client, page: Page) -> None:
    assert client.get(path(page)).status_code == 302


@every_page
def test_page_waits_for_the_first_event(admin_client: Client, page: Page) -> None:
    shown = text(look(admin_client, page))
    assert "Waiting for the first event" in shown
    assert_strict(shown)


@every_page
def test_page_with_nothing_in_range_says_the_way_out(admin_client: Client, page: Page) -> None:
    newest = timezone.now() - timedelta(days=50)
    record([run(newest)])
    shown = text(look(admin_client, page, "period=7d"))
    assert "No runs in these days" in shown
    assert f"{newest.day} {newest:%B %Y}" in shown
    assert "?period=90d" in shown
    assert_strict(shown)


@every_page
@pytest.mark.usefixtures("history")
def test_page_shows_figures_over_every_period(admin_client: Client, page: Page) -> None:
    for period in ("today", "7d&interval=hour", "30d&compare=off", "12mo&interval=month", "month&compare=yoy"):
        answer = look(admin_client, page, f"period={period}")
        assert answer.context["state"] in ("figures", "nothing in range")
        assert answer.context["notices"] == []
        assert_strict(text(answer))
    assert answer.context["state"] == "figures" or page.of


@every_page
@pytest.mark.usefixtures("history")
def test_page_takes_few_statements_and_never_reads_events(admin_client: Client, page: Page) -> None:
    for words in ((), ("os=(none)", "agent__not=x"), ("add=",)):
        with CaptureQueriesContext(connection) as captured:
            look(admin_client, page, "period=90d", *words)
        statements = [query["sql"] for query in captured.captured_queries]
        assert len(statements) <= STATEMENTS_MAX_COUNT, "\n".join(statements)
        assert not [sql for sql in statements if '"analytics_event"' in sql]


@every_page
def test_page_escapes_what_anybody_may_have_posted(admin_client: Client, page: Page) -> None:
    names = [HOSTILE, "\N{RIGHT-TO-LEFT OVERRIDE}abc", "\N{FACE WITH TEARS OF JOY}" * 64, "", "a/b?c=d&e#f %"]
    for name in names:
        fields = dict.fromkeys(("command", "tool_version", "provider", "model", "error_type"), name)
        record([run(timezone.now(), has_error=True, prompt_tokens=5, **fields) for _ in range(3)])
        record([run(timezone.now(), prompt_tokens=5, **fields) for _ in range(25)])
    for name in names if page.of else [""]:
        words = {page.of: name, "period": "7d"} if page.of else {"period": "7d"}
        answer = admin_client.get(f"/admin/{page.route}", words)
        if answer.status_code == 200:
            assert "alert(1)</script" not in text(answer)
            assert_strict(text(answer))


@every_page
@pytest.mark.usefixtures("history")
def test_every_panel_has_a_csv_of_the_same_figures(admin_client: Client, page: Page) -> None:
    panels = [each for panel in look(admin_client, page).context["panels"] for each in panel.all()]
    assert len({panel.id for panel in panels}) == len(panels)
    for panel in panels:
        answer = admin_client.get(panel.csv)
        assert answer["Content-Type"].startswith("text/csv")
        header, *rows = csv.reader(io.StringIO(text(answer)))
        assert header == [column.name for column in panel.table.columns if column.name]
        assert answer["X-Filter"].startswith("period=")
        assert json.loads(answer["X-Excluded"])["runs"] > 0
        assert len(set(header)) == len(header)
        assert len(rows) == len(panel.table.rows)
        assert "<" not in text(answer)


@every_page
@pytest.mark.usefixtures("history")
def test_fragment_is_sent_where_figures_are_others_than_those_shown(admin_client: Client, page: Page) -> None:
    shown = look(admin_client, page).context["shown"]
    assert admin_client.get(path(page, f"fragment={shown}")).status_code == 204
    fragment = text(look(admin_client, page, "fragment=earlier"))
    assert f'data-fragment="{shown}"' in fragment
    assert "<html" not in fragment


@every_page
@pytest.mark.usefixtures("history")
def test_every_table_sorts_by_each_of_its_links(admin_client: Client, page: Page) -> None:
    panels = [each for panel in look(admin_client, page).context["panels"] for each in panel.all()]
    for url in [column.url for panel in panels for column in panel.columns if column.url]:
        shown = text(admin_client.get(url))
        assert "aria-sort=" in shown
        assert "There is no column" not in shown


# -- What all pages share, on the front page --------------------------------------------------------------------------

FRONT = PAGES["overview"]


def test_words_that_are_not_known_fall_back_and_are_told(admin_client: Client) -> None:
    record([run(timezone.now())])
    shown = text(look(admin_client, FRONT, f"period={HOSTILE}", "metric=joy", "sort=joy", "joy=1"))
    for told in ("There is no period", "There is no metric “joy”", "There is no column “joy”", "There is no “joy”"):
        assert told in shown
    assert "period=30d" in shown
    assert HOSTILE not in shown


@pytest.mark.usefixtures("history")
def test_a_name_filters_and_its_chip_takes_the_filter_away(admin_client: Client) -> None:
    commands = next(panel for panel in look(admin_client, FRONT).context["panels"] if panel.id == "commands")
    filtered = admin_client.get(commands.table.rows[0].url)
    [chip] = filtered.context["controls"].chips
    assert (chip.label, chip.value, chip.without) == ("Command", "repo", False)
    assert admin_client.get(chip.remove).context["controls"].chips == []


@pytest.mark.usefixtures("history")
def test_filters_that_exclude_say_so(admin_client: Client) -> None:
    answer = look(admin_client, FRONT, "command__not=repo", "model=(none)")
    told = " ".join(re.sub("<[^>]+>", " ", text(answer)).split())
    assert "Command is not repo" in told
    assert "Model is (none)" in told
    assert not {*parse_qs(urlsplit(answer.context["controls"].clear).query)} - {"period"}


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(("how", "word"), [("", "model"), ("not", "model__not")])
def test_the_form_adds_a_filter_from_the_values_of_the_period(admin_client: Client, how: str, word: str) -> None:
    groups = {group.label: group.options for group in look(admin_client, FRONT, "add=").context["controls"].groups}
    assert [value for _, value in groups["Model"]][-1] == "(none)"
    assert ("command:repo", "repo") in groups["Command"]
    answer = admin_client.get(f"/admin/?period=7d&command=ask&is={how}&add=model:gpt-4.1")
    assert answer.status_code == 302
    assert parse_qs(urlsplit(answer["Location"]).query) == {"period": ["7d"], "command": ["ask"], word: ["gpt-4.1"]}


def test_nothing_with_these_filters_offers_to_clear_them(admin_client: Client) -> None:
    record([run(timezone.now())])
    answer = look(admin_client, FRONT, "command=nobody", "metric=tokens")
    assert [way.label for way in answer.context["ways_out"]] == ["Clear all filters", "Show 12 months"]


def test_an_old_newest_run_is_a_way_out_of_its_own(admin_client: Client) -> None:
    record([run(timezone.now() - timedelta(days=500))])
    [way] = look(admin_client, FRONT).context["ways_out"]
    assert admin_client.get(way.url).context["state"] == "figures"


@pytest.mark.usefixtures("history")
def test_the_sidebar_carries_the_filter_along(admin_client: Client) -> None:
    sections = look(admin_client, FRONT, "period=7d", "command=repo", "metric=tokens").context["sidebar"]
    assert {urlsplit(page.url).query for page in sections[0].pages} == {"period=7d&command=repo"}


def test_releases_and_annotations_are_marked(admin_client: Client) -> None:
    record([run(timezone.now())])
    Annotation.objects.create(day=timezone.now().date() - timedelta(days=3), text=HOSTILE)
    shown = text(look(admin_client, FRONT))
    assert "&lt;script&gt;alert(1)" in shown
    assert "Release or note" in shown
    assert HOSTILE not in shown


def test_page_says_how_many_runs_are_nobodys(admin_client: Client) -> None:
    somebody = Installation.objects.create(user_id=uuid.uuid4())
    record([run(timezone.now(), placeholder="anonymous_opt_out"), run(timezone.now(), installation=somebody)])
    told = " ".join(re.sub("<[^>]+>", " ", text(look(admin_client, FRONT))).split())
    assert "count as runs (50.0% of these), but neither as installations nor in runs per installation" in told, told[
        -500:
    ]


def test_nothing_is_new_beside_days_before_the_first_event(admin_client: Client) -> None:
    record([run(timezone.now())])
    answer = look(admin_client, FRONT)
    assert "to compare with" in text(answer)
    assert 'class="change new"' not in text(answer)


@pytest.mark.usefixtures("history")
def test_a_csv_says_what_it_did_not_understand(admin_client: Client) -> None:
    answer = admin_client.get("/admin/commands/?commnd=repo&period=zz&csv=commands")
    assert json.loads(answer["X-Notices"]) == [
        "There is no “commnd” to filter by.",
        "There is no period “zz”: this is period=30d.",
    ]


@pytest.mark.usefixtures("history")
def test_a_csv_of_no_panel_is_not_found(admin_client: Client) -> None:
    record([run(timezone.now())])
    assert admin_client.get("/admin/?csv=joy").status_code == 404


# -- Pages of one value -----------------------------------------------------------------------------------------------

ONE = Page(
    "one", "One command", "commands", lambda asked: [Panel(id="p", title="P", table=table())], of="command",
    parent="overview",
)  # fmt: skip


def ask(words: str) -> Any:
    request = RequestFactory().get(f"/admin/one/?{words}")
    return view.show(request, ONE, {"one": "/admin/one/", "overview": "/admin/"}, {})


def test_a_page_of_one_value_has_it_as_its_title_and_its_filter() -> None:
    record([run(timezone.now(), command=HOSTILE)])
    found = ask("period=7d&os=(none)&" + urlencode({"command": HOSTILE})).context_data
    assert (found["title"], found["state"]) == (HOSTILE, "figures")
    leave = [chip.remove for chip in found["controls"].chips if chip.label == "Command"]
    assert leave == ["/admin/?period=7d&os=%28none%29"]
    assert found["controls"].clear == "/admin/?period=7d"


@pytest.mark.parametrize("words", ["period=7d", "period=7d&command=a&command=b"])
def test_a_page_of_one_value_without_one_leads_to_all_of_them(words: str) -> None:
    answer = ask(words)
    assert (answer.status_code, answer["Location"]) == (302, f"/admin/?{words}")


# -- Tables -----------------------------------------------------------------------------------------------------------


def table(*rows: tuple[object, ...]) -> Table:
    columns = [Column("Name", "name"), Column("Runs", "runs"), Column("Trend"), Column("Day", "day")]
    return Table(columns, [Row([Cell(cell, "shown") for cell in row]) for row in rows])  # type: ignore[arg-type]


def test_csv_is_exact_and_no_formula() -> None:
    day = date(2026, 11, 1)
    assert table(("=1+1", 1234.5, None, day), ('a "b", c', None, None, None)).csv().splitlines() == [
        "name,runs,day",
        "'=1+1,1234.5,2026-11-01",
        '"a ""b"", c",,',
    ]


def test_rows_without_a_figure_are_sorted_last_either_way() -> None:
    rows = table(("a", 1), ("b", None), ("c", 30), ("d", 4))
    for sort, expected in (("runs", "adcb"), ("-runs", "cdab"), ("-name", "dcba"), ("joy", "abcd"), ("", "abcd")):
        assert "".join(str(row.cells[0].exact) for row in rows.sorted_by(sort).rows) == expected


def test_branches_of_a_tree_are_sorted_under_what_they_are_of() -> None:
    rows = [("x", 1, 0), ("x2", 5, 1), ("x1", 9, 1), ("y", 2, 0), ("y1", 7, 1)]
    tree = Table(table().columns, [Row([Cell(name, name), Cell(runs, "")], depth=depth) for name, runs, depth in rows])
    assert [row.cells[0].exact for row in tree.sorted_by("-runs").rows] == ["y", "y1", "x", "x1", "x2"]


def test_a_panel_shows_its_first_rows() -> None:
    panel = Panel(id="p", title="P", table=table(*((name, 1) for name in "abcd")), at_most=2)
    assert [name.exact for _, name, _ in panel.rows] == ["a", "b"]
    assert panel.table.rows[0].bar == NO_PICTURE

"""Users and retention: what is said of installations, together and never one by one."""

import re
import uuid
from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from analytics.dashboards.panel import ChartPanel
from analytics.models import Event, Installation
from tests.analytics.history import record, run
from tests.analytics.test_errors_page import cards, panels, rows
from tests.events import NOON

pytestmark = pytest.mark.django_db


def people(count: int) -> list[Installation]:
    return Installation.objects.bulk_create([Installation(user_id=uuid.uuid4()) for _ in range(count)])


def runs_of(installation: Installation, days_ago: Sequence[int]) -> list[Event]:
    return [run(NOON - timedelta(days=days), installation=installation) for days in days_ago]


def test_figures_count_an_installation_once_in_its_days() -> None:
    often, once = people(2)
    record([*runs_of(often, [1, 2, 3, 40]), *runs_of(once, [2])])
    found = cards(panels("users", period="7d")["figures"])
    to = f"to {NOON.day} {NOON:%b}"
    assert (found["Active installations"], found["New installations"]) == ("2", "1")
    assert (found[f"In 7 days {to}"], found[f"In 30 days {to}"]) == ("2", "2")
    assert found["Stickiness"] == "80.0%"  # days of 1, 2 and 1, where the 30 days to each have 1, 2 and 2


def test_an_average_day_is_none_before_there_was_anybody() -> None:
    first, second = people(2)
    record([*runs_of(first, [1, 2]), *runs_of(second, [1, 3])])
    assert rows(panels("users", period="90d")["figures"])["average_day"]["now"] == round(4 / 3, 6)


def test_active_days_stand_beside_the_7_and_30_days_to_them() -> None:
    early, late = people(2)
    record([*runs_of(early, [20]), *runs_of(late, [0])])
    panel = panels("users", compare="off")["active"]
    assert [column.name for column in panel.columns] == ["start", "installations", "of_7_days", "of_30_days"]
    assert [cell.exact for cell in panel.table.rows[-1].cells[1:]] == [1, 1, 2]


@pytest.mark.parametrize(("period", "interval"), [("today", "hour"), ("90d", "week"), ("12mo", "month")])
def test_other_steps_count_the_installations_of_each(period: str, interval: str) -> None:
    [one] = people(1)
    record(runs_of(one, [0, 0]))
    shown = panels("users", period=period, interval=interval, compare="off")
    assert [column.name for column in shown["active"].columns] == ["start", "installations"]
    assert max(row.cells[1].exact or 0 for row in shown["active"].table.rows) == 1
    newest = shown["newcomers"].table.rows[-1]
    assert [cell.exact for cell in newest.cells[1:5]] == [1, 1, 0, 0]


def test_new_back_again_and_returning_are_counted_beside_their_chart() -> None:
    new, back, returning = people(3)
    record([*runs_of(new, [1]), *runs_of(back, [1, 5]), *runs_of(returning, [1, 2])])
    panel = panels("users", period="7d")["newcomers"]
    assert isinstance(panel, ChartPanel)
    assert [column.name for column in panel.columns] == [
        *("start", "installations", "new", "back_again", "returning", "retained"),
    ]
    yesterday = panel.table.rows[-2]
    assert [cell.exact for cell in yesterday.cells[1:]] == [3, 1, 1, 1, 1.0]
    assert panel.chart.count('class="day"') == len(panel.table.rows)
    assert panel.chart.count("<polygon") >= 3


@pytest.mark.parametrize("period", ["7d", "30d", "12mo"])
def test_retention_has_the_last_twelve_weeks_whatever_the_period(period: str) -> None:
    stayed, went = people(2)
    record([*runs_of(stayed, [77, 70, 0]), *runs_of(went, [77])])
    panel = panels("users", period=period)["retention"]
    first = NOON - timedelta(days=77 + NOON.weekday())
    assert panel.table.rows[0].cells[0].exact == first.date()
    assert [cell.exact for cell in panel.table.rows[0].cells[1:3]] == [2, 0.5]
    assert panel.title == f"Weekly retention, {first.day} {first:%b} \N{EN DASH} {NOON.day} {NOON:%b %Y}"
    assert len(panel.columns) == 2 + 11


def test_runs_per_installation_name_the_median_and_p90() -> None:
    once, often = people(2)
    record([*runs_of(once, [1]), *runs_of(often, [1] * 4)])
    panel = panels("users")["runs"]
    assert panel.note == "median 1, p90 4"
    assert {name: row["installations"] for name, row in rows(panel).items() if row["installations"]} == {1: 1, 3: 1}


def test_who_leads_to_their_runs() -> None:
    record([run(NOON, ci=True), run(NOON, ci=True, agent="codex"), run(NOON, ci=False), run(NOON)])
    panel = panels("users")["who"]
    assert {name: row["runs"] for name, row in rows(panel).items()} == {"person": 1, "ci": 1, "agent": 1, "unknown": 1}


def test_left_out_says_how_many_runs_are_nobodys() -> None:
    [somebody] = people(1)
    nobody = [run(NOON, placeholder=name) for name in ("anonymous_opt_out", "anonymous_pending_prompt")]
    record([*nobody, *runs_of(somebody, [0, 0])])
    found = rows(panels("users")["left-out"])
    assert {name: (row["runs"], row["share"]) for name, row in found.items()} == {
        "installations": (2, 0.5),
        "placeholders": (2, 0.5),
    }


def test_nobody_at_all_is_no_failure() -> None:
    record([run(NOON, placeholder="anonymous_opt_out")])
    shown = panels("users")
    assert cards(shown["figures"])["Stickiness"] == "\N{EN DASH}"
    assert (shown["runs"].note, shown["retention"].table.rows) == ("", [])


def test_no_id_is_on_the_page_or_in_its_csv(admin_client: Client) -> None:
    them = people(3)
    record(run(timezone.now(), installation=one) for one in them)
    page = admin_client.get("/admin/users/")
    texts = [page, *(admin_client.get(each.csv) for panel in page.context["panels"] for each in panel.all())]
    said = "".join(answer.content.decode() for answer in texts)
    assert "Runs per installation" in said
    assert not [one for one in them if str(one.user_id)[:8] in said]
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}", said)

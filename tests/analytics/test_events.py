"""Events: the list of a dashboard's filter, newest first and bounded; and one of them with its payload."""

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from analytics import events, export, queries, roles
from analytics.lists import BoundedPaginator
from analytics.models import Event, Installation
from analytics.queries.reach import reach
from tests.analytics.history import record, record_made_up, run
from tests.analytics.test_admin import HOSTILE, assert_strict, url

pytestmark = pytest.mark.django_db


def listed(client: Client, **words: str | list[str]) -> list[Event]:
    """The events of the first page."""
    found: list[Event] = [*look(client, **words).result_list]
    return found


def look(client: Client, **words: str | list[str]) -> Any:
    answer = client.get(url(Event, "changelist"), words)
    assert answer.status_code == 200
    return answer.context["cl"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, "abcd"),
        ({"period": "90d"}, "abcde"),
        ({"period": "today"}, "ab"),
        ({"command": "ask"}, "b"),
        ({"command": ["ask", "repo"], "error_type": "FileError"}, "c"),
        ({"command__not": "repo"}, "bd"),
        ({"model": "(none)", "command": "repo"}, "ac"),
        ({"model__not": "(none)"}, "d"),
        ({"ci": "true"}, "d"),
        ({"os": "linux", "agent": "x", "provider": "openai", "version": "1.0"}, "d"),
        ({"command": "nobody"}, ""),
        ({"command": "re\0po"}, "abcd"),
        ({"period": "joy", "joy": "1", "o": "2", "p": "1"}, "abcd"),
    ],
)
def test_events_are_those_of_the_dashboards_filter(
    admin_client: Client, words: dict[str, str | list[str]], expected: str
) -> None:
    now = timezone.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    fields = {"tool_version": "1.0", "model": "gpt-4.1", "provider": "openai", "ci": True, "os": "linux", "agent": "x"}
    those = {
        "a": run(now),
        "b": run(midnight, command="ask", has_error=None, error_type="FileError"),
        "c": run(midnight - timedelta(days=3), has_error=True, error_type="FileError"),
        "d": run(midnight - timedelta(days=9), command="plan", **fields),
        "e": run(midnight - timedelta(days=40)),
    }
    record(those.values())
    names = {event.pk: name for name, event in those.items()}
    assert "".join(names[event.pk] for event in listed(admin_client, **words)) == expected


def test_events_of_any_filter_are_those_that_an_export_has(admin_client: Client) -> None:
    record_made_up(timezone.now(), days=40, a_day=10)
    for words in (
        {"model": "(none)"},
        {"error_type__not": "FileError", "command": ["ask", "plan"]},
        {"version": "0.63.3"},
    ):
        chosen, _ = queries.parsed(
            {name: [value] if isinstance(value, str) else value for name, value in words.items()}, timezone.now()
        )
        assert look(admin_client, **words).result_count == export.count(chosen)


def test_events_have_the_controls_of_a_dashboard(admin_client: Client) -> None:
    record([run(timezone.now())])
    answer = admin_client.get(url(Event, "changelist") + "?period=7d&command=repo&joy=1&add=")
    shown = answer.content.decode()
    above = answer.context["cl"].controls
    [chip] = above.chips
    assert (chip.label, chip.value, urlsplit(chip.remove).query) == ("Command", "repo", "period=7d")
    assert [group.label for group in above.groups] == ["Command", "Version"]
    assert "There is no “joy” to filter by." in shown
    assert '<input type="hidden" name="command" value="repo">' in shown
    assert_strict(shown)


def test_events_are_filtered_by_the_form(admin_client: Client) -> None:
    answer = admin_client.get(url(Event, "changelist") + "?period=7d&is=not&add=command:repo")
    assert (answer.status_code, answer["Location"]) == (302, url(Event, "changelist") + "?period=7d&command__not=repo")


def test_events_without_any_in_range_say_the_way_out(admin_client: Client) -> None:
    record([run(timezone.now() - timedelta(days=50))])
    answer = admin_client.get(url(Event, "changelist") + "?period=7d&command=ask")
    assert "No events in these days with these filters" in answer.content.decode()
    assert [way.label for way in answer.context["cl"].ways_out] == ["Clear all filters", "Show 90 days"]


def test_events_say_when_only_the_newest_are_listed(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedPaginator, "LIMIT", 3)
    record([run(timezone.now()) for _ in range(4)])
    page = admin_client.get(url(Event, "changelist"))
    assert page.context["cl"].result_count == 3
    assert "Only the newest 3 are listed" in page.content.decode()


def test_events_beyond_those_that_were_looked_through_are_led_to(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOKED_AT_MAX_COUNT", 5)
    now = timezone.now()
    old = run(now - timedelta(days=20), command="ask")
    others = [run(now - timedelta(days=day)) for day in (2, 4) for _ in range(3)]
    new = [run(now - timedelta(days=day), command="ask") for day in (2, 4)]
    record([old, *others, *new])
    found = look(admin_client, command="ask")
    assert [event.pk for event in found.result_list] == [new[0].pk]
    words = parse_qs(urlsplit(found.earlier).query)
    assert (words["to"], words["command"]) == ([f"{(now - timedelta(days=3)).date()}"], ["ask"])
    monkeypatch.undo()
    assert [event.pk for event in listed(admin_client, **words)] == [new[1].pk, old.pk]


def test_reach_is_the_newest_days_that_have_such_runs() -> None:
    now = timezone.now()
    record([run(now - timedelta(days=day), command="ask") for day in (0, 40, 41, 80)])
    record([run(now - timedelta(days=day)) for day in (0, 20, 41)])
    chosen, _ = queries.parsed({"period": ["90d"], "command": ["ask"]}, now)
    days = [(now - timedelta(days=day)).date() for day in (0, 40, 41, 80)]
    for runs, others, expected in ((9, 99, days), (2, 99, days[:2]), (9, 3, days[:2]), (9, 0, days[:1]), (4, 99, days)):
        found = reach(chosen, runs_max_count=runs, others_max_count=others)
        assert (found.days, found.further) == (expected, expected != days)


def test_a_rare_filter_reads_its_days_alone(admin_client: Client) -> None:
    now = timezone.now()
    record_made_up(now, days=60, a_day=100)
    record([run(now - timedelta(days=day), command="rare") for day in (33, 34, 50)])
    with CaptureQueriesContext(connection) as captured:
        assert len(listed(admin_client, period="90d", command="rare")) == 3
    [statement] = [query["sql"] for query in captured.captured_queries if '"event_name"' in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE analytics_event")
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        plan = json.dumps(cursor.fetchone()[0])
    assert "event_occurred_at" in plan
    assert max(map(int, re.findall(r'"Rows Removed by Filter": (\d+)', plan)), default=0) < 400


def test_only_who_may_see_events_is_led_to_them(client: Client) -> None:
    record([run(timezone.now())])
    for role in roles.ROLES:
        account = User.objects.create_user(role.name)
        roles.give(account, role)
        client.force_login(account)
        assert ("/admin/analytics/event/" in client.get("/admin/").content.decode()) == (role != roles.VIEWER)
    client.logout()
    viewer = User.objects.get(username="viewer")
    client.force_login(viewer)
    assert client.get(url(Event, "changelist") + "?add=command:repo").status_code == 403


def test_an_event_is_found_by_its_id_and_by_nothing_else(admin_client: Client) -> None:
    events = [run(timezone.now()) for _ in range(3)]
    record(events)
    wanted = events[1].event_id
    for term, found in ((f" {wanted} ", [wanted]), ("repo", []), (str(wanted)[:8], [])):
        rows = admin_client.get(url(Event, "changelist"), {"q": term}).context["cl"].result_list
        assert [row.pk for row in rows] == found


def test_events_are_listed_newest_first_and_never_all_counted(admin_client: Client) -> None:
    now = timezone.now()
    record([run(now - timedelta(minutes=minutes % 7)) for minutes in range(60)])
    with CaptureQueriesContext(connection) as captured:
        rows = admin_client.get(url(Event, "changelist")).context["cl"].result_list
    assert [row.occurred_at for row in rows] == sorted((row.occurred_at for row in rows), reverse=True)
    statements = [query["sql"] for query in captured.captured_queries if "analytics_event" in query["sql"]]
    assert all("LIMIT" in statement for statement in statements)
    assert not any("DISTINCT" in statement for statement in statements)


@pytest.mark.parametrize(
    ("columns", "result"),
    [
        ({"has_error": False, "error_type": "FileError"}, "ok"),
        ({"has_error": None}, "ok"),
        ({"has_error": True, "error_type": "FileError"}, '<span class="failed">FileError</span>'),
        ({"has_error": True}, '<span class="failed">failed</span>'),
        ({"duration_ms": None, "has_error": None, "error_type": "FileError"}, "twin: FileError"),
        ({"duration_ms": None, "has_error": True}, "twin: error"),
        ({"duration_ms": None, "error_type": HOSTILE}, "twin: &lt;script&gt;alert(1)&lt;/script&gt;"),
    ],
)
def test_events_list_calls_failed_what_the_rollups_count(
    admin_client: Client, columns: dict[str, object], result: str
) -> None:
    record([run(timezone.now(), **columns)])
    page = admin_client.get(url(Event, "changelist")).content.decode()
    assert f'<td class="field-outcome">{result}</td>' in page


def test_an_event_shows_all_its_fields(admin_client: Client) -> None:
    event = run(timezone.now())
    record([event])
    page = admin_client.get(url(Event, "change", event.pk)).content.decode()
    shown = set(re.findall(r'class="form-row field-(\w+)', page))
    renamed = {"occurred_at": "occurred", "received_at": "received", "has_error": "failed"}
    renamed |= {"clock_is_server": "server_clock", "interactive": "at_terminal", "duration_ms": "duration"}
    renamed |= {"tool_version": "of_version"} | {f"{name}_tokens": name for name in ("context", "prompt", "completion")}
    renamed |= {name: f"of_{name}" for name in ("command", "provider", "model", "error_type", "os", "ci", "agent")}
    assert shown == {renamed.get(field.name, field.name) for field in Event._meta.fields}


def test_an_event_is_shown_as_its_client_sent_it(admin_client: Client) -> None:
    somebody = Installation.objects.create(user_id=uuid.uuid4())
    at = datetime(2026, 11, 3, 23, 30, 0, 5000, UTC)
    event = run(at, installation=somebody, command=HOSTILE, model="", ci=False, clock_is_server=True)
    record([event])
    page = admin_client.get(url(Event, "change", event.pk)).content.decode()
    text = re.search('<code id="payload">(.*?)</code>', page, re.DOTALL)
    assert text
    payload = json.loads(unescape(text[1]))
    assert payload["timestamp"] == "2026-11-03T23:30:00.005Z"
    assert (payload["userId"], payload["command"], payload["ci"]) == (str(somebody.user_id), HOSTILE, False)
    assert (payload["clock"], payload["model"]) == ("server", "")
    assert "provider" not in payload
    assert HOSTILE not in page
    assert_strict(page)


def test_times_of_an_event_are_those_of_the_viewers_zone_and_say_so(admin_client: Client) -> None:
    event = run(datetime(2026, 11, 3, 23, 30, tzinfo=UTC))
    record([event])
    admin_client.cookies["zone"] = "Europe/Paris"
    assert "2026-11-04 00:30:00 CET" in admin_client.get(url(Event, "change", event.pk)).content.decode()


@pytest.mark.parametrize("days_ago", [0, 50, 300, 500])
def test_values_of_an_event_lead_to_those_like_it(admin_client: Client, days_ago: int) -> None:
    values = {"command": "a&b", "provider": "openai", "model": "gpt-4.1", "os": "linux", "ci": False, "agent": "x"}
    event = run(
        timezone.now() - timedelta(days=days_ago),
        has_error=True,
        error_type="FileError",
        tool_version=HOSTILE,
        **values,
    )
    record([event])
    page = admin_client.get(url(Event, "change", event.pk)).content.decode()
    links = [unescape(link) for link in re.findall(r'<a href="(/admin/analytics/event/\?period[^"]+)"><bdi>', page)]
    assert len(links) == 8
    for link in links:
        assert [found.pk for found in admin_client.get(link).context["cl"].result_list] == [event.pk]


def test_an_event_leads_to_its_object_and_back_to_its_list(admin_client: Client) -> None:
    event = run(timezone.now())
    record([event])
    back = urlencode({"_changelist_filters": "period=7d&command=repo"})
    page = admin_client.get(url(Event, "change", event.pk) + f"?{back}").content.decode()
    assert f'<a href="/admin/analytics/loadedobject/{event.source_object.pk}/change/">' in page
    assert '<a href="/admin/analytics/event/?period=7d&amp;command=repo">Events</a>' in page
    assert 'href="/admin/commands/?period=7d&amp;command=repo"' in page

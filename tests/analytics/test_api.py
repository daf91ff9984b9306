"""The stats API: the figures of the queries, for who may see the dashboards, as its document says."""

import csv
import io
import json
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import jsonschema_rs
import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from drf_spectacular.validation import validate_schema
from pytest_django.fixtures import Settings
from rest_framework.authtoken.models import Token

from analytics import openapi, queries, roles
from analytics.api import PARTS, QUESTIONS
from analytics.dimensions import DIMENSIONS
from analytics.models import Installation
from analytics.rendering import as_json
from tests.analytics.history import record, record_made_up, run

pytestmark = pytest.mark.django_db

PATHS = [f"/api/stats/{route}".replace("<str:by>", "provider_model") for route in QUESTIONS]
DAYS_ENOUGH = timedelta(days=70)  # so long ago that the days before 30 days are known
HOSTILE = '=HYPERLINK("https://example.org")'


@pytest.fixture(autouse=True)
def no_requests_yet() -> None:
    cache.clear()


@pytest.fixture
def viewer() -> User:
    user = User.objects.create_user("viewer")
    roles.give(user, roles.VIEWER)
    return user


@pytest.fixture
def reader(viewer: User) -> Client:
    """Sends a token."""
    return Client(headers={"Authorization": f"Token {token(viewer)}"})


def token(user: User) -> str:
    printed = io.StringIO()
    call_command("api_token", user.username, stdout=printed)
    return printed.getvalue().strip()


@pytest.fixture(scope="module")
def document() -> Any:
    answer = Client().get("/api/stats/openapi.json")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    return answer.json()


def rows(answer: Any) -> list[dict[str, str]]:
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/csv; charset=utf-8")
    return list(csv.DictReader(io.StringIO(answer.content.decode())))


# -- What is answered -------------------------------------------------------------------------------------------------


def test_answer_is_the_query(reader: Client) -> None:
    record_made_up(timezone.now(), days=15, a_day=30)
    answer = reader.get("/api/stats/totals?period=7d&command=repo").json()
    now = timezone.now()
    chosen, _ = queries.parsed({"period": ["7d"], "command": ["repo"]}, now)
    totals = queries.totals(chosen, now)
    assert answer["result"] == as_json(totals)
    assert answer["result"]["now"]["runs"] == totals.now.runs > 0
    for name, period in (("period", chosen.period), ("before", chosen.before)):
        assert period
        assert answer[name] == {"first": period.first.isoformat(), "last": period.last.isoformat()}
    assert answer["freshness"] == as_json(queries.freshness())
    assert answer["excluded"] == as_json(queries.excluded(chosen))


def test_answer_has_what_pages_work_out(reader: Client) -> None:
    record([run(timezone.now(), prompt_tokens=30, completion_tokens=10), run(timezone.now(), has_error=True)])
    figures = reader.get("/api/stats/totals").json()["result"]["now"]
    assert (figures["error_rate"], figures["tokens"], figures["tokens_per_run"]) == (0.5, 40, 20)
    assert figures["runs_per_installation"] is None


def test_answer_says_its_filter_in_one_way(reader: Client) -> None:
    answer = reader.get("/api/stats/totals?command=repo&period=7d&command=ask&compare=previous&model__not=a%26b").json()
    assert answer["filter"] == "period=7d&command=ask&command=repo&model__not=a%26b"
    assert reader.get(f"/api/stats/totals?{answer['filter']}").json()["filter"] == answer["filter"]


def test_answer_says_what_it_does_not_know(reader: Client) -> None:
    answer = reader.get("/api/stats/totals?period=fortnight&compare=joy").json()
    assert answer["notices"] == [
        "There is no period “fortnight”: this is period=30d.",
        "There is no compare “joy”: this is compare=previous.",
    ]
    assert answer["filter"] == "period=30d"


@pytest.mark.parametrize("value", ["joy", "%FF", "(none)"])
def test_a_value_that_no_run_has_finds_none(reader: Client, value: str) -> None:
    record([run(timezone.now())])
    assert reader.get(f"/api/stats/totals?command={value}").json()["result"]["now"]["runs"] == 0


@pytest.mark.parametrize("question", ["totals", "series", "parts/command", "errors"])
def test_nothing_is_compared_with_days_that_are_not_all_known(reader: Client, question: str) -> None:
    record([run(timezone.now(), has_error=True), run(timezone.now() - timedelta(days=40), has_error=True)])
    answer, off = (reader.get(f"/api/stats/{question}?compare={how}").json() for how in ("previous", "off"))
    assert answer["before"] is None
    assert answer["result"] == off["result"]
    assert reader.get("/api/stats/totals?period=7d").json()["before"] is not None


def test_an_empty_value_says_nothing(reader: Client) -> None:
    record([run(timezone.now())])
    answer = reader.get("/api/stats/totals?command=&model__not=&period=&from=&compare=").json()
    assert (answer["filter"], answer["notices"]) == ("period=30d", [])
    assert answer["result"]["now"]["runs"] == 1


def test_parts_are_those_of_the_query(reader: Client) -> None:
    now = timezone.now()
    record([run(now, provider="openai", model="gpt-4.1", ci=True, options={"debug": True}), run(now - DAYS_ENOUGH)])
    chosen, _ = queries.parsed({}, now)
    for by in PARTS:
        assert reader.get(f"/api/stats/parts/{by}").json()["result"] == as_json(queries.parts(chosen, now, by)), by


@pytest.mark.parametrize("by", ["joy", "installation"])
def test_parts_by_what_is_none_says_what_there_is(reader: Client, by: str) -> None:
    answer = reader.get(f"/api/stats/parts/{by}")
    assert answer.status_code == 404
    assert answer.json() == {"detail": f"There are no parts by “{by}”: these are {', '.join(PARTS)}."}


def test_every_query_has_a_route() -> None:
    # The filter's own two, and what every answer is read in; pairs are parts/<by>, spans those of a series.
    elsewhere = {queries.parsed, queries.words, queries.snapshot, queries.matrix, queries.spans}
    public = {getattr(queries, name) for name in queries.__all__ if name.islower()}
    assert {*QUESTIONS.values()} == public - elsewhere


# -- CSV --------------------------------------------------------------------------------------------------------------


def test_csv_of_parts_is_the_result(reader: Client) -> None:
    now = timezone.now()
    record([run(now, provider="openai", model="gpt-4.1"), run(now - timedelta(days=40), provider="openai", model="o3")])
    (row,) = rows(reader.get("/api/stats/parts/provider_model?period=7d&format=csv"))
    assert (row["provider"], row["model"], row["now_runs"], row["now_error_rate"]) == ("openai", "gpt-4.1", "1", "0.0")
    assert (row["before_runs"], row["now_p50_ms"]) == ("0", "")


def test_csv_of_series_has_both_periods(reader: Client) -> None:
    record([run(timezone.now()), run(timezone.now() - DAYS_ENOUGH)])
    found = rows(reader.get("/api/stats/series?period=7d", headers={"Accept": "text/csv"}))
    assert [row["of"] for row in found] == ["now"] * 7 + ["before"] * 7
    assert (found[6]["figures_runs"], found[6]["partial"], found[5]["partial"]) == ("1", "true", "false")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00Z", found[0]["start"])


def test_csv_of_providers_has_their_models(reader: Client) -> None:
    record([run(timezone.now(), provider="openai", model=model) for model in ("o3", "o3", "gpt-4.1", None)])
    found = rows(reader.get("/api/stats/tree?format=csv"))
    assert [(row["provider"], row["model"], row["now_runs"]) for row in found] == [
        ("openai", "", "4"),
        ("openai", "o3", "2"),
        ("openai", "gpt-4.1", "1"),
    ]


def test_csv_of_activity_has_every_step(reader: Client) -> None:
    record([run(timezone.now(), installation=Installation.objects.create(user_id=uuid.uuid4()))])
    found = rows(reader.get("/api/stats/activity?period=custom&from=2026-08-31&to=2026-09-06&format=csv"))
    assert [(row["interval"], row["start"][:10]) for row in found] == [
        *(("day", f"2026-{day}") for day in ("08-31", "09-01", "09-02", "09-03", "09-04", "09-05", "09-06")),
        *(("week", "2026-08-31"), ("month", "2026-08-01"), ("month", "2026-09-01")),
    ]
    today = rows(reader.get("/api/stats/activity?period=today&format=csv"))[0]
    assert (today["installations"], today["of_7_days"], today["of_30_days"]) == ("1", "1", "1")


def test_csv_of_adoption_has_a_row_for_each_version_and_step(reader: Client) -> None:
    record_made_up(timezone.now(), days=9, a_day=30)
    newcomer = Installation.objects.create(user_id=uuid.uuid4())
    record([run(timezone.now(), tool_version="0.65.0", installation=newcomer)])
    found = rows(reader.get("/api/stats/adoption?period=7d&format=csv"))
    answer = reader.get("/api/stats/adoption?period=7d").json()["result"]
    assert len(found) == 7 * len(answer["versions"]) == 14
    for row in found:
        (version,) = (one for one in answer["versions"] if one["version"] == row["version"])
        place = [step["start"] for step in answer["steps"]].index(row["start"])
        assert (int(row["installations"]), float(row["share"])) == (
            version["installations"][place],
            version["shares"][place],
        )
        assert int(row["active"]) == answer["steps"][place]["installations"]


def test_csv_of_nothing_has_a_header(reader: Client) -> None:
    answer = reader.get("/api/stats/parts/command?format=csv")
    assert answer.content.startswith(b"command,share,now_runs,")
    assert rows(answer) == []


def test_csv_holds_no_formula(reader: Client) -> None:
    record([run(timezone.now(), command=HOSTILE)])
    assert rows(reader.get("/api/stats/parts/command?format=csv"))[0]["command"] == "'" + HOSTILE
    assert reader.get("/api/stats/parts/command").json()["result"][0]["values"] == [HOSTILE]


def test_csv_says_filter_and_notices_in_headers(reader: Client) -> None:
    record([run(timezone.now(), command="a\nb")])
    answer = reader.get("/api/stats/series?period=fortnight&command=a%0Ab&format=csv")
    assert answer["X-Filter"] == "period=30d&command=a%0Ab"
    assert json.loads(answer["X-Notices"]) == ["There is no period “fortnight”: this is period=30d."]
    assert json.loads(answer["X-Freshness"]) == as_json(queries.freshness())
    assert json.loads(answer["X-Excluded"]) == {"runs": 1, "placeholder_runs": 1, "share": 1.0}


def test_headers_stay_short_enough_for_a_proxy(reader: Client) -> None:
    words = [("command", f"{place:04}" * 20) for place in range(20)] + [
        (f"{place:02}" * 20, "1") for place in range(33)
    ]
    answer = reader.get(f"/api/stats/totals?{urlencode(words)}")
    assert len(answer.json()["notices"]) == 33
    *told, last = json.loads(answer["X-Notices"])
    assert (told, last) == (answer.json()["notices"][: len(told)], f"{33 - len(told)} more")
    assert 1400 < len(answer["X-Notices"]) < 1520
    said = parse_qs(answer["X-Filter"])
    assert len(said["command"]) == 16
    assert said["and"] == ["4 more"]
    assert parse_qs(answer.json()["filter"])["command"] == sorted(value for name, value in words if name == "command")


@pytest.mark.parametrize(("query", "accept"), [("format=xml", "*/*"), ("", "text/html"), ("", "application/xml")])
def test_a_format_that_is_none_is_refused_in_json(reader: Client, query: str, accept: str) -> None:
    answer = reader.get(f"/api/stats/activity?{query}", headers={"Accept": accept})
    assert (answer.status_code, answer["Content-Type"]) == (406, "application/json")


# -- Who may ask ------------------------------------------------------------------------------------------------------


def test_the_portals_login_serves_as_well(client: Client, viewer: User) -> None:
    client.force_login(viewer)
    assert client.get("/admin/").status_code == 200
    assert client.get("/api/stats/totals").status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Token 0"}, {"Authorization": "Basic YTpi"}])
def test_nobody_is_401(client: Client, headers: dict[str, str]) -> None:
    for path in PATHS:
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer["WWW-Authenticate"], [*answer.json()]) == (401, "Token", ["detail"]), path


def test_nobody_is_told_what_to_send(client: Client) -> None:
    assert "manage.py api_token USERNAME" in client.get("/api/stats/totals").json()["detail"]


def test_who_may_not_see_the_dashboards_is_403(client: Client, viewer: User, reader: Client) -> None:
    User.objects.update(is_staff=False)
    client.force_login(viewer)
    for asking in (client, reader):
        answer = asking.get("/api/stats/totals")
        assert answer.status_code == 403
        assert "an administrator can give it a role" in answer.json()["detail"]


def test_the_token_of_an_account_that_is_not_active_is_401(reader: Client) -> None:
    User.objects.update(is_active=False)
    assert reader.get("/api/stats/totals").status_code == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
def test_the_api_is_only_read(reader: Client, method: str) -> None:
    answer = reader.generic(method, "/api/stats/totals")
    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_head_and_options_have_no_body(reader: Client) -> None:
    assert (reader.head("/api/stats/totals").status_code, reader.head("/api/stats/totals").content) == (200, b"")
    for query in ("", "?format=csv"):
        answer = reader.options(f"/api/stats/series{query}")
        assert (answer.status_code, answer.content, answer["Allow"]) == (204, b"", "GET, HEAD, OPTIONS")


def test_more_parameters_than_are_read_are_refused_in_json(reader: Client) -> None:
    answer = reader.get("/api/stats/totals?" + "&".join(["command=repo"] * 1001))
    assert (answer.status_code, answer.json()) == (400, {"detail": "At most 1000 parameters are read."})


@pytest.mark.parametrize("path", ["/api/stats/totals", "/api/stats/series?format=csv", "/api/stats/parts/joy"])
def test_nobody_on_the_way_keeps_an_answer(client: Client, reader: Client, path: str) -> None:
    for asking in (client, reader):
        assert asking.get(path)["Cache-Control"] == "private, no-store"


def test_an_account_that_asks_too_often_is_429(reader: Client, settings: Settings) -> None:
    settings.STATS_RATE_PER_ACCOUNT = (2, 60)
    answers = [reader.get("/api/stats/freshness") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[2]["Retry-After"]) <= 60
    settings.STATS_RATE_PER_ACCOUNT = None
    assert reader.get("/api/stats/freshness").status_code == 200


# -- Tokens -----------------------------------------------------------------------------------------------------------


def test_api_token_is_the_same_until_it_is_revoked(viewer: User, reader: Client) -> None:
    first = token(viewer)
    assert token(viewer) == first
    for said in ("The token is revoked.", "There was no token."):
        printed = io.StringIO()
        call_command("api_token", "viewer", "--revoke", stdout=printed)
        assert printed.getvalue().strip() == said
    assert reader.get("/api/stats/totals").status_code == 401
    assert token(viewer) != first


def test_api_token_is_for_those_who_may_use_it() -> None:
    User.objects.create_user("visitor")
    for name, said in (("nobody", "There is no account 'nobody'"), ("visitor", "visitor may not see the dashboards")):
        with pytest.raises(CommandError, match=said):
            call_command("api_token", name)
    assert not Token.objects.exists()


def test_tokens_are_made_in_the_admin(admin_client: Client, viewer: User) -> None:
    admin_client.post("/admin/authtoken/tokenproxy/add/", {"user": viewer.pk})
    key = Token.objects.get(user=viewer).key
    assert key in admin_client.get(f"/admin/authtoken/tokenproxy/{viewer.pk}/change/").content.decode()
    assert "Tokens" in [page.label for part in admin_client.get("/admin/").context["sidebar"] for page in part.pages]


# -- The document -----------------------------------------------------------------------------------------------------


def test_document_is_openapi_and_has_every_question(document: Any) -> None:
    validate_schema(document)  # type: ignore[no-untyped-call]
    assert {*document["paths"]} == {f"/api/stats/{route}".replace("<str:by>", "{by}") for route in QUESTIONS}


@pytest.mark.parametrize("query", ["period=30d", "period=today&compare=off", "period=12mo&interval=month&os=(none)"])
def test_answers_are_as_the_document_says(document: Any, reader: Client, query: str) -> None:
    record_made_up(timezone.now(), days=40, a_day=3)
    for path in PATHS:
        assert_documented(document, path, reader.get(f"{path}?{query}"), {200})
        assert_documented(document, path, reader.get(f"{path}?{query}&format=csv"), {200})
        assert_documented(document, path, Client().get(path), {401})


def assert_documented(document: Any, path: str, answer: Any, statuses: set[int]) -> None:
    (operation,) = operations(document, path)
    assert answer.status_code in statuses
    documented = operation["responses"][str(answer.status_code)]
    described = documented["content"][answer["Content-Type"].partition(";")[0]]["schema"]
    found = answer.json() if answer["Content-Type"] == "application/json" else answer.content.decode()
    whole = described | {"components": document["components"]}
    jsonschema_rs.validate(whole, found, validate_formats=True)
    assert {*documented.get("headers", {})} <= {*answer.headers}


def operations(document: Any, path: str) -> Iterator[Any]:
    for described, methods in document["paths"].items():
        if re.fullmatch(described.replace("{by}", "[^/]+"), path):
            yield methods["get"]


def test_document_lists_every_refusal_and_parameter(document: Any) -> None:
    parts = document["paths"]["/api/stats/parts/{by}"]["get"]
    assert {*parts["responses"]} == {"200", *map(str, openapi.REFUSALS)}
    listed = {parameter["name"] for parameter in parts["parameters"]}
    plain = {"by", "format", "period", "from", "to", "compare", "interval"}
    assert listed == plain | {name + ending for name in DIMENSIONS for ending in ("", "__not")}
    by = next(parameter for parameter in parts["parameters"] if parameter["name"] == "by")
    assert by["schema"]["enum"] == PARTS


# -- The page ---------------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text()


def test_page_has_every_route_parameter_and_status(document: Any) -> None:
    routes = re.findall(r"^\| `/([a-z_/<>]+)` \|", PAGE, re.MULTILINE)
    assert routes == [route.replace("<str:by>", "<by>") for route in QUESTIONS]
    parts = document["paths"]["/api/stats/parts/{by}"]["get"]
    parameters = {parameter["name"].removesuffix("__not") for parameter in parts["parameters"]}
    assert {name for name in parameters - {"by"} if f"`{name}`" not in PAGE} == set()
    assert {status for status in parts["responses"] if f"| {status} |" not in PAGE} == set()
    assert {by for by in PARTS if f"`{by}`" not in PAGE} == set()


@pytest.mark.parametrize("asked", re.findall(r"https://portal\.example\.org(/api/stats/[^' ]+)'", PAGE))
def test_examples_of_the_page_are_answered(reader: Client, asked: str) -> None:
    answer = reader.get(asked)
    assert answer.status_code == 200
    assert json.loads(answer["X-Notices"]) == []
    given, said = parse_qs(asked.partition("?")[2]), parse_qs(answer["X-Filter"])
    assert {*given} - {*said} <= {"format"}


def test_example_answer_of_the_page_has_the_members(reader: Client) -> None:
    shown = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])  # type: ignore[index]
    answer = reader.get("/api/stats/totals").json()
    assert list(shown) == list(answer)
    assert {*shown["result"]["now"]} == {*answer["result"]["now"]}

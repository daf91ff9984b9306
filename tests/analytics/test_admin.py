"""The admin: the Overview's states, and lists that nobody can write to."""

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.asserts import assertRedirects
from pytest_django.fixtures import Settings

from analytics import roles
from analytics.dashboards.wording import NOTHING
from analytics.lists import BoundedPaginator
from analytics.models import Event, LoadedObject, Quarantined, Verification
from ingest import checks
from ingest.checks import Accepted
from tests.analytics.history import record, record_made_up, run
from tests.events import KEY

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>"


def overview(client: Client, query: str = "") -> str:
    answer = client.get(f"/admin/{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def url(model: type, page: str, *arguments: object) -> str:
    return reverse(f"admin:analytics_{model.__name__.lower()}_{page}", args=arguments)


def test_overview_asks_for_a_login(client: Client) -> None:
    answer = client.get("/admin/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=/admin/")


def test_overview_waits_for_the_first_event_with_a_request_that_is_accepted(
    admin_client: Client, settings: Settings
) -> None:
    settings.PIPELINE_URL = "https://telemetry.example.org/api/pipeline"
    answer = admin_client.get("/admin/")
    request: str = answer.context["first_event"]
    assert "Waiting for the first event" in answer.content.decode()
    assert request.startswith("curl https://telemetry.example.org/api/pipeline ")
    body = request.split(" -d '")[1].removesuffix("'")
    now = timezone.now()
    (verdict,) = checks.check(body.encode(), received_at=now, identity_hash_key=KEY, events_max_count=1).verdicts
    assert isinstance(verdict, Accepted)
    line = json.loads(verdict.line)
    assert (line["command"], "clock" in line) == ("hello", False)


def test_pages_have_no_inline_style_and_no_inline_script(admin_client: Client) -> None:
    assert_strict(overview(admin_client))
    record_made_up(timezone.now(), days=3, a_day=10)
    assert_strict(overview(admin_client))
    for path in (url(Event, "changelist"), url(Event, "change", Event.objects.all()[0].pk), "/admin/login/"):
        assert_strict(admin_client.get(path, follow=True).content.decode())


def assert_strict(page: str) -> None:
    assert not re.search(r"<style|<script(?![^>]*\ssrc=)|<[^>]+\s(style|on\w+)=", page)


def test_sidebar_lists_what_the_account_may_see(client: Client) -> None:
    viewer = User.objects.create_user("viewer")
    roles.give(viewer, roles.VIEWER)
    client.force_login(viewer)
    assert "Events" not in sidebar(client)
    assert sidebar(client)[-2:] == ["Releases", "Annotations"]
    assert client.get(url(Event, "changelist")).status_code == 403
    viewer.user_permissions.add(Permission.objects.get(codename="view_event"))
    assert sidebar(client)[-3:] == ["Events", "Releases", "Annotations"]
    assert client.get(url(Event, "changelist")).status_code == 200


def sidebar(client: Client) -> list[str]:
    sections = client.get("/admin/").context["sidebar"]
    return [page.label for section in sections for page in section.pages]


def test_the_lists_of_an_app_lead_to_the_overview(admin_client: Client) -> None:
    assertRedirects(admin_client.get("/admin/auth/"), "/admin/")


def test_sidebar_names_each_list_as_its_heading_does(admin_client: Client) -> None:
    sections = admin_client.get("/admin/").context["sidebar"]
    for page in [page for section in sections[1:] for page in section.pages]:
        assert f"<h1>{page.label}</h1>" in admin_client.get(page.url).content.decode()


@pytest.mark.parametrize("path", ["auth/user/", "auth/group/", "auth/user/add/", "password_change/"])
def test_accounts_and_groups_are_managed_here(admin_client: Client, path: str) -> None:
    assert admin_client.get(f"/admin/{path}").status_code == 200


@pytest.mark.parametrize("model", [Event, LoadedObject, Quarantined, Verification])
def test_lists_are_read_only(admin_client: Client, model: type) -> None:
    row = one_of_each()[model]
    assert admin_client.get(url(model, "changelist")).status_code == 200
    assert admin_client.get(url(model, "change", row)).status_code == 200
    assert admin_client.post(url(model, "change", row), {}).status_code == 403
    assert admin_client.get(url(model, "add")).status_code == 403
    assert admin_client.post(url(model, "delete", row), {"post": "yes"}).status_code == 403


def one_of_each() -> dict[type, Any]:
    event = run(timezone.now())
    record([event])
    line = Quarantined.objects.create(
        source_object=event.source_object, source_line=7, reason="bad_line", payload=HOSTILE.encode()
    )
    verification = Verification.objects.create(
        started_at=timezone.now(), deep=True, faults_count=1, faults=[{"kind": "missing_object", "name": HOSTILE}]
    )
    return {
        Event: event.pk,
        LoadedObject: event.source_object.pk,
        Quarantined: line.pk,
        Verification: verification.pk,
    }


def test_quarantined_lines_are_never_shown(admin_client: Client) -> None:
    row = one_of_each()[Quarantined]
    for path in (url(Quarantined, "changelist"), url(Quarantined, "change", row)):
        page = admin_client.get(path).content.decode()
        assert "alert" not in page
        assert "25\xa0bytes" in page
        assert_strict(page)


def test_a_quarantined_line_shows_its_shape_and_nothing_that_is_in_it(
    admin_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    line = Quarantined.objects.get(pk=one_of_each()[Quarantined])
    line.payload = b'{"command": "secret value", "secret key": "secret value", "userId": 7}'
    line.save()
    page = admin_client.get(url(Quarantined, "change", line.pk)).content.decode()
    assert "<code>command</code> text, 12 characters" in page
    assert "<code>userId</code> number" in page
    assert re.search(r"Other keys:</label>\s*<div[^>]*>1</div>", page)
    assert "<code>eventId</code>, " in page
    assert "secret" not in page + caplog.text


def test_a_quarantined_line_is_not_found_by_what_is_in_it(admin_client: Client) -> None:
    answer = admin_client.get("/admin/analytics/quarantined/", {"payload__startswith": "{"})
    assert answer.status_code == 400


def test_quarantined_lines_are_filtered_by_reason(admin_client: Client) -> None:
    source = Quarantined.objects.get(pk=one_of_each()[Quarantined]).source_object
    source.quarantined_set.create(source_line=8, reason="bad_value", payload=b"")
    page = admin_client.get(url(Quarantined, "changelist") + "?reason=bad_value")
    assert [row.source_line for row in page.context["cl"].result_list] == [8]
    assert "?reason=bad_line" in page.content.decode()
    assert "?reason=gone" in admin_client.get(url(Quarantined, "changelist") + "?reason=gone").content.decode()


def test_a_verification_lists_its_faults_escaped(admin_client: Client) -> None:
    page = admin_client.get(url(Verification, "change", one_of_each()[Verification])).content.decode()
    assert "<b>missing object</b> <bdi>&lt;script&gt;" in page
    assert HOSTILE not in page
    assert "not finished" in page


def test_a_verification_that_is_not_finished_has_counted_nothing_yet(admin_client: Client) -> None:
    Verification.objects.create(started_at=timezone.now(), deep=True)
    [row] = admin_client.get(url(Verification, "changelist")).context["results"]
    assert [re.sub("<[^>]+>", "", cell) for cell in row][1:] == [
        NOTHING,
        "objects and rows",
        NOTHING,
        NOTHING,
        "not finished",
    ]


def test_an_empty_list_says_what_would_be_in_it_and_one_that_is_filtered_leads_back(admin_client: Client) -> None:
    page = admin_client.get(url(Verification, "changelist")).content.decode()
    assert "One runs each night" in page
    assert "0 verifications" not in page
    assert (
        "None is like that" in admin_client.get(url(LoadedObject, "changelist") + "?q=event_date=1999").content.decode()
    )
    [way] = admin_client.get(url(Event, "changelist")).context["cl"].ways_out
    assert way.url.startswith("/admin/")


def test_a_list_says_where_its_count_ends(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedPaginator, "LIMIT", 1000)
    source = LoadedObject.objects.get(pk=one_of_each()[LoadedObject])
    Quarantined.objects.bulk_create(
        Quarantined(source_object=source, source_line=line, reason="bad_line", payload=b"") for line in range(8, 1010)
    )
    page = admin_client.get(url(Quarantined, "changelist")).content.decode()
    assert "1,000 or more quarantined lines" in page


def test_archive_objects_are_filtered_by_state(admin_client: Client) -> None:
    one_of_each()
    for state, count in (("loaded", 1), ("quarantined", 0)):
        found = admin_client.get(url(LoadedObject, "changelist") + f"?state__exact={state}").context["cl"]
        assert found.result_count == count

"""Every page in a browser: light, dark and narrow, with an empty console, and without a fault that axe-core finds.

Screenshots of all of them are left in a folder (conftest.py).
"""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect
from rest_framework.authtoken.models import Token

from analytics.dashboards.pages import PAGES
from analytics.models import Annotation, BooksReading, LoadedObject, Quarantined, Release, Verification
from ingest import buffer
from tests.analytics.history import made_up, record, run
from tests.analytics.test_dashboards import path as dashboard
from tests.browser.conftest import (
    MIDDLE,
    NARROW,
    PAPER,
    SCREENSHOTS,
    SMALL_TABLET,
    WIDE,
    Portal,
    assert_accessible,
    visit,
)

pytestmark = pytest.mark.xdist_group("browser")

PATHS = {page.name: dashboard(page) for page in PAGES.values()} | {
    "filter": "/admin/?add=&period=7d&command=repo&model__not=(none)",
    "nothing-in-range": "/admin/?command=nobody",
    "data-quality": "/admin/data-quality/",
    "events": "/admin/analytics/event/",
    "events-filtered": "/admin/analytics/event/?period=90d&command=repo&model__not=(none)&add=",
    "event": "/admin/analytics/event/{event}/change/",
    "archive-objects": "/admin/analytics/loadedobject/",
    "archive-object": "/admin/analytics/loadedobject/{object}/change/",
    "quarantine": "/admin/analytics/quarantined/",
    "quarantined-line": "/admin/analytics/quarantined/{line}/change/",
    "verifications": "/admin/analytics/verification/",
    "verification": "/admin/analytics/verification/{verification}/change/",
    "releases": "/admin/analytics/release/",
    "release": "/admin/analytics/release/{release}/change/",
    "annotations": "/admin/analytics/annotation/",
    "annotation-add": "/admin/analytics/annotation/add/",
    "accounts": "/admin/auth/user/",
    "account": "/admin/auth/user/{user}/change/",
    "account-add": "/admin/auth/user/add/",
    "account-password": "/admin/auth/user/{user}/password/",
    "account-delete": "/admin/auth/user/{user}/delete/",
    "groups": "/admin/auth/group/",
    "group-add": "/admin/auth/group/add/",
    "tokens-of-the-api": "/admin/authtoken/tokenproxy/",
    "token-add": "/admin/authtoken/tokenproxy/add/",
    "audit-log": "/admin/admin/logentry/",
    "account-history": "/admin/auth/user/{user}/history/",
    "password-change": "/admin/password_change/",
}

# Tables of panels that reach beyond them, and names of an axis that reach into the one before.
CUT_OFF = """[...document.querySelectorAll(".parts")].filter(table =>
    table.getBoundingClientRect().right > table.closest(".panel").getBoundingClientRect().right
).map(table => table.innerText)"""
SCROLLING = """[...document.querySelectorAll("#changelist .results")].filter(list =>
    list.scrollWidth > list.clientWidth
).map(list => list.innerText)"""
OVERPRINTED = """[...document.querySelectorAll(".durations thead")].flatMap(
    axis => [...axis.querySelectorAll("text")].filter(name => name.checkVisibility()).filter(
        (name, index, all) => index && name.getBoundingClientRect().left < all[index - 1].getBoundingClientRect().right)
).map(name => name.textContent)"""
# Names of rows for which the figures leave no room; and columns of panels of which one ends before the other.
NAMELESS = """[...document.querySelectorAll(".parts .name")].filter(name =>
    name.checkVisibility() && name.clientWidth < 60 && name.scrollWidth > name.clientWidth
).map(name => name.innerText)"""
UNEVEN = """[...document.querySelectorAll(".columns")].map(
    columns => [...columns.children].map(column => column.lastElementChild?.getBoundingClientRect().bottom)
).filter(([left, right]) => Math.abs(left - right) > 1)"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(19, 19, 22)"


def fill() -> dict[str, object]:
    """Two months of runs, books that do not balance, and one of whatever can be looked at alone."""
    now = timezone.now()
    record(made_up(now, days=66, a_day=25))
    for place, duration_ms in enumerate((105, 95_000, 31_000_000_000)):
        command = f"a-command-with-a-long-name-{place}"
        record(run(now, command=command, duration_ms=duration_ms) for _ in range(20))
    failed = run(
        now, has_error=True, error_type="FileError", provider="openai", model="gpt-4.1", os="linux", ci=False, agent="x"
    )
    record([failed])
    release = Release.objects.create(version="0.64.0", released_on=now.date() - timedelta(days=20), notes="Faster.")
    Annotation.objects.create(day=now.date() - timedelta(days=6), text="moved to the new model")
    person = User.objects.create_user("ada", email="ada@example.org")
    Token.objects.create(user=person)
    LogEntry.objects.log_actions(person.pk, [person], ADDITION, single_object=True)
    return {"event": failed.pk, "release": release.pk, "user": person.pk, **_troubles()}


def _troubles() -> dict[str, object]:
    """What Data quality has to tell, with long names everywhere."""
    now = timezone.now()
    source = LoadedObject.objects.latest("pk")
    line = Quarantined.objects.create(
        source_object=source, source_line=7, reason="bad_line", payload=b'{"command": 7, "userId": "me", "x": 1}'
    )
    for place, reason in enumerate(("bad_gzip", "bad_row_count")):
        LoadedObject.objects.create(
            name=f"event_date=2026-11-22/hr=12/01M83SMRXNP3HG92XM1ABEBW3{place}.json.gz",
            state="quarantined",
            reason=reason,
            size_bytes=1,
            etag="",
            imported=False,
            loaded_at=now,
        )
    since = (now - timedelta(minutes=12)).isoformat()
    BooksReading.objects.create(
        pk=1,
        read_at=now,
        terms={
            "received": 1_234_567_890, "accepted": 1_234_530_000, "limited": 890, "unavailable": 0, "waiting": 87,
            "rejected": {"bad_value": 25_000, "unsupported_media_type": 11_000, "missing_field": 1_000},
            "oldest_waiting_seconds": 3, "archived": 1_234_529_913, "imported": 120_000, "loaded": 1_233_000_000,
            "duplicate": 1_649_713, "quarantined": 100, "not_yet_loaded": 0,
        },
        imbalances={
            "buffer": {"events": -3, "since": since, "told": True},
            "load": {"events": -100, "since": since, "told": True},
        },
    )  # fmt: skip
    buffer.push([], received=1, counts={}, dropped={"field:" + "long" * 16: 9, "option:query": 7, "unseen:model": 2})
    faults = [
        {"kind": "missing_object", "name": "event_date=2026-11-22/hr=12/01M83SMRXNP3HG92XM1ABEBW39.json.gz"},
        {
            "kind": "altered_row",
            "name": "1b3c4a5e-6f1c-4a55-9a55-0d6b3c1f2a10",
            "detail": "duration_ms",
            "advice": "The bucket is whole: `manage.py rebuild` makes Postgres anew from it.",
        },
    ]
    verification = Verification.objects.create(
        started_at=now, finished_at=now, deep=True, objects_count=12_345, events_count=1_234_500, faults_count=2,
        faults=faults,
    )  # fmt: skip
    return {"object": source.pk, "line": line.pk, "verification": verification.pk}


@pytest.fixture(scope="module")
def emptied() -> Iterator[None]:
    """Counters that the module leaves in Redis are taken away."""
    yield
    buffer.connection().flushdb()


@pytest.mark.usefixtures("emptied")
@pytest.mark.parametrize("name", PATHS)
def test_page_fits_light_dark_and_narrow_leaves_the_console_empty_and_has_no_fault_that_axe_finds(
    name: str, portal: Portal, browser: Browser, axe: str
) -> None:
    said: list[str] = []
    with visit(browser, portal, said=said) as page:
        page.goto(portal.url + PATHS[name].format(**portal.ids))
        assert page.evaluate(BACKGROUND) == LIGHT
        assert page.evaluate(SCROLLING) == []
        assert page.evaluate(UNEVEN) == []
        assert_fits(page, name, "light")
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(BACKGROUND) == DARK
        assert_fits(page, name, "dark")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(NARROW)
        assert page.evaluate(SCROLLING) == []
        assert_fits(page, name, "390")
        assert said == []
        page.set_viewport_size(WIDE)
        assert_accessible(page, axe)
        said.clear()  # axe itself sets styles in vain


def assert_fits(page: Page, name: str, look: str) -> None:
    """Nothing is cut off, and nothing is beyond the edge; leaves a picture."""
    width = page.viewport_size["width"] if page.viewport_size else 0
    page.screenshot(path=SCREENSHOTS / f"{name}-{look}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT_OFF) == []
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(OVERPRINTED) == []


@pytest.mark.parametrize("name", ["overview", "command", "model", "data-quality"])
def test_page_fits_in_the_middle(name: str, portal: Portal, browser: Browser) -> None:
    with visit(browser, portal, viewport=MIDDLE) as page:
        page.goto(portal.url + PATHS[name])
        assert_fits(page, name, "1200")
        assert page.evaluate(UNEVEN) == []


@pytest.mark.parametrize("name", ["commands", "versions"])
def test_wide_tables_fit_on_paper_and_on_a_small_tablet(name: str, portal: Portal, browser: Browser) -> None:
    with visit(browser, portal, viewport=SMALL_TABLET) as page:
        page.goto(portal.url + PATHS[name])
        assert_fits(page, name, "820")
        page.emulate_media(media="print")
        page.set_viewport_size(PAPER)
        assert_fits(page, name, "print")


def test_pages_of_nobody_have_no_fault_that_axe_finds(portal: Portal, browser: Browser, axe: str) -> None:
    with visit(browser, portal, role=None, silent=False) as page:
        page.goto(portal.url + "/admin/login/")
        assert_accessible(page, axe)


# -- What pages do ----------------------------------------------------------------------------------------------------


def test_an_event_shows_no_help_beside_its_fields(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal, viewport=WIDE) as page:
        page.goto(portal.url + PATHS["events"])
        page.click("#result_list tbody a")
        expect(page.locator(".field-installation .readonly")).to_be_visible()
        expect(page.locator(".help:visible")).to_have_count(0)


def test_an_event_is_copied_as_json_and_its_values_lead_to_others_like_it(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(portal.url + PATHS["event"].format(**portal.ids))
        page.get_by_role("button", name="Copy as JSON").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText().then(JSON.parse)")
        assert (copied["eventId"], copied["errorType"]) == (str(portal.ids["event"]), "FileError")
        page.locator(".field-of_error_type a").click()
        expect(page.locator(".chips")).to_contain_text("Error type is FileError")
        expect(page.locator("#result_list .failed", has_text="FileError").first).to_be_visible()


def test_figures_lead_to_their_events_and_the_sidebar_leads_back(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal) as page:
        page.goto(portal.url + "/admin/?period=7d&command=ask")
        page.locator(".tools").get_by_role("link", name="Events").click()
        expect(page.locator(".chips")).to_contain_text("Command is ask")
        assert {*page.locator("#result_list .field-command").all_inner_texts()} == {"ask"}
        page.get_by_role("link", name="Overview").click()
        page.wait_for_url("**/admin/?period=7d&command=ask")
        page.locator("#figures-table summary").click()
        page.locator("#figures-table tbody a").last.click()
        page.wait_for_url("**/admin/analytics/event/?period=custom&command=ask&from=*")


def test_theme_is_chosen_and_kept(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal) as page:
        page.goto(portal.url + "/admin/")
        page.click(".theme-toggle")
        page.reload()
        assert page.evaluate(BACKGROUND) == DARK


def test_data_quality_is_walked_by_keyboard(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal) as page:
        page.goto(portal.url + "/admin/data-quality/")
        page.get_by_role("link", name="bad_line").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Quarantined lines")).to_be_visible()
        expect(page.locator("#changelist-filter .selected", has_text="bad_line")).to_be_visible()

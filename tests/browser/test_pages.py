"""The portal in a real browser: light, dark and narrow, with an empty console; screenshots in build/screenshots/."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, ViewportSize, expect
from pytest_django.live_server_helper import LiveServer

from analytics.dashboards.pages import PAGES
from analytics.models import BooksReading, LoadedObject, Quarantined, Verification
from ingest import buffer
from tests.analytics.history import record, run
from tests.analytics.test_dashboards import path as dashboard
from tests.browser.conftest import MIDDLE, NARROW, SCREENSHOTS, WIDE, visit

PATHS = {page.name: dashboard(page) for page in PAGES.values()} | {
    "data-quality": "/admin/data-quality/",
    "events": "/admin/analytics/event/",
    "archive-objects": "/admin/analytics/loadedobject/",
    "quarantine": "/admin/analytics/quarantined/",
    "verifications": "/admin/analytics/verification/",
    "users": "/admin/auth/user/",
}

# Tables of panels that reach beyond them, and names of an axis that reach into the one before.
CUT_OFF = """[...document.querySelectorAll(".parts")].filter(table =>
    table.getBoundingClientRect().right > table.closest(".panel").getBoundingClientRect().right
).map(table => table.innerText)"""
SCROLLING = """[...document.querySelectorAll("#changelist .results")].filter(list =>
    list.scrollWidth > list.clientWidth
).map(list => list.innerText)"""
OVERPRINTED = """[...document.querySelectorAll(".durations thead text")].filter(name => name.checkVisibility()).filter(
    (name, index, all) => index && name.getBoundingClientRect().left < all[index - 1].getBoundingClientRect().right
).map(name => name.textContent)"""


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("look", "viewport", "dark"), [("light", WIDE, False), ("dark", WIDE, True), ("390", NARROW, False)]
)
def test_pages_fit_and_leave_the_console_empty(
    look: str, viewport: ViewportSize, dark: bool, live_server: LiveServer, session: str, browser: Browser
) -> None:
    with visit(browser, live_server, session, viewport=viewport, dark=dark) as page:
        for name, path in PATHS.items():
            page.goto(live_server.url + path)
            page.screenshot(path=SCREENSHOTS / f"{name}-{look}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], name
            assert page.evaluate(CUT_OFF) == [], name
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert background == ("rgb(19, 19, 22)" if dark else "rgb(255, 255, 255)")


@pytest.fixture
def all_durations(transactional_db: None) -> None:
    """Commands that take from a tenth of a second to a year."""
    now = timezone.now()
    for place, duration_ms in enumerate((105, 95_000, 31_000_000_000)):
        command = f"a-command-with-a-long-name-{place}"
        record(run(now, command=command, duration_ms=duration_ms) for _ in range(20))


@pytest.mark.usefixtures("all_durations")
@pytest.mark.parametrize("width", [1440, 1200, 390])
def test_durations_of_any_length_fit(width: int, live_server: LiveServer, session: str, browser: Browser) -> None:
    viewport: ViewportSize = {"width": width, "height": 844}
    with visit(browser, live_server, session, viewport=viewport, dark=False) as page:
        page.goto(live_server.url + "/admin/")
        page.locator(".durations").screenshot(path=SCREENSHOTS / f"durations-{width}.png")
        assert page.evaluate(CUT_OFF) == []
        assert page.evaluate(OVERPRINTED) == []


@pytest.mark.usefixtures("history")
def test_an_event_shows_no_help_beside_its_fields(live_server: LiveServer, session: str, browser: Browser) -> None:
    with visit(browser, live_server, session, viewport=WIDE, dark=False) as page:
        page.goto(live_server.url + PATHS["events"])
        page.click("#result_list tbody a")
        expect(page.locator(".field-installation .readonly")).to_be_visible()
        expect(page.locator(".help:visible")).to_have_count(0)


@pytest.mark.usefixtures("history")
def test_theme_is_chosen_and_kept(live_server: LiveServer, session: str, browser: Browser) -> None:
    with visit(browser, live_server, session, viewport=WIDE, dark=False) as page:
        page.goto(live_server.url + "/admin/")
        page.click(".theme-toggle")
        page.reload()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 19, 22)"


def test_account_menu_logs_out(live_server: LiveServer, session: str, browser: Browser) -> None:
    with visit(browser, live_server, session, viewport=NARROW, dark=False) as page:
        page.goto(live_server.url + "/admin/")
        expect(page.locator("h2", has_text="Waiting for the first event")).to_be_visible()
        page.screenshot(path=SCREENSHOTS / "waiting-390.png")
        page.click(".account summary")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_text("You are logged out.")).to_be_visible()
        page.get_by_role("link", name="Log in again").click()
        expect(page.locator("#id_username")).to_be_visible()
        page.screenshot(path=SCREENSHOTS / "login-390.png")


@pytest.fixture
def troubled(transactional_db: None, empty_buffer: None) -> tuple[int, int]:
    """Books that do not balance, long names everywhere; the ids of a quarantined line and of a verification."""
    now = timezone.now()
    record([run(now, placeholder="anonymous_opt_out"), *(run(now) for _ in range(11))])
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
    advice = "The bucket is whole: `manage.py rebuild` makes Postgres anew from it."
    faults = [
        {"kind": "missing_object", "name": "event_date=2026-11-22/hr=12/01M83SMRXNP3HG92XM1ABEBW39.json.gz"},
        {
            "kind": "altered_row",
            "name": "1b3c4a5e-6f1c-4a55-9a55-0d6b3c1f2a10",
            "detail": "duration_ms",
            "advice": advice,
        },
    ]
    verification = Verification.objects.create(
        started_at=now, finished_at=now, deep=True, objects_count=12_345, events_count=1_234_500, faults_count=2,
        faults=faults,
    )  # fmt: skip
    return line.pk, verification.pk


@pytest.mark.parametrize(
    ("look", "viewport", "dark"),
    [
        ("light", WIDE, False),
        ("dark", WIDE, True),
        ("1200", MIDDLE, False),
        ("390", NARROW, False),
        ("390-dark", NARROW, True),
    ],
)
def test_data_quality_fits_with_all_kinds_of_trouble(
    look: str,
    viewport: ViewportSize,
    dark: bool,
    troubled: tuple[int, int],
    live_server: LiveServer,
    session: str,
    browser: Browser,
) -> None:
    line, verification = troubled
    paths = {
        "data-quality-troubled": "/admin/data-quality/",
        "quarantine-troubled": "/admin/analytics/quarantined/",
        "archive-objects-troubled": "/admin/analytics/loadedobject/",
        "quarantined-line": f"/admin/analytics/quarantined/{line}/change/",
        "verification-list": "/admin/analytics/verification/",
        "verification": f"/admin/analytics/verification/{verification}/change/",
    }
    with visit(browser, live_server, session, viewport=viewport, dark=dark) as page:
        for name, path in paths.items():
            page.goto(live_server.url + path)
            page.screenshot(path=SCREENSHOTS / f"{name}-{look}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], name
            assert page.evaluate(CUT_OFF) == [], name
            if name == "data-quality-troubled":
                page.locator(".books").screenshot(path=SCREENSHOTS / f"books-{look}.png")
            if viewport == WIDE:  # a list scrolls sideways where there is no room
                assert page.evaluate(SCROLLING) == [], name


def test_data_quality_is_walked_by_keyboard(
    troubled: tuple[int, int], live_server: LiveServer, session: str, browser: Browser
) -> None:
    with visit(browser, live_server, session, viewport=WIDE, dark=False) as page:
        page.goto(live_server.url + "/admin/data-quality/")
        page.get_by_role("link", name="bad_line").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Quarantined lines")).to_be_visible()
        expect(page.locator("#changelist-filter .selected", has_text="bad_line")).to_be_visible()

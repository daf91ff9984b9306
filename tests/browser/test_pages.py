"""The portal in a real browser: light, dark and narrow, with an empty console; screenshots in build/screenshots/."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.conf import settings
from django.utils import timezone
from playwright.sync_api import Browser, Page, ViewportSize, expect
from pytest_django.live_server_helper import LiveServer

from tests.analytics.history import record, run
from tests.browser.conftest import SCREENSHOTS

WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 844}
PATHS = {
    "overview": "/admin/",
    "events": "/admin/analytics/event/",
    "archive-objects": "/admin/analytics/loadedobject/",
    "quarantine": "/admin/analytics/quarantined/",
    "users": "/admin/auth/user/",
}

# Tables of panels that reach beyond them, and names of an axis that reach into the one before.
CUT_OFF = """[...document.querySelectorAll(".parts")].filter(table =>
    table.getBoundingClientRect().right > table.closest(".panel").getBoundingClientRect().right
).map(table => table.innerText)"""
OVERPRINTED = """[...document.querySelectorAll(".durations thead text")].filter(name => name.checkVisibility()).filter(
    (name, index, all) => index && name.getBoundingClientRect().left < all[index - 1].getBoundingClientRect().right
).map(name => name.textContent)"""


@contextmanager
def visit(browser: Browser, server: LiveServer, session: str, *, viewport: ViewportSize, dark: bool) -> Iterator[Page]:
    """A page of an administrator; fails at the end if the console was written to."""
    context = browser.new_context(viewport=viewport, color_scheme="dark" if dark else "light")
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": server.url}])
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    assert said == []
    context.close()


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
def test_arrow_keys_walk_the_days_of_the_chart(live_server: LiveServer, session: str, browser: Browser) -> None:
    with visit(browser, live_server, session, viewport=WIDE, dark=False) as page:
        page.goto(live_server.url + "/admin/")
        page.focus("[data-chart]")
        tip = page.locator(".tip")
        expect(tip).to_be_hidden()
        page.keyboard.press("ArrowLeft")
        expect(tip).to_contain_text("(so far)")
        page.keyboard.press("ArrowLeft")
        expect(tip).not_to_contain_text("(so far)")
        expect(tip).to_contain_text("Active installations")
        page.keyboard.press("Escape")
        expect(tip).to_be_hidden()


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

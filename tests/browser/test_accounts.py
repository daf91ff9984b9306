"""Who sees what, and what a browser shows of a login: in, out, and locked."""

import pytest
from django.conf import settings
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from analytics.roles import ANALYST, VIEWER
from tests.analytics.history import record, run
from tests.browser.conftest import NARROW, PASSWORD, SCREENSHOTS, Portal, assert_accessible, visit

pytestmark = pytest.mark.xdist_group("browser")


def fill() -> None:
    """An event."""
    record([run(timezone.now())])


def log_in(page: Page, name: str, password: str) -> None:
    page.fill("#id_username", name)
    page.fill("#id_password", password)
    page.get_by_role("button", name="Log in").click()


def test_login_leads_to_what_was_asked_for_and_out_again(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal, viewport=NARROW, role=None) as page:
        page.goto(portal.url + "/admin/?period=7d")
        page.screenshot(path=SCREENSHOTS / "login-390.png")
        log_in(page, VIEWER.name, PASSWORD)
        expect(page.locator(".card .figure").first).to_have_text("1")
        assert page.url.endswith("/admin/?period=7d")
        page.click(".account summary")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_text("You are logged out.")).to_be_visible()
        expect(page.locator("#pages")).to_have_count(0)
        page.get_by_role("link", name="Log in again").click()
        expect(page.locator("#id_username")).to_be_visible()


def test_failed_logins_are_answered_with_how_long_to_wait(portal: Portal, browser: Browser, axe: str) -> None:
    with visit(browser, portal, viewport=NARROW, role=None, silent=False) as page:  # it writes down answers of 429
        page.goto(portal.url + "/admin/login/")
        for _ in range(settings.AXES_FAILURE_LIMIT - 1):
            log_in(page, ANALYST.name, "wrong")
            expect(page.locator(".errornote")).to_be_visible()
        log_in(page, ANALYST.name, "wrong")
        expect(page.get_by_role("heading", name="Too many failed logins")).to_be_visible()
        page.screenshot(path=SCREENSHOTS / "locked-390.png")
        assert_accessible(page, axe)
        page.get_by_role("link", name="Back to the login").click()
        log_in(page, ANALYST.name, PASSWORD)
        expect(page.get_by_role("heading", name="Too many failed logins")).to_be_visible()


def test_viewer_sees_figures_and_no_way_to_events(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal, role=VIEWER) as page:
        page.goto(portal.url + "/admin/?command=repo")
        expect(page.locator(".card .figure").first).to_have_text("1")
        page.locator("#figures-table summary").click()
        assert page.locator("a[href*='/event/']").count() == 0
        assert page.locator("#pages").get_by_role("link", name="Users", exact=True).count() == 0
        page.screenshot(path=SCREENSHOTS / "viewer-light.png")


def test_analyst_sees_events_and_no_accounts(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal, role=ANALYST) as page:
        page.goto(portal.url + "/admin/?command=repo")
        page.locator("#pages").get_by_role("link", name="Events").click()
        expect(page.locator("#result_list tbody tr")).to_have_count(1)
        assert page.locator("#pages").get_by_role("link", name="API tokens").count() == 0

"""An empty portal in a browser: it says how to send the first event, and notices it."""

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, expect

from tests.analytics.history import record, run
from tests.browser.conftest import NARROW, SCREENSHOTS, Portal, assert_accessible, meanwhile, visit

pytestmark = pytest.mark.xdist_group("browser")


def fill() -> None:
    """With nothing."""


@pytest.mark.parametrize("path", ["", "data-quality/", "analytics/event/"])
def test_an_empty_portal_has_no_fault_that_axe_finds(path: str, portal: Portal, browser: Browser, axe: str) -> None:
    with visit(browser, portal, silent=False) as page:  # axe itself sets styles in vain
        page.goto(f"{portal.url}/admin/{path}")
        assert_accessible(page, axe)


def test_an_empty_portal_notices_its_first_event(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal, viewport=NARROW) as page:
        page.clock.install()
        page.goto(portal.url + "/admin/")
        expect(page.get_by_role("heading", name="Waiting for the first event")).to_be_visible()
        page.screenshot(path=SCREENSHOTS / "waiting-390.png")
        page.goto(portal.url + "/admin/analytics/event/")
        expect(page.get_by_role("heading", name="No events in these days")).to_be_visible()
        page.goto(portal.url + "/admin/")
        meanwhile(lambda: record([run(timezone.now())]))
        page.clock.run_for(4_000)
        expect(page.locator(".card .figure").first).to_have_text("1")

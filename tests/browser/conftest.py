"""Fixtures: a portal with some weeks of events, an administrator's session, and a chromium to look at it with.

Playwright runs an event loop in the test's thread, in which Django refuses to touch the database. So `browser` comes
last and goes first: the fixtures that need the database are set up before it, and undone after it has gone.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tests.analytics.history import made_up, record

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SCREENSHOTS = Path(__file__).parent.parent.parent / "build" / "screenshots"

WIDE: ViewportSize = {"width": 1440, "height": 900}
MIDDLE: ViewportSize = {"width": 1200, "height": 844}
NARROW: ViewportSize = {"width": 390, "height": 844}


@contextmanager
def visit(
    browser: Browser, server: LiveServer, session: str, *, viewport: ViewportSize = WIDE, dark: bool = False
) -> Iterator[Page]:
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


def meanwhile(call: Callable[[], object]) -> None:
    """Something with the database, while a browser is open."""

    def called() -> None:
        try:
            call()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(called).result()


@pytest.fixture
def chromium() -> str:
    """Where it is. Without one these tests fail in CI, and are skipped elsewhere."""
    found = shutil.which("chromium") or (CHROMIUM if Path(CHROMIUM).exists() else None)
    if not found:
        missing = "No page was looked at, as there is no chromium here. Install it with `apt-get install chromium`."
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest.fixture
def history(transactional_db: None) -> None:
    """Two months of runs until now."""
    record(made_up(timezone.now(), days=66, a_day=25))


@pytest.fixture
def session(live_server: LiveServer, admin_client: Client) -> str:
    """The cookie of an administrator."""
    return admin_client.cookies[settings.SESSION_COOKIE_NAME].value


@pytest.fixture
def browser(chromium: str, session: str) -> Iterator[Browser]:
    """Started after whatever needs the database."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
        yield browser
        browser.close()

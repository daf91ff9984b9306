"""Fixtures: a portal for all tests of a module, with what its `fill` puts into it, and a chromium to look at it with.

Playwright runs an event loop in the test's thread, in which Django refuses to touch the database: what a test does with
it goes through `meanwhile`. Pictures of the pages go to the folder SCREENSHOTS, by default build/screenshots.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright
from pytest_django.live_server_helper import LiveServer
from pytest_django.plugin import DjangoDbBlocker

from analytics import roles
from analytics.roles import ADMINISTRATOR, Role

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", Path(__file__).parent.parent.parent / "build" / "screenshots"))

WIDE: ViewportSize = {"width": 1440, "height": 900}
MIDDLE: ViewportSize = {"width": 1200, "height": 844}
SMALL_TABLET: ViewportSize = {"width": 820, "height": 1180}
PAPER: ViewportSize = {"width": 704, "height": 1000}  # A4 between its margins
NARROW: ViewportSize = {"width": 390, "height": 844}

PASSWORD = "correct horse battery"


class Portal(NamedTuple):
    """A running portal: its address, a session of an account of each role, and the ids of what was put into it."""

    url: str
    sessions: Mapping[str, str]
    ids: Mapping[str, object]


@contextmanager
def visit(
    browser: Browser,
    portal: Portal,
    *,
    viewport: ViewportSize = WIDE,
    role: Role | None = ADMINISTRATOR,
    silent: bool = True,
    said: list[str] | None = None,
) -> Iterator[Page]:
    """A page of an account of this role, or of nobody.

    Fails at the end if the console was written to, as by what breaks the policy, or a dialog opened; unless `silent` is
    false. All of that goes into `said`.
    """
    context = browser.new_context(viewport=viewport, color_scheme="light")
    if role:
        cookie = portal.sessions[role.name]
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": portal.url}])
    page = context.new_page()
    told: list[str] = [] if said is None else said
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: told.append(dialog.message))  # and the page waits for an answer in vain
    yield page
    assert told == [] or not silent
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


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where it is. Without one these tests fail in CI, and are skipped elsewhere."""
    found = shutil.which("chromium") or (CHROMIUM if Path(CHROMIUM).exists() else None)
    if not found:
        missing = "No page was looked at, as there is no chromium here. Install it with `apt-get install chromium`."
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest.fixture(scope="module")
def db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The database, from the first test of a module to the last one; pytest-django's is a test's."""
    with django_db_blocker.unblock():
        yield
        call_command("flush", verbosity=0, interactive=False)
        connection.close()


@pytest.fixture(scope="module")
def portal(request: pytest.FixtureRequest, chromium: str, db: None) -> Iterator[Portal]:
    """With what the module's `fill` puts into it, which answers with ids of it."""
    ids = request.module.fill() or {}
    sessions = {role.name: _session(role) for role in roles.ROLES}
    server = LiveServer("localhost")
    yield Portal(server.url, sessions, ids)
    server.stop()


def _session(role: Role) -> str:
    account = User.objects.create_user(role.name, password=PASSWORD)
    roles.give(account, role)
    client = Client()
    client.force_login(account)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


@pytest.fixture(scope="module")
def browser(chromium: str, portal: Portal) -> Iterator[Browser]:
    """Started after what is done with the database in this thread, and gone before it is done again."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
        yield browser
        browser.close()


# -- axe-core ---------------------------------------------------------------------------------------------------------

FOUND = """async rules => (await axe.run(document, {resultTypes: ["violations"], ...rules})).violations.map(rule =>
    `${rule.id}: ${rule.nodes.map(node => `${node.target} ${node.failureSummary}`).join(" | ")}`)"""


# Links take a moment to change their colours.
SETTLED = """Promise.all(document.getAnimations().filter(change => change instanceof CSSTransition).map(
    change => change.finished))"""


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core. Without it these tests fail in CI, and are skipped elsewhere."""
    package = find_spec("axe_playwright_python")
    if not package or not package.submodule_search_locations:
        missing = "axe-core looked at no page: it comes with axe-playwright-python, of requirements-dev.txt."
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return (Path(package.submodule_search_locations[0]) / "axe.min.js").read_text()


def assert_accessible(page: Page, axe: str) -> None:
    """In light; in dark only the contrasts are others."""
    page.evaluate(axe)
    assert page.evaluate(FOUND, {}) == []
    page.emulate_media(color_scheme="dark")
    page.evaluate(SETTLED)
    assert page.evaluate(FOUND, {"runOnly": ["color-contrast"]}) == []

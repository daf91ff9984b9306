"""Names that anybody may have posted, in a browser: nothing runs, nothing is fetched, and every page keeps its form."""

from urllib.parse import quote, urlsplit

import pytest
from django.utils import timezone
from playwright.sync_api import Browser

from analytics.dashboards.pages import PAGES
from analytics.models import Annotation, Quarantined, Release
from tests.analytics.history import record, run
from tests.analytics.test_admin import HOSTILE
from tests.browser.conftest import NARROW, SCREENSHOTS, WIDE, Portal, visit

pytestmark = pytest.mark.xdist_group("browser")

# What the contract lets through, and what only a broken loader would.
NAMES = (
    HOSTILE,
    "\"><img src=x onerror=alert(1)>'",
    "javascript:alert(1)",
    "</title></code></pre><svg onload=alert(1)>",
    "{{ 7 }}{% debug %}${7}",
    "\N{RIGHT-TO-LEFT OVERRIDE}txt.exe\N{ARABIC LETTER ALEF}" + "\N{ARABIC LETTER BEH}" * 50,
    "\N{FACE WITH TEARS OF JOY}" * 64,
    "W" * 64,
    "",
    "a/b?c=d&e#f %",
)
MARKS = """document.querySelectorAll("#content :is([onerror], [onload], img, script:not([src]))").length
    + [...document.querySelectorAll("a")].filter(link => link.protocol === "javascript:").length"""


def fill() -> dict[str, object]:
    """Runs with each of these names for everything, in time of failure and of success."""
    now = timezone.now()
    for name in NAMES:
        fields = dict.fromkeys(("provider", "model", "file_model", "thinking_model", "error_type", "agent"), name)
        fields |= {"tool_version": name[:64], "command": name}
        record([run(now, has_error=True, **{**fields, "agent": name[:64]}) for _ in range(3)])
        record([run(now, prompt_tokens=5, **{**fields, "os": name[:16], "provider": name[:64]}) for _ in range(25)])
    event = run(now, command=NAMES[1], tool_version=HOSTILE, placeholder=HOSTILE, error_type=NAMES[3], has_error=True)
    record([event])
    Release.objects.create(version=HOSTILE, released_on=now.date(), notes=NAMES[1])
    Annotation.objects.create(day=now.date(), text=NAMES[3])
    line = Quarantined.objects.create(source_object=event.source_object, source_line=7, reason=HOSTILE, payload=b"x")
    return {"event": event.pk, "line": line.pk}


def paths(portal: Portal) -> dict[str, str]:
    """Of the pages that show names, those of one name for some of the names; by what its picture is called."""
    found = {page.name: f"/admin/{page.route}?period=7d" for page in PAGES.values() if not page.of}
    for page in PAGES.values():
        if page.of:
            for place in (1, 5):
                found[f"{page.name}-{place}"] = f"/admin/{page.route}?period=7d&{page.of}={quote(NAMES[place])}"
    filters = "&".join(f"{quote(word)}={quote(name)}" for word in ("command", "model__not") for name in NAMES if name)
    return found | {
        "filters": f"/admin/?period=7d&{filters}&add=",
        "words": "/admin/?" + "&".join(f"{word}={quote(HOSTILE)}" for word in ("period", "sort", "metric", HOSTILE)),
        "events": "/admin/analytics/event/",
        "event": f"/admin/analytics/event/{portal.ids['event']}/change/",
        "releases": "/admin/analytics/release/",
        "line": f"/admin/analytics/quarantined/{portal.ids['line']}/change/",
        "quarantine": "/admin/analytics/quarantined/",
    }


def test_hostile_names_run_nothing_and_break_no_page(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal) as page:  # fails where the policy is broken or a dialog opens: the console tells
        asked: set[str] = set()
        page.on("request", lambda request: asked.add(urlsplit(request.url).path))
        for name, path in paths(portal).items():
            page.set_viewport_size(WIDE)
            page.goto(portal.url + path)
            assert page.evaluate(MARKS) == 0, name
            page.screenshot(path=SCREENSHOTS / f"hostile-{name}-light.png", full_page=True)
            page.set_viewport_size(NARROW)
            assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], name
            page.screenshot(path=SCREENSHOTS / f"hostile-{name}-390.png", full_page=True)
        assert not [path for path in asked if not path.startswith(("/admin/", "/static/"))]


def test_hostile_names_stay_text_in_a_charts_tip(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal) as page:
        page.goto(portal.url + "/admin/?period=7d")
        for chart in page.locator("[data-chart]").all():
            chart.focus()
            page.keyboard.press("End")
            assert page.evaluate(MARKS) == 0

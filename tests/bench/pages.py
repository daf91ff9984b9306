"""Bench: how long each page takes until it is on the screen, how large it is, and what memory the whole portal takes.

In: the folder of a portal that is not running, DATA_DIR, as loading.py leaves it. Out: Markdown on stdout, exit status
1 where a figure is beyond its limit. Run by loading.py; docs/performance.md.

The portal is that of `make run`, the browser Debian's chromium, both on this machine: the network's part is left out.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import django
import psutil
import urllib3
from playwright.sync_api import Browser, sync_playwright

django.setup()

from django.contrib.auth.models import User  # noqa: E402 - models need Django
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402

from analytics import queries  # noqa: E402
from analytics.dashboards.pages import PAGES  # noqa: E402
from analytics.queries import Filter, Period  # noqa: E402
from tests.bench import report  # noqa: E402
from tests.portal import Portal  # noqa: E402

SERVER_MAX_MS, PAINTED_MAX_MS, COLD_MAX_KB, MEMORY_MAX_MB = 150.0, 500.0, 400.0, 1000.0
TURNS = 5
_DAYS = {
    "30 days": "period=custom&from=2026-10-02&to=2026-10-31",
    "90 days": "period=custom&from=2026-08-03&to=2026-10-31",
}
_EXCLUDED = "&model__not=gpt-4.1&error_type__not=NetworkError"
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
_SAMPLE_SECONDS = 0.1

# When the last thing that was drawn was drawn, in milliseconds since the address was typed.
_LAST_PAINT = """() => new Promise(done => new PerformanceObserver(list => done(Math.max(
    ...list.getEntries().map(entry => entry.startTime), performance.getEntriesByType("navigation")[0].loadEventEnd
))).observe({type: "largest-contentful-paint", buffered: true}))"""


def main() -> int:
    """Measure it all."""
    portal = Portal(Path(os.environ["DATA_DIR"]))
    portal.start()
    try:
        session = _session()
        pages = _pages()
        idle = _memory_mb(portal)
        programs = sorted(idle)
        rows, beyond = _shown(portal, session, pages)
        sys.stdout.write(report.table(["page, 30 days", "server ms", "last paint ms", "KB cold"], rows) + "\n\n")
        lines = [["nobody looks", *_memory_cells(idle, programs)]]
        for name, days in _DAYS.items():
            for what, filters in (("", ""), (", two values excluded", _EXCLUDED)):
                peak = _peak_mb(portal, session, [f"{path}&{days}{filters}" for path in pages.values()])
                lines.append([f"each page of {name}{what}, one after the other", *_memory_cells(peak, programs)])
                if sum(peak.values()) > MEMORY_MAX_MB:
                    beyond.append(f"Beyond its limit: memory, {name}{what}: {sum(peak.values()):,.0f} MB")
        sys.stdout.write(report.table(["MB of memory at most while", "all", *programs], lines) + "\n\n")
    finally:
        portal.stop()
    sys.stdout.write("\n".join(beyond or ["Every page is within its limits."]) + "\n")
    return 1 if beyond else 0


def _session() -> str:
    """Of an administrator who is logged in."""
    account, _ = User.objects.get_or_create(username="bench", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(account, backend="django.contrib.auth.backends.ModelBackend")
    return client.cookies["sessionid"].value


def _pages() -> dict[str, str]:
    """Title -> path, with the value that has the most runs where a page is of one."""
    now = timezone.now()
    whole = Filter(Period.ending_today("12mo", now))
    found = {}
    for page in PAGES.values():
        of = f"{page.of}={queries.parts(whole, now, page.of)[0].value}" if page.of else ""
        found[page.title] = f"/admin/{page.route}?{of}"
    return found | {"Events": "/admin/analytics/event/?", "Data quality": "/admin/data-quality/?"}


def _shown(portal: Portal, session: str, pages: Mapping[str, str]) -> tuple[list[list[str]], list[str]]:
    rows, beyond = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=_FLAGS)
        for title, path in pages.items():
            url = f"{path}&{_DAYS['30 days']}"
            server_ms = median(_get_ms(portal, session, url) for _ in range(TURNS))
            looks = [_look(browser, portal, session, url) for _ in range(TURNS)]
            painted_ms, cold_kb = (median(figures) for figures in zip(*looks, strict=True))
            rows.append([title, f"{server_ms:.0f}", f"{painted_ms:.0f}", f"{cold_kb:.0f}"])
            for what, found, limit in (
                ("on the server", server_ms, SERVER_MAX_MS),
                ("until the last paint", painted_ms, PAINTED_MAX_MS),
                ("KB cold", cold_kb, COLD_MAX_KB),
            ):
                if found > limit:
                    beyond.append(f"Beyond its limit: {title} {what}: {found:.0f} > {limit:.0f}")
        browser.close()
    return rows, beyond


def _get_ms(portal: Portal, session: str, url: str) -> float:
    started = time.perf_counter()
    answer = urllib3.request("GET", portal.url + url, headers={"Cookie": f"sessionid={session}"}, redirect=False)
    assert answer.status == 200, f"{url}: {answer.status}"
    return 1000 * (time.perf_counter() - started)


def _look(browser: Browser, portal: Portal, session: str, url: str) -> tuple[float, float]:
    """Until the last paint, and how much came over the wire, in a browser that has seen nothing of the portal yet."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_cookies([{"name": "sessionid", "value": session, "url": portal.url}])
    page = context.new_page()
    came: list[float] = []
    wire = context.new_cdp_session(page)
    wire.on("Network.loadingFinished", lambda event: came.append(event["encodedDataLength"]))
    wire.send("Network.enable")
    page.goto(portal.url + url, wait_until="networkidle")
    painted_ms = float(page.evaluate(_LAST_PAINT))
    context.close()
    return painted_ms, sum(came) / 1000


# -- Memory -----------------------------------------------------------------------------------------------------------


def _peak_mb(portal: Portal, session: str, urls: list[str]) -> dict[str, float]:
    """Of the moment when all of it together took the most."""
    peak: dict[str, float] = {}
    with _sampling(portal, peak):
        for url in urls:
            _get_ms(portal, session, url)
    return peak


@contextmanager
def _sampling(portal: Portal, peak: dict[str, float]) -> Iterator[None]:
    over = threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            found = _memory_mb(portal)
            if sum(found.values()) > sum(peak.values()):
                peak.update(found)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _memory_mb(portal: Portal) -> dict[str, float]:
    """Program -> the memory of its processes, what they share counted once."""
    supervisor = psutil.Process(portal.up.process.pid)
    found: dict[str, float] = {"supervisor": supervisor.memory_full_info().pss / 1e6}
    for child in supervisor.children():
        with suppress(psutil.Error):  # it has ended
            name = _program(child.cmdline())
            for process in [child, *child.children(recursive=True)]:
                found[name] = found.get(name, 0.0) + process.memory_full_info().pss / 1e6
    return found


def _program(command: list[str]) -> str:
    return next((name for word, name in _PROGRAMS.items() if any(word in part for part in command)), "other")


_PROGRAMS = {
    "ingest_wsgi": "ingest",
    "granian": "web",
    "celery": "worker and beat",
    "postgres": "PostgreSQL",
    "valkey": "Valkey",
    "weed": "SeaweedFS",
}


def _memory_cells(found: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [f"{figure:,.0f}" for figure in (sum(found.values()), *(found.get(name, 0.0) for name in names))]


if __name__ == "__main__":
    sys.exit(main())

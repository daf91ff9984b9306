"""What dashboards do in a browser, on the Overview: filters, keys, CSV, charts by keyboard, figures that stay fresh."""

from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from analytics.models import LoadedObject
from tests.analytics.history import made_up, record, run
from tests.browser.conftest import SCREENSHOTS, Portal, meanwhile, visit

pytestmark = pytest.mark.xdist_group("browser")

POLL_MS = 16_000


def fill() -> None:
    """Two months of runs until now."""
    record(made_up(timezone.now(), days=66, a_day=25))


def arrive(count: int) -> None:
    """So many runs, loaded just now."""
    record([run(timezone.now()) for _ in range(count)])
    LoadedObject.objects.update(loaded_at=timezone.now())


def query(page: Page) -> str:
    return page.url.partition("?")[2]


def test_filters_are_added_by_a_click_and_by_the_form_and_taken_away(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal) as page:
        page.goto(portal.url + "/admin/?period=90d")
        page.locator("#commands").get_by_role("link", name="repo").click()
        expect(page.locator(".chips")).to_contain_text("Command is repo")
        page.get_by_role("link", name="Filter", exact=True).click()
        page.select_option("select[name=is]", "not")
        page.select_option("select[name=add]", "model:gpt-4.1")
        page.screenshot(path=SCREENSHOTS / "overview-filter.png")
        page.get_by_role("button", name="Add filter").click()
        expect(page.locator(".chips")).to_contain_text("Model is not gpt-4.1")
        assert query(page) == "period=90d&command=repo&model__not=gpt-4.1"
        page.get_by_role("link", name="Remove the filter Command is repo").click()
        page.wait_for_url("**/admin/?period=90d&model__not=gpt-4.1")  # and until its script is there
        page.keyboard.press("Escape")
        expect(page.locator(".chips")).to_have_count(0)
        assert query(page) == "period=90d"


def test_keys_choose_days_and_comparison_but_not_while_typing(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal) as page:
        page.goto(portal.url + "/admin/")
        for key, words in (("w", "period=7d"), ("x", "period=7d&compare=off"), ("n", "period=90d&compare=off")):
            page.keyboard.press(key)
            page.wait_for_url(f"**/admin/?{words}")
        page.locator("summary", has_text="Custom").click()
        page.focus("input[name=from]")
        page.keyboard.press("w")
        page.fill("input[name=from]", "2026-01-01")
        page.fill("input[name=to]", "2026-01-07")
        page.get_by_role("button", name="Show", exact=True).click()
        expect(page.locator(".stretch")).to_contain_text("7 Jan 2026")
        expect(page.get_by_text("No runs in these days")).to_be_visible()


def test_a_panel_is_downloaded_as_csv(portal: Portal, browser: Browser, tmp_path: Path) -> None:
    with visit(browser, portal) as page:
        page.goto(portal.url + "/admin/?period=30d&metric=tokens")
        with page.expect_download() as download:
            page.locator("#commands").get_by_role("link", name="CSV of Commands").click()
        assert download.value.suggested_filename.endswith("-commands.csv")
        download.value.save_as(tmp_path / "commands.csv")
        header, first, *_ = (tmp_path / "commands.csv").read_text().splitlines()
        assert header == "command,runs,share,installations,error_rate,runs_before"
        assert first.startswith("repo,")


def test_arrow_keys_walk_the_days_of_the_chart(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal) as page:
        page.goto(portal.url + "/admin/")
        page.focus("#figures [data-chart]")
        tip = page.locator("#figures .chart .tip")
        expect(tip).to_be_hidden()
        page.keyboard.press("ArrowLeft")
        expect(tip).to_contain_text("(so far)")
        page.keyboard.press("ArrowLeft")
        expect(tip).not_to_contain_text("(so far)")
        expect(tip).to_contain_text("Active installations")
        page.screenshot(path=SCREENSHOTS / "overview-walked.png")
        page.keyboard.press("Escape")
        expect(tip).to_be_hidden()


def test_figures_stay_fresh_without_a_reload_and_leave_alone_what_is_in_use(portal: Portal, browser: Browser) -> None:
    with visit(browser, portal) as page:
        page.clock.install()
        page.goto(portal.url + "/admin/?period=today")
        runs = page.locator(".card .figure").first
        before = int(runs.inner_text())
        page.evaluate("window.stayed = true")
        page.locator("#figures-table summary").click()
        page.locator("#commands .barred a").first.focus()
        focused = page.evaluate("document.activeElement.textContent")
        meanwhile(lambda: arrive(3))
        page.clock.run_for(POLL_MS)
        expect(runs).to_have_text(str(before + 3))
        assert page.evaluate("window.stayed")
        assert page.evaluate("document.activeElement.textContent") == focused
        expect(page.locator("#figures-table table")).to_be_visible()
        page.focus("#figures [data-chart]")
        page.keyboard.press("End")
        meanwhile(lambda: arrive(1))
        page.clock.run_for(POLL_MS)
        expect(runs).to_have_text(str(before + 3))
        page.keyboard.press("Escape")
        page.clock.run_for(POLL_MS)
        expect(runs).to_have_text(str(before + 4))

"""What the portal tells browsers, and what it takes to log in."""

import logging
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from http.cookiejar import CookieJar
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

import pytest
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.conf import settings as portal_settings
from django.contrib.auth.models import Group, User
from django.core.checks import run_checks
from django.core.management import call_command
from django.db.models import F
from django.http import HttpRequest
from django.test import Client
from django.urls import path
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from tests.analytics.history import record, run
from vibetel import checks, urls
from vibetel.environment import networks, url_path
from vibetel.logs import Plain

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "font-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
}


def _fail(request: HttpRequest) -> NoReturn:
    raise RuntimeError(f"wrong key: {portal_settings.SECRET_KEY} for {portal_settings.DATABASE_URL}")


urlpatterns = [path("fails/", _fail), path("api/fails/", _fail), *urls.urlpatterns]
handler403, handler404, handler500 = urls.handler403, urls.handler404, urls.handler500


# -- Headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("/admin/login/", 200),
        ("/admin/", 302),
        ("/nothing/here", 404),
        ("/admin/nothing/here/", 302),
        ("/healthz", 200),
        ("/metrics", 200),
        ("/api/stats/totals", 401),
        ("/api/stats/openapi.json", 200),
        ("/static/analytics/icons.svg", 200),
        ("/static/admin/js/theme.js", 200),
        ("/fails/", 500),
    ],
)
@pytest.mark.usefixtures("empty_buffer")
def test_every_answer_has_the_policy(client: Client, settings: Settings, asked: str, status: int) -> None:
    settings.ROOT_URLCONF = __name__
    client.raise_request_exception = False
    answer: Any = client.get(asked)
    assert answer.status_code == status
    assert {*answer["Content-Security-Policy"].split("; ")} == POLICY
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "same-origin"
    assert "geolocation=()" in answer["Permissions-Policy"]
    if answer.streaming:
        answer.getvalue()


@pytest.mark.parametrize(
    "asked",
    [
        "/admin/password_change/",
        "/admin/auth/user/",
        "/admin/auth/user/add/",
        "/admin/auth/user/{user}/change/",
        "/admin/auth/user/{user}/password/",
        "/admin/auth/user/{user}/delete/",
        "/admin/auth/user/{user}/history/",
        "/admin/auth/group/{group}/change/",
        "/admin/auth/group/add/",
        "/admin/analytics/annotation/add/",
        "/admin/analytics/release/add/",
        "/admin/admin/logentry/",
        "/admin/nothing/here/",
        "/fails/",
    ],
)
def test_pages_of_the_admin_have_nothing_inline(admin_client: Client, settings: Settings, asked: str) -> None:
    settings.ROOT_URLCONF = __name__
    admin_client.raise_request_exception = False
    group = Group.objects.get(name="viewer").pk
    page = admin_client.get(asked.format(user=User.objects.get().pk, group=group)).content.decode()
    assert "</html>" in page
    assert not re.search(r"<style|<script(?![^>]*\ssrc=)|<[^>]+\s(style|on\w+)=|javascript:", page)


def test_a_form_of_another_site_is_refused_with_a_page() -> None:
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "ada", "password": "x"})
    assert answer.status_code == 403
    assert "it did not come from a page of this portal" in answer.content.decode()


def test_on_https_everything_is_secure() -> None:
    told = """
import django; django.setup()
from django.conf import settings
from django.core.checks import run_checks
from django.core.management import call_command
call_command("check", deploy=True, fail_level="WARNING")
print(settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE, settings.SECURE_HSTS_SECONDS)
"""
    environment = {
        **os.environ,
        "DATA_DIR": str(portal_settings.DATA_DIR),
        "DJANGO_SETTINGS_MODULE": "vibetel.settings",
        "CSRF_TRUSTED_ORIGINS": "https://telemetry.example.org",
        "TRUSTED_PROXIES": "10.0.0.1",
        "SECRET_KEY": "a key of some length, of many different characters, for a test",
    }
    ran = subprocess.run([sys.executable, "-W", "error", "-c", told], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "True True 31536000"


def test_a_session_is_out_of_reach_of_scripts_and_other_sites(client: Client) -> None:
    User.objects.create_user("ada", password=PASSWORD, is_staff=True)
    client.post("/admin/login/", {"username": "ada", "password": PASSWORD})
    cookie = client.cookies[portal_settings.SESSION_COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Lax", 7 * 86_400)


@pytest.mark.parametrize(("asked", "seconds"), [("0", 0), ("3600", 3600)])
def test_how_long_browsers_stay_on_https_is_a_setting(asked: str, seconds: int) -> None:
    given = {"CSRF_TRUSTED_ORIGINS": "https://telemetry.example.org", "HSTS_SECONDS": asked}
    assert _settings_say("settings.SECURE_HSTS_SECONDS", **given) == str(seconds)


def test_the_dashboards_can_be_under_another_path() -> None:
    found = "[(Client(HTTP_HOST='127.0.0.1').get(path).get('Location')) for path in ('/', '/inner/portal/', '/admin/')]"
    expected = ["/inner/portal/", "/inner/portal/login/?next=/inner/portal/", None]
    assert _settings_say(found, ADMIN_PATH="inner/portal") == str(expected)


@pytest.mark.parametrize("value", ["/admin", "", "api/inner", "static", "a b", "a//b"])
def test_a_path_for_the_dashboards_that_cannot_be_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="is no path such as"):
        url_path(value)


def _settings_say(expression: str, **given: str) -> str:
    """What it is in a process that is given these variables."""
    imports = "import django; django.setup(); from django.conf import settings; from django.test import Client"
    environment = {
        **os.environ,
        "DATA_DIR": str(portal_settings.DATA_DIR),
        "DJANGO_SETTINGS_MODULE": "vibetel.settings",
    }
    command = [sys.executable, "-W", "error", "-c", f"{imports}; print({expression})"]
    ran = subprocess.run(command, env=environment | given, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


# -- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "status"), [("nothing", 404), ("stats/nothing", 404), ("fails/", 500)])
def test_errors_of_the_api_are_json(client: Client, settings: Settings, asked: str, status: int) -> None:
    settings.ROOT_URLCONF = __name__
    client.raise_request_exception = False
    answer = client.get(f"/api/{asked}")
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/json")
    assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize("asked", ["/fails/", "/api/fails/"])
def test_a_secret_in_an_error_is_neither_shown_nor_logged(
    client: Client, settings: Settings, caplog: pytest.LogCaptureFixture, asked: str
) -> None:
    settings.ROOT_URLCONF = __name__
    client.raise_request_exception = False
    page = client.get(asked).content.decode()
    (form,) = [one.formatter for one in logging.getLogger().handlers if isinstance(one.formatter, Plain)]
    (record,) = [record for record in caplog.records if record.exc_info]
    line = form.format(record)
    assert "wrong key: ********" in line
    password = urlsplit(portal_settings.DATABASE_URL).password
    for secret in (portal_settings.SECRET_KEY, password):
        assert secret
        assert secret not in page + line


# -- Time zone --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cookie", "zone", "shown"),
    [
        ("Asia/Kolkata", "Asia/Kolkata", "2026-11-23 20:30:00 IST"),
        ("", "UTC", "2026-11-23 15:00:00 UTC"),
        ("../../etc/passwd", "UTC", "2026-11-23 15:00:00 UTC"),
        ("<script>", "UTC", "2026-11-23 15:00:00 UTC"),
    ],
)
def test_events_have_the_time_of_the_viewers_zone(admin_client: Client, cookie: str, zone: str, shown: str) -> None:
    event = run(datetime.fromisoformat("2026-11-23T15:00:00+00:00"))
    record([event])
    admin_client.cookies["zone"] = cookie
    listed = admin_client.get("/admin/analytics/event/").content.decode()
    assert f"times of {zone}" in listed
    assert shown in listed
    assert shown in admin_client.get(f"/admin/analytics/event/{event.pk}/change/").content.decode()


@pytest.mark.parametrize(("proxies", "doubts"), [("", ["vibetel.W001"]), ("10.0.0.1", [])])
def test_on_https_a_proxy_that_is_not_named_is_told(settings: Settings, proxies: str, doubts: list[str]) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.TRUSTED_PROXIES = networks(proxies)
    found = [told.id for told in run_checks(tags=["security"], include_deployment_checks=True)]
    assert [name for name in found if name and name.startswith("vibetel")] == doubts


def test_on_http_no_proxy_is_asked_for(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = []
    assert checks.proxies_named() == []


# -- Logins -----------------------------------------------------------------------------------------------------------

Login = Callable[..., tuple[int, str]]


@pytest.fixture
def login(client: Client, settings: Settings) -> Login:
    """Try it: the status and the page; behind a proxy of ours, from some address."""
    settings.TRUSTED_PROXIES = networks("127.0.0.1")
    for name in ("ada", "vera"):
        User.objects.create_user(name, password=PASSWORD, is_staff=True)

    def attempt(password: str, *, name: str = "ada", address: str = "203.0.113.7") -> tuple[int, str]:
        fields = {"username": name, "password": password}
        headers = {"X-Forwarded-For": address, "User-Agent": "the browser of somebody"}
        answer = Client(headers=headers).post("/admin/login/?secret=word", fields)
        return answer.status_code, answer.content.decode()

    return attempt


def fail(login: Login, times: int = 5, **who: str) -> None:
    for _ in range(times):
        login("wrong", **who)


def test_four_failures_are_forgiven(login: Login) -> None:
    fail(login, 4)
    assert login(PASSWORD)[0] == 302
    fail(login, 4)
    assert login(PASSWORD)[0] == 302


def test_the_fifth_failure_locks_the_account_for_this_address_alone(login: Login) -> None:
    fail(login, 4)
    status, page = login("wrong")
    assert status == 429
    assert "For 15 minutes no further one is looked at" in page
    assert login(PASSWORD)[0] == 429
    assert login(PASSWORD, address="203.0.113.8")[0] == 302
    assert login(PASSWORD, name="vera")[0] == 302


def test_a_lock_ends_by_itself_and_trying_makes_it_no_longer(login: Login) -> None:
    fail(login)
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=14))
    assert login(PASSWORD)[0] == 429
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=2))
    assert login(PASSWORD)[0] == 302


def test_a_command_lifts_a_lock(login: Login) -> None:
    fail(login)
    call_command("axes_reset_username", "ada")
    assert login(PASSWORD)[0] == 302


def test_addresses_of_one_household_are_one(login: Login) -> None:
    fail(login, 3, address="2001:db8::1")
    fail(login, 2, address="2001:db8::2")
    assert login(PASSWORD, address="2001:db8::3")[0] == 429
    assert login(PASSWORD, address="2001:db8:0:1::1")[0] == 302


def test_who_is_no_proxy_of_ours_cannot_choose_an_address(login: Login, settings: Settings) -> None:
    settings.TRUSTED_PROXIES = []
    for number in range(5):
        fail(login, 1, address=f"203.0.113.{number}")
    assert login(PASSWORD, address="203.0.113.99")[0] == 429


def test_neither_address_nor_browser_is_kept_or_logged(login: Login, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    fail(login, 6)
    assert login(PASSWORD, address="203.0.113.8")[0] == 302
    kept = [*AccessAttempt.objects.values_list()]
    assert len(kept) == 1
    for said in (str(kept), caplog.text):
        for secret in ("203.0.113", "somebody", "secret", "wrong", "csrf"):
            assert secret not in said
    assert str(kept[0][2]).startswith("fd00:0:")
    assert not AccessLog.objects.exists()
    assert not AccessFailureLog.objects.exists()


def test_a_login_over_http_is_slowed_down(live_server: LiveServer, transactional_db: None) -> None:
    User.objects.create_user("ada", password=PASSWORD, is_staff=True)
    url = f"{live_server.url}/admin/login/"
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def attempt(password: str) -> tuple[int, str | None]:
        form = browser.open(url).read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
        fields = {"username": "ada", "password": password, "csrfmiddlewaretoken": token[1] if token else ""}
        try:
            with browser.open(url, urlencode(fields).encode()) as answer:
                return answer.status, None
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.headers["Retry-After"]

    assert [attempt("wrong") for _ in range(5)] == [(200, None)] * 4 + [(429, "900")]
    assert attempt(PASSWORD) == (429, "900")

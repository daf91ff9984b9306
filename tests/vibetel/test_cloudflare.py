"""Cloudflare's API: what is sent, and what becomes of each kind of answer."""

import hashlib
from collections.abc import Callable, Iterator

import pytest

from tests.client.stand_in import http_answer
from tests.vibetel.cloudflare_api import ACCOUNT_ID, API_TOKEN, GROUPS, CloudflareApi, error
from vibetel import cloudflare
from vibetel.cloudflare import Account, ApiUnavailable, Refused
from vibetel.embedded.addresses import free_ports


@pytest.fixture
def api() -> Iterator[CloudflareApi]:
    with CloudflareApi() as api:
        yield api


@pytest.fixture
def account(api: CloudflareApi) -> Account:
    return Account(ACCOUNT_ID, API_TOKEN, url=api.url)


def test_token_is_scoped_to_the_objects_of_one_bucket(api: CloudflareApi, account: Account) -> None:
    key = account.create_token("archiver", "events", cloudflare.OBJECT_WRITE)

    token = api.tokens[key.access_key_id]
    assert token["name"] == "archiver"
    assert token["policies"] == [
        {
            "effect": "allow",
            "resources": {f"com.cloudflare.edge.r2.bucket.{ACCOUNT_ID}_default_events": "*"},
            "permission_groups": [{"id": GROUPS[cloudflare.OBJECT_WRITE]}],
        }
    ]
    assert key.secret_access_key == hashlib.sha256(api.values[0].encode()).hexdigest()


def test_token_rolled_keeps_its_id_and_gets_another_secret(api: CloudflareApi, account: Account) -> None:
    made = account.create_token("loader", "events", cloudflare.OBJECT_READ)
    rolled = account.roll_token(made.access_key_id)
    assert rolled.access_key_id == made.access_key_id
    assert rolled.secret_access_key == hashlib.sha256(api.values[1].encode()).hexdigest()


def test_jurisdiction_is_in_the_header_the_policy_and_the_endpoint(api: CloudflareApi) -> None:
    eu = Account(ACCOUNT_ID, API_TOKEN, jurisdiction="eu", url=api.url)
    key = eu.create_token("loader", "events", cloudflare.OBJECT_READ)
    assert api.jurisdictions == {"eu"}
    (policy,) = api.tokens[key.access_key_id]["policies"]
    assert list(policy["resources"]) == [f"com.cloudflare.edge.r2.bucket.{ACCOUNT_ID}_eu_events"]
    assert cloudflare.s3_endpoint(ACCOUNT_ID, "eu") == f"https://{ACCOUNT_ID}.eu.r2.cloudflarestorage.com"


def test_tokens_are_listed_to_the_last_page(account: Account) -> None:
    for number in range(5):
        account.create_token(f"token {number}", "events", cloudflare.OBJECT_READ)
    assert [token.name for token in account.tokens()] == [f"token {number}" for number in range(5)]


def test_buckets_are_there_or_not(account: Account) -> None:
    assert not account.has_bucket("events")
    account.create_bucket("events")
    assert account.has_bucket("events")
    assert account.bucket_names() == ["events"]
    assert account.delete_bucket("events")
    assert not account.has_bucket("events")


def test_bucket_with_objects_is_not_deleted(api: CloudflareApi, account: Account) -> None:
    api.buckets["events"] = 1
    assert not account.delete_bucket("events")
    assert account.has_bucket("events")


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [(400, 10005, "The specified bucket name is not valid."), (403, 9109, "Unauthorized to access requested resource")],
)
def test_refusal_says_what_and_why(api: CloudflareApi, account: Account, status: int, code: int, message: str) -> None:
    api.next_answers = [error(status, code, message)]
    with pytest.raises(Refused) as refused:
        account.create_bucket("events")
    assert str(refused.value) == (
        f"Cloudflare refused to create the bucket events: HTTP {status}: {message} (code {code})"
    )


def test_wrong_api_token_is_refused_and_not_repeated(api: CloudflareApi) -> None:
    with pytest.raises(Refused, match="HTTP 401: Authentication error") as refused:
        Account(ACCOUNT_ID, "another-secret", url=api.url).has_bucket("events")
    assert "another-secret" not in str(refused.value)


@pytest.mark.parametrize("ask", [lambda account: account.has_bucket("events"), lambda account: account.roll_token("a")])
def test_too_many_requests_are_asked_again_when_cloudflare_says(
    api: CloudflareApi, account: Account, ask: Callable[[Account], object]
) -> None:
    api.next_answers = [error(429, 971, "Please wait and consider throttling your request speed", Retry_After="0")]
    ask(account)
    assert len(api.asked) == 2


def test_error_of_the_server_is_asked_again_where_nothing_is_changed(api: CloudflareApi, account: Account) -> None:
    api.next_answers = [http_answer(502, b"<html>bad gateway</html>")]
    assert not account.has_bucket("events")
    assert len(api.asked) == 2


def test_error_of_the_server_is_not_asked_again_where_a_token_may_have_been_made(
    api: CloudflareApi, account: Account
) -> None:
    api.next_answers = [error(500, 10001, "We encountered an internal error. Please try again.")]
    with pytest.raises(Refused, match="HTTP 500"):
        account.roll_token("a")
    assert len(api.asked) == 1


@pytest.mark.parametrize("answer", [b"<html>a captive portal</html>", b"[]", b'{"success": true}'])
def test_what_is_not_the_api_is_said_so(api: CloudflareApi, account: Account, answer: bytes) -> None:
    api.next_answers = [http_answer(200, answer)]
    with pytest.raises(ApiUnavailable, match="not in its own form"):
        account.create_bucket("events")


def test_nobody_there_is_said_so() -> None:
    nowhere = f"http://127.0.0.1:{free_ports(['PORT'])['PORT']}"
    with pytest.raises(ApiUnavailable, match="did not answer"):
        Account(ACCOUNT_ID, API_TOKEN, url=nowhere).create_bucket("events")

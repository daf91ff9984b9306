"""Cloudflare: the few calls of its API that provisioning needs.

In: an account's id, an API token that may edit R2 and account API tokens. Out: buckets and tokens of the account.
Fails: Refused, ApiUnavailable. Next: provisioning.py

Shapes are those of https://developers.cloudflare.com/api (resources `r2` and `accounts.tokens`): every answer is
{"success", "errors": [{"code", "message"}], "messages", "result"}. No message of this module holds a token's value.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

API_URL = "https://api.cloudflare.com/client/v4"
# Names of https://developers.cloudflare.com/r2/api/tokens, "Permission groups"; both are scoped to buckets.
OBJECT_WRITE = "Workers R2 Storage Bucket Item Write"
OBJECT_READ = "Workers R2 Storage Bucket Item Read"

# 429 comes with `Retry-After` (fundamentals/api/reference/limits), and nothing was done. After an error of the server,
# or no answer, only what changes nothing is asked once more: nobody knows what became of the rest.
_RETRIES = urllib3.Retry(
    total=3,
    connect=2,
    read=0,
    redirect=0,
    backoff_factor=0.5,
    status_forcelist=(429,),
    allowed_methods=None,
    raise_on_status=False,
    retry_after_max=60,
)
_RETRIES_OF_GET = _RETRIES.new(read=2, status_forcelist=(429, 500, 502, 503, 504))
_TIMEOUT = urllib3.Timeout(connect=5, read=30)


class ApiUnavailable(Exception):
    """The API did not answer, or not as documented."""


class Refused(Exception):
    """The API said no: `status` of HTTP, and the `codes` of its errors."""

    def __init__(self, status: int, errors: list[tuple[int, str]], doing: str) -> None:
        said = "; ".join(f"{message} (code {code})" for code, message in errors) or "no reason given"
        super().__init__(f"Cloudflare refused to {doing}: HTTP {status}: {said}")
        self.status = status
        self.codes = {code for code, _ in errors}


@dataclass(frozen=True)
class Token:
    """An API token as the account lists it: without its value, which nobody can read again."""

    id: str
    name: str
    status: str


@dataclass(frozen=True)
class Key:
    """A token as a key of R2's S3 API."""

    access_key_id: str
    secret_access_key: str


def s3_key(token_id: str, value: str) -> Key:
    """The id of the token, and the SHA-256 of its value (r2/api/tokens, "Get S3 API credentials from an API token")."""
    return Key(token_id, hashlib.sha256(value.encode()).hexdigest())


def s3_endpoint(account_id: str, jurisdiction: str) -> str:
    """Where the account's buckets of a jurisdiction are (r2/api/tokens, near its beginning)."""
    part = "" if jurisdiction == "default" else f".{jurisdiction}"
    return f"https://{account_id}{part}.r2.cloudflarestorage.com"


class Account:
    """One account's buckets of one jurisdiction (`default`, `eu` or `fedramp`), and its API tokens."""

    def __init__(self, account_id: str, api_token: str, *, jurisdiction: str = "default", url: str = API_URL) -> None:
        self.account_id = account_id
        self.jurisdiction = jurisdiction
        self._url = f"{url.rstrip('/')}/accounts/{quote(account_id, safe='')}"
        self._headers = {"Authorization": f"Bearer {api_token}", "Content-Type": "application/json"}
        self._http = urllib3.PoolManager(timeout=_TIMEOUT)

    # -- Buckets: their calls carry the jurisdiction in a header (resource `r2.buckets`) ------------------------------

    def has_bucket(self, name: str) -> bool:
        """GET /accounts/{id}/r2/buckets/{name}; of one that is not there it says 404, or the code 10006."""
        try:
            self._ask("GET", f"/r2/buckets/{quote(name)}", f"look for the bucket {name}")
        except Refused as error:
            if error.status == 404 or 10006 in error.codes:
                return False
            raise
        return True

    def create_bucket(self, name: str) -> None:
        """POST /accounts/{id}/r2/buckets {"name"}: in the place that is nearest to the caller."""
        self._ask("POST", "/r2/buckets", f"create the bucket {name}", {"name": name})

    def delete_bucket(self, name: str) -> bool:
        """DELETE /accounts/{id}/r2/buckets/{name}; False where it holds objects, for which R2 answers 409."""
        try:
            self._ask("DELETE", f"/r2/buckets/{quote(name)}", f"delete the bucket {name}")
        except Refused as error:
            if error.status == 409 or 10008 in error.codes:
                return False
            raise
        return True

    def bucket_names(self) -> list[str]:
        """GET /accounts/{id}/r2/buckets; result {"buckets": [{"name", …}]}: the first page of them."""
        result = self._ask("GET", "/r2/buckets", "list the buckets")
        return [bucket["name"] for bucket in result["buckets"]]

    # -- Tokens (resource `accounts.tokens`) --------------------------------------------------------------------------

    def tokens(self) -> Iterator[Token]:
        """GET /accounts/{id}/tokens, page by page; result [{"id", "name", "status", …}]."""
        seen: set[str] = set()
        for page in count(1):
            found = self._ask("GET", f"/tokens?page={page}&per_page=50", "list the account's API tokens")
            new = [Token(one["id"], one["name"], one.get("status", "active")) for one in found if one["id"] not in seen]
            if not new:
                return
            yield from new
            seen |= {token.id for token in new}

    def create_token(self, name: str, bucket: str, permission: str) -> Key:
        """POST /accounts/{id}/tokens {"name", "policies"}; result {"id", "value", …}.

        The policy has the form of r2/api/tokens, "Example Access Policy": one permission on the objects of one bucket.
        """
        resource = f"com.cloudflare.edge.r2.bucket.{self.account_id}_{self.jurisdiction}_{bucket}"
        group = self._permission_group(permission)
        policy = {"effect": "allow", "resources": {resource: "*"}, "permission_groups": [{"id": group}]}
        made = self._ask("POST", "/tokens", f"create the token {name}", {"name": name, "policies": [policy]})
        return s3_key(made["id"], made["value"])

    def roll_token(self, token_id: str) -> Key:
        """PUT /accounts/{id}/tokens/{token}/value {}; result is the new value. The old one is good for nothing."""
        return s3_key(token_id, self._ask("PUT", f"/tokens/{quote(token_id)}/value", "roll a token", {}))

    def delete_token(self, token_id: str) -> None:
        """DELETE /accounts/{id}/tokens/{token}."""
        self._ask("DELETE", f"/tokens/{quote(token_id)}", "delete a token")

    def _permission_group(self, name: str) -> str:
        """GET /accounts/{id}/tokens/permission_groups?name=…; result [{"id", "name", "scopes"}]. Its id."""
        found = self._ask("GET", f"/tokens/permission_groups?name={quote(name)}", f"look up the permission {name}")
        ids = [group["id"] for group in found if group["name"] == name]
        if len(ids) != 1:
            raise ApiUnavailable(f"Cloudflare lists {len(ids)} permission groups named {name!r}, and one was expected")
        return str(ids[0])

    def _ask(self, method: str, path: str, doing: str, content: Mapping[str, object] | None = None) -> Any:
        """The `result` of an answer. Raises Refused, ApiUnavailable."""
        headers = {**self._headers, "cf-r2-jurisdiction": self.jurisdiction}
        body = None if content is None else json.dumps(content).encode()
        retries = _RETRIES_OF_GET if method == "GET" else _RETRIES
        try:
            answer = self._http.request(method, self._url + path, headers=headers, body=body, retries=retries)
        except HTTPError as error:
            raise ApiUnavailable(f"Cloudflare's API did not answer ({type(error).__name__})") from error
        try:
            envelope = json.loads(answer.data)
            if answer.status < 300 and envelope["success"]:
                return envelope["result"]
            errors = [(error["code"], error["message"]) for error in envelope["errors"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ApiUnavailable(f"Cloudflare's API answered HTTP {answer.status}, not in its own form") from error
        raise Refused(answer.status, errors, doing)

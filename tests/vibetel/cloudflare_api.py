"""Cloudflare's API as it is documented, as far as provisioning asks it: an account in memory, over real HTTP.

Shapes are those of https://developers.cloudflare.com/api: the resources `r2.buckets` and `accounts.tokens`.
"""

import json
import re
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.client.stand_in import Request, StandIn, http_answer

ACCOUNT_ID = "4793d734c0b8e484dfc37ec392b5fa8a"
API_TOKEN = "an-api-token-that-is-secret"
GROUPS = {
    "Workers R2 Storage Bucket Item Write": "2efd5506f9c8494dacb1fa10a3e7d5b6",
    "Workers R2 Storage Bucket Item Read": "6a018a9f2fc74eb6b293b0c548f38b39",
}


class CloudflareApi:
    """`with` serves it at `url`. `buckets` are names with how many objects each holds, `tokens` by id.

    The answers of `next_answers` come first, one a request.
    """

    def __init__(self) -> None:
        self.buckets: dict[str, int] = {}
        self.tokens: dict[str, dict[str, Any]] = {}
        self.values: list[str] = []  # of tokens, as they were shown
        self.asked: list[str] = []
        self.jurisdictions: set[str] = set()
        self.next_answers: list[list[bytes]] = []
        self.tokens_a_page = 2
        self.tokens_max_count = 500
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        server = self._stack.enter_context(StandIn())
        server.answer = self._answer
        self.url = f"http://127.0.0.1:{server.server_address[1]}/client/v4"
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def changes(self) -> list[str]:
        """What was asked that changes something."""
        return [one for one in self.asked if not one.startswith("GET")]

    def _answer(self, request: Request) -> Iterable[bytes]:
        parts = urlsplit(request.target)
        path = parts.path.removeprefix(f"/client/v4/accounts/{ACCOUNT_ID}")
        self.asked.append(f"{request.method} {path}")
        self.jurisdictions.add(request.headers["cf-r2-jurisdiction"])
        if self.next_answers:
            return self.next_answers.pop(0)
        if request.headers.get("authorization") != f"Bearer {API_TOKEN}":
            return error(401, 10000, "Authentication error")
        content = json.loads(request.body) if request.body else None
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if path.startswith("/r2/buckets"):
            return self._of_buckets(request.method, path.removeprefix("/r2/buckets").strip("/"), content)
        if path == "/tokens/permission_groups":
            return result([{"id": GROUPS[query["name"]], "name": query["name"], "scopes": []}])
        if found := re.fullmatch(r"/tokens(?:/(\w+)(/value)?)?", path):
            return self._of_tokens(request.method, found[1], query, content)
        return error(404, 7003, "Could not route")

    def _of_buckets(self, method: str, name: str, content: Any) -> list[bytes]:
        if method == "POST":
            self.buckets[content["name"]] = 0
            return result({"name": content["name"], "creation_date": "2026-11-23T12:00:00.000Z"})
        if method == "GET" and not name:
            return result({"buckets": [{"name": name} for name in self.buckets]})
        if name not in self.buckets:
            return error(404, 10006, "The specified bucket does not exist.")
        if method == "DELETE" and self.buckets[name]:
            return error(409, 10008, f"The bucket you tried to delete ({name}) is not empty (account {ACCOUNT_ID}).")
        if method == "DELETE":
            del self.buckets[name]
            return result({})
        return result({"name": name})

    def _of_tokens(self, method: str, token_id: str | None, query: dict[str, str], content: Any) -> list[bytes]:
        if method == "GET":
            first = (int(query["page"]) - 1) * self.tokens_a_page
            page = list(self.tokens.values())[first : first + self.tokens_a_page]
            return result(page, result_info={"page": int(query["page"]), "count": len(page)})
        if method == "DELETE":
            del self.tokens[token_id or ""]
            return result({"id": token_id})
        if method == "POST" and len(self.tokens) == self.tokens_max_count:
            return error(500, 10001, "We encountered an internal error. Please try again.")
        self.values.append(f"value-{len(self.values)}")
        if method == "PUT":
            return result(self.values[-1])
        token = {**content, "id": f"token{len(self.tokens)}", "status": "active"}
        self.tokens[token["id"]] = token
        return result({**token, "value": self.values[-1]})


def result(content: object, **more: object) -> list[bytes]:
    """An answer that succeeded."""
    return http_answer(200, {"success": True, "errors": [], "messages": [], "result": content, **more})


def error(status: int, code: int, message: str, **headers: str) -> list[bytes]:
    """An answer that did not."""
    errors = [{"code": code, "message": message}]
    return http_answer(status, {"success": False, "errors": errors, "messages": [], "result": None}, **headers)

"""Environment: read one setting, or stop the start with the variable's name.

In: the process environment, then the embedded servers' (fallback). Out: typed values.
Fails: ImproperlyConfigured, naming the variable. Next: settings.py
"""

import logging
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

_TAKEN = ("api", "static", "healthz", "readyz", "metrics")


class Environment:
    """Settings by name; `X_FILE` names a file that holds `X`, for secrets."""

    def __init__(self, given: Mapping[str, str], fallback: Mapping[str, str]) -> None:
        self._given = given
        self._fallback = fallback
        self.secrets: set[str] = set()
        """What `secret` and `server` have read that no log may show."""

    def text(self, name: str, default: str | None = None) -> str:
        """The variable, else the content of the file named by `<name>_FILE`, else the fallback's, else `default`.

        Raises ImproperlyConfigured where there is none of them.
        """
        if value := self._given.get(name):
            return value
        if path := self._given.get(f"{name}_FILE"):
            try:
                return Path(path).read_text().strip()
            except OSError as error:
                raise ImproperlyConfigured(f"{name}_FILE: cannot read {path}: {error.strerror}") from error
        if value := self._fallback.get(name):
            return value
        if default is None:
            raise ImproperlyConfigured(f"{name} is not set, and there is no embedded server to stand in for it")
        return default

    def secret(self, name: str, default: str | None = None) -> str:
        """As `text`, and the value is a secret."""
        value = self.text(name, default)
        self.secrets.add(value)
        return value

    def server(self, name: str, *schemes: str, default: str | None = None) -> str:
        """A URL of a server of one of these schemes, whose password is a secret."""
        value = self.parsed(name, url(*schemes), default)
        password = urlsplit(value).password or ""
        self.secrets |= {password, unquote(password)}
        return value

    def parsed(self, name: str, parse: Callable[[str], T], default: str | None = None) -> T:
        """As `text`, passed through `parse`, whose ValueError becomes ImproperlyConfigured."""
        value = self.text(name, default)
        try:
            return parse(value)
        except ValueError as error:
            raise ImproperlyConfigured(f"{name}: {error}") from error

    def positive(self, name: str, default: int) -> int:
        """A whole number of at least 1."""
        return self.parsed(name, _positive, str(default))

    def seconds(self, name: str, default: int) -> int:
        """A whole number of seconds; 0 is none."""
        return self.parsed(name, lambda value: 0 if value == "0" else _positive(value), str(default))

    def names(self, name: str, default: str) -> list[str]:
        """A comma-separated list."""
        return [part.strip() for part in self.text(name, default).split(",") if part.strip()]


def port(value: str) -> int:
    """A TCP port. Raises ValueError."""
    number = _positive(value)
    if number > 65_535:
        raise ValueError(f"{value} is no port: the highest is 65535")
    return number


def url(*schemes: str) -> Callable[[str], str]:
    """A parser of URLs of these schemes that name a host, or of nothing. It raises ValueError."""

    def parse(value: str) -> str:
        if value and not _is_url(value, schemes):
            # The value may hold a password: it is not repeated.
            raise ValueError(f"not a URL of the form {schemes[0]}://host (a password's / is %2F, # is %23)")
        return value

    return parse


def rate(value: str) -> tuple[int, int] | None:
    """A rate such as `20/s`, `1200/min` or `5000/h`, as events and seconds; None for `off`. Raises ValueError."""
    if value == "off":
        return None
    written = re.fullmatch(r"([1-9][0-9]{0,9})/(s|min|h)", value)
    if not written:
        raise ValueError(f"{value!r} is neither a rate such as 1200/min (or /s, /h) nor off")
    return int(written[1]), {"s": 1, "min": 60, "h": 3600}[written[2]]


def networks(value: str) -> list[IPv4Network | IPv6Network]:
    """Addresses and networks, separated by commas: `10.0.0.0/8, ::1`. Raises ValueError."""
    return [ip_network(part.strip()) for part in value.split(",") if part.strip()]


def url_path(value: str) -> str:
    """A path's parts without slashes around them, such as `admin` or `inner/portal`. Raises ValueError."""
    if not re.fullmatch(r"[\w-]+(/[\w-]+)*", value) or value.partition("/")[0] in _TAKEN:
        raise ValueError(f"{value!r} is no path such as inner/portal, or begins with one of {', '.join(_TAKEN)}")
    return value


def log_format(value: str) -> str:
    """`plain` or `json`. Raises ValueError."""
    if value not in ("plain", "json"):
        raise ValueError(f"{value!r} is neither plain nor json")
    return value


def log_level(value: str) -> str:
    """A level of Python's logging by name. Raises ValueError."""
    if value not in logging.getLevelNamesMapping():
        raise ValueError(f"{value!r} is none of {', '.join(logging.getLevelNamesMapping())}")
    return value


def _is_url(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # it quotes what it takes for the port, and may be a part of a password
        return False


def _positive(value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) < 1:
        raise ValueError(f"{value!r} is not a whole number of at least 1")
    return int(value)

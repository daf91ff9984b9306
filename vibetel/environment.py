"""Environment: read one setting, or stop the start with the variable's name.

In: the process environment, then the embedded servers' (fallback). Out: typed values.
Fails: ImproperlyConfigured, naming the variable. Next: settings.py
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")


class Environment:
    """Settings by name; `X_FILE` names a file that holds `X`, for secrets."""

    def __init__(self, given: Mapping[str, str], fallback: Mapping[str, str]) -> None:
        self._given = given
        self._fallback = fallback

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

    def names(self, name: str, default: str) -> list[str]:
        """A comma-separated list."""
        return [part.strip() for part in self.text(name, default).split(",") if part.strip()]


def _positive(value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) < 1:
        raise ValueError(f"{value!r} is not a whole number of at least 1")
    return int(value)

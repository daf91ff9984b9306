"""Environment: a setting is read from where it is said to be, or the start stops with its name."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from vibetel import environment
from vibetel.environment import Environment


def test_text_prefers_what_is_given() -> None:
    assert Environment({"X": "given"}, {"X": "fallback"}).text("X", "default") == "given"
    assert Environment({}, {"X": "fallback"}).text("X", "default") == "fallback"
    assert Environment({"X": ""}, {}).text("X", "default") == "default"


def test_text_reads_a_secret_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    assert Environment({"X_FILE": str(tmp_path / "secret")}, {"X": "fallback"}).text("X") == "from a file"


def test_text_names_the_variable_whose_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="X_FILE: cannot read"):
        Environment({"X_FILE": str(tmp_path / "missing")}, {}).text("X")


def test_text_names_the_variable_that_is_missing() -> None:
    with pytest.raises(ImproperlyConfigured, match="X is not set"):
        Environment({}, {}).text("X")


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "ten", "²"])
def test_positive_names_the_variable_with_a_bad_value(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"X: .* is not a whole number of at least 1"):
        Environment({"X": value}, {}).positive("X", 5)


@pytest.mark.parametrize(
    ("parse", "good", "bad"),
    [
        (environment.port, "65535", "65536"),
        (environment.url("redis", "rediss"), "rediss://:secret@host:6379/0", "host:6379"),
        (environment.url("http", "https"), "https://host", "https://"),
        (environment.log_level, "WARNING", "loud"),
    ],
)
def test_parsed_names_the_variable_with_a_bad_value(parse: Callable[[str], object], good: str, bad: str) -> None:
    assert str(Environment({"X": good}, {}).parsed("X", parse)) == good
    with pytest.raises(ImproperlyConfigured, match=r"^X: "):
        Environment({"X": bad}, {}).parsed("X", parse)


@pytest.mark.parametrize(
    "value",
    [
        "postgres://user:secret@host",
        "redis://user:secret/more@host",
        "redis://:secret@[host",
        "redis://:secret@host:no",
    ],
)
def test_a_bad_url_is_not_repeated(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="X: not a URL of the form redis://host") as refusal:
        Environment({"X": value}, {}).server("X", "redis")
    assert "secret" not in str(refusal.value)


def test_names_splits_at_commas() -> None:
    assert Environment({"X": " a, b,,"}, {}).names("X", "c") == ["a", "b"]
    assert Environment({}, {}).names("X", "c") == ["c"]

"""Logs: one line a record, with fields, without secrets."""

import json
import logging
import sys
from datetime import datetime

import pytest

from vibetel.logs import JSON, MASK, Plain

SECRET = "correct-horse-battery"


def record(message: str, *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "ingest.archiver", "levelname": "INFO", "msg": message, "args": arguments})
    made.__dict__.update(fields)
    return made


def test_plain_is_one_line_with_the_fields() -> None:
    time, *rest = Plain().format(record("archived", object="a.gz", rows=3)).split(" ")
    assert datetime.fromisoformat(time).tzinfo is not None
    assert rest == ["INFO", "ingest.archiver", "archived", "object=a.gz", "rows=3"]


def test_json_is_one_object_with_the_fields() -> None:
    line = JSON().format(record("archived %s\n", "twice", object="a.gz", rows=3))
    assert "\n" not in line
    found = json.loads(line)
    assert datetime.fromisoformat(found.pop("time")).tzinfo is not None
    assert found == {
        "level": "INFO",
        "logger": "ingest.archiver",
        "message": "archived twice\n",
        "object": "a.gz",
        "rows": 3,
    }


@pytest.mark.parametrize("form", [Plain, JSON])
def test_no_secret_is_shown_wherever_it_stands(form: type[Plain]) -> None:
    try:
        raise RuntimeError(SECRET)
    except RuntimeError:
        failed = record(f"message {SECRET}", field=SECRET, exc_info=sys.exc_info())
    line = form([SECRET, "", "short"]).format(failed)
    assert SECRET not in line
    assert line.count(MASK) >= 3
    assert "RuntimeError" in line


def test_json_masks_a_secret_that_it_writes_with_backslashes() -> None:
    secret = 'correct"horse\\battery'
    line = json.loads(JSON([secret]).format(record(f"message {secret}", field=secret)))
    assert (line["message"], line["field"]) == (f"message {MASK}", MASK)


def test_what_is_too_short_to_be_a_secret_is_shown() -> None:
    assert Plain(["a", ""]).format(record("archived")).endswith("INFO ingest.archiver archived")


def test_a_request_is_no_field() -> None:
    """Django adds it to its own records, and in it is what a stranger sent."""
    assert "stranger" not in Plain().format(record("failed", request="a stranger's", status_code=500))

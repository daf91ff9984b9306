"""Logs: a record as one line, plain or JSON, with its fields and without a secret.

In: a logging record; what its `extra` holds are fields: ids, counts, milliseconds. Out: a line (with a traceback, more
of them, but in JSON).
"""

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

MASK = "********"
SECRET_MIN = 8
_ORDINARY = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}


class Plain(logging.Formatter):
    """`2026-11-23T12:00:00.000+00:00 INFO ingest.archiver archived object=… rows=100`."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        # The longest first: one may be a part of another. What is short is a word of a trial's, and of half the lines.
        self._secrets = sorted({one for one in secrets if len(one) >= SECRET_MIN}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The line. No secret is in it, whoever put it into the message, a field or a traceback."""
        line = self.line(record)
        for secret in self._secrets:
            line = line.replace(secret, MASK)
        return line

    def line(self, record: logging.LogRecord) -> str:
        """What `format` masks."""
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname} {record.name} {record.getMessage()}{fields}"
        return "\n".join([line, *([self.formatException(record.exc_info)] if record.exc_info else [])])


class JSON(Plain):
    """The same as one JSON object: time, level, logger, message, the fields, and `exception`, a traceback."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__(json.dumps(one, ensure_ascii=False)[1:-1] for one in secrets)  # as they stand in a string

    def line(self, record: logging.LogRecord) -> str:
        """What `format` masks."""
        shown: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            shown["exception"] = self.formatException(record.exc_info)
        return json.dumps(shown, ensure_ascii=False, default=str)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    # Django adds the request, which holds what a stranger sent, and the status.
    return {name: value for name, value in record.__dict__.items() if name not in _ORDINARY and name != "request"}

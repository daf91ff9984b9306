"""Timestamps as the contract has them. As text they sort by time."""

from __future__ import annotations

import time


def format_timestamp(unix_ms: int) -> str:
    """ISO 8601 with milliseconds, UTC, such as `2025-06-01T12:00:00.000Z`."""
    seconds, milliseconds = divmod(unix_ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"

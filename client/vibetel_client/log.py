"""Log: debug lines of the logger `vibetel_client`, for authors who look for why nothing arrives."""

from __future__ import annotations

import sys


def debug(message: str, *arguments: object, error: BaseException | None = None) -> None:
    """A debug line, if the host has imported `logging`: who has not, has no handler that could show it.

    Importing it here would cost every run 8 ms (docs/decisions/2026-11-23-client.md).
    """
    try:
        logging = sys.modules.get("logging")
        if logging is not None:
            logging.getLogger("vibetel_client").debug(message, *arguments, exc_info=error)
    except Exception:  # noqa: BLE001, S110 - a filter of the host's, or another module of that name: nobody to tell
        pass

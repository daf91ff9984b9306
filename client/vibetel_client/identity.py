"""Identity: the saved choice and the user id, in `~/.<tool>/diagnostics.json`.

The format is the released client's (wire-format.md, "The client's file and switches"), so both share one file.
Reading never fails: what cannot be read is no choice. Writing raises OSError.
"""

from __future__ import annotations

import json
import os
import re

from vibetel_client.contract import PLACEHOLDER_USER_IDS
from vibetel_client.event_id import parse_uuid, uuid4
from vibetel_client.files import replace

# It becomes a folder of the user's, so it may not lead anywhere else.
_TOOL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class Saved:
    """What the file says: the choice, and the user id if it is a UUID; None where it says nothing that can be used."""

    def __init__(self, content: dict[str, object]) -> None:
        choice, user_id = content.get("telemetryEnabled"), content.get("userId")
        self.choice = choice if isinstance(choice, bool) else None
        # Older files may hold any text there.
        self.user_id = parse_uuid(user_id) if isinstance(user_id, str) else None


def check_tool_name(tool: str) -> None:
    """Raises ValueError for what is no name of a tool: letters, digits, `.`, `_` and `-`, a letter or digit first."""
    if not _TOOL_NAME.fullmatch(tool):
        raise ValueError(f"{tool!r} is no name for a tool: use letters, digits, '.', '_' and '-'")


def folder(tool: str) -> str:
    """Where the tool keeps what it keeps. Raises OSError where there is no home directory."""
    path = os.path.expanduser(os.path.join("~", f".{tool}"))
    if path.startswith("~"):
        raise FileNotFoundError("there is no home directory")
    return path


def path(tool: str) -> str:
    """The file that holds the choice."""
    return os.path.join(folder(tool), "diagnostics.json")


def read(file: str) -> Saved:
    """What the file says now."""
    return Saved(_content(file))


def record_choice(file: str, choice: bool) -> None:
    """Save the choice, and with a yes an id; unknown keys stay."""
    content = _content(file)
    content["telemetryEnabled"] = choice
    if choice:
        content["userId"] = Saved(content).user_id or uuid4()
    else:
        content.setdefault("userId", PLACEHOLDER_USER_IDS[0])
    os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
    replace(file, json.dumps(content, indent=2).encode())


def ensure_user_id(file: str) -> str:
    """The installation's id, made if there is none: a yes may come from a client that kept no UUID.

    Raises ValueError where the yes has been taken back meanwhile.
    """
    content = _content(file)
    saved = Saved(content)
    if not saved.choice:
        raise ValueError("there is no consent any more")
    if saved.user_id is None:
        content["userId"] = uuid4()
        replace(file, json.dumps(content, indent=2).encode())
    return saved.user_id or str(content["userId"])


def _content(file: str) -> dict[str, object]:
    try:
        with open(file, "rb") as opened:
            content = json.loads(opened.read())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}

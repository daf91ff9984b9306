"""Identity: the saved choice and the user id, in `~/.<tool>/diagnostics.json`.

The format is the released client's (wire-format.md, "The client's file and switches"), so both share one file.
Reading never fails: what cannot be read is no choice. Writing raises OSError.
"""

import json
import uuid
from pathlib import Path
from typing import NamedTuple, Optional

from vibetel_client.contract import PLACEHOLDER_USER_IDS


class Saved(NamedTuple):
    """What the file says; None where it says nothing that can be used."""

    choice: Optional[bool]
    user_id: Optional[str]


def path(tool: str) -> Path:
    """Raises RuntimeError where there is no home directory."""
    return Path.home() / f".{tool}" / "diagnostics.json"


def read(file: Path) -> Saved:
    """The saved choice, and the user id if it is a UUID: older files may hold any text there."""
    content = _content(file)
    choice = content.get("telemetryEnabled")
    return Saved(choice if isinstance(choice, bool) else None, _user_id(content.get("userId")))


def record_choice(file: Path, choice: bool) -> Saved:
    """Save the choice, and with a yes an id; unknown keys stay. Out: what the file says now.

    Who reads meanwhile sees the old file or the new one, no mixture.
    """
    content = _content(file)
    content["telemetryEnabled"] = choice
    if choice:
        content["userId"] = _user_id(content.get("userId")) or str(uuid.uuid4())
    else:
        content.setdefault("userId", PLACEHOLDER_USER_IDS[0])
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    try:
        temporary.touch(mode=0o600, exist_ok=False)
        temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return Saved(choice, _user_id(content["userId"]))


def _content(file: Path) -> dict[str, object]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _user_id(value: object) -> Optional[str]:
    """The UUID in its canonical form, or None."""
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None

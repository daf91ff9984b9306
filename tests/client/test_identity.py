"""Identity: the choice and the id are kept in one file, whatever is in it already."""

import json
import os
import stat
import uuid
from pathlib import Path

import pytest
from vibetel_client import identity
from vibetel_client.files import UNFINISHED

USER_ID = "5f0c8a3e-52d6-4b34-9f0e-0d6f0a4f7a11"
BROKEN = [
    "",
    "null",
    "[]",
    "{",
    '"yes"',
    "\x00",
    '{"telemetryEnabled": "yes"}',
    '{"telemetryEnabled": 1}',
    "[" * 100_000,
]


def write(file: Path, content: str) -> None:
    file.parent.mkdir()
    file.write_text(content)


def said(file: Path) -> "tuple[bool | None, str | None]":
    saved = identity.read(str(file))
    return saved.choice, saved.user_id


def record(file: Path, choice: bool) -> "str | None":
    """Records it; out: the user id that the file has then."""
    identity.record_choice(str(file), choice)
    return said(file)[1]


def test_read_takes_the_released_format(diagnostics: Path) -> None:
    write(diagnostics, f'{{"telemetryEnabled": true, "userId": "{USER_ID}"}}')
    assert said(diagnostics) == (True, USER_ID)


def test_read_finds_no_choice_where_there_is_no_file(diagnostics: Path) -> None:
    assert said(diagnostics) == (None, None)


@pytest.mark.parametrize("content", BROKEN)
def test_read_takes_broken_content_for_no_choice(diagnostics: Path, content: str) -> None:
    write(diagnostics, content)
    assert said(diagnostics) == (None, None)


def test_read_takes_bytes_that_are_no_text_for_no_choice(diagnostics: Path) -> None:
    diagnostics.parent.mkdir()
    diagnostics.write_bytes(b"\xff\xfe")
    assert said(diagnostics) == (None, None)


@pytest.mark.parametrize("content", BROKEN)
def test_record_choice_replaces_broken_content(diagnostics: Path, content: str) -> None:
    write(diagnostics, content)
    record(diagnostics, False)
    assert said(diagnostics)[0] is False


@pytest.mark.parametrize("user_id", ["john@example.com", "anonymous_opt_out", "", 7, None])
def test_read_gives_no_user_id_that_is_no_uuid(diagnostics: Path, user_id: object) -> None:
    write(diagnostics, json.dumps({"telemetryEnabled": True, "userId": user_id}))
    assert said(diagnostics) == (True, None)


def test_record_choice_writes_the_released_format(diagnostics: Path) -> None:
    user_id = record(diagnostics, True)
    assert diagnostics.read_text() == f'{{\n  "telemetryEnabled": true,\n  "userId": "{user_id}"\n}}'
    assert uuid.UUID(user_id).version == 4


def test_record_choice_is_for_the_user_alone(diagnostics: Path) -> None:
    record(diagnostics, True)
    assert stat.S_IMODE(diagnostics.stat().st_mode) == 0o600
    assert stat.S_IMODE(diagnostics.parent.stat().st_mode) == 0o700
    diagnostics.chmod(0o644)
    record(diagnostics, False)
    assert stat.S_IMODE(diagnostics.stat().st_mode) == 0o600


def test_record_choice_twice_keeps_the_user_id(diagnostics: Path) -> None:
    first = record(diagnostics, True)
    record(diagnostics, False)
    assert record(diagnostics, True) == first


def test_record_choice_of_no_mints_no_id(diagnostics: Path) -> None:
    record(diagnostics, False)
    assert json.loads(diagnostics.read_text()) == {"telemetryEnabled": False, "userId": "anonymous_opt_out"}


def test_record_choice_replaces_a_user_id_that_is_no_uuid(diagnostics: Path) -> None:
    write(diagnostics, '{"telemetryEnabled": true, "userId": "john@example.com"}')
    assert uuid.UUID(record(diagnostics, True)).version == 4


def test_record_choice_keeps_unknown_keys(diagnostics: Path) -> None:
    write(diagnostics, '{"lastCheck": "2025-01-01", "telemetryEnabled": true, "extra": {"é": [1]}}')
    record(diagnostics, False)
    content = json.loads(diagnostics.read_text())
    assert (content["lastCheck"], content["extra"]) == ("2025-01-01", {"é": [1]})


def test_record_choice_keeps_a_symbolic_link(diagnostics: Path, tmp_path: Path) -> None:
    (tmp_path / "dotfiles.json").write_text('{"telemetryEnabled": true}')
    diagnostics.parent.mkdir()
    diagnostics.symlink_to(tmp_path / "dotfiles.json")
    record(diagnostics, False)
    assert diagnostics.is_symlink()
    assert said(tmp_path / "dotfiles.json")[0] is False


def test_record_choice_leaves_the_old_file_where_it_cannot_be_replaced(diagnostics: Path) -> None:
    record(diagnostics, True)
    before = said(diagnostics)
    in_the_way = Path(f"{diagnostics}.{os.getpid()}{UNFINISHED}")
    in_the_way.mkdir()
    with pytest.raises(OSError, match=UNFINISHED):
        record(diagnostics, False)
    assert said(diagnostics) == before


def test_ensure_user_id_mints_one_for_good_and_keeps_the_rest(diagnostics: Path) -> None:
    write(diagnostics, '{"telemetryEnabled": true, "userId": "john@example.com", "extra": 1}')
    user_id = identity.ensure_user_id(str(diagnostics))
    assert uuid.UUID(user_id).version == 4
    assert identity.ensure_user_id(str(diagnostics)) == user_id
    assert json.loads(diagnostics.read_text()) == {"telemetryEnabled": True, "userId": user_id, "extra": 1}


@pytest.mark.parametrize("content", ['{"telemetryEnabled": false, "userId": "anonymous_opt_out"}', "null"])
def test_ensure_user_id_does_not_turn_a_no_that_came_meanwhile_into_a_yes(diagnostics: Path, content: str) -> None:
    write(diagnostics, content)
    with pytest.raises(ValueError, match="no consent"):
        identity.ensure_user_id(str(diagnostics))
    assert diagnostics.read_text() == content

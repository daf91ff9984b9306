"""Identity: the choice and the id are kept in one file, whatever is in it already."""

import json
import stat
import uuid
from pathlib import Path

import pytest
from vibetel_client import identity
from vibetel_client.identity import Saved

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


def test_read_takes_the_released_format(diagnostics: Path) -> None:
    write(diagnostics, f'{{"telemetryEnabled": true, "userId": "{USER_ID}"}}')
    assert identity.read(diagnostics) == Saved(True, USER_ID)


def test_read_finds_no_choice_where_there_is_no_file(diagnostics: Path) -> None:
    assert identity.read(diagnostics) == Saved(None, None)


@pytest.mark.parametrize("content", BROKEN)
def test_read_takes_broken_content_for_no_choice(diagnostics: Path, content: str) -> None:
    write(diagnostics, content)
    assert identity.read(diagnostics) == Saved(None, None)


def test_read_takes_bytes_that_are_no_text_for_no_choice(diagnostics: Path) -> None:
    diagnostics.parent.mkdir()
    diagnostics.write_bytes(b"\xff\xfe")
    assert identity.read(diagnostics) == Saved(None, None)


@pytest.mark.parametrize("content", BROKEN)
def test_record_choice_replaces_broken_content(diagnostics: Path, content: str) -> None:
    write(diagnostics, content)
    identity.record_choice(diagnostics, False)
    assert identity.read(diagnostics).choice is False


@pytest.mark.parametrize("user_id", ["john@example.com", "anonymous_opt_out", "", 7, None])
def test_read_gives_no_user_id_that_is_no_uuid(diagnostics: Path, user_id: object) -> None:
    write(diagnostics, json.dumps({"telemetryEnabled": True, "userId": user_id}))
    assert identity.read(diagnostics) == Saved(True, None)


def test_record_choice_writes_the_released_format(diagnostics: Path) -> None:
    saved = identity.record_choice(diagnostics, True)
    assert diagnostics.read_text() == f'{{\n  "telemetryEnabled": true,\n  "userId": "{saved.user_id}"\n}}'
    assert uuid.UUID(saved.user_id).version == 4
    assert identity.read(diagnostics) == saved


def test_record_choice_is_for_the_user_alone(diagnostics: Path) -> None:
    identity.record_choice(diagnostics, True)
    assert stat.S_IMODE(diagnostics.stat().st_mode) == 0o600
    assert stat.S_IMODE(diagnostics.parent.stat().st_mode) == 0o700
    diagnostics.chmod(0o644)
    identity.record_choice(diagnostics, False)
    assert stat.S_IMODE(diagnostics.stat().st_mode) == 0o600


def test_record_choice_twice_keeps_the_user_id(diagnostics: Path) -> None:
    first = identity.record_choice(diagnostics, True)
    identity.record_choice(diagnostics, False)
    assert identity.record_choice(diagnostics, True) == first


def test_record_choice_of_no_mints_no_id(diagnostics: Path) -> None:
    identity.record_choice(diagnostics, False)
    assert json.loads(diagnostics.read_text()) == {"telemetryEnabled": False, "userId": "anonymous_opt_out"}


def test_record_choice_replaces_a_user_id_that_is_no_uuid(diagnostics: Path) -> None:
    write(diagnostics, '{"telemetryEnabled": true, "userId": "john@example.com"}')
    assert "john" not in str(identity.record_choice(diagnostics, True))


def test_record_choice_keeps_unknown_keys(diagnostics: Path) -> None:
    write(diagnostics, '{"lastCheck": "2025-01-01", "telemetryEnabled": true, "extra": {"é": [1]}}')
    identity.record_choice(diagnostics, False)
    content = json.loads(diagnostics.read_text())
    assert (content["lastCheck"], content["extra"]) == ("2025-01-01", {"é": [1]})


def test_record_choice_leaves_the_old_file_where_it_cannot_be_replaced(
    diagnostics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = identity.record_choice(diagnostics, True)

    def refuse(self: Path, data: str, encoding: str) -> int:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(OSError, match="disk full"):
        identity.record_choice(diagnostics, False)
    assert identity.read(diagnostics) == before
    assert list(diagnostics.parent.iterdir()) == [diagnostics]

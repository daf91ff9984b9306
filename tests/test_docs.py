"""README and docs name what there is, and nothing else."""

import re
from pathlib import Path

from django.conf import settings

from tests.servers import settings_read

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_readme_documents_every_setting() -> None:
    rows = re.findall(r"^\| (`[A-Z].*?`) \|", README, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}
    assert documented == settings_read()


def test_readme_states_the_defaults() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", README, re.MULTILINE)
    assert len(rows) >= 8
    assert {name: int(value) for name, value in rows} == {name: getattr(settings, name, None) for name, _ in rows} | {
        "PORT": 8000,
        "HSTS_SECONDS": 31_536_000,  # where there is https
    }


def test_readme_names_every_command() -> None:
    commands = {path.stem for path in ROOT.glob("*/management/commands/[a-z]*.py")}
    assert commands
    missing = {name for name in commands if f"`{name}`" not in README and f"manage.py {name}`" not in README}
    assert not missing


def test_docs_name_tests_that_there_are() -> None:
    named = {name for doc in ROOT.glob("docs/**/*.md") for name in re.findall(r"`(test_\w+)`", doc.read_text())}
    there = {
        name for path in ROOT.glob("tests/**/test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert named
    assert not named - there

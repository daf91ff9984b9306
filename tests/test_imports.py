"""Imports point one way: analytics -> ingest -> the client's contract; and stages never import their callers."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
APPS = ("vibetel", "ingest", "analytics", "vibetel_client")

# What each app may import of the others.
MAY_IMPORT = {
    "vibetel_client": set(),
    "ingest": {"vibetel_client"},
    "analytics": {"ingest", "vibetel_client"},
}
# Callers of stages: no other module of the app imports them.
CALLERS = ("views", "slim", "tasks", "urls", "admin", "apps", "management")


def modules(app: str) -> list[Path]:
    folder = ROOT / "client" / app if app == "vibetel_client" else ROOT / app
    return [path for path in sorted(folder.rglob("*.py")) if "migrations" not in path.parts]


def imported(path: Path) -> set[str]:
    """Dotted names that a module imports, wherever in it; `from a import b` counts as a.b, `from .` is resolved."""
    here = path.relative_to(ROOT).with_suffix("").parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = here[: -node.level]  # empty for level 0, an absolute import
            found |= {".".join(filter(None, [*package, node.module, alias.name])) for alias in node.names}
    return found


@pytest.mark.parametrize("app", MAY_IMPORT)
def test_apps_import_one_way(app: str) -> None:
    assert modules(app)
    for path in modules(app):
        others = {name.split(".")[0] for name in imported(path)} & set(APPS) - {app}
        assert others <= MAY_IMPORT[app], f"{path.relative_to(ROOT)} imports {others}"


@pytest.mark.parametrize("app", ["ingest", "analytics"])
def test_stages_do_not_import_their_callers(app: str) -> None:
    for path in modules(app):
        if path.relative_to(ROOT / app).parts[0].removesuffix(".py") in CALLERS:
            continue
        callers = {name for name in imported(path) if name.startswith(tuple(f"{app}.{caller}" for caller in CALLERS))}
        assert not callers, f"{path.relative_to(ROOT)} imports {callers}"


def test_only_the_buffer_and_the_archive_know_their_store() -> None:
    for store, owners in (("redis", {"buffer.py", "round_trip.py"}), ("boto3", set()), ("botocore", {"archive.py"})):
        users = {
            path.name for app in ("ingest", "analytics") for path in modules(app)
            if any(name.split(".")[0] == store for name in imported(path))
        }  # fmt: skip
        assert users <= owners, f"{store} is imported by {users}"

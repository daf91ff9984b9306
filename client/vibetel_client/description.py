"""Description: what is and what is not collected, for people. Generated from the contract.

Out: the text that asks for consent, an example event, and the page docs/contract.md.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable

from vibetel_client import contract
from vibetel_client.contract import Field, Kind, Option

# seed.md, "What is NOT collected".
NOT_COLLECTED = ("user queries", "prompts", "file contents", "code", "personal data", "API keys")

PAGE_COMMAND = "python -c 'from vibetel_client import description; description.main()' > docs/contract.md"


def describe() -> str:
    """The text to show before asking for consent, short enough for a terminal."""
    return "\n".join(
        [
            "Never collected: " + ", ".join(NOT_COLLECTED) + ".",
            "",
            "Collected, once a run:",
            *_paragraph(field.purpose for field in contract.FIELDS),
            "",
            "Of the options only these; of text, only that there was some:",
            *_paragraph(option.purpose for option in contract.OPTIONS),
        ]
    )


def example_event() -> dict[str, object]:
    """An event with every field and every option, by wire names in the contract's order: a run that failed."""
    return {field.name: field.example for field in contract.FIELDS}


def contract_page() -> str:
    """docs/contract.md: the fields, the options and the example event, as Markdown."""
    lines = [
        "# The contract",
        "",
        "What an event may hold, and nothing else. This page is generated from `client/vibetel_client/contract.py`;",
        f"`{PAGE_COMMAND}` writes it anew.",
        "",
        "## Fields",
        "",
        "In this order. Text that does not look like what its field may hold becomes `other`; other values that do not",
        "fit are left out by the client and refused by the server.",
        "",
        "| name | type | required for | purpose | example |",
        "|---|---|---|---|---|",
        *(
            _row(field.name, _bound(field), _required(field), field.purpose, _example(field))
            for field in contract.FIELDS
        ),
        "",
        "## Options",
        "",
        "Text that is none of an option's listed values becomes `true`; other values that do not fit are left out.",
        "",
        "| name | type | purpose | example |",
        "|---|---|---|---|",
        *(_row(option.name, _bound(option), option.purpose, _example(option)) for option in contract.OPTIONS),
        "",
        "## Example",
        "",
        "```json",
        json.dumps(example_event(), indent=2),
        "```",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print docs/contract.md."""
    sys.stdout.write(contract_page())


def _paragraph(sentences: Iterable[str]) -> list[str]:
    return textwrap.wrap(" ".join(sentences), 78, initial_indent="  ", subsequent_indent="  ")


def _row(name: str, *cells: str) -> str:
    return f"| `{name}` | {' | '.join(cells)} |"


def _bound(spec: Field | Option) -> str:
    """What a value may be, in words."""
    if spec.kind is Kind.EVENT_NAME:
        return _one_of(contract.EVENT_NAMES)
    if spec.kind is Kind.USER_ID:
        return f"UUID, or one of {_one_of(contract.PLACEHOLDER_USER_IDS)}"
    if spec.kind is Kind.CHOICE:
        return f"one of {_one_of(spec.choices)}"
    if spec.kind is Kind.COUNT:
        return f"whole number, at most {spec.maximum:,}"
    if spec.kind is Kind.IDENTIFIER:
        return f"identifier, at most {spec.maximum} characters"
    return str(spec.kind.value)


def _one_of(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _required(field: Field) -> str:
    return "every event" if field.required_for == contract.EVENT_NAMES else _one_of(field.required_for)


def _example(spec: Field | Option) -> str:
    return "see below" if spec.kind is Kind.OPTIONS else f"`{json.dumps(spec.example)}`"


TELEMETRY_DATA_DESCRIPTION = describe()

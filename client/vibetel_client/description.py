"""Description: what is and what is not collected, for people. Generated from the contract."""

from vibetel_client import contract

# seed.md, "What is NOT collected".
NOT_COLLECTED = ("User queries", "Prompts", "File contents", "Code", "Personal data", "API keys")


def describe() -> str:
    """The text to show before asking for consent."""
    fields = [f"- {field.name}: {field.purpose}" for field in contract.FIELDS]
    options = [f"- {option.name}: {option.purpose}" for option in contract.OPTIONS]
    return "\n".join(
        [
            "What is collected, once a run:",
            *fields,
            "",
            "Of the options, only these, and never their free text:",
            *options,
            "",
            "What is not collected:",
            *(f"- {subject}" for subject in NOT_COLLECTED),
        ]
    )


TELEMETRY_DATA_DESCRIPTION = describe()

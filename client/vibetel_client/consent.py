"""Consent: may anything be sent?

In: the process environment and the saved choice. Out: the answer. Pure. Next: telemetry.py
"""

import enum
from collections.abc import Mapping
from typing import Optional

from vibetel_client import environment


class Consent(enum.Enum):
    """The answer; anything but ENABLED sends nothing."""

    ENABLED = "enabled"
    OPTED_OUT = "opted out"
    PENDING = "pending"


def decide(tool: str, environ: Mapping[str, str], saved_choice: Optional[bool]) -> Consent:
    """`<TOOL>_NO_TELEMETRY` and `DO_NOT_TRACK` beat the saved choice; no choice yet is PENDING."""
    if any(
        environment.is_on(environ.get(name)) for name in (environment.variable(tool, "NO_TELEMETRY"), "DO_NOT_TRACK")
    ):
        return Consent.OPTED_OUT
    if saved_choice is None:
        return Consent.PENDING
    return Consent.ENABLED if saved_choice else Consent.OPTED_OUT

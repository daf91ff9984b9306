"""Consent: may anything be sent?

In: the process environment and the saved choice. Out: the answer. Pure. Next: telemetry.py
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from vibetel_client import environment


class Consent(enum.Enum):
    """The answer; anything but ENABLED sends nothing."""

    ENABLED = "enabled"
    OPTED_OUT = "opted out"
    PENDING = "pending"


def decide(tool: str, environ: Mapping[str, str], saved_choice: bool | None) -> Consent:
    """`<TOOL>_NO_TELEMETRY` and `DO_NOT_TRACK` beat the saved choice; no choice yet is PENDING."""
    if opt_out_variable(tool, environ):
        return Consent.OPTED_OUT
    if saved_choice is None:
        return Consent.PENDING
    return Consent.ENABLED if saved_choice else Consent.OPTED_OUT


def opt_out_variable(tool: str, environ: Mapping[str, str]) -> str | None:
    """The variable that opts out, if one does."""
    names = (environment.variable(tool, "NO_TELEMETRY"), "DO_NOT_TRACK")
    return next((name for name in names if environment.is_on(environ.get(name))), None)

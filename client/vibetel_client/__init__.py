"""Telemetry for command-line tools that asks first.

An event travels telemetry.py → consent.py, identity.py → command.py → transport.py → spool.py → delivery.py;
contract.py says what it may hold.
"""

from vibetel_client.consent import Consent
from vibetel_client.telemetry import Telemetry
from vibetel_client.transport import RecordingTransport, Transport

__all__ = [
    "TELEMETRY_DATA_DESCRIPTION",
    "Consent",
    "RecordingTransport",
    "Telemetry",
    "Transport",
]

TELEMETRY_DATA_DESCRIPTION: str


def __getattr__(name: str) -> str:
    """The description is made when somebody asks for it: most runs never show it."""
    if name != "TELEMETRY_DATA_DESCRIPTION":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vibetel_client import description  # noqa: PLC0415

    return description.TELEMETRY_DATA_DESCRIPTION

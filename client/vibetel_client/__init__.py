"""Telemetry for command-line tools that asks first.

An event travels telemetry.py → consent.py, identity.py → command.py → transport.py → spool.py → delivery.py;
contract.py says what it may hold.
"""

from vibetel_client.consent import Consent
from vibetel_client.description import TELEMETRY_DATA_DESCRIPTION
from vibetel_client.telemetry import Telemetry
from vibetel_client.transport import RecordingTransport, Transport

__all__ = [
    "TELEMETRY_DATA_DESCRIPTION",
    "Consent",
    "RecordingTransport",
    "Telemetry",
    "Transport",
]

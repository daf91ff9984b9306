"""Ids: random UUIDs, and UUIDv7 for events, so that their ids sort by time. The server mints with this, too.

Not the module `uuid`: it takes as long to import as all of this package's own modules together.
"""

from __future__ import annotations

import os
import re

_HEX = "[0-9A-Fa-f]"
_UUID = re.compile(f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}")


def uuid4() -> str:
    """A random UUID (RFC 9562, section 5.4)."""
    return _format(int.from_bytes(os.urandom(16), "big"), version=4)


def uuid7(unix_ms: int) -> str:
    """A UUIDv7 of the given time in Unix milliseconds (RFC 9562, section 5.7).

    Two ids of one millisecond come in no particular order. Raises ValueError for a time outside 48 bits.
    """
    if not 0 <= unix_ms < 1 << 48:
        raise ValueError("UUIDv7 holds 48 bits of milliseconds")
    return _format(unix_ms << 80 | int.from_bytes(os.urandom(10), "big"), version=7)


def parse_uuid(text: str) -> str | None:
    """The UUID in its canonical form; None where the text is none."""
    return text.lower() if _UUID.fullmatch(text) else None


def _format(bits: int, version: int) -> str:
    bits = bits & ~(0xF << 76) | version << 76
    bits = bits & ~(0b11 << 62) | 0b10 << 62
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

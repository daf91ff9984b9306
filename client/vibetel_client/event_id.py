"""Event ids: UUIDv7, so that ids sort by time. The server mints with this function, too."""

import os
import uuid


def uuid7(unix_ms: int) -> uuid.UUID:
    """A UUIDv7 of the given time in Unix milliseconds (RFC 9562, section 5.7).

    Two ids of one millisecond come in no particular order. Raises ValueError for a time outside 48 bits.
    """
    if not 0 <= unix_ms < 1 << 48:
        raise ValueError("UUIDv7 holds 48 bits of milliseconds")
    random = int.from_bytes(os.urandom(10), "big")
    random_a, random_b = random >> 62 & 0xFFF, random & (1 << 62) - 1
    return uuid.UUID(int=unix_ms << 80 | 0x7 << 76 | random_a << 64 | 0b10 << 62 | random_b)

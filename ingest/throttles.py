"""Throttles: who is limited, and how fast.

In: a request's META, or what a body held. Out: a sender's key, charges for the buffer's script, waits in seconds.
Next: buffer.py, which checks the charges in the step that appends

A rate such as 1200/min is a bucket: a minute's events at once, and each taken back in its 50 ms. An address is known
only by a hash whose key changes each day; it is neither stored nor logged.
"""

import hashlib
import math
import time
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from ingest.buffer import Charge

# What begins a further so many bytes counts as one event more: the work for a body goes with its length.
BYTES_PER_EVENT = 2048

_REMEMBERED_MAX = 10_000
_ADDRESS = "{vibetel}:rate:address:"
_INSTALLATION = "{vibetel}:rate:installation:"


class RememberedThrottle(BaseThrottle):
    """Refuses an address that the buffer's script found limited, until it may come again: its body is not read."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Whether the address may come, as far as this process knows. Its key is the view's `sender` from then on."""
        view.sender = sender_key(request.META)
        until = _limited_until.get(view.sender)
        self._seconds = until - time.monotonic() if until else 0.0
        return self._seconds <= 0

    def wait(self) -> float:
        """Seconds until it may."""
        return self._seconds


def sender_key(meta: Mapping[str, Any]) -> str:
    """The bucket of who sends: a hash of an IPv4 address, or of the /64 that an IPv6 address is in."""
    address = str(meta.get("REMOTE_ADDR", ""))
    if settings.TRUSTED_PROXIES:
        address = _forwarded(address, str(meta.get("HTTP_X_FORWARDED_FOR", "")))
    if ":" in address:
        address = _network(address)
    key = _day_key(int(time.time()) // 86_400)
    return _ADDRESS + hashlib.blake2b(address.encode(), key=key, digest_size=12).hexdigest()


def charges(sender: str, installations: Mapping[str, int], *, events: int, body_bytes: int) -> list[Charge]:
    """What a body costs: its sender all of it, each installation its own events."""
    found = []
    if rate := settings.INGEST_RATE_PER_ADDRESS:
        found.append(Charge(sender, max(events, math.ceil(body_bytes / BYTES_PER_EVENT), 1), *rate))
    if rate := settings.INGEST_RATE_PER_INSTALLATION:
        found += [Charge(_INSTALLATION + name, count, *rate) for name, count in installations.items()]
    return found


def remember(charge: Charge, wait_ms: float) -> None:
    """Note that a charge was too much: if it is an address's, until one event of it could pass."""
    wait_ms -= (charge.cost - 1) * 1000 * charge.rate_seconds / charge.rate_events
    if charge.key.startswith(_ADDRESS) and wait_ms > 0:
        if len(_limited_until) >= _REMEMBERED_MAX:
            _limited_until.clear()  # who is still limited hears so from the script again
        _limited_until[charge.key] = time.monotonic() + wait_ms / 1000


def forget() -> None:
    """Know nobody, as a new process does."""
    _limited_until.clear()


_limited_until: dict[str, float] = {}


@lru_cache(maxsize=2)
def _day_key(day: int) -> bytes:
    return hashlib.blake2b(f"addresses of day {day}".encode(), key=settings.SECRET_KEY.encode()[:64]).digest()


def _network(address: str) -> str:
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(int(parsed) >> 64)
    return str(parsed or address)  # also what is no address, such as a Unix socket's peer


def _forwarded(address: str, forwarded_for: str) -> str:
    """The address that the nearest proxy of ours saw; where no proxy of ours is connected, the one that is."""
    hops = forwarded_for.split(",")
    # From the right: what is further left than an address that we do not know may be invented.
    while hops and _is_trusted(address) and _parsed(nearer := hops.pop().strip()):
        address = nearer
    return address


def _is_trusted(address: str) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in settings.TRUSTED_PROXIES)


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed  # a socket for both writes IPv4 as IPv6

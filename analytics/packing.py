"""Packing: columns of whole numbers as bytes that Postgres keeps. Pure.

In: arrays of one length. Out: each in the narrowest unsigned integers that hold it, compressed. Next: runs.py,
breakdowns.py
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

Numbers = NDArray[Any]
"""One dimension, of any integer type."""

_WIDTHS_BYTES = (1, 2, 4, 8)
_LEVEL = 1


def pack(columns: Sequence[Numbers]) -> bytes:
    """Numbers of 0 and more. The same numbers give the same bytes, whatever their type was."""
    parts: list[bytes] = [len(columns[0]).to_bytes(4, "little")]
    for column in columns:
        most = int(column.max()) if len(column) else 0
        width = next(width for width in _WIDTHS_BYTES if most < 1 << (8 * width))
        parts += (bytes((width,)), column.astype(f"<u{width}").tobytes())
    return compress(b"".join(parts))


def unpack(packed: bytes) -> list[Numbers]:
    """The columns; read-only."""
    return list(_columns(decompress(packed)))


def compress(raw: bytes) -> bytes:
    """Zstandard, which takes a third of zlib's time both ways."""
    return _codec()[0].compress(raw)


def decompress(packed: bytes) -> bytes:
    """What `compress` was given."""
    return _codec()[1].decompress(packed)


def _columns(raw: bytes) -> Iterator[Numbers]:
    length, at = int.from_bytes(raw[:4], "little"), 4
    while at < len(raw):
        width = raw[at]
        yield np.frombuffer(raw, f"<u{width}", length, at + 1)
        at += 1 + width * length


@cache
def _codec() -> tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]:
    return zstandard.ZstdCompressor(level=_LEVEL), zstandard.ZstdDecompressor()

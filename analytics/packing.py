"""Packing: columns of whole numbers as bytes that Postgres keeps. Pure.

In: arrays of one length. Out: each in the narrowest unsigned integers that hold it, compressed by Zstandard, which
takes a third of zlib's time both ways. Next: runs.py, breakdowns.py
"""

from collections.abc import Iterator, Sequence
from threading import Lock
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
    with _one_at_a_time:
        return _compressor.compress(b"".join(parts))


def unpack(packed: bytes) -> list[Numbers]:
    """The columns; read-only."""
    with _one_at_a_time:
        raw = _decompressor.decompress(packed)
    return list(_columns(raw))


def _columns(raw: bytes) -> Iterator[Numbers]:
    length, at = int.from_bytes(raw[:4], "little"), 4
    while at < len(raw):
        width = raw[at]
        yield np.frombuffer(raw, f"<u{width}", length, at + 1)
        at += 1 + width * length


# Neither may be used by two threads at once: the process would crash. One for each call takes ten times as long, one
# for each thread stays behind when a server's threads end.
_compressor, _decompressor = zstandard.ZstdCompressor(level=_LEVEL), zstandard.ZstdDecompressor()
_one_at_a_time = Lock()

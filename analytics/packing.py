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

GARBLED = (zstandard.ZstdError, ValueError, IndexError, TypeError, MemoryError)
"""What unpacking raises. Bytes with a bit flipped may be compressed as before, and say that numbers are three bytes
wide, or that there are far too many."""

_WIDTHS_BYTES = (1, 2, 4, 8)
_LEVEL = 1
# A flag for each number that may be takes a tenth of the time that sorting takes, unless there are few of them.
_FLAGS_MAX_COUNT, _FLAGS_A_NUMBER = 1 << 20, 8


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
    """The columns; read-only. Raises one of GARBLED."""
    with _one_at_a_time:
        raw = _decompressor.decompress(packed)
    return list(_columns(raw))


def steps(groups: Numbers, numbers: Numbers) -> Numbers:
    """How far each number is from the one before it in its group, a group's first as it is: small, where groups and
    numbers are in order."""
    found = np.diff(numbers, prepend=0)
    begins = starts(groups)
    found[begins] = numbers[begins]
    return found


def from_steps(lengths: Numbers, steps: Numbers) -> Numbers:
    """The numbers, below 2^32, that took these steps, of groups of these lengths one after the other."""
    sums = np.cumsum(steps, dtype=np.uint32)  # beyond 2^32 they begin again at 0, and so does what is subtracted
    lengths = lengths[lengths > 0]
    begins = np.cumsum(lengths, dtype=np.int64) - lengths
    before = sums[begins] - steps[begins].astype(np.uint32)  # what the groups before it add
    return sums - np.repeat(before, lengths)


def starts(keys: Numbers) -> Numbers:
    """Where each key begins among sorted ones."""
    new = np.empty(len(keys), bool)
    new[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    return np.flatnonzero(new)


def narrow(numbers: Numbers) -> Numbers:
    """In as few bytes each as the largest takes. Numbers of 0 and more."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))


def numbered(cells: Numbers) -> tuple[Numbers, Numbers]:
    """Those there are, in order, and the place of each among them. Numbers of 0 and more."""
    most = int(cells.max(initial=0)) + 1
    if most > max(_FLAGS_MAX_COUNT, _FLAGS_A_NUMBER * len(cells)):
        in_order = np.sort(cells)
        found = in_order[starts(in_order)]
        return found, np.searchsorted(found, cells)
    there = np.zeros(most, bool)
    there[cells] = True
    found = np.flatnonzero(there)
    place = np.empty(most, np.int32)  # nobody asks for that of others
    place[found] = np.arange(len(found))
    return found, place[cells]


def totals(cells: Numbers, amounts: Numbers) -> tuple[Numbers, Numbers]:
    """Those there are, in order, and the sum of the amounts of each, which are 1 and more."""
    if int(cells.max(initial=0)) < _FLAGS_MAX_COUNT:
        found = np.bincount(cells, amounts)
        there = np.flatnonzero(found)
        return there, found[there].astype(np.int64)
    there, place = numbered(cells)
    return there, sums(place, amounts, len(there))


def sums(places: Numbers, amounts: Numbers, count: int) -> Numbers:
    """For each of so many places the sum of its amounts; exact up to 2^53."""
    return np.bincount(places, amounts, count).astype(np.int64)


def _columns(raw: bytes) -> Iterator[Numbers]:
    length, at = int.from_bytes(raw[:4], "little"), 4
    while at < len(raw):
        width = raw[at]
        yield np.frombuffer(raw, f"<u{width}", length, at + 1)
        at += 1 + width * length


# Neither may be used by two threads at once: the process would crash. One for each call takes ten times as long, one
# for each thread stays behind when a server's threads end.
_compressor, _decompressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True), zstandard.ZstdDecompressor()
_one_at_a_time = Lock()

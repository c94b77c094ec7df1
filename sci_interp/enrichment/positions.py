"""Where a feature is active: its known coordinates, and how many of them lie before a place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .entries import Entries
from .kernel import compiled
from .units import Units, weight_before

__all__ = [
    "Activity",
    "active_positions",
    "count_before",
    "meets",
    "read_activity",
    "weight_inside",
]

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

#: Coordinates of a word.
BITS = 64


class Activity(NamedTuple):
    """A feature's active known coordinates, one bit each, and what counts them in any range.

    Attributes
    ----------
    word : (n_words, 2) uint64
        One bit a known coordinate, whether it is active; and the active coordinates before.
    first : (n_records + 1,) int64
        Active coordinates before each record, and their number.
    before : (n_active + 1,) float64
        Weight of the active coordinates before each of them, and of all. Empty where every token
        weighs 1.
    """

    word: Words
    first: Ints
    before: NDArray[np.float64]


@compiled
def _mark_active(entries: Entries, row: int, lowest_bin: int, word: Words) -> None:
    """Set the bits of the known coordinates at which a feature reaches a bin."""
    if len(entries.row) == 0:
        for entry in range(entries.first[row], entries.first[row + 1]):
            if entries.bin[entry] >= lowest_bin:
                place = entries.position[entry]
                word[place // BITS, 0] |= np.uint64(1) << np.uint64(place % BITS)
        return
    at = 0
    bits = _pack(entries.level[entries.row[row]], entries.floor[lowest_bin])
    for known in range(len(entries.start)):
        token = entries.start[known]
        while token < entries.stop[known]:
            # As many bits as both words have left.
            n_bits = min(BITS - token % BITS, BITS - at % BITS, entries.stop[known] - token)
            part = bits[token // BITS] >> np.uint64(token % BITS)
            if n_bits < BITS:
                part &= (np.uint64(1) << np.uint64(n_bits)) - np.uint64(1)
            word[at // BITS, 0] |= part << np.uint64(at % BITS)
            at += n_bits
            token += n_bits


@compiled
def _pack(level: NDArray[np.uint8], floor: int) -> Words:
    """Return one bit a byte, whether it reaches a floor of 1 or more; words are whole.

    Eight at a time: what is added carries into a byte's highest bit, which tells for floors up to
    128 with bytes that have it, for others only with these; a product collects the bits.
    """
    eight = level.view(np.uint64)
    ones = np.uint64(0x0101010101010101)
    add = np.uint64((128 if floor <= 128 else 256) - floor) * ones
    bits = np.empty(len(eight) // 8, np.uint64)
    for at in range(len(bits)):
        found = np.uint64(0)
        for part in range(8):
            bytes_ = eight[8 * at + part]
            carried = (bytes_ & (np.uint64(127) * ones)) + add
            above = (bytes_ | carried) if floor <= 128 else (bytes_ & carried)
            above = (above >> np.uint64(7)) & ones
            packed = (above * np.uint64(0x0102040810204080)) >> np.uint64(56)
            found |= packed << np.uint64(8 * part)
        bits[at] = found
    return bits


@compiled
def _count_bits(word: np.uint64) -> int:
    # Sums of neighbouring bits, in place; compilers turn it into one instruction.
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    word = (word & pairs) + ((word >> np.uint64(2)) & pairs)
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled
def read_activity(entries: Entries, row: int, lowest_bin: int, units: Units) -> Activity:
    """Return where a feature reaches a bin."""
    word = np.zeros((units.start[-1] // BITS + 1, 2), np.uint64)
    _mark_active(entries, row, lowest_bin, word)
    n_before = 0
    for at in range(len(word)):
        word[at, 1] = n_before
        n_before += _count_bits(word[at, 0])
    activity = Activity(word, np.empty(len(units.start), np.int64), np.empty(0))
    for record in range(len(units.start)):
        activity.first[record] = count_before(word, units.start[record])
    if len(units.row_weight) == 1:
        return activity
    before = weight_before(active_positions(activity, 0, units.start[-1]), units)
    return Activity(word, activity.first, before)


@compiled
def active_positions(activity: Activity, start: int, stop: int) -> Ints:
    """Return the active known coordinates in ``start:stop``, ascending."""
    word = activity.word
    found = np.empty(count_before(word, stop) - count_before(word, start), np.int64)
    at, place = 0, start
    while at < len(found):
        bits = word[place // BITS, 0] >> np.uint64(place % BITS)
        if bits == 0:
            place += BITS - place % BITS
        else:
            if bits & np.uint64(1):
                found[at] = place
                at += 1
            place += 1
    return found


@compiled
def count_before(word: Words, place: int) -> int:
    """Return how many active coordinates lie before a known coordinate, of an activity's words."""
    at = np.uint64(place) >> np.uint64(6)
    lower = (np.uint64(1) << (np.uint64(place) & np.uint64(63))) - np.uint64(1)
    return int(word[at, 1]) + _count_bits(word[at, 0] & lower)


@compiled
def weight_inside(activity: Activity, start: int, stop: int) -> float:
    """Return the weight of the active coordinates in ``start:stop``."""
    first, last = count_before(activity.word, start), count_before(activity.word, stop)
    if len(activity.before) == 0:
        return float(last - first)
    return float(activity.before[last] - activity.before[first])


@compiled
def meets(activity: Activity, start: Ints, stop: Ints) -> NDArray[np.bool_]:
    """Return which ranges have an active coordinate ``(n_ranges,)``."""
    word = activity.word
    found = np.empty(len(start), np.bool_)
    for at in range(len(start)):
        found[at] = count_before(word, stop[at]) > count_before(word, start[at])
    return found

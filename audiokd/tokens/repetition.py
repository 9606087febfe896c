"""How repetitive codes are: repeated n-grams, longest runs and entropies of many utterances at once, exactly."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

ORDERS = (2, 3, 4)  # n of the n-grams


@dataclass
class Repetition:
    r"""Of B utterances and one codebook; T'_b frames each.

    Shape:
        ngrams, repeated: [B, len(ORDERS)] int64: n-grams in the utterance, and those of them that stood in it before. Their
            ratio is seq-rep-n of Welleck et al. 2020 (https://arxiv.org/abs/1908.04319): 1 - distinct / all.
        entropy: [B] bits: H = -sum_k p_k log2 p_k over the utterance's own codes, at most log2 min(T', codebook); NaN without
            a frame.
        longest_run: [B] int64: most frames in a row with one code.
    """

    ngrams: np.ndarray
    repeated: np.ndarray
    entropy: np.ndarray
    longest_run: np.ndarray


def repetition(codes: np.ndarray, lengths: np.ndarray) -> Repetition:
    """Look at utterances that lie one behind another.

    The n-grams of all utterances are sorted once, as numbers: equal ones then stand side by side, shorter ones as prefixes.

    Args:
        codes: [sum T'] non-negative integers of one codebook.
        lengths: [B] frames of each utterance.
    """
    codes, lengths = np.asarray(codes, dtype=np.int64), np.asarray(lengths, dtype=np.int64)
    count, total = len(lengths), int(lengths.sum())
    used = np.flatnonzero(np.bincount(codes)) if total else np.zeros(0, np.int64)
    bits, owner_bits = (len(used) + 1).bit_length(), count.bit_length()  # one more than the codes: END
    if owner_bits + max(ORDERS) * bits > 63 and count > 1:  # too many for one number
        half, cut = count // 2, int(lengths[: count // 2].sum())
        parts = repetition(codes[:cut], lengths[:half]), repetition(codes[cut:], lengths[half:])
        return Repetition(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Repetition)))
    names, owner = np.searchsorted(used, codes), np.repeat(np.arange(count), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(
        total
    )  # frames to the utterance's end, this one among them
    # the n-gram that starts at each frame; END stands for what would come after the utterance
    columns = [owner, *(np.where(left > i, np.roll(names, -i), len(used)) for i in range(max(ORDERS)))]
    columns = _sorted(columns, [owner_bits] + [bits] * max(ORDERS))
    ngrams, repeated = (np.zeros((count, len(ORDERS)), np.int64) for _ in range(2))
    new = np.zeros(total, bool)  # whether the first n columns differ from those of the n-gram before
    new[:1] = True
    entropy = np.where(lengths > 0, 0.0, np.nan)
    for n, column in enumerate(columns):
        new[1:] |= column[1:] != column[:-1]
        if n == 1:
            firsts = np.flatnonzero(new)
            p = np.diff(firsts, append=total) / lengths[columns[0][firsts]]
            entropy += np.bincount(columns[0][firsts], weights=-p * np.log2(p), minlength=count)
        if n in ORDERS:
            whole = column != len(used)
            ngrams[:, ORDERS.index(n)] = np.bincount(columns[0][whole], minlength=count)
            repeated[:, ORDERS.index(n)] = np.bincount(columns[0][whole & ~new], minlength=count)
    return Repetition(ngrams, repeated, entropy + 0.0, _longest_run(owner, names, count))  # + 0.0: no minus zero


def _sorted(columns: list[np.ndarray], bits: list[int]) -> list[np.ndarray]:
    """The columns with their rows sorted, packed into one number a row where its bits allow (much faster)."""
    if sum(bits) > 63:  # one utterance of more than 30,000 different codes
        order = np.lexsort(columns[::-1])
        return [c[order] for c in columns]
    shifts = np.cumsum([0, *bits[:0:-1]])[::-1]
    packed = np.zeros(len(columns[0]), np.int64)
    for column, shift in zip(columns, shifts):
        packed |= column << shift
    packed.sort()
    return [(packed >> shift) & ((1 << width) - 1) for shift, width in zip(shifts, bits)]


def _longest_run(owner: np.ndarray, names: np.ndarray, count: int) -> np.ndarray:
    longest = np.zeros(count, np.int64)
    if len(owner):
        starts = np.flatnonzero((np.diff(owner, prepend=-1) != 0) | (np.diff(names, prepend=-1) != 0))
        np.maximum.at(longest, owner[starts], np.diff(starts, append=len(owner)))
    return longest

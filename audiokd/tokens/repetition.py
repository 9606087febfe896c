"""How repetitive codes are: repeated n-grams, longest runs and entropies of many utterances at once, exactly."""

from __future__ import annotations

from dataclasses import dataclass

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

    Args:
        codes: [sum T'] non-negative integers of one codebook.
        lengths: [B] frames of each utterance.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    count, total = len(lengths), int(lengths.sum())
    owner = np.repeat(np.arange(count), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(
        total
    )  # frames to the utterance's end, this one among them
    ngrams, repeated = (np.zeros((count, len(ORDERS)), np.int64) for _ in range(2))
    _, names, n_names = _number(np.asarray(codes, dtype=np.int64))
    longer = names  # the n-gram that starts at each frame, as a number: here n = 1
    entropy = _entropy(owner, names, n_names, lengths)
    for n in range(2, max(ORDERS) + 1):
        # an n-gram is its first n - 1 codes and its last; those that reach over the end of the utterance are left out below
        pair = longer * n_names + np.roll(names, 1 - n)
        _, longer, n_longer = _number(pair)
        if n in ORDERS:
            inside = left >= n
            here, of = owner[inside], longer[inside]
            ngrams[:, ORDERS.index(n)] = np.bincount(here, minlength=count)
            distinct = np.unique(here * n_longer + of) // max(1, n_longer)
            repeated[:, ORDERS.index(n)] = ngrams[:, ORDERS.index(n)] - np.bincount(distinct, minlength=count)
    return Repetition(ngrams, repeated, entropy, _longest_run(owner, names, count))


def _number(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Distinct values, each value's place among them, and how many there are: numbers stay small, so that pairs fit."""
    distinct, place = np.unique(values, return_inverse=True)
    return distinct, place.reshape(-1), len(distinct)


def _entropy(owner: np.ndarray, names: np.ndarray, n_names: int, lengths: np.ndarray) -> np.ndarray:
    pairs, counts = np.unique(owner * n_names + names, return_counts=True)
    of = pairs // max(1, n_names)
    p = counts / lengths[of]
    bits = np.bincount(of, weights=-p * np.log2(p), minlength=len(lengths)) + 0.0  # + 0.0: no minus zero
    return np.where(lengths > 0, bits, np.nan)


def _longest_run(owner: np.ndarray, names: np.ndarray, count: int) -> np.ndarray:
    longest = np.zeros(count, np.int64)
    if len(owner):
        starts = np.flatnonzero((np.diff(owner, prepend=-1) != 0) | (np.diff(names, prepend=-1) != 0))
        np.maximum.at(longest, owner[starts], np.diff(starts, append=len(owner)))
    return longest

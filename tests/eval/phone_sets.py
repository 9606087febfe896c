"""Utterances of made-up phones: labels and times are synthetic, so that the right answers are known."""

from __future__ import annotations

import numpy as np

from audiokd.data.ctm import Phone

LABELS = ("a", "e", "i", "o", "u")


def phone_set(utterances: int = 12, phones: int = 60, seed: int = 0) -> dict[str, list[Phone]]:
    """Random phones of 40 to 120 ms, in whole hundredths of a second, never one twice in a row."""
    rng = np.random.default_rng(seed)
    out = {}
    for n in range(utterances):
        ends = np.cumsum(rng.integers(4, 13, phones)) / 100
        starts = [0.0, *ends[:-1]]
        labels = np.take(LABELS, np.cumsum(rng.integers(1, len(LABELS), phones)) % len(LABELS))
        out[f"spk{n % 3}-{n:02d}"] = [Phone(float(s), float(e), str(p)) for s, e, p in zip(starts, ends, labels)]
    return out


def per_frame(phones: dict[str, list[Phone]], rate: int = 100) -> dict[str, np.ndarray]:
    """The number of the phone under each frame `[T']` at `rate` Hz."""
    out = {}
    for utt, of_utterance in phones.items():
        times = (np.arange(int(of_utterance[-1].end_s * rate)) + 0.5) / rate
        ends = [p.end_s for p in of_utterance]
        out[utt] = np.array([LABELS.index(of_utterance[i].label) for i in np.searchsorted(ends, times, side="right")])
    return out

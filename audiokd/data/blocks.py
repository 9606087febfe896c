"""Reading an utterance from its first sample to its last, a block at a time: what is in memory does not grow with the recording."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from audiokd.data.audio import check_finite, filter_width, one_channel, open_stretch, pick, resample
from audiokd.data.utterance import Utterance

BLOCK_S = 10.0


def load_blocks(
    utt: Utterance, sample_rate: int, channels: str = "mix", block_s: float = BLOCK_S
) -> Iterator[np.ndarray]:
    """The samples that `audiokd.data.audio.load_at` gives, in blocks float32 [n] of about `block_s` seconds.

    The resampler sees the samples on both sides of a block's ends. mp3 and ogg are decoded once, forward.

    Raises:
        AudioError: as `load_at`, when what is wrong is reached.
    """
    with open_stretch(utt) as (source, start, stop):
        common = math.gcd(source.sample_rate, sample_rate)
        step_in, step_out = source.sample_rate // common, sample_rate // common
        margin = 0 if step_in == step_out else math.ceil(filter_width(step_in, step_out) / step_in) + 1
        unit = max(1, int(block_s * source.sample_rate / step_in))  # whole steps keep the resampler's phase
        total = -(-(stop - start) * step_out // step_in)
        held, first, given, read = [], 0, 0, 0  # `first`: step that what is held begins with
        for x in source.forward(start, stop, unit * step_in):
            check_finite(utt, x, source.sample_rate, read)
            read += len(x)
            held.append(one_channel(pick(utt, x), channels))
            last = read == stop - start
            until = total if last else (read // step_in - margin) * step_out
            if until <= given:
                continue
            y = resample(np.concatenate(held), step_in, step_out)[given - first * step_out : until - first * step_out]
            check_finite(utt, y[:, None], sample_rate, given)
            given = until
            keep = max(first, given // step_out - margin)
            first, held = keep, [np.concatenate(held)[(keep - first) * step_in :]]
            yield y

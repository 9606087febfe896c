"""Learning rates as pure functions of the step, so that a resumed run needs nothing from the one before."""

from __future__ import annotations

import math


def warmup_cosine(step: int, *, peak: float, floor: float, warmup_steps: int, total_steps: int) -> float:
    """Linear from 0 to `peak` over `warmup_steps`, then a half cosine down to `floor` at `total_steps`."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    share = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * share))


def warmup_linear(step: int, *, peak: float, floor: float, warmup_steps: int, total_steps: int) -> float:
    """Linear from 0 to `peak` over `warmup_steps`, then linear down to `floor` at `total_steps`."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    share = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return peak + (floor - peak) * share


def cosine(step: int, *, first: float, last: float, total_steps: int) -> float:
    """A half cosine from `first` at step 0 to `last` at `total_steps`, where it stays."""
    share = min(1.0, step / max(1, total_steps))
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))


def constant_then_cosine(step: int, *, first: float, peak: float, warmup_steps: int, total_steps: int) -> float:
    """`first` for `warmup_steps`, then the rest of a half cosine that began at step 0 with `peak` and ends with 0 at
    `total_steps`, as CoOp's trainers have it (arXiv 2109.01134)."""
    return first if step < warmup_steps else cosine(step, first=peak, last=0.0, total_steps=total_steps)


def linear(step: int, *, first: float, last: float, ramp_steps: int) -> float:
    """A straight line from `first` at step 0 to `last` at `ramp_steps`, where it stays."""
    return first + (last - first) * min(1.0, step / max(1, ramp_steps))


def exponential_ramp(step: int, *, peak: float, ramp_steps: int) -> float:
    """exp(-5 (1 - t)^2) of `peak`, t from 0 to 1 over `ramp_steps`, then `peak` (Laine and Aila, arXiv 1610.02242)."""
    share = min(1.0, (step + 1) / max(1, ramp_steps))
    return peak * math.exp(-5.0 * (1.0 - share) ** 2)


def slanted_triangular(step: int, *, peak: float, total_steps: int, cut: float = 0.1, ratio: float = 32.0) -> float:
    """Linear from `peak` / `ratio` up to `peak` over the share `cut` of `total_steps`, then linear down to where it began
    (ULMFiT, arXiv 1801.06146, equation 3, whose cut and ratio these are)."""
    top = max(1.0, cut * total_steps)
    share = step / top if step < top else max(0.0, 1 - (step - top) / max(1.0, total_steps - top))
    return peak * (1 + share * (ratio - 1)) / ratio


def warmup_stable_decay(
    step: int, *, peak: float, floor: float, warmup_steps: int, decay_steps: int, total_steps: int
) -> float:
    """Linear from 0 to `peak` over `warmup_steps`, `peak`, then linear down to `floor` over the last `decay_steps` of `total_steps`
    (Hu et al., arXiv 2404.06395; Hägele et al., arXiv 2405.18392). Without decay steps the rate stays: a run from any of its
    checkpoints with decay steps is a run of that length."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    left = total_steps - step
    return peak if left > decay_steps else floor + (peak - floor) * max(0, left) / decay_steps

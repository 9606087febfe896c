"""Learning rates against torch's own schedulers, and as pure functions of the step."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from audiokd.training.schedules import cosine, warmup_cosine, warmup_stable_decay

PEAK, FLOOR, WARMUP, TOTAL = 2e-4, 5e-5, 10, 200
ARGS = {"peak": PEAK, "floor": FLOOR, "warmup_steps": WARMUP, "total_steps": TOTAL}


def test_equals_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    warmup = LinearLR(optimizer, start_factor=1 / WARMUP, total_iters=WARMUP - 1)
    cosine = CosineAnnealingLR(optimizer, TOTAL - WARMUP, FLOOR)
    both = SequentialLR(optimizer, [warmup, cosine], [WARMUP])
    for step in range(TOTAL):
        assert warmup_cosine(step, **ARGS) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6), step
        optimizer.step()
        both.step()


def test_ends_and_turns() -> None:
    assert warmup_cosine(0, **ARGS) == PEAK / WARMUP
    assert warmup_cosine(WARMUP - 1, **ARGS) == PEAK
    assert warmup_cosine(WARMUP, **ARGS) == PEAK
    assert warmup_cosine((WARMUP + TOTAL) // 2, **ARGS) == pytest.approx((PEAK + FLOOR) / 2)
    assert warmup_cosine(TOTAL, **ARGS) == pytest.approx(FLOOR)
    assert warmup_cosine(10 * TOTAL, **ARGS) == pytest.approx(FLOOR)
    falling = [warmup_cosine(s, **ARGS) for s in range(WARMUP, TOTAL + 1)]
    assert falling == sorted(falling, reverse=True)


def test_the_half_cosine_between_its_ends() -> None:
    """ATST's decay of the teacher (0.9996 to 1) and of the weights (0.04 to 0.4), and past the end."""
    for first, last in ((0.9996, 1.0), (0.04, 0.4)):
        at = {s: cosine(s, first=first, last=last, total_steps=400) for s in (0, 100, 200, 300, 400, 500)}
        quarter = (1 + math.cos(math.pi / 4)) / 2
        for step, share in ((0, 1.0), (100, quarter), (200, 0.5), (300, 1 - quarter), (400, 0.0), (500, 0.0)):
            assert at[step] == pytest.approx(last + (first - last) * share, abs=1e-12)


@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (10, 10), (20, 10), (0, 0)])
def test_short_runs_have_finite_rates(warmup: int, total: int) -> None:
    for step in range(25):
        lr = warmup_cosine(step, peak=PEAK, floor=FLOOR, warmup_steps=warmup, total_steps=total)
        assert math.isfinite(lr)
        assert 0 < lr <= PEAK


def test_a_branch_of_a_constant_stretch_is_a_run_of_its_length() -> None:
    args = {"peak": PEAK, "floor": 0.0, "warmup_steps": WARMUP}
    stable = [warmup_stable_decay(n, **args, decay_steps=0, total_steps=TOTAL) for n in range(TOTAL)]
    assert stable[: WARMUP + 1] == pytest.approx([PEAK * (n + 1) / WARMUP for n in range(WARMUP)] + [PEAK])
    assert set(stable[WARMUP:]) == {PEAK}
    short = [warmup_stable_decay(n, **args, decay_steps=20, total_steps=120) for n in range(121)]
    assert short[:101] == stable[:101]
    assert short[100:] == pytest.approx([PEAK * (120 - n) / 20 for n in range(100, 121)])

"""MERT's noise mixture, on speech: what is added is other clips' and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from torch import Tensor

from audiokd.data.crops import rng_of
from audiokd.data.views.noise_mixture import NoiseMixture, mix_in_batch

LENGTHS = torch.tensor([40_000, 30_000, 25_000, 5_000])


@pytest.fixture(scope="module")
def clips(two_cities: Path) -> Tensor:
    """Four clips of speech, zeros past their ends."""
    x, _ = sf.read(two_cities, dtype="float32", frames=160_000)
    wav = torch.from_numpy(x).view(4, 40_000).clone()
    for row, n in zip(wav, LENGTHS.tolist()):
        row[n:] = 0
    return wav


def plans_of(mixture: NoiseMixture, step: int = 0) -> Tensor:
    total = int(LENGTHS.sum())
    return torch.from_numpy(
        np.stack([mixture.draw(rng_of("mix", step, i), n, total - n) for i, n in enumerate(LENGTHS.tolist())])
    )


def test_equals_a_loop(clips: Tensor) -> None:
    """Clip by clip and stretch by stretch, as the paper tells it."""
    mixture = NoiseMixture(probability=1.0)
    for step in range(8):
        plans = plans_of(mixture, step)
        expected = clips.clone()
        for i in range(4):
            others = torch.cat([clips[j, : LENGTHS[j]] for j in range(4) if j != i])
            for source, place, n in plans[i].tolist():
                expected[i, place : place + n] += others[source : source + n]
        torch.testing.assert_close(mix_in_batch(clips, LENGTHS, plans), expected, atol=1e-6, rtol=0)
        for i, n in enumerate(LENGTHS.tolist()):
            assert not expected[i, n:].any()


def test_how_often_and_how_much() -> None:
    plans = torch.cat([plans_of(NoiseMixture(), step)[:3] for step in range(400)])
    stretches = (plans[..., 2] > 0).sum(1)
    assert float((stretches > 0).float().mean()) == pytest.approx(0.5, abs=0.04)
    assert [float((stretches == k).float().mean()) for k in (1, 2, 3)] == pytest.approx([1 / 6] * 3, abs=0.04)
    lengths = plans[..., 2][plans[..., 2] > 0]
    assert (int(lengths.min()), int(lengths.max())) == (pytest.approx(12_000, abs=200), pytest.approx(24_000, abs=200))
    assert plans_of(NoiseMixture(probability=1.0))[3, 0, 2] == 5_000  # a clip that is shorter: its whole length
    assert torch.equal(plans_of(NoiseMixture(), 3), plans_of(NoiseMixture(), 3))


def test_nobody_else_is_there(clips: Tensor) -> None:
    plan = torch.from_numpy(NoiseMixture(probability=1.0).draw(rng_of(0), 40_000, 0))[None]
    assert torch.equal(mix_in_batch(clips[:1], LENGTHS[:1], plan), clips[:1])

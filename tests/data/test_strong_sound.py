"""The strong change of sound: of a length, a function of (seed, step, id), and neither nothing nor noise alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audiokd.data.audio import load_crop
from audiokd.data.inputs import open_input
from audiokd.data.views.strong_sound import StrongSound


def test_what_is_changed(readers: Path) -> None:
    wav = load_crop(open_input(readers / "train").utterances()[9], 16_000, 0.0, 1.0)
    strong = StrongSound(0)
    changed = [strong(wav, step, "a") for step in range(30)]
    assert all(c.dtype == np.float32 and c.shape == wav.shape and np.isfinite(c).all() for c in changed)
    assert np.array_equal(changed[4], StrongSound(0)(wav, 4, "a"))
    assert not np.array_equal(changed[4], StrongSound(1)(wav, 4, "a"))
    assert not np.array_equal(changed[4], strong(wav, 4, "b"))
    like = [np.corrcoef(wav, c)[0, 1] for c in changed]
    assert min(like) > 0.2
    assert max(like) < 1 - 1e-5
    loud = [20 * np.log10(np.std(c) / np.std(wav)) for c in changed]
    assert min(loud) < -3
    assert max(loud) > 3


def test_a_band_or_some_time() -> None:
    noise = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    quiet = StrongSound(0, gain_db=0.0, least_snr_db=200.0, most_snr_db=200.0)
    kinds = set()
    for step in range(20):
        out = quiet(noise, step, "a")
        if np.abs(out - noise).max() < 1e-5:
            continue
        silent = int((out == 0).sum())
        kinds.add("time" if silent else "band")
        assert silent <= 0.3 * len(noise)
    assert kinds == {"time", "band"}
    assert StrongSound(0)(np.ones(1, np.float32), 0, "a").shape == (1,)

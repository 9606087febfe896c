"""Separation: the layer that knows the source is found, and what is scored is the source against all that is left."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from audiokd.errors import AudiokdError
from audiokd.eval import separation_probe as module
from audiokd.eval.sdr import sdr
from audiokd.eval.separation_probe import SongSet, separation_probe, spectrum, waveform, wiener

RATE, HOP, BANDS = 16_000, 320, 24


def songs(two_cities: Path, beckett: Path, starts: tuple[float, ...], seconds: float = 1.6) -> SongSet:
    """One reader over the other; frames of three layers, of which the second has the magnitudes of both in bands."""
    frames, audio = [], []
    bands = librosa.filters.mel(sr=RATE, n_fft=module.N_FFT, n_mels=BANDS)
    for number, start in enumerate(starts):
        a, b = (librosa.load(p, sr=RATE, offset=start, duration=seconds)[0] for p in (two_cities, beckett))
        mixture = (a + b).astype(np.float32)
        rng = np.random.default_rng(number)
        known = [np.log(spectrum(torch.from_numpy(w)[None], HOP)[0].abs().numpy() @ bands.T + 1e-3) for w in (a, b)]
        x = rng.normal(size=(len(known[0]) - 2, 3, 2 * BANDS)).astype(
            np.float32
        )  # an encoder has fewer than there are spectra
        x[:, 1] = np.concatenate(known, 1)[:-2]
        frames.append(x.reshape(len(x), -1))
        audio.append(lambda pair=(mixture, a): pair)
    return SongSet(frames, audio)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HIDDEN": 48, "CROPS": 24, "CROP_S": 1.0}.items():
        monkeypatch.setattr(module, name, value)


def test_the_layer_that_knows_the_source_is_found(two_cities: Path, beckett: Path, small: None) -> None:
    sets = [songs(two_cities, beckett, starts) for starts in ((0.0, 1.6, 3.2), (4.8,), (6.4, 8.0))]
    found = separation_probe(*sets, RATE, HOP, layers=3, batch_size=8, epochs=8, lr=3e-3)
    assert found.metric == "SDR"
    assert found.chosen_layer == 2
    assert found.test.n == 2
    assert found.dev[1] > max(found.dev[0], found.dev[2]) + 1
    mixture = found.more["SDR of the mixture"]
    expected = np.mean([sdr(s, m) for m, s in (load() for load in sets[2].audio)])
    assert mixture == pytest.approx(expected, abs=1e-9)
    assert found.test.mean > mixture + 2


def test_a_seed_gives_one_result(two_cities: Path, beckett: Path, small: None) -> None:
    one = songs(two_cities, beckett, (0.0,))
    first, again, other = (separation_probe(one, one, one, RATE, HOP, layers=3, epochs=1, seed=s) for s in (0, 0, 1))
    assert first.as_dict() == again.as_dict()
    assert first.dev != other.dev


def test_spectra_and_back() -> None:
    wav = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))
    of = spectrum(wav, HOP)
    assert of.shape == (2, 16, 1025)
    torch.testing.assert_close(waveform(of, HOP, 5000), wav, atol=1e-5, rtol=0)


def test_what_the_filter_leaves() -> None:
    """All of the mixture where the source has its magnitude, nothing where it has none, half where it has half."""
    mixture = torch.tensor([3 + 4j, 3 + 4j, 3 + 4j, 0j])
    kept = wiener(torch.tensor([5.0, 0.0, 2.5, 1.0]), mixture)
    torch.testing.assert_close(kept, torch.tensor([3 + 4j, 0j, 1.5 + 2j, 0j]))


def test_sdr() -> None:
    ref = np.array([1.0, -1.0, 1.0, -1.0], dtype=np.float32)
    assert sdr(ref, 0.9 * ref) == pytest.approx(20.0, abs=1e-4)
    assert sdr(ref, 0 * ref) == pytest.approx(0.0, abs=1e-6)
    assert sdr(0 * ref, 0 * ref) == 0.0


def test_what_is_refused(two_cities: Path, beckett: Path, small: None) -> None:
    one = songs(two_cities, beckett, (0.0,), 1.5)
    with pytest.raises(AudiokdError, match="frames of 1280 samples are too long"):
        separation_probe(one, one, one, RATE, 1280)
    with pytest.raises(AudiokdError, match="size 144 are not 5 layers"):
        separation_probe(one, one, one, RATE, HOP, layers=5)
    uneven = SongSet(one.frames, [lambda: (np.zeros(10, np.float32), np.zeros(9, np.float32))])
    with pytest.raises(AudiokdError, match="a mixture of 10 samples, its source has 9"):
        separation_probe(uneven, one, one, RATE, HOP)
    broken = SongSet([np.full_like(one.frames[0], np.nan)], one.audio)
    with pytest.raises(AudiokdError, match="NaN or Inf"):
        separation_probe(broken, one, one, RATE, HOP, layers=3)

"""The signal metrics on real speech: perfect when equal, worse with more noise, as other packages have them."""

from __future__ import annotations

import subprocess
import sys

import librosa
import numpy as np
import pytest
import torch
import torchmetrics.functional.audio as reference
from noisy import with_noise

from audiokd.errors import AudiokdError, ConfigError
from audiokd.eval.bitrate import bitrate, tokens_per_second
from audiokd.eval.mel_distance import BANDS, FLOOR, _mel, mel_distance
from audiokd.eval.mos import mos
from audiokd.eval.pesq import pesq
from audiokd.eval.registry import DEFAULT, METRICS, chosen
from audiokd.eval.si_sdr import si_sdr
from audiokd.eval.stft_distance import stft_distance
from audiokd.eval.stoi import stoi

PERFECT = {"mel": 0.0, "stft": 0.0, "si_sdr": 100.0, "stoi": 1.0, "estoi": 1.0, "pesq": 4.64, "speaker_similarity": 1.0}
COMPARING = [m for m in METRICS if not METRICS[m].single]


@pytest.mark.parametrize("name", COMPARING)
def test_equal_signals_are_perfect(name, speech):
    assert METRICS[name].load("cpu")(speech, speech.copy(), 16_000) == pytest.approx(PERFECT[name], abs=0.01)


@pytest.mark.parametrize("name", [*COMPARING, "mos"])
def test_more_noise_is_worse(name, speech):
    metric = METRICS[name]
    values = [metric.load("cpu")(speech, with_noise(speech, snr), 16_000) for snr in (40, 20, 5)]
    assert values == sorted(values, reverse=metric.higher_is_better)
    assert len(set(values)) == 3


@pytest.mark.parametrize("name", COMPARING)
def test_the_longer_one_is_cut_at_its_end(name, speech):
    f = METRICS[name].load("cpu")
    noisy = with_noise(speech, 15)
    longer = np.concatenate([noisy, np.ones(5000, np.float32)])
    assert f(speech, longer, 16_000) == pytest.approx(f(speech, noisy, 16_000), rel=1e-6)
    assert f(longer, speech, 16_000) == pytest.approx(f(noisy, speech, 16_000), rel=1e-6)


@pytest.mark.parametrize("name", list(METRICS))
def test_torch_and_numpy_give_the_same(name, speech):
    f = METRICS[name].load("cpu")
    noisy = with_noise(speech, 10)
    assert f(torch.from_numpy(speech), torch.from_numpy(noisy), 16_000) == pytest.approx(
        f(speech, noisy, 16_000), rel=1e-6
    )


@pytest.mark.parametrize("name", COMPARING)
def test_what_is_no_signal_is_refused(name, speech):
    f = METRICS[name].load("cpu")
    broken = speech.copy()
    broken[7] = np.nan
    with pytest.raises(AudiokdError, match="1 samples that are NaN"):
        f(speech, broken, 16_000)
    with pytest.raises(AudiokdError, match=r"shape \[2, 3\]"):
        f(np.zeros((2, 3)), speech, 16_000)
    with pytest.raises(AudiokdError, match="reference is empty"):
        f(speech[:0], speech, 16_000)


@pytest.mark.parametrize("snr", [-10, 0, 7.5, 30])
def test_si_sdr_is_the_snr(snr, speech):
    assert si_sdr(speech, with_noise(speech, snr)) == pytest.approx(snr, abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_si_sdr_as_torchmetrics(seed, speech):
    rng = np.random.default_rng(seed)
    hyp = (speech * rng.uniform(0.1, 3) + rng.uniform(0.01, 0.3) * rng.standard_normal(speech.size) + 0.1).astype("f")
    other = reference.scale_invariant_signal_distortion_ratio(
        torch.from_numpy(hyp).double(), torch.from_numpy(speech).double(), zero_mean=True
    )
    assert si_sdr(speech, hyp) == pytest.approx(float(other), abs=1e-6)


def test_si_sdr_does_not_hear_level_or_offset(speech):
    noisy = with_noise(speech, 12)
    assert si_sdr(speech, 0.1 * noisy + 0.2) == pytest.approx(si_sdr(speech, noisy), abs=1e-3)


def test_silence(speech):
    silence = np.zeros_like(speech)
    assert si_sdr(speech, silence) == -100.0
    assert pesq(speech, silence, 16_000) == pytest.approx(1.02, abs=0.1)
    assert stoi(speech, silence, 16_000) == pytest.approx(0.0, abs=1e-6)
    assert [f(silence, speech) for f in (si_sdr, stft_distance)] == [None, None]
    assert [f(silence, speech, 16_000) for f in (pesq, stoi)] == [None, None]
    assert mos(silence, 16_000) is None
    assert mel_distance(silence, silence, 16_000) == 0.0
    assert stft_distance(speech, silence) > 1


@pytest.mark.parametrize("samples", [1, 10, 300, 3000])
def test_clips_too_short_for_a_model_have_no_score(samples, speech):
    loud = speech[np.abs(speech).argmax() :][:samples]
    assert pesq(loud, loud, 16_000) is None
    assert stoi(loud, loud, 16_000) is None
    assert mel_distance(loud, loud, 16_000) == 0.0
    assert stft_distance(loud, loud) == 0.0


def test_mel_distance_as_librosa(speech):
    noisy = with_noise(speech, 10)
    parts = []
    for window, bands in BANDS.items():
        mels = [
            librosa.feature.melspectrogram(
                y=x, sr=16_000, n_fft=window, hop_length=window // 4, n_mels=bands, power=1, pad_mode="reflect"
            )
            for x in (speech, noisy)
        ]
        a, b = (np.log10(np.maximum(m, FLOOR)) for m in mels)
        parts.append(np.abs(a - b).mean())
    assert mel_distance(speech, noisy, 16_000) == pytest.approx(np.mean(parts), rel=1e-4)


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_no_mel_band_is_without_a_bin(sample_rate):
    assert all((_mel(window, sample_rate).sum(1) > 0).all() for window in BANDS)


def test_mel_distance_of_a_gain(speech):
    assert mel_distance(speech, speech * 10 ** (-1 / 20), 16_000) == pytest.approx(0.05, abs=0.002)  # 1 dB


def test_stft_distance_by_its_equation(speech):
    noisy = with_noise(speech, 10)
    parts = []
    for n_fft, window, hop in ((1024, 600, 120), (2048, 1200, 240), (512, 240, 50)):
        shape = {"n_fft": n_fft, "hop_length": hop, "win_length": window, "pad_mode": "reflect"}
        x, y = (np.sqrt(np.maximum(np.abs(librosa.stft(s, **shape)) ** 2, 1e-7)) for s in (speech, noisy))
        parts.append(np.linalg.norm(x - y) / np.linalg.norm(x) + np.abs(np.log(x) - np.log(y)).mean())
    assert stft_distance(speech, noisy) == pytest.approx(np.mean(parts), rel=1e-4)


@pytest.mark.parametrize("extended", [False, True])
def test_stoi_as_torchmetrics(extended, speech):
    noisy = with_noise(speech, 5)
    other = reference.short_time_objective_intelligibility(
        torch.from_numpy(noisy), torch.from_numpy(speech), 16_000, extended=extended
    )
    assert stoi(speech, noisy, 16_000, extended=extended) == pytest.approx(float(other), abs=1e-4)


def test_pesq_as_torchmetrics(speech):
    noisy = with_noise(speech, 15)
    other = reference.perceptual_evaluation_speech_quality(
        torch.from_numpy(noisy), torch.from_numpy(speech), 16_000, "wb"
    )
    assert pesq(speech, noisy, 16_000) == pytest.approx(float(other), abs=1e-4)


def test_pesq_outlives_more_talk_spurts_than_its_c_code_has_room_for():
    """80 bursts in 64 s: the package alone ends the process with a segmentation fault."""
    rng = np.random.default_rng(0)
    burst = np.concatenate([0.1 * rng.standard_normal(6400), np.zeros(6400)])
    x = np.tile(burst, 80).astype(np.float32)
    assert 2 < pesq(x, with_noise(x, 40), 16_000) < 4.64


def test_mos_is_the_packages_own(speech):
    import distillmos

    x = torch.from_numpy(np.tile(speech, 3))[None]  # 18 s: more than two windows of 7.68 s
    with torch.inference_mode():
        whole = float(distillmos.ConvTransformerSQAModel().eval()(x))
    assert mos(x[0], 16_000) == pytest.approx(whole, abs=1e-4)
    assert 1 <= whole <= 5


def test_metrics_can_be_had_at_any_rate(two_cities):
    import soundfile

    x, rate = soundfile.read(two_cities, dtype="float32", frames=4 * 48_000)
    noisy = with_noise(x, 20)
    assert rate == 48_000
    for name in DEFAULT:
        assert np.isfinite(METRICS[name].load("cpu")(x, noisy, rate))


def test_bitrate():
    assert bitrate(12.5, [16384, *[4096] * 7]) == 1225  # LM-SPT at 12.5 Hz
    assert tokens_per_second(12.5, 8) == 100


def test_unknown_metric():
    with pytest.raises(ConfigError, match=r"no metric is called psq(.|\n)*pesq"):
        chosen(["psq", "mel"])
    assert [m.name for m in chosen(["mos", "mel"])] == ["mel", "mos"]


@pytest.mark.parametrize("name", ["stoi", "pesq", "mos"])
def test_a_missing_package_is_named(name):
    """In a process that cannot import it, as on a machine that has not installed it."""
    package = METRICS[name].package
    code = f"""
import sys
sys.modules[{package!r}] = None
from audiokd.eval.registry import METRICS
METRICS[{name!r}].load("cpu")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert "pip install 'audiokd[score,sed]'" in run.stderr
    assert package in run.stderr

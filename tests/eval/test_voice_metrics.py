"""Speaker similarity and DNSMOS: the same as the packages' own functions, and telling voices and noise apart."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from noisy import with_noise

from audiokd.data.audio import load_at
from audiokd.data.fetch import fetch_pypi
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.eval import dnsmos, speaker
from audiokd.eval.registry import METRICS, chosen
from audiokd.eval.speaker import PACKAGE, speaker_embedding, speaker_similarity


@pytest.fixture(scope="session")
def other_voice(two_cities: Path) -> np.ndarray:
    """6 s of another reader, 16 kHz."""
    return load_at(Utterance("x", str(two_cities), start_s=5, end_s=11), 16_000)


@pytest.fixture
def resemblyzer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The package's own encoder: its files, without the compiled voice detector that the encoder does not call."""
    files = ["__init__.py", "audio.py", "hparams.py", "voice_encoder.py", "pretrained.pt"]
    fetch_pypi(*PACKAGE, tmp_path / "resemblyzer", [f"resemblyzer/{f}" for f in files])
    morphology = ModuleType("scipy.ndimage.morphology")
    morphology.binary_dilation = None  # type: ignore[attr-defined]
    for name, module in (("webrtcvad", ModuleType("webrtcvad")), ("scipy.ndimage.morphology", morphology)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(str(tmp_path))
    import resemblyzer

    yield resemblyzer
    for name in [m for m in sys.modules if m.split(".")[0] == "resemblyzer"]:
        del sys.modules[name]


@pytest.mark.parametrize("samples", [3000, 25_600, 30_000, 47_000, 96_000])
def test_voice_is_that_of_the_package(samples, speech, resemblyzer):
    x = speech[:samples]
    theirs = resemblyzer.normalize_volume(x, -30, increase_only=True)
    theirs = resemblyzer.VoiceEncoder("cpu", verbose=False).embed_utterance(theirs)
    assert speaker_embedding(x, 16_000) == pytest.approx(theirs, abs=1e-5)


def test_voices_are_told_apart(speech, other_voice):
    same = speaker_similarity(speech[:48_000], speech[48_000:], 16_000)
    other = speaker_similarity(speech[:48_000], other_voice[:48_000], 16_000)
    assert same is not None
    assert other is not None
    assert other + 0.1 < same < 1
    assert speaker_similarity(speech, 0.2 * speech, 16_000) == pytest.approx(1, abs=1e-3)  # loudness is no voice
    assert speaker_similarity(speech, np.zeros_like(speech), 16_000) is None


def test_dnsmos_is_that_of_the_package(speech):
    from speechmos import dnsmos as package

    theirs = package.run(speech, 16_000)
    for name in ("ovrl", "sig", "bak"):
        ours = METRICS[f"dnsmos_{name}"].load("cpu")(None, speech, 16_000)
        assert ours == pytest.approx(float(theirs[f"{name}_mos"]), abs=1e-6)
        assert 1 < ours < 5
    loud = 3 * speech / np.abs(speech).max()  # the package refuses samples above 1
    assert dnsmos.dnsmos_ovrl(loud, 16_000) == pytest.approx(dnsmos.dnsmos_ovrl(loud / 3, 16_000), abs=1e-4)
    assert dnsmos.dnsmos_ovrl(np.zeros(16_000, np.float32), 16_000) is None


def test_dnsmos_hears_noise(speech):
    rated = [dnsmos.dnsmos_bak(with_noise(speech, snr), 16_000) for snr in (40, 15, 0)]
    assert rated == sorted(rated, reverse=True)
    assert rated[0] > rated[-1] + 1


def test_what_is_not_installed_is_named(speech, monkeypatch):
    monkeypatch.setitem(sys.modules, "speechmos", None)
    monkeypatch.delitem(sys.modules, "speechmos.dnsmos", raising=False)
    with pytest.raises(AudiokdError, match=r"package speechmos\.dnsmos cannot be imported(.|\n)*--metrics"):
        chosen(["dnsmos_sig"])[0].load("cpu")
    assert chosen(["speaker_similarity", "mel"])[1].label == "speaker"


def test_weights_of_an_installed_package_are_used(tmp_path, monkeypatch):
    (tmp_path / "resemblyzer").mkdir()
    (tmp_path / "resemblyzer" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert speaker._weights() == tmp_path / "resemblyzer" / "pretrained.pt"
    monkeypatch.undo()
    assert speaker._weights().parent.name == "resemblyzer"

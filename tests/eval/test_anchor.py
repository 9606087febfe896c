"""What no codec made: written once, scored like any system, and in that order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiokd.data.audio import load_at
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.eval.griffin_lim import griffin_lim
from audiokd.eval.mel_distance import mel_distance
from audiokd.eval.stoi import stoi
from audiokd.stages.anchor import anchor


@pytest.fixture(scope="module")
def data(beckett: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "wav.scp").write_text(f"beckett {beckett}\n")
    (folder / "segments").write_text("a beckett 0 2\nb beckett 2 3.5\n")
    return folder


def test_original_is_the_original_and_griffin_lim_is_below(data: Path, tmp_path: Path) -> None:
    assert anchor("original", str(data), str(tmp_path / "original")) == 2
    assert anchor("original", str(data), str(tmp_path / "original")) == 0
    assert anchor("griffin_lim", str(data), str(tmp_path / "floor"), limit=1) == 1
    utt = open_input(str(data)).utterances()[0]
    wav = load_at(utt, 16000)
    top, rate = sf.read(tmp_path / "original" / "a.wav", dtype="float32")
    assert rate == 16000
    np.testing.assert_allclose(top, wav, atol=1 / 32768)
    floor, _ = sf.read(tmp_path / "floor" / "a.wav", dtype="float32")
    assert len(floor) == len(wav)
    assert mel_distance(wav, top, 16000) < 0.05 < mel_distance(wav, floor, 16000) < 0.5
    assert 0.7 < stoi(wav, floor, 16000) < 0.99 < stoi(wav, top, 16000)


def test_griffin_lim_is_the_same_twice_and_refuses_what_it_cannot_read() -> None:
    x = np.sin(np.arange(8000) / 5).astype(np.float32)
    assert np.array_equal(griffin_lim(x, 16000), griffin_lim(x, 16000))
    with pytest.raises(AudiokdError, match="empty"):
        griffin_lim(x[:0], 16000)


def test_an_id_that_leads_out_is_refused(beckett: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"../out {beckett}\n")
    with pytest.raises(AudiokdError, match="leads out"):
        anchor("original", str(data), str(tmp_path / "wav"))
    assert not (tmp_path / "out.wav").exists()

"""Reading in blocks: the same samples as all at once, of every format, in memory that does not grow."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile as sf

from audiokd.data.audio import load_at
from audiokd.data.blocks import load_blocks
from audiokd.data.inputs import open_input
from audiokd.data.utterance import Utterance
from audiokd.errors import AudioError
from audiokd.stages.shard import shard


@pytest.fixture(scope="module")
def folder(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same speech, its other half in the other ear, as wav, flac, ogg and mp3, at rates that do and do not divide."""
    root = tmp_path_factory.mktemp("blocks")
    x = librosa.load(two_cities, sr=22050, duration=15)[0]
    stereo = np.stack([x, np.roll(x, len(x) // 2)], 1)
    for name, rate, subtype in (("a.wav", 22050, "FLOAT"), ("b.flac", 16000, "PCM_16"), ("c.ogg", 22050, None)):
        sf.write(root / name, stereo[: rate * 11 + 7], rate, subtype=subtype)
    sf.write(root / "d.mp3", stereo, 22050, format="MP3")
    return root


@pytest.mark.parametrize("rate", [16000, 22050, 24000, 44100])
@pytest.mark.parametrize("block_s", [0.5, 3.0, 100.0])
def test_blocks_are_the_whole(folder: Path, rate: int, block_s: float) -> None:
    for utt in open_input(folder).utterances():
        for part in (utt, utt.with_(start_s=1.2345, end_s=7.5, channel=1)):
            whole = load_at(part, rate)
            blocks = list(load_blocks(part, rate, block_s=block_s))
            assert len(blocks) > 8 or block_s > 1
            assert max(map(len, blocks)) <= (block_s + 0.2) * rate or block_s > 1
            np.testing.assert_allclose(np.concatenate(blocks), whole, atol=2e-6, err_msg=f"{utt.id} {rate}")


def test_from_a_tar(folder: Path, tmp_path: Path) -> None:
    shard(str(folder), str(tmp_path / "dump"))
    for utt in open_input(tmp_path / "dump").utterances():
        np.testing.assert_allclose(
            np.concatenate(list(load_blocks(utt, 24000, block_s=2))), load_at(utt, 24000), atol=2e-6, err_msg=utt.id
        )


def test_memory_does_not_grow(two_cities: Path, tmp_path: Path) -> None:
    peaks = []
    for minutes in (2, 8):
        path = tmp_path / f"{minutes}.mp3"
        sf.write(path, np.tile(librosa.load(two_cities, sr=16000, duration=10)[0], minutes * 6), 16000)
        tracemalloc.start()
        total = sum(map(len, load_blocks(Utterance("long", str(path)), 24000)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert total == pytest.approx(minutes * 60 * 24000, abs=5000)
    assert peaks[1] < 1.2 * peaks[0]


def test_what_is_wrong_is_said_where_it_is(tmp_path: Path) -> None:
    x = np.zeros(16000 * 30, np.float32)
    x[16000 * 25] = np.nan
    sf.write(tmp_path / "nan.wav", x, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"NaN or Inf in 1 samples, the first 25.000 s in"):
        list(load_blocks(Utterance("u", str(tmp_path / "nan.wav")), 16000))

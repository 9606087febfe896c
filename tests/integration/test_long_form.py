"""Ten minutes of speech in pieces: the codes of the whole, the sound of the whole, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel

SHAPE = {"encoder_dim": 2, "latent_dim": 32, "decoder_dim": 32, "aux_dim": 16}
SIZES = {"semantic_codebook_size": 256, "acoustic_codebook_size": 256}

PEAK = """
import resource, sys, torch
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel
seconds = int(sys.argv[1])
torch.manual_seed(0)
torch.set_num_threads(1)
model = LMSPTModel(LMSPTConfig(**{shape})).eval().fold()
model.piece_s = 20.0
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
wav = torch.randn(1, seconds * 24000) * 0.1
codes = model.encode(wav)
model.decode(codes)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, wav.nbytes // 1024)
"""


def ten_minutes(two_cities: Path) -> torch.Tensor:
    wav = torch.from_numpy(load_at(Utterance("two_cities", str(two_cities)), 24000))
    return wav.repeat(14)[: 600 * 24000 + 123][None]


@pytest.mark.slow
def test_ten_minutes_in_pieces_equal_the_whole(two_cities: Path) -> None:
    torch.manual_seed(0)
    model = LMSPTModel(LMSPTConfig(**SHAPE, **SIZES)).eval().fold()
    wav = ten_minutes(two_cities)
    pieces = model.encode(wav)  # 60 s at a time
    model.piece_s = 1e6
    whole = model.encode(wav)
    assert pieces.codes.shape == whole.codes.shape == (1, 8, 7501)
    differ = (pieces.codes != whole.codes).nonzero()
    if len(differ):  # another piece length may take another convolution kernel: only a near tie may fall the other way
        margin = model.code_margins(wav)
        first = differ[differ[:, 1] == differ[:, 1].min()]
        assert all(margin[tuple(d)] < 1e-5 for d in first), [(d.tolist(), float(margin[tuple(d)])) for d in first]
    for semantic_only in (False, True):
        model.piece_s = 60.0
        in_pieces, n = model.decode(whole, semantic_only=semantic_only)
        model.piece_s = 1e6
        at_once, m = model.decode(whole, semantic_only=semantic_only)
        assert torch.equal(n, m)
        assert in_pieces.shape == at_once.shape
        torch.testing.assert_close(in_pieces, at_once, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_recording() -> None:
    def extra_mb(seconds: int) -> float:
        """Peak memory above the loaded program, less what holds the samples themselves, MiB."""
        code = PEAK.replace("{shape}", repr(SHAPE | SIZES))
        out = subprocess.run(
            [sys.executable, "-c", code, str(seconds)], capture_output=True, text=True, check=True
        ).stdout.split()
        return (int(out[0]) - 6 * int(out[1])) / 1024  # input, noise, output, its pieces and two copies on the way

    short, long = extra_mb(60), extra_mb(600)
    assert long < 1.3 * short + 50, f"{short:.0f} MiB for 1 min, {long:.0f} MiB for 10 min"

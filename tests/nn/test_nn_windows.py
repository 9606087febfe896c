"""Windows over long recordings: what each frame comes from, whatever blocks and batches they come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import HubertConfig, HubertModel, Wav2Vec2BertConfig, Wav2Vec2BertModel

from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.hub.log_mel import LogMelEncoder
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel
from audiokd.methods.mert.config import MERTConfig
from audiokd.methods.mert.model import MERTModel
from audiokd.nn.windows import long_features, window_of
from audiokd.teachers.encoder import TransformersEncoder
from audiokd.teachers.ssl import SSLTeacher
from audiokd.teachers.w2v_bert import W2VBertTeacher

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def hubert() -> TransformersEncoder:
    config = HubertConfig(**TINY, conv_dim=[8] * 7, num_conv_pos_embedding_groups=2)
    return TransformersEncoder(SSLTeacher(HubertModel(config).eval(), True, "normed"))


def w2v_bert() -> TransformersEncoder:
    return TransformersEncoder(W2VBertTeacher(Wav2Vec2BertModel(Wav2Vec2BertConfig(**TINY)).eval(), "normed"))


def mert() -> MERTModel:
    return MERTModel(MERTConfig(channels=8, dim=16, depth=2, heads=2, hidden=32)).eval()


def atst() -> ATSTModel:
    return ATSTModel(ATSTConfig(dim=16, depth=2, heads=2)).eval()


MODELS = {"hubert": hubert, "w2v_bert": w2v_bert, "mert": mert, "atst": atst, "log_mel": LogMelEncoder}
#: windows of some seconds, so that a minute has several
WINDOWS = {"hubert": (6.0, 5.0), "w2v_bert": (6.0, 5.0), "mert": (4.0, 4.0), "atst": (4.0, 4.0), "log_mel": (4.0, 4.0)}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    torch.manual_seed(0)
    made = MODELS[request.param]()
    for name, value in zip(("window_s", "hop_s"), WINDOWS[request.param]):
        monkeypatch.setattr(type(made), name, value, raising=False)
    return made.requires_grad_(False)


def speech(two_cities: Path, rate: int, seconds: float) -> Tensor:
    return torch.from_numpy(load_at(Utterance("a", str(two_cities)), rate)[: int(seconds * rate)])


@pytest.mark.parametrize("seconds", [10.0, 10.01, 13.98, 14.5])
def test_windows_are_what_they_say(model: Any, two_cities: Path, seconds: float) -> None:
    """As many frames as of the whole; in the middle of a window they are that window's own."""
    wav = speech(two_cities, model.sample_rate, seconds)
    n = torch.tensor([len(wav)])
    got = torch.cat(list(long_features(model, [wav], "frames")))
    whole, frames = model.extract(wav[None], n, "frames")
    assert len(got) == int(frames)
    window, hop = window_of(model)
    assert window < seconds
    size, rate = model.frame_size, model.frame_rate
    margin = round((window - hop) / 2 * rate)
    start = round(hop * rate)  # of the second window's own frames
    samples = (margin + start) * size + max(margin * size, model.min_samples - size)
    alone = model.extract(wav[None, (start - margin) * size :][:, :samples], None, "frames")[0][0]
    there = min(start, len(got) - start)
    torch.testing.assert_close(got[start : start + there], alone[margin : margin + there], atol=1e-5, rtol=1e-4)
    apart = (got[start : start + there] - whole[0, start : start + there]).abs().max()
    assert apart > 1e-4 or type(model) is LogMelEncoder  # else nothing was cut


def test_blocks_and_batches_change_nothing(model: Any, two_cities: Path) -> None:
    wav = speech(two_cities, model.sample_rate, 14.3)
    for layer in ("frames", "clip", "layers"):
        once = torch.cat(list(long_features(model, [wav], layer)))
        for sizes, together in ((7001, 1), (30_011, 3), (len(wav), 8)):
            again = torch.cat(list(long_features(model, wav.split(sizes), layer, together)))
            torch.testing.assert_close(again, once, atol=2e-5, rtol=1e-4)


def test_a_clips_embedding_is_its_frames_mean(two_cities: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of windows without overlap it is that of the windows' own embeddings, by their seconds."""
    torch.manual_seed(0)
    model = atst()
    monkeypatch.setattr(ATSTModel, "window_s", 4.0, raising=False)
    wav = speech(two_cities, 16_000, 11.0)
    (got,) = torch.cat(list(long_features(model, [wav], "clip")))
    with torch.no_grad():
        a, b, c = (model.extract(w[None], None, "clip")[0][0, 0] for w in wav.split(64_000))
    torch.testing.assert_close(
        got, (4 * a + 4 * b + 3 * c) / 11, atol=5e-3, rtol=0
    )  # a window hears a frame's end more
    assert (got - (a + b + c) / 3).abs().max() > 1e-2


def test_a_codecs_pieces_are_exact(two_cities: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the receptive field is finite, what comes out in pieces is what comes out of the whole."""
    torch.manual_seed(0)
    shape = {"encoder_dim": 2, "latent_dim": 16, "decoder_dim": 32, "aux_dim": 16}
    model = LMSPTModel(LMSPTConfig(**shape, semantic_codebook_size=16, acoustic_codebook_size=16)).eval()
    wav = speech(two_cities, model.sample_rate, 9.7)
    whole = model.extract(wav[None], None, "semantic_latent")[0][0]
    monkeypatch.setattr(LMSPTModel, "piece_s", 2.0)
    got = torch.cat(list(long_features(model, wav.split(10_000), "semantic_latent")))
    torch.testing.assert_close(got, whole, atol=1e-5, rtol=1e-4)

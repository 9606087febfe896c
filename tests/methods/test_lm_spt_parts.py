"""LM-SPT's other parts, chosen by config: transformer bottleneck, Vocos decoders, FSQ, causal; as exact as the released ones."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import soundfile as sf
import torch
from torch import Tensor

import audiokd
from audiokd.errors import AudiokdError
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel

TINY = {
    "encoder_dim": 4,
    "latent_dim": 32,
    "decoder_dim": 64,
    "aux_dim": 32,
    "semantic_codebook_size": 64,
    "acoustic_codebook_size": 32,
}
#: the paper's architecture at toy width: 16 kHz, 12.5 Hz, three layers that see two frames each side
PAPER = TINY | {
    "sample_rate": 16000,
    "encoder_rates": (4, 5, 8, 8),
    "bottleneck_layers": 3,
    "bottleneck_dim": 16,
    "bottleneck_heads": 2,
    "attention_window": 2,
    "decoder_type": "vocos",
    "decoder_dim": 24,
    "decoder_rates": (4,),
    "decoder_layers": 3,
    "aux_type": "vocos",
    "aux_dim": 16,
    "aux_rates": (2, 2),
}
FRAME = 1280
VARIANTS = {
    "paper": PAPER,
    "paper causal": PAPER | {"causal": True},
    "paper shared": PAPER | {"shared_encoder": True},
    "paper fsq": PAPER | {"semantic_quantizer": "fsq", "fsq_levels": (5, 4, 3)},
    "paper, dac decoders": PAPER
    | {"decoder_type": "dac", "decoder_dim": 32, "decoder_rates": (8, 8, 5, 4)}
    | {"aux_type": "dac", "aux_rates": (8, 8, 5, 4)},
    "causal floor": PAPER | {"causal": True, "pad_to_frame": False},
}


def build(**change) -> LMSPTModel:
    """A model whose attention says something and whose FSQ, if any, is past its middle levels, as after training."""
    torch.manual_seed(0)
    model = LMSPTModel(LMSPTConfig(**change)).eval().requires_grad_(False)
    for name, p in model.named_parameters():
        if name.endswith((".scale1", ".scale2")):
            p.fill_(0.1)
    if model.config.semantic_quantizer == "fsq":
        model.quantizer.semantic.quantizers[0].in_proj.weight_g.mul_(50.0)
    return model


@pytest.fixture(scope="module")
def speech(beckett: Path) -> Tensor:
    """Eight seconds at 16 kHz [T]."""
    return torch.from_numpy(sf.read(beckett, dtype="float32", frames=8 * 16000)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder_rates": (3,)}, r"decoder_rates \[3\] do not split 1280 samples a frame into hops of even length"),
        ({"aux_rates": (512,)}, r"aux_rates \[512\] do not split 1280 samples"),
        ({"aux_sample_rate": 12345}, r"aux_rates \[2, 2\] do not split 987.6 samples"),
        ({"decoder_layers": 0}, "decoder_layers must be above 0"),
        ({"decoder_type": "hifigan"}, r"decoder_type hifigan is not known \(dac, vocos\)"),
        ({"bottleneck_heads": 3}, "bottleneck_dim 16 does not give 3 bottleneck_heads an even dimension each"),
        ({"attention_window": 0}, "attention_window 0 must be above 0, or null"),
        ({"attention_window": None, "causal": True}, "a causal model needs an attention_window"),
        ({"semantic_quantizer": "rvq"}, "semantic_quantizer rvq is not known"),
        (
            {"semantic_quantizer": "fsq", "n_semantic_codebooks": 2},
            "fsq has one stream: n_semantic_codebooks must be 1",
        ),
        ({"semantic_quantizer": "fsq", "fsq_levels": (8, 1)}, r"fsq_levels \[8, 1\] must be above 1 each"),
        ({"quantizer_bypass": 1.5}, "quantizer_bypass 1.5 must be between 0 and 1"),
    ],
)
def test_config_that_does_not_agree(change: dict, message: str) -> None:
    with pytest.raises(AudiokdError, match=f"LM-SPT config: .*{message}"):
        LMSPTConfig(**{**PAPER, **change})


@pytest.mark.parametrize("name", VARIANTS)
def test_alone_equals_in_a_batch(name: str, speech: Tensor) -> None:
    m = build(**VARIANTS[name])
    lengths = [20 * FRAME + 7, 3 * FRAME, FRAME + 1]
    batch = torch.stack([speech[s : s + lengths[0]] for s in (0, 30_000, 60_000)])
    batch[1, lengths[1] :] = 10 * torch.randn(lengths[0] - lengths[1])  # garbage in the padding
    got = m.encode(batch, torch.tensor(lengths))
    assert got.lengths.tolist() == [21, 3, 2]
    assert got.codes.unique().numel() > 10
    sounds = {s: m.decode(got, semantic_only=s)[0] for s in (False, True)}
    for i, n in enumerate(lengths):
        alone = m.encode(batch[i : i + 1, :n])
        assert torch.equal(alone.codes, got[i].codes)
        for semantic_only, sound in sounds.items():
            wav, size = m.decode(alone, semantic_only)
            assert size.tolist() == [n]
            torch.testing.assert_close(sound[i : i + 1, :n], wav, rtol=0, atol=1e-5)
            assert not sound[i, n:].any()


@pytest.mark.parametrize("name", VARIANTS)
def test_pieces_equal_the_whole(name: str, speech: Tensor) -> None:
    m = build(**VARIANTS[name])
    batch, lengths = torch.stack([speech[:70_000], speech[:70_000].flip(0)]), torch.tensor([70_000, 30_001])
    whole = m.encode(batch, lengths)
    sounds = {s: m.decode(whole, semantic_only=s)[0] for s in (False, True)}
    for m.piece_s in (0.5, 2.0):
        pieces = m.encode(batch, lengths)
        assert torch.equal(pieces.codes, whole.codes)
        assert torch.equal(pieces.lengths, whole.lengths)
        for semantic_only, sound in sounds.items():
            torch.testing.assert_close(m.decode(whole, semantic_only)[0], sound, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["paper", "paper causal", "paper fsq"])
def test_forward_trains_every_part_and_is_what_encode_and_decode_do(name: str, speech: Tensor) -> None:
    m, wav = build(**VARIANTS[name]), speech[None, : 9 * FRAME + 5]
    out, codes = m(wav), m.encode(wav)
    assert torch.equal(out.quantized.codes, codes.codes)
    torch.testing.assert_close(m.decode(codes)[0], out.wav, rtol=0, atol=1e-5)
    torch.testing.assert_close(m.decode(codes, semantic_only=True)[0], out.semantic_wav, rtol=0, atol=1e-5)
    m.train().requires_grad_(True)
    out = m(wav)
    q = out.quantized
    (out.wav.square().mean() + out.semantic_wav.square().mean() + q.codebook_semantic + q.codebook_acoustic).backward()
    assert [
        k for k, p in m.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ] == []


def test_bypass_is_for_training_only(speech: Tensor) -> None:
    wav = speech[None, : 9 * FRAME]
    m, plain = build(**PAPER, quantizer_bypass=1.0), build(**PAPER)
    assert torch.equal(m(wav).semantic_wav, plain(wav).semantic_wav)
    m.train()
    q = m.quantizer.semantic.quantizers[0]
    torch.testing.assert_close(m(wav).quantized.z_semantic, q.out_proj(q.in_proj(m.semantic_encoder(wav[:, None])[0])))


def test_fsq_streams(speech: Tensor) -> None:
    m = build(**VARIANTS["paper fsq"])
    assert m.cardinality == [60] + [32] * 7
    assert m.encode(speech[None]).codes[:, 0].unique().numel() > 10
    assert m.code_margins(speech[None, : 9 * FRAME]).min() >= 0


@pytest.mark.parametrize("name", ["paper", "paper fsq"])
def test_save_and_load(name: str, speech: Tensor, tmp_path: Path) -> None:
    m = build(**VARIANTS[name])
    m.save_pretrained(tmp_path)
    tokenizer, wav = audiokd.load_tokenizer(tmp_path), speech[None, : 20 * FRAME]
    codes = tokenizer.encode(wav)
    assert torch.equal(codes.codes, m.encode(wav).codes)
    torch.testing.assert_close(tokenizer.decode(codes)[0], m.decode(codes)[0], rtol=0, atol=1e-5)


def test_global_attention_cuts_long_audio_for_good(speech: Tensor, tmp_path: Path) -> None:
    m = build(**PAPER | {"attention_window": None})
    wav = speech[None, :80_000]
    with warnings.catch_warnings(action="error"):
        whole = m.encode_long(wav)  # fits: nothing is cut
    assert torch.equal(whole.codes, m.encode(wav).codes)
    m.config.pad_to_frame = False  # the samples that fill no frame are heard by the last one
    for n in (9 * 1280 + 700, 9 * 1280 + 1279):
        assert torch.equal(m.encode_long(wav[:, :n]).codes, m.encode(wav[:, :n]).codes)
    m.config.pad_to_frame = True
    m.piece_s = 2.0
    with pytest.warns(UserWarning, match="attention_window is null: audio longer than 2 s is cut every 2 s") as told:
        cut = m.encode(wav)
    assert len(told) == 1
    assert not torch.equal(cut.codes, whole.codes)
    pieces = [m.encode(wav[:, s : s + 32_000]).codes for s in (0, 32_000, 64_000)]  # 2 s are 25 frames
    assert torch.equal(cut.codes, torch.cat(pieces, -1))
    with pytest.warns(UserWarning, match="cut every"):
        latent, frames = m.extract(wav, layer="semantic_latent")
    assert (latent.shape, frames.tolist()) == ((1, 63, 32), [63])
    assert torch.equal(m.quantizer.encode(latent.transpose(1, 2), None, 1), cut.codes[:, :1])

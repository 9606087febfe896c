"""The RVQ-VAE: codes of batches, of long recordings and of fewer levels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.methods.rvq_vae.config import RVQVAEConfig
from audiokd.methods.rvq_vae.model import RVQVAEModel

SMALL = {
    "encoder_dim": 8,
    "latent_dim": 32,
    "decoder_dim": 64,
    "n_codebooks": 3,
    "codebook_size": 64,
    "codebook_dim": 4,
}


@pytest.fixture(scope="module")
def speech(two_cities: Path) -> Tensor:
    return torch.from_numpy(load_at(Utterance("a", str(two_cities)), 24_000)[: 6 * 24_000])


@pytest.fixture
def model() -> RVQVAEModel:
    return small()


def small(**changes: object) -> RVQVAEModel:
    torch.manual_seed(0)
    return RVQVAEModel(RVQVAEConfig(**(SMALL | changes))).eval()


def test_shapes_and_rates(model: RVQVAEModel, speech: Tensor) -> None:
    assert (model.sample_rate, model.frame_size, model.frame_rate) == (24_000, 320, 75.0)
    assert model.cardinality == [64] * 3
    codes = model.encode(speech[None, :24_001])
    assert codes.codes.shape == (1, 3, 76)
    assert len(codes.codes.unique()) > 20
    wav, n = model.decode(codes)
    assert (wav.shape, n.tolist()) == ((1, 24_001), [24_001])
    out = model(speech[None, :24_001])
    assert torch.equal(out.codes, codes.codes)
    with torch.no_grad():
        torch.testing.assert_close(out.wav[:, :20_000], wav[:, :20_000], atol=1e-4, rtol=0)
    with torch.device("meta"):
        full = RVQVAEModel(RVQVAEConfig())
    assert sum(p.numel() for p in full.parameters()) == pytest.approx(75e6, rel=0.1)


@pytest.mark.parametrize("causal", [False, True])
def test_a_clip_does_not_hear_its_batch(causal: bool, speech: Tensor) -> None:
    model = small(causal=causal)
    lengths = torch.tensor([48_000, 1, 24_001, 31_999])
    wav = torch.stack([speech[:48_000], speech[60_000:108_000], speech[:48_000].flip(0), speech[90_000:138_000]])
    batch = model.encode(wav, lengths)
    sound, n = model.decode(batch)
    features, frames = model.extract(wav, lengths, "latent")
    for i, size in enumerate(lengths.tolist()):
        alone = model.encode(wav[i : i + 1, :size])
        assert torch.equal(alone.codes[0], batch[i].codes[0])
        again, _ = model.decode(alone)
        torch.testing.assert_close(again[0], sound[i, :size], atol=1e-5, rtol=0)
        mine, _ = model.extract(wav[i : i + 1, :size], None, "latent")
        torch.testing.assert_close(mine[0], features[i, : int(frames[i])], atol=1e-5, rtol=0)
    assert n.tolist() == lengths.tolist()


@pytest.mark.parametrize("causal", [False, True])
def test_long_recordings_in_pieces(causal: bool, two_cities: Path, speech: Tensor) -> None:
    model = small(causal=causal)
    whole = model.encode(speech[None])
    sound, _ = model.decode(whole)
    quantized, _ = model.extract(speech[None])
    model.piece_s = 1.0
    assert torch.equal(model.encode(speech[None]).codes, whole.codes)
    assert torch.equal(model.encode_long(speech.split(7777)).codes, whole.codes)
    torch.testing.assert_close(torch.cat([*model.decode_long(whole)]), sound[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.extract(speech[None])[0], quantized, atol=1e-5, rtol=0)
    from_file = model.encode_long(two_cities)
    expected = model.encode(torch.from_numpy(load_at(Utterance("a", str(two_cities)), 24_000))[None])
    assert float((from_file.codes == expected.codes).float().mean()) > 0.999  # resampled block by block


def test_fewer_levels_are_the_first(model: RVQVAEModel, speech: Tensor) -> None:
    whole = model.encode(speech[None, :24_000]).codes
    model.set_num_codebooks(2)
    assert torch.equal(model.encode(speech[None, :24_000]).codes, whole[:, :2])
    assert model.cardinality == [64, 64]
    model.decode(whole)
    with pytest.raises(AudiokdError, match="4 codebooks asked of a model that has 3"):
        model.set_num_codebooks(4)


def test_what_is_refused(model: RVQVAEModel, speech: Tensor) -> None:
    with pytest.raises(AudiokdError, match="NaN or Inf"):
        model.encode(torch.full((1, 640), float("nan")))
    with pytest.raises(AudiokdError, match="no features 'semantic'"):
        model.extract(speech[None], None, "semantic")
    with pytest.raises(AudiokdError, match="no semantic stream"):
        model.decode(model.encode(speech[None, :640]), semantic_only=True)
    with pytest.raises(AudiokdError, match="stream 1 holds code 64"):
        model.decode(torch.tensor([[[0], [64], [0]]]))
    for change, what in (
        ({"decoder_dim": 24}, "cannot be halved 4 times"),
        ({"n_codebooks": 0}, "must be above 0"),
        ({"quantizer_dropout": 2.0}, "between 0 and 1"),
    ):
        with pytest.raises(AudiokdError, match=what):
            RVQVAEConfig(**(SMALL | change))

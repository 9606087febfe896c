"""MERT's encoder: transformers' HubertModel on the same weights, batches, stretches, and the folder that both load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import audiokd
from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.methods.mert.config import MERTConfig
from audiokd.methods.mert.convert import write_folder
from audiokd.methods.mert.model import MERTModel
from audiokd.methods.mert.settings import MERTShape

SMALL = {"dim": 64, "depth": 3, "heads": 4, "hidden": 128, "channels": 32}
KINDS = {
    "95M": {},
    "330M": {"pre_norm": True, "relax": 32.0},
    "deepnorm": {"deepnorm": True},
    "levelled": {"normalize": True},
}


@pytest.fixture(scope="module")
def speech(two_cities: Path) -> Tensor:
    """3 s at 24 kHz."""
    return torch.from_numpy(load_at(Utterance("a", str(two_cities)), 24_000)[: 3 * 24_000])


def small(**changes: object) -> MERTModel:
    torch.manual_seed(0)
    return MERTModel(MERTConfig(**(SMALL | changes))).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_the_folder_and_agrees(kind: str, speech: Tensor, tmp_path: Path) -> None:
    from transformers import AutoFeatureExtractor, HubertModel

    model = small(**KINDS[kind])
    write_folder(model, {}, tmp_path / "model", "test")
    theirs, info = HubertModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not info["missing_keys"] | info["unexpected_keys"]
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "model")
    assert (extractor.sampling_rate, extractor.do_normalize) == (24_000, kind == "levelled")
    values = extractor(speech.numpy(), sampling_rate=24_000, return_tensors="pt").input_values
    with torch.no_grad():
        expected = theirs.eval()(values, output_hidden_states=True)
        states, frames = model.hidden_states(speech[None])
        features = model.extract_features(speech[None])
        again = audiokd.load_model(tmp_path / "model").extract_features(speech[None])
    assert frames.tolist() == [expected.last_hidden_state.shape[1]] == [224]
    assert len(states) == len(expected.hidden_states) == 4
    for mine, other in zip(states, expected.hidden_states):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=0)
    torch.testing.assert_close(features.hidden_states[-1], expected.last_hidden_state, atol=1e-4, rtol=0)
    torch.testing.assert_close(again.clip, features.clip, atol=1e-4, rtol=0)


def test_the_published_sizes() -> None:
    from transformers import HubertConfig, HubertModel

    base = HubertConfig(feat_extract_norm="group")
    large = HubertConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        do_stable_layer_norm=True,
        feat_extract_norm="group",
    )
    big = {"dim": 1024, "depth": 24, "heads": 16, "hidden": 4096, "pre_norm": True}
    with torch.device("meta"):
        for theirs, shape in ((base, {}), (large, big)):
            expected = HubertModel(theirs).state_dict()
            mine = MERTModel(MERTConfig(**shape)).state_dict()
            assert {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in expected.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_does_not_hear_its_batch(kind: str, speech: Tensor) -> None:
    model = small(**KINDS[kind])
    lengths = torch.tensor([72_000, 400, 24_001, 31_999])
    wav = torch.stack([speech, 3 * speech.roll(5000), speech.flip(0), speech.roll(-9000)])
    with torch.no_grad():
        batch = model.extract_features(wav, lengths)
        for i, n in enumerate(lengths.tolist()):
            alone = model.extract_features(wav[i : i + 1, :n])
            t = int(batch.lengths[i])
            assert t == int(alone.lengths) == (n - 400) // 320 + 1
            torch.testing.assert_close(batch.clip[i], alone.clip[0], atol=2e-5, rtol=0)
            for mine, other in zip(batch.hidden_states, alone.hidden_states):
                torch.testing.assert_close(mine[i, :t], other[0], atol=2e-5, rtol=0)
                assert not mine[i, t:].any()


def test_the_official_norm_hears_padding(speech: Tensor) -> None:
    """The flag is the published behaviour: an item of a padded batch is another than alone."""
    apart = []
    for norm_padding in (False, True):
        model = small(norm_padding=norm_padding)
        with torch.no_grad():
            batch, _ = model.convolve(torch.stack([speech, speech]), torch.tensor([72_000, 24_000]))
            alone, _ = model.convolve(speech[None, :24_000], torch.tensor([24_000]))
        apart.append(float((batch[1, :74] - alone[0, :74]).abs().max() / alone.abs().max()))
    assert apart[0] < 1e-5
    assert apart[1] > 0.05


def test_long_audio_in_stretches(speech: Tensor) -> None:
    """Each stretch is what its samples alone give, and the frames are those of the whole."""
    model = small(chunk_s=1.0)
    with torch.no_grad():
        found = model.extract_features(speech[None])
        first = small().extract_features(speech[None, : 74 * 320 + 400])
        last = small().extract_features(speech[None, 150 * 320 :])
    assert found.lengths.tolist() == [224]
    torch.testing.assert_close(found.hidden_states[-1][0, :75], first.hidden_states[-1][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.hidden_states[-1][0, 150:], last.hidden_states[-1][0], atol=1e-5, rtol=0)


def test_parts_by_name(speech: Tensor) -> None:
    model = small(pre_norm=True)
    with torch.no_grad():
        whole = model.extract_features(speech[None])
        raw, _ = model.hidden_states(speech[None])
        for name in model.feature_layers:
            part, frames = model.extract(speech[None], None, name)
            if name.startswith("hidden"):
                expected = raw[int(name[6:])]
            elif name.startswith("clip"):
                expected = model.extract_features(speech[None], clip_blocks=int(name[4:] or 3)).clip[:, None]
            else:
                expected = whole.part(name)[0]
            assert frames.tolist() == [1 if name.startswith("clip") else 224]
            torch.testing.assert_close(part, expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(model.normed(raw[-1]), whole.hidden_states[-1], atol=1e-6, rtol=0)
    with pytest.raises(AudiokdError, match="no features 'hidden4'"):
        model.extract(speech[None], None, "hidden4")


def test_what_is_refused(speech: Tensor) -> None:
    model = small()
    with pytest.raises(AudiokdError, match="item 1 has 399 samples at 24000 Hz, a frame needs 400"):
        model.extract_features(torch.stack([speech, speech]), torch.tensor([72_000, 399]))
    with pytest.raises(AudiokdError, match="NaN or Inf"):
        model.extract_features(speech.masked_fill(torch.arange(72_000) == 7, float("nan"))[None])
    for shape, what in (
        ({"heads": 5}, "does not split into 5 heads"),
        ({"dim": 24}, "16 groups"),
        ({"deepnorm": True, "pre_norm": True}, "deepnorm"),
        ({"chunk_s": 0.01}, "shorter than a frame"),
    ):
        with pytest.raises(AudiokdError, match=what):
            MERTConfig(**(SMALL | shape))


def test_silence_is_finite() -> None:
    model = small()
    assert torch.isfinite(model.extract_features(torch.zeros(2, 24_000)).clip).all()


def test_the_defaults_are_the_published_95m() -> None:
    s = MERTShape()
    assert (s.dim, s.depth, s.heads, s.hidden, s.pre_norm) == (768, 12, 12, 3072, False)
    assert (s.dropout, s.attention_dropout, s.activation_dropout, s.layerdrop) == (0.1, 0.1, 0.0, 0.05)


def test_what_training_needs_reaches_the_layers() -> None:
    model = small(dropout=0.2, attention_dropout=0.25, activation_dropout=0.15, layerdrop=0.3, relax=32.0)
    layer = model.encoder.layers[1]
    assert model.encoder.layerdrop == 0.3
    assert (model.feature_projection.dropout.p, model.encoder.dropout.p) == (0.2, 0.2)
    assert (layer.dropout.p, layer.feed_forward.outer.p, layer.feed_forward.inner.p) == (0.2, 0.2, 0.15)
    assert (layer.attention.dropout, layer.attention.relax) == (0.25, 32.0)


def test_first_weights(speech: Tensor) -> None:
    """Of the model that transformers has initialised, which passes over layers without parameters of their own: convolutions by
    He's rule, so that a second of sound is as loud after seven of them; branches smaller with DeepNorm."""
    plain, deep = small(), small(deepnorm=True)
    for conv, inputs in zip(plain.feature_extractor.conv_layers[1:], (96, 96, 96, 96, 64, 64)):
        assert float(conv.conv.weight.detach().std()) == pytest.approx((2 / inputs) ** 0.5, rel=0.1)
    with torch.no_grad():
        features, _ = plain.convolve(speech[None], torch.tensor([72_000]))
    assert float(features.square().mean()) > 0.01
    positions = plain.encoder.pos_conv_embed.conv.weight.detach()
    assert float(positions.std()) == pytest.approx((4 / (128 * 64)) ** 0.5, rel=0.05)
    for model, share in ((plain, 1.0), (deep, 24**-0.25)):
        layer = model.encoder.layers[1]
        assert float(layer.attention.q_proj.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
        for m in (layer.attention.v_proj, layer.attention.out_proj, layer.feed_forward.output_dense):
            assert float(m.weight.detach().std()) == pytest.approx(0.02 * share, rel=0.1)
    assert 0 <= float(plain.masked_spec_embed.min()) < float(plain.masked_spec_embed.max()) <= 1

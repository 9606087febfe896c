"""HuBERT's network beside transformers' HubertModel, alone and in batches."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import soundfile as sf
import torch
from torch import Tensor, nn
from transformers import HubertConfig, HubertModel

from audiokd.nn import hubert
from audiokd.nn.hubert import Encoder, FeatureProjection, Layer, WaveConvs, grad_multiplied, init_hubert

SHAPE = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
KIND = {False: "post", True: "pre"}


class Net(nn.Module):
    """Ours, with the names of HubertModel."""

    def __init__(self, pre_norm: bool, **options: object):
        super().__init__()
        self.feature_extractor = WaveConvs(32)
        self.feature_projection = FeatureProjection(32, 48, 0.0)
        self.encoder = Encoder(48, 3, 4, 96, pre_norm, positions=(128, 4), **options)

    def forward(self, wav: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        n = self.feature_extractor.frames(lengths)
        x = self.feature_projection(self.feature_extractor(wav, lengths).transpose(1, 2))
        return list(self.encoder(x, n)), n


@pytest.fixture(params=[False, True], ids=KIND.get)
def pre_norm(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def theirs(pre_norm: bool) -> HubertModel:
    torch.manual_seed(0)
    config = HubertConfig(
        **SHAPE,
        conv_dim=[32] * 7,
        num_conv_pos_embedding_groups=4,
        do_stable_layer_norm=pre_norm,
        feat_extract_norm="group",
        conv_pos_batch_norm=False,
        feat_proj_layer_norm=True,
    )
    model = HubertModel(config).eval()
    for p in model.parameters():  # so that every part counts
        if p.ndim > 1:
            nn.init.normal_(p, std=0.6 / math.sqrt(p[0].numel()))
        else:
            p.data += 0.1 * torch.randn_like(p)
    return model


@pytest.fixture(scope="module")
def speech(two_cities: Path) -> Tensor:
    x, _ = sf.read(two_cities, dtype="float32", frames=96_000)
    return torch.from_numpy(x[::2].copy())[None]


def ours_of(theirs: HubertModel, pre_norm: bool, **options: object) -> Net:
    net = Net(pre_norm, **options)
    state = {k: v for k, v in theirs.state_dict().items() if k != "masked_spec_embed"}
    net.load_state_dict(state, strict=True)
    return net.eval()


def test_equals_transformers(theirs: HubertModel, pre_norm: bool, speech: Tensor) -> None:
    """The same names and, of a clip alone, the same states, the relaxed softmax among them."""
    with torch.no_grad():
        expected = theirs(speech, output_hidden_states=True)
        for relax in (1.0, 32.0):
            net = ours_of(theirs, pre_norm, relax=relax)
            states, n = net(speech, torch.tensor([speech.shape[1]]))
            assert int(n) == states[0].shape[1]
            for a, b in zip(states, expected.hidden_states, strict=True):
                torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)
            last = net.encoder.layer_norm(states[-1]) if pre_norm else states[-1]
            torch.testing.assert_close(last, expected.last_hidden_state, atol=2e-5, rtol=1e-4)


def test_alone_equals_in_a_batch(theirs: HubertModel, pre_norm: bool, speech: Tensor) -> None:
    net = ours_of(theirs, pre_norm)
    lengths = torch.tensor([48_000, 20_011, 700])
    wav = torch.full((3, 48_000), 0.3)
    for i, n in enumerate(lengths.tolist()):
        wav[i, :n] = speech[0, i : i + n]
    with torch.no_grad():
        together, frames = net(wav, lengths)
        for i, n in enumerate(lengths.tolist()):
            alone, m = net(wav[i : i + 1, :n], lengths[i : i + 1])
            assert int(m) == int(frames[i])
            for a, b in zip(alone, together):
                torch.testing.assert_close(b[i, : int(m)], a[0], atol=2e-5, rtol=1e-4)
        # the official norm runs over padding, too: the same item is another one in a batch
        net.feature_extractor.norm_padding = True
        officially, _ = net(wav, lengths)
    assert float((officially[-1][1, :40] - together[-1][1, :40]).abs().max()) > 1e-3


def test_layers_are_dropped_in_training_alone(speech: Tensor) -> None:
    torch.manual_seed(0)
    encoder = Encoder(48, 3, 4, 96, False, positions=(16, 4), layerdrop=1.0)
    x, n = torch.randn(1, 20, 48), torch.tensor([20])
    states = list(encoder(x, n))
    assert all(torch.equal(s, states[0]) for s in states)
    assert not torch.equal(*list(encoder.eval()(x, n))[:2])
    encoder.train().layerdrop = 0.5
    dropped = [sum(torch.equal(a, b) for a, b in pairwise(s)) for s in (list(encoder(x, n)) for _ in range(40))]
    assert 30 < sum(dropped) < 90


def test_relaxed_scores_are_small_until_they_are_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel multiplies in half precision is divided by 32, and its scale has the 32: the softmax alone cannot tell."""
    seen = []
    attend = hubert.F.scaled_dot_product_attention

    def spy(q: Tensor, k: Tensor, v: Tensor, **options: object) -> Tensor:
        seen.append((q, options["scale"]))
        return attend(q, k, v, **options)

    monkeypatch.setattr(hubert.F, "scaled_dot_product_attention", spy)
    torch.manual_seed(0)
    layers = [Layer(48, 4, 96, False, relax=relax) for relax in (1.0, 32.0)]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(1, 10, 48)
    plain, relaxed = (layer(x) for layer in layers)
    torch.testing.assert_close(relaxed, plain, atol=1e-5, rtol=1e-5)
    (q, scale), (small, large) = seen
    torch.testing.assert_close(small, q / 32)
    assert large == pytest.approx(32 * scale)


def test_deepnorm() -> None:
    """arXiv 2203.00555: the skip path times (2 L)^(1/4), first weights of the branches times (8 L)^(-1/4)."""
    torch.manual_seed(0)
    encoder = Encoder(48, 8, 4, 96, False, positions=(16, 4), deepnorm=True)
    plain = Encoder(48, 8, 4, 96, False, positions=(16, 4))
    assert encoder.layers[0].residual == 2.0
    assert plain.layers[0].residual == 1.0
    for m in (*encoder.modules(), *plain.modules()):
        init_hubert(m)
    layer = encoder.layers[0]
    small = (layer.attention.v_proj, layer.attention.out_proj, layer.feed_forward.intermediate_dense)
    assert all(float(m.weight.detach().std()) == pytest.approx(0.02 * 64**-0.25, rel=0.05) for m in small)
    for whole in (layer.attention.q_proj, plain.layers[0].attention.v_proj):
        assert float(whole.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    x = torch.randn(1, 10, 48)
    attended = layer.layer_norm(2 * x + layer.attention(x, None))
    torch.testing.assert_close(layer(x), layer.final_layer_norm(2 * attended + layer.feed_forward(attended)))


def test_the_gradient_of_the_convolutions_is_scaled() -> None:
    x = torch.randn(5, requires_grad=True)
    (2 * grad_multiplied(x, 0.1)).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.full((5,), 0.2))
    assert torch.equal(grad_multiplied(x, 0.1), x)

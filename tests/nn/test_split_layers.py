"""Models split at named layers: the parts give what the whole gives, to the bit, and gradients go where they must."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_backbones  # noqa: F401  registers them
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import HubertConfig, HubertForSequenceClassification, ViTConfig, ViTForImageClassification

from audiokd.errors import AudiokdError
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.classifier.config import ClassifierConfig
from audiokd.methods.classifier.model import ClassifierModel
from audiokd.nn.split_layers import LayerSplit
from audiokd.teachers.trainable import shape_of
from audiokd.vision.backbones import load_backbone

HUBERT = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "conv_dim": (16, 16),
    "conv_kernel": (10, 8), "conv_stride": (5, 8), "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2, "num_labels": 4,
}  # fmt: skip
PICTURES = {"images": torch.rand(2, 3, 32, 32)}
SOUND = {"wav": torch.randn(2, 8000) / 10, "lengths": torch.tensor([8000, 6000])}


def classifier() -> nn.Module:
    encoder = ATSTModel(ATSTConfig(kind="clip", dim=32, depth=3, heads=2))
    return ClassifierModel(ClassifierConfig(shape_of(encoder), ["a", "b"]))


def hubert_classifier() -> nn.Module:
    """A transformers encoder in our classifier, whose layers a loop of ours calls and not transformers' forward."""
    shape = HubertConfig(**HUBERT).to_dict()
    return ClassifierModel(ClassifierConfig(shape | {"model_type": "hubert", "do_normalize": True}, ["a", "b"]))


MODELS: dict[str, tuple[Any, tuple[str, str], dict[str, Tensor]]] = {
    "timm_vit": (lambda: load_backbone("audiokd_tiny_vit"), ("net.blocks.0", "net.blocks.1.mlp"), PICTURES),
    # `x += shortcut` and ReLUs in place come after these
    "timm_resnet": (lambda: load_backbone("audiokd_tiny_resnet"), ("net.layer1.0.bn2", "net.layer3"), PICTURES),
    "transformers_vit": (
        lambda: ViTForImageClassification(
            ViTConfig(hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=32)
        ),
        ("vit.layers.0", "vit.layers.2"),
        {"pixel_values": PICTURES["images"]},
    ),
    "transformers_hubert": (
        lambda: HubertForSequenceClassification(HubertConfig(**HUBERT)),
        ("hubert.encoder.layers.0", "hubert.encoder.layers.2"),
        {"input_values": SOUND["wav"], "attention_mask": (torch.arange(8000) < SOUND["lengths"][:, None]).long()},
    ),
    "our_atst": (classifier, ("encoder.blocks.0", "encoder.blocks.2"), SOUND),
    "our_hubert": (hubert_classifier, ("encoder.body.encoder.layers.0", "encoder.body.encoder.layers.2"), SOUND),
}


def whole(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.logits


def ours(model: nn.Module) -> list[Any]:
    """Hooks that a split has left behind; transformers leaves some of its own."""
    hooks = [h for m in model.modules() for of in (m._forward_hooks, m._forward_pre_hooks) for h in of.values()]
    return [h for h in hooks if type(getattr(h, "__self__", None)).__module__.startswith("audiokd")]


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_the_parts_give_what_the_whole_gives(name: str) -> None:
    torch.manual_seed(0)
    make, (low, high), inputs = MODELS[name]
    model = make().eval()
    expected = whole(model(**inputs))
    split = LayerSplit(model, (low, high))
    passed = split.run(**inputs)
    assert torch.equal(whole(passed.output), expected)
    for layer in (low, high):
        assert torch.equal(whole(split.enter(passed, layer, passed.states[layer]).output), expected), layer
    between = split.enter(passed, low, passed.states[low], until=high)
    assert between.output is None
    assert torch.equal(between.states[high], passed.states[high])
    # in three pieces, each of which knows no more than the one before it gave
    first = split.run(**inputs, until=low)
    assert first.output is None
    assert first.states.keys() == {low}
    second = split.enter(first, low, first.states[low], until=high)
    third = split.enter(passed, high, second.states[high])
    assert torch.equal(whole(third.output), expected)
    # and another state gives another answer: it is really used
    other = split.enter(passed, low, torch.randn_like(passed.states[low]))
    assert not torch.allclose(whole(other.output), expected)
    assert not torch.allclose(other.states[high], passed.states[high])
    assert torch.equal(whole(model(**inputs)), expected)  # nothing of it has been changed
    assert ours(model) == []
    assert not any("forward" in m.__dict__ for m in model.modules())


@pytest.mark.parametrize("name", ["timm_resnet", "our_hubert"])
def test_the_parts_in_inference_mode(name: str) -> None:
    """Where no tensor counts its changes in place: nothing that was given below is trusted."""
    make, (low, high), inputs = MODELS[name]
    model = make().eval()
    split = LayerSplit(model, (low, high))
    with torch.inference_mode():
        expected = whole(model(**inputs))
        passed = split.run(**inputs)
        assert torch.equal(whole(passed.output), expected)
        for layer in (low, high):
            assert torch.equal(whole(split.enter(passed, layer, passed.states[layer]).output), expected), layer
        assert not torch.allclose(
            whole(split.enter(passed, low, torch.randn_like(passed.states[low])).output), expected
        )


@pytest.mark.parametrize("name", ["transformers_vit", "our_hubert"])
def test_the_parts_with_dropout(name: str) -> None:
    """In training mode they draw what the whole draws, each from where it stood."""
    make, (low, high), inputs = MODELS[name]
    model = make().train()
    for m in model.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0.3
    torch.manual_seed(1)
    expected = whole(model(**inputs))
    assert not torch.equal(whole(model(**inputs)), expected)
    drawn = []
    hook = model.get_submodule(low).register_forward_hook(lambda *_: drawn.append(torch.get_rng_state()))
    split = LayerSplit(model, (low, high))
    torch.manual_seed(1)
    passed = split.run(**inputs)
    hook.remove()
    assert torch.equal(whole(passed.output), expected)
    torch.set_rng_state(drawn[0])
    assert torch.equal(whole(split.enter(passed, low, passed.states[low]).output), expected)


@pytest.mark.parametrize("name", ["timm_vit", "transformers_hubert", "our_atst", "our_hubert"])
def test_layers_below_are_not_run_again(name: str) -> None:
    make, (low, high), inputs = MODELS[name]
    model = make().eval()
    split = LayerSplit(model, (low, high))
    passed = split.run(**inputs)
    ran: list[str] = []

    def noted(name: str, forward: Any) -> Any:
        return lambda *args: (ran.append(name), forward(*args))[1]

    for n, m in model.named_modules():
        if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            m.forward = noted(n, m.forward)  # type: ignore[method-assign]
    split.enter(passed, low, passed.states[low], until=high)
    layers = low.rsplit(".", 1)[0]
    assert ran, "the layers between run"
    if name == "transformers_hubert":  # which zeroes padded frames in place of what this one gave
        assert ran.pop(0) == "hubert.feature_projection.projection"
    assert all(n.startswith(layers) and not n.startswith(f"{low}.") for n in ran), ran


@pytest.mark.parametrize("name", MODELS)
def test_gradients_pass_through_frozen_layers(name: str) -> None:
    make, (low, high), inputs = MODELS[name]
    model = make().eval().requires_grad_(False)
    split = LayerSplit(model, (low, high))
    with torch.no_grad():
        passed = split.run(**inputs)
    state = torch.randn_like(passed.states[low]).requires_grad_()
    split.enter(passed, low, state, until=high).states[high].square().sum().backward()
    assert state.grad is not None
    assert float(state.grad.abs().sum()) > 0
    assert all(p.grad is None for p in model.parameters())


class Skips(nn.Module):
    """A state that is changed in place after its layer gave it, one that is looked at twice, and a module that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.low, self.high, self.twice = (nn.Linear(4, 4) for _ in range(4))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x += 1  # of what the stem gave
        y = self.twice(x)
        z = self.low(y)
        z *= 2
        z = self.twice(z) + y
        return self.high(F.relu(z)) + x  # which no module gives


def test_in_place_changes_and_modules_that_are_called_twice() -> None:
    torch.manual_seed(0)
    model, x = Skips(), torch.randn(3, 4)
    split = LayerSplit(model, ("low", "high"))
    passed = split.run(x)
    assert torch.equal(passed.states["low"], model.low(model.twice(model.stem(x) + 1)))
    assert torch.equal(split.enter(passed, "low", passed.states["low"]).output, passed.output)
    state = torch.randn(3, 4, requires_grad=True)
    before = state.detach().clone()
    out = split.enter(passed, "low", state).output
    skip = model.twice(model.stem(x) + 1)
    expected = model.high(F.relu(model.twice(2 * state) + skip)) + model.stem(x) + 1
    torch.testing.assert_close(out, expected)
    assert torch.equal(state, before)  # the model changes a copy


def test_a_layer_that_gives_several_things() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x * 2, x + 1

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair()

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.pair(x)
            return a * b

    split = LayerSplit(Model(), ["pair"])
    passed = split.run(torch.tensor([3.0]))
    assert passed.states["pair"].tolist() == [6.0]
    assert split.enter(passed, "pair", torch.tensor([10.0])).output.tolist() == [40.0]


def test_layers_that_cannot_be() -> None:
    model = load_backbone("audiokd_tiny_vit").eval()
    with pytest.raises(
        AudiokdError, match=r"tiny: no layer 'net.blocks.7' in this Backbone\n.*near ones: net\.blocks\.\d"
    ):
        LayerSplit(model, ("net.blocks.7", "net.blocks.1"), "tiny")
    with pytest.raises(AudiokdError, match="name each, and once"):
        LayerSplit(model, ("net.blocks.1", "net.blocks.1"))
    images = PICTURES["images"]
    with pytest.raises(AudiokdError, match=r"net.blocks.0 runs before net.blocks.1"):
        LayerSplit(model, ("net.blocks.1", "net.blocks.0")).run(images)
    with pytest.raises(AudiokdError, match="runs a second time"):
        LayerSplit(Skips(), ["twice"]).run(torch.randn(1, 4))
    idle = Skips()
    idle.idle = nn.Linear(2, 2)
    with pytest.raises(AudiokdError, match="the layer idle does not run"):
        LayerSplit(idle, ["idle"]).run(torch.randn(1, 4))
    split = LayerSplit(model, ("net.blocks.0", "net.blocks.1"))
    passed = split.run(images)
    with pytest.raises(
        AudiokdError, match=r"a state of \[2, 17, 16\] for the layer net.blocks.0, which gives \[2, 17, 32\]"
    ):
        split.enter(passed, "net.blocks.0", torch.zeros(2, 17, 16))
    assert ours(model) == []

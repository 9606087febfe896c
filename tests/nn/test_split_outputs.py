"""Splits of models whose modules give dicts, objects and lists, or share parts: what is handed out is as it was, or made again."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.nn.split_layers import LayerSplit
from audiokd.nn.tensor_facts import copied, facts_of, same_facts

Two = namedtuple("Two", "a b")


@dataclass
class Box:
    h: Tensor


class Stem(nn.Module):
    """What it gives, by `form`; how often it ran."""

    def __init__(self, form: str):
        super().__init__()
        self.form, self.lin, self.ran = form, nn.Linear(4, 4), 0

    def forward(self, x: Tensor) -> Any:
        self.ran += 1
        h = self.lin(x)
        forms = {"dict": {"h": h}, "object": Box(h), "list": [h], "tuple": (h, 1, None), "deep": {"h": [h]}}
        return forms[self.form]


class Reads(nn.Module):
    """A model that does `change` to what its stem gave, and looks at it above the high layer, too."""

    def __init__(self, form: str, change: Any, read: Any):
        super().__init__()
        self.stem, self.low, self.high = Stem(form), nn.Linear(4, 4), nn.Linear(4, 4)
        self.change, self.read = change, read

    def forward(self, x: Tensor) -> Tensor:
        got = self.stem(x)
        self.change(got)
        return self.high(self.low(self.read(got))) + self.read(got)


def replaced(got: dict[str, Tensor]) -> None:
    got["h"] = got["h"] * 2


def grown(got: Box) -> None:
    got.h += 1


def doubled(got: list[Tensor]) -> None:
    got[0] = got[0] * 2


def nothing(got: Any) -> None:
    """Leaves it."""


def scaled(got: dict[str, list[Tensor]]) -> None:
    got["h"][0].mul_(2)


CASES = {
    "an entry of a dict is replaced": ("dict", replaced, lambda d: d["h"], 1),
    "a tensor of an object changes in place": ("object", grown, lambda o: o.h, 1),
    "a list has another tensor": ("list", doubled, lambda x: x[0], 1),
    "a tensor deep in it changes in place": ("deep", scaled, lambda d: d["h"][0], 1),
    "an object of a kind that is not known": ("object", nothing, lambda o: o.h, 1),
    "a tuple that nobody changes": ("tuple", nothing, lambda t: t[0], 0),
    "a dict that nobody changes": ("deep", nothing, lambda d: d["h"][0], 0),
}


def entered(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The whole model's output, the split's, and that after it is entered with its own state."""
    torch.manual_seed(0)
    model.eval()
    with torch.no_grad():
        expected = model(x.clone())
        split = LayerSplit(model, ("low", "high"))
        passed = split.run(x.clone())
        split.check(passed)
        return expected, passed.output, split.enter(passed, "low", passed.states["low"]).output


@pytest.mark.parametrize("case", CASES)
def test_what_a_module_gave_is_handed_out_only_as_it_was(case: str) -> None:
    form, change, read, again = CASES[case]
    model = Reads(form, change, read)
    expected, passed, own = entered(model, torch.randn(3, 4))
    assert torch.equal(passed, expected)
    assert torch.equal(own, expected)
    assert model.stem.ran == 2 + 2 * again  # whole and split; entered by the check and here


class Shares(nn.Module):
    """`act` runs inside a module that has to run again, then outside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.low, self.high = (nn.Linear(4, 4) for _ in range(3))
        self.outer = nn.Sequential(self.act, nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        a = self.outer(x)
        a += 1
        b = self.act(a)
        return self.high(self.low(b)) + self.act(b) + a


class ByHand(nn.Module):
    """A module whose forward is called past its hooks before it is called by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.low, self.high = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.high(self.low(self.act(self.act.forward(x + 1))))


class Writes(nn.Module):
    """One module changes in place what it was given, and gives another thing; another is called for that alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.low, self.high = (nn.Linear(4, 4) for _ in range(3))
        self.write, self.only = Doubles(True), Doubles(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.write(x)
        self.only(x)
        return self.high(self.low(x)) + x + y


class Doubles(nn.Module):
    def __init__(self, gives: bool):
        super().__init__()
        self.gives = gives

    def forward(self, x: Tensor) -> Tensor | None:
        x *= 2
        return x.sum() if self.gives else None


class TwoOutputs(nn.Module):
    """A layer gives two things in a dict, and the model changes the second afterwards."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.low, self.high = Twice(kind), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out = self.low(x)
        a, b = out.values() if isinstance(out, dict) else out
        b += 1
        return self.high(a) * b


class Twice(nn.Module):
    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        a, b = x * 2, x * 3
        return self.kind({"a": a, "b": b}) if issubclass(self.kind, dict) else Two(a, b)


@pytest.mark.parametrize(
    "model",
    [Shares(), ByHand(), Writes(), TwoOutputs(dict), TwoOutputs(OrderedDict), TwoOutputs(Two)],
    ids=["shares", "by hand", "writes", "dict", "ordered dict", "named tuple"],
)
def test_calls_and_what_they_do_besides(model: nn.Module) -> None:
    expected, passed, own = entered(model, torch.randn(3, 4))
    assert torch.equal(passed, expected)
    assert torch.equal(own, expected)


class Counts(nn.Module):
    """One that keeps something from run to run, which no split can see."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high, self.n = nn.Linear(4, 4), nn.Linear(4, 4), 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.high(self.low(x) * self.n)


class InPlace(Counts):
    def forward(self, x: Tensor) -> Tensor:
        x += 1
        return self.high(self.low(x))


class Chance(Counts):
    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.high(self.low(x) if self.n == 1 else x)


class Noisy(Counts):
    def forward(self, x: Tensor) -> Tensor:
        return self.high(self.low(x) + torch.randn(4))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Counts(), "entered after low with the state that it has there, high gives something else"),
        (Noisy(), "entered after low with the state that it has there, high gives something else"),
        (InPlace(), "the model has changed its input in place"),
        (Chance(), "the layer low was not come by this time"),
    ],
    ids=["counts", "noisy", "in place", "chance"],
)
def test_models_that_cannot_be_entered_are_found_out(model: nn.Module, said: str) -> None:
    split = LayerSplit(model.eval(), ("low", "high"), "tiny")
    with torch.no_grad():
        passed = split.run(torch.randn(2, 4))
    before = torch.get_rng_state()
    with pytest.raises(AudiokdError, match=f"tiny: {said}"):
        split.check(passed)
    assert torch.equal(torch.get_rng_state(), before)


def test_layers_that_never_run_and_layers_in_another_order() -> None:
    model = nn.ModuleDict()
    model["blocks"] = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    with pytest.raises(AudiokdError, match=r"blocks is a ModuleList, which holds layers.*\n.*blocks.0, blocks.1"):
        LayerSplit(model, ("blocks",))
    idle = Shares()
    idle.idle = nn.Linear(4, 4)
    with pytest.raises(AudiokdError, match="the layer idle does not run in this model's forward"):
        LayerSplit(idle, ("idle", "high")).run(torch.randn(1, 4))
    with pytest.raises(AudiokdError, match=r"low runs before high\n.*the lower layer first"):
        LayerSplit(idle, ("high", "low")).run(torch.randn(1, 4), until="low")


def test_facts() -> None:
    h = torch.randn(2)
    value = {"h": h, "rest": (1, None, [h])}
    seen = facts_of(value)
    assert same_facts(seen, facts_of(value))
    twin = copied(value)
    assert torch.equal(twin["h"], h)
    assert not same_facts(seen, facts_of(twin))
    for change in (lambda: h.add_(1), lambda: value.update(h=h + 1), lambda: value.update(more=1)):
        seen = facts_of(value)
        change()
        assert not same_facts(seen, facts_of(value))
    box = facts_of(Box(h))
    assert not same_facts(box, box)
    assert same_facts(box, box, unknown=True)

"""A model that is run up to a named layer, and entered again after one with another hidden state in the place of its output.

Any module will do: what it does between its layers is its own code, run again. On entering, calls that had ended before the layer
did are not made: they hand out what they gave in the pass that is entered, so that no layer below is computed twice. Calls are told
apart by where they come, not by the module alone. One is trusted where every tensor that it gave is still there and unchanged
(`audiokd.nn.tensor_facts`), and it changed nothing that it was given; any other is made again, as all are in inference mode, where
changes in place cannot be told. The layers' own outputs are copied as they come.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.nn.tensor_facts import Facts, copied, facts_of, same_facts, tensors_of

#: a call of a module: the call that it was made in, the module's id, and how many calls of it had been made there before
Call: TypeAlias = tuple[Any, ...]
#: share of the largest number by which an output may differ on entering with a model's own state: kernels that add in another order
ROUNDING = 1e-4


@dataclass
class Kept:
    """What a call gave, or is to give (`given`), and what there was in it."""

    call: Call
    module: nn.Module
    output: Any
    facts: Facts = ()
    given: bool = False

    @property
    def whole(self) -> bool:
        """Whether it can be handed out as it is.

        Never of what holds no tensor, which was called for what else it does, or holds what is not known, such as an object of
        the model's own or a generator.
        """
        if self.given:
            return True
        known = any(isinstance(of, Tensor) for of, _ in self.facts)
        return known and same_facts(self.facts, facts_of(self.output))


@dataclass
class Passed:
    """One run of a model.

    Attributes:
        output: of the model; None where the run ended at a layer.
        states: hidden state after each of the split's layers that was reached, by name.
    """

    output: Any = None
    states: dict[str, Tensor] = field(default_factory=dict)
    _args: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    _facts: Facts = ()
    _outputs: dict[str, Kept] = field(default_factory=dict)
    _before: dict[str, list[Kept]] = field(default_factory=dict)


class LayerSplit:
    """A model and those of its layers after which it is split.

    Args:
        model: whose forward is called. Nothing of it is changed but while a run lasts.
        layers: dotted names, as of `named_modules`, in the order in which they run. A hidden state is a layer's output, or the
            first tensor of a tuple, list or dict of outputs.
        where: the model's name, for messages.

    Raises:
        AudiokdError: no such layer (the nearest are named), or none, or one twice, or one that holds layers and is none.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], where: str = ""):
        self.modules = {n: layer_of(model, n, where) for n in layers}
        if not layers or len({id(m) for m in self.modules.values()}) < len(layers):
            raise AudiokdError(f"layers {', '.join(layers) or 'none'}", where=where, fix="name each, and once")
        self.model, self.layers, self.where = model, tuple(layers), where

    def run(self, *args: Any, until: str = "", **kwargs: Any) -> Passed:
        """The model's forward of `args` and `kwargs`.

        Args:
            args, kwargs: of the model.
            until: layer after which to stop; runs to the end where empty.

        Raises:
            AudiokdError: a layer that does not run, runs twice, or in another order than the split's.
        """
        passed = Passed(_args=(args, kwargs), _facts=facts_of((args, kwargs)))
        self._forward(passed, args, kwargs, until, _Recorder(self.modules, passed, self.where))
        return passed

    def enter(self, passed: Passed, layer: str, state: Tensor, until: str = "") -> Passed:
        """The layers above `layer` with `state` as what it gave; the rest of what they need is as it was in `passed`.

        Gradients pass to `state`, and to what lies below where layers above look past `layer`.

        Args:
            passed: of `run`.
            layer: one of the split's.
            state: of the shape of `passed.states[layer]`.
            until: layer after which to stop; runs to the end where empty.

        Returns:
            As of `run`, with the states of the layers above; not to be entered itself.

        Raises:
            AudiokdError: a state of another shape, or a model that changes its input in place or comes by another way this time.
        """
        own = passed.states[layer]
        if state.shape != own.shape:
            what = f"a state of {list(state.shape)} for the layer {layer}, which gives {list(own.shape)}"
            raise AudiokdError(what, where=self.where, fix="decode a message to the layer's own width and positions")
        if not same_facts(passed._facts, facts_of(passed._args), unknown=True):
            what = "the model has changed its input in place: it cannot be run from it again"
            raise AudiokdError(what, where=self.where, fix="have it change a copy")
        again, of = Passed(), passed._outputs[layer]
        # copies: what comes next may change it in place
        new = Kept(of.call, of.module, copied(_with_state(of.output, state)), given=True)
        above = self.layers[self.layers.index(layer) + 1 :]
        hooks = _Watcher({n: self.modules[n] for n in above}, again, self.where)
        waiting = {k.call: k for k in (*passed._before[layer], new)}
        with _handing_out(waiting, hooks):
            self._forward(again, *passed._args, until, hooks)
        if new.call in waiting:
            what = f"the layer {layer} was not come by this time: the model takes its way by chance, or by the state"
            raise AudiokdError(what, where=self.where, fix="switch off what leaves layers out, such as layer drop")
        return again

    @torch.no_grad()
    def check(self, passed: Passed) -> None:
        """That the lowest layer, entered with its own state, gives what the run gave: one forward at most, no random number used.

        Args:
            passed: of `run` to the end, in eval mode.

        Raises:
            AudiokdError: it gives something else: conversations would be held with another model than the whole one.
        """
        low = self.layers[0]
        devices = {t.device for t in passed.states.values() if t.is_cuda}
        with torch.random.fork_rng(devices=[d.index for d in devices]):
            again = self.enter(passed, low, passed.states[low])
        pairs = [(n, passed.states[n], again.states[n]) for n in self.layers[1:]]
        outputs = [list(tensors_of(of.output)) for of in (passed, again)]
        pairs += [("the model", a, b) for a, b in zip(*outputs)]
        for name, a, b in pairs:
            if not _alike(a, b):
                what = (
                    f"entered after {low} with the state that it has there, {name} gives something else than in one run"
                )
                fix = "split after another layer: the model keeps what a second run cannot see, or draws by chance"
                raise AudiokdError(what, where=self.where, fix=fix)

    def _forward(self, to: Passed, args: Any, kwargs: Any, until: str, hooks: _Watcher) -> None:
        with ExitStack() as stack:
            hooks.until = until
            hooks.put(stack, self.model)
            try:
                to.output = self.model(*args, **kwargs)
            except _Reached:
                return
        hooks.check()


def layer_of(model: nn.Module, name: str, where: str = "") -> nn.Module:
    """The layer of this dotted name.

    Raises:
        AudiokdError: there is none (the nearest are named), or it holds layers and is none itself, as ModuleList.
    """
    known = dict(model.named_modules(remove_duplicate=False))
    if not name or name not in known:
        near = difflib.get_close_matches(name, [n for n in known if n], 3, 0.0)
        what = f"no layer {name!r} in this {type(model).__name__}"
        raise AudiokdError(what, where=where, fix=f"near ones: {', '.join(near)}")
    layer = known[name]
    if type(layer).forward is nn.Module.forward and "forward" not in layer.__dict__:
        inner = [f"{name}.{n}" for n, _ in layer.named_children()]
        what = f"{name} is a {type(layer).__name__}, which holds layers and does not run itself"
        raise AudiokdError(what, where=where, fix=f"name one in it: {', '.join(inner[:3]) or 'it holds none'}")
    return layer


class _Reached(Exception):
    """A run has come to the layer where it ends."""


@dataclass
class _Open:
    """A call that has not ended, and the calls in it that have."""

    call: Call
    module: nn.Module | None = None
    args: Any = None
    given: Facts = ()
    begun: dict[int, int] = field(default_factory=dict)
    ended: list[Kept] = field(default_factory=list)


class _Watcher:
    """Follows the calls of modules, and takes the states of layers as they come."""

    def __init__(self, layers: dict[str, nn.Module], to: Passed, where: str):
        self.layers, self.to, self.where, self.until = layers, to, where, ""
        self.names = {id(m): n for n, m in layers.items()}
        self.open = [_Open(())]
        self.came: list[str] = []

    def put(self, stack: ExitStack, model: nn.Module) -> None:
        """Hook all modules."""
        for m in model.modules():
            stack.callback(m.register_forward_pre_hook(self.began, with_kwargs=True).remove)
            stack.callback(m.register_forward_hook(self.ended).remove)

    def began(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        within = self.open[-1]
        n = within.begun.get(id(module), 0)
        within.begun[id(module)] = n + 1
        self.open.append(_Open((within.call, id(module), n), module))

    def ended(self, module: nn.Module, args: Any, output: Any) -> None:
        call = self.open.pop()
        name = self.names.get(id(module))
        if name is not None:
            self.came.append(name)
            self.reached(name, call, output)
            if name == self.until and name in self.to.states:
                raise _Reached

    def reached(self, name: str, call: _Open, output: Any) -> None:
        self.to.states[name] = _state_of(output).clone()

    def check(self) -> None:
        """That all layers have come by.

        Raises:
            AudiokdError: one has not.
        """
        if missing := [n for n in self.layers if n not in self.came]:
            fix = "a layer whose forward is called by the model's"
            raise AudiokdError(
                f"the layer {missing[0]} does not run in this model's forward", where=self.where, fix=fix
            )


class _Recorder(_Watcher):
    """Also keeps, for each layer, the outermost calls that had ended when it did."""

    def began(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        super().began(module, args, kwargs)
        call = self.open[-1]
        call.args, call.given = (args, kwargs), facts_of((args, kwargs))

    def ended(self, module: nn.Module, args: Any, output: Any) -> None:
        within, call = self.open[-2], self.open[-1]
        super().ended(module, args, output)
        # what a call did to what it was given is not done where it only hands out
        pure = same_facts(call.given, facts_of(call.args), unknown=True)
        within.ended.append(Kept(call.call, module, output, facts_of(output) if pure else ()))

    def reached(self, name: str, call: _Open, output: Any) -> None:
        if name in self.to.states:
            what, fix = f"the layer {name} runs a second time", "split where a forward comes by once"
            raise AudiokdError(what, where=self.where, fix=fix)
        if self.came != list(self.layers)[: len(self.came)]:
            return  # goes on to the end, where it is known which layers run at all
        self.to._before[name] = [k for of in self.open for k in of.ended]
        assert call.module is not None
        kept = self.to._outputs[name] = Kept(call.call, call.module, copied(output))
        self.to.states[name] = _state_of(kept.output)

    def check(self) -> None:
        """As of `_Watcher`, and in their order."""
        super().check()
        for due, came in zip(self.layers, self.came):
            if due != came:
                raise AudiokdError(f"{came} runs before {due}", where=self.where, fix="name the lower layer first")


@contextmanager
def _handing_out(waiting: dict[Call, Kept], hooks: _Watcher) -> Iterator[None]:
    """Let the calls that `waiting` has give what they gave before; they are taken out of it as they come."""
    modules = {id(k.module): k.module for k in waiting.values()}
    own = {i: m.__dict__.get("forward") for i, m in modules.items()}
    try:
        for m in modules.values():
            m.forward = _give(m, waiting, hooks)  # type: ignore[method-assign]
        yield
    finally:
        for i, m in modules.items():
            del m.__dict__["forward"]
            if own[i] is not None:
                m.__dict__["forward"] = own[i]


def _give(module: nn.Module, waiting: dict[Call, Kept], hooks: _Watcher) -> Any:
    forward = module.forward

    def given(*args: Any, **kwargs: Any) -> Any:
        last = hooks.open[-1]
        # a forward that is called without its module is none of the calls that hooks have seen
        kept = waiting.pop(last.call, None) if last.module is module else None
        return kept.output if kept is not None and kept.whole else forward(*args, **kwargs)

    return given


def _alike(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    if not a.is_floating_point() or not a.numel():
        return torch.equal(a, b)
    a, b = a.float(), b.float()
    most = a[a.isfinite()].abs()
    return torch.allclose(b, a, rtol=0, atol=ROUNDING * float(most.max()) if most.numel() else 0.0, equal_nan=True)


def _state_of(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    values = list(output.values()) if isinstance(output, dict) else output
    if isinstance(values, (tuple, list)) and values and isinstance(values[0], Tensor):
        return values[0]
    raise AudiokdError(
        f"a layer that gives a {type(output).__name__} without a tensor at its head cannot be split after"
    )


def _with_state(output: Any, state: Tensor) -> Any:
    if isinstance(output, Tensor):
        return state
    if isinstance(output, dict):  # transformers' outputs, too
        found = copy(output)
        found[next(iter(output))] = state
        return found
    if hasattr(output, "_fields"):
        return type(output)(state, *output[1:])
    return type(output)((state, *output[1:]))

"""A model that is run up to a named layer, and entered again after one with another hidden state in the place of its output.

Any module will do: what it does between its layers is its own code, run again. On entering, modules that had ended before the layer
did are not run: they hand out what they gave in the pass that is entered, so that no layer below is computed twice. A tensor among
that which has been changed in place since is not trusted, and its module is run; in inference mode, where that cannot be
told, all are. The layers' own outputs are copied as they come.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from audiokd.errors import AudiokdError


@dataclass
class Kept:
    """What a module gave, or is to give (`given`), and the versions of the tensors in it."""

    module: nn.Module
    output: Any
    versions: tuple[int | None, ...]
    given: bool = False

    @property
    def whole(self) -> bool:
        """Whether none of it has been changed in place since.

        Never of what is read as it goes, as a generator is, and of tensors of inference mode, which count no changes.
        """
        if self.given:
            return True
        told = not isinstance(self.output, Iterator) and None not in self.versions
        return told and self.versions == _versions(self.output)


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
    _outputs: dict[str, Any] = field(default_factory=dict)
    _before: dict[str, list[Kept]] = field(default_factory=dict)


class LayerSplit:
    """A model and those of its layers after which it is split.

    Args:
        model: whose forward is called. Nothing of it is changed but while a run lasts.
        layers: dotted names, as of `named_modules`, in the order in which they run. A hidden state is a layer's output, or the
            first tensor of a tuple, list or dict of outputs.
        where: the model's name, for messages.

    Raises:
        AudiokdError: no such layer (the nearest are named), or none, or one twice.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], where: str = ""):
        known = dict(model.named_modules())
        for name in layers:
            if not name or name not in known:
                near = difflib.get_close_matches(name, [n for n in known if n], 3, 0.0)
                what = f"no layer {name!r} in this {type(model).__name__}"
                raise AudiokdError(what, where=where, fix=f"near ones: {', '.join(near)}")
        if not layers or len({id(known[n]) for n in layers}) < len(layers):
            raise AudiokdError(f"layers {', '.join(layers) or 'none'}", where=where, fix="name each, and once")
        self.model, self.layers, self.where = model, tuple(layers), where
        self.modules = {n: known[n] for n in layers}

    def run(self, *args: Any, until: str = "", **kwargs: Any) -> Passed:
        """The model's forward of `args` and `kwargs`.

        Args:
            args, kwargs: of the model.
            until: layer after which to stop; runs to the end where empty.

        Raises:
            AudiokdError: a layer that does not run, runs twice, or in another order than the split's.
        """
        passed = Passed(_args=(args, kwargs))
        self._forward(passed, args, kwargs, until, _Recorder(self, passed))
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
            AudiokdError: a state of another shape.
        """
        own = passed.states[layer]
        if state.shape != own.shape:
            what = f"a state of {list(state.shape)} for the layer {layer}, which gives {list(own.shape)}"
            raise AudiokdError(what, where=self.where, fix="decode a message to the layer's own width and positions")
        again = Passed()
        # a copy: what comes next may change it in place
        handed = [
            *passed._before[layer],
            Kept(self.modules[layer], _with_state(passed._outputs[layer], state.clone()), (), given=True),
        ]
        above = self.layers[self.layers.index(layer) + 1 :]
        with _handing_out(handed):
            self._forward(again, *passed._args, until, _Watcher({n: self.modules[n] for n in above}, again))
        return again

    def _forward(self, to: Passed, args: Any, kwargs: Any, until: str, hooks: _Watcher) -> None:
        with ExitStack() as stack:
            hooks.until = until
            hooks.put(stack, self.model)
            try:
                to.output = self.model(*args, **kwargs)
            except _Reached:
                return
        if missing := [n for n in hooks.layers if n not in to.states]:
            raise AudiokdError(f"the layer {missing[0]} does not run in this model's forward", where=self.where)


class _Reached(Exception):
    """A run has come to the layer where it ends."""


class _Watcher:
    """Takes the states of layers as they come."""

    def __init__(self, layers: dict[str, nn.Module], to: Passed):
        self.layers, self.to, self.until = layers, to, ""
        self.names = {id(m): n for n, m in layers.items()}

    def put(self, stack: ExitStack, model: nn.Module) -> None:
        """Hook what is to be watched."""
        for m in self.layers.values():
            stack.callback(m.register_forward_hook(self.ended).remove)

    def ended(self, module: nn.Module, args: Any, output: Any) -> None:
        name = self.names.get(id(module))
        if name is not None:
            self.reached(name, output)
            if name == self.until:
                raise _Reached

    def reached(self, name: str, output: Any) -> None:
        self.to.states[name] = _state_of(output).clone()


class _Recorder(_Watcher):
    """Also keeps, for each layer, the outermost modules that had ended when it did."""

    def __init__(self, split: LayerSplit, to: Passed):
        super().__init__(split.modules, to)
        self.split = split
        self.open: list[list[Kept]] = [[]]  # of each call that has not ended, the calls in it that have

    def put(self, stack: ExitStack, model: nn.Module) -> None:
        for m in model.modules():
            stack.callback(m.register_forward_pre_hook(self.began).remove)
            stack.callback(m.register_forward_hook(self.ended).remove)

    def began(self, module: nn.Module, args: Any) -> None:
        self.open.append([])

    def ended(self, module: nn.Module, args: Any, output: Any) -> None:
        self.open.pop()
        if id(module) in self.names:  # its own output is replaced
            self.to._before[self.names[id(module)]] = [k for level in self.open for k in level]
        self.open[-1].append(_kept(module, output))
        super().ended(module, args, output)

    def reached(self, name: str, output: Any) -> None:
        due = self.split.layers[len(self.to.states)] if len(self.to.states) < len(self.split.layers) else None
        if name != due:
            what = f"the layer {name} runs a second time" if name in self.to.states else f"{name} runs before {due}"
            fix = "split where a forward comes by once, the lower layer first"
            raise AudiokdError(what, where=self.split.where, fix=fix)
        super().reached(name, output)
        self.to._outputs[name] = _with_state(output, self.to.states[name])


@contextmanager
def _handing_out(kept: Sequence[Kept]) -> Iterator[None]:
    """Let modules give, in their first calls, what they gave before."""
    queues: dict[int, tuple[nn.Module, list[Kept]]] = {}
    for k in kept:
        queues.setdefault(id(k.module), (k.module, []))[1].append(k)
    own = {i: module.__dict__.get("forward") for i, (module, _) in queues.items()}
    try:
        for module, queue in queues.values():
            module.forward = _give(module.forward, queue)  # type: ignore[method-assign]
        yield
    finally:
        for i, (module, _) in queues.items():
            del module.__dict__["forward"]
            if own[i] is not None:
                module.__dict__["forward"] = own[i]


def _give(forward: Any, queue: list[Kept]) -> Any:
    def given(*args: Any, **kwargs: Any) -> Any:
        kept = queue.pop(0) if queue else None
        return kept.output if kept is not None and kept.whole else forward(*args, **kwargs)

    return given


def _kept(module: nn.Module, output: Any) -> Kept:
    return Kept(module, output, _versions(output))


def _versions(output: Any) -> tuple[int | None, ...]:
    if isinstance(output, Tensor):
        return (None if output.is_inference() else output._version,)
    values = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    return tuple(v for x in values for v in _versions(x))


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
        return type(output)(**{k: state if i == 0 else v for i, (k, v) in enumerate(output.items())})
    if hasattr(output, "_fields"):
        return type(output)(state, *output[1:])
    return type(output)((state, *output[1:]))

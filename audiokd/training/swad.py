r"""SWAD: the mean of the weights along a valley of the validation loss (Cha et al., NeurIPS 2021, arXiv 2102.08604, algorithm 1).

Weights are averaged over every step from t_s on until t_e. Validations have losses l_1, l_2, ...: t_s is the first one with which
no loss of the N_s - 1 validations after it is lower; from there the losses may be as high as r / N_s times the sum of these N_s
losses. t_e is the validation before the first N_e in a row that all are higher; if that never comes, the last one.

The steps between two validations are one stretch with one mean, so t_s and t_e lie on validations. Running statistics of batch norm
are averaged as the weights are. torch's `AveragedModel` would keep a copy of what is not trained as well, and has no mean of
stretches of unlike length; this is its running mean of the tensors that change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.training.settings import SwadSettings


@dataclass
class Mean:
    """Mean of tensors by name over `steps` steps."""

    steps: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def add(self, weights: Mapping[str, Tensor], steps: int = 1) -> None:
        """What is the mean of `steps` further steps."""
        if not steps:
            return
        self.steps += steps
        if self.steps == steps:
            self.weights = {k: v.detach().clone() for k, v in weights.items()}
            return
        self.weights = {k: self.weights[k].to(v.device) for k, v in weights.items()}  # a resumed run's are on the CPU
        torch._foreach_lerp_([*self.weights.values()], [v.detach() for v in weights.values()], steps / self.steps)


class Swad:
    """The averages of a run as it goes.

    Args:
        settings: when the valley begins and ends.
        model: of the weights.

    Raises:
        AudiokdError: numbers of validations that make no sense.
    """

    def __init__(self, settings: SwadSettings, model: nn.Module):
        if settings.n_converge < 1 or settings.n_tolerance < 1:
            raise AudiokdError("SWAD needs one validation at least to begin and to end", where="swad")
        self.settings, self.model = settings, model
        self.judged, self.bad, self.ended = 0, 0, False
        self.threshold: float | None = None
        self.losses: deque[float] = deque(maxlen=settings.n_converge)
        #: stretches that may turn out to be of the valley; the one since the last validation
        self.before: deque[Mean] = deque(maxlen=settings.n_converge - 1)
        self.stretch = Mean()
        #: until the last loss below the threshold, and since
        self.valley, self.pending = Mean(), Mean()

    def add(self) -> None:
        """Count the model's weights, after a step."""
        if not self.ended:
            self.stretch.add(dict(_changing(self.model)))

    def judge(self, loss: float, step: int) -> None:
        """Take the validation loss after `step` steps; one that was taken before (a resumed run validates again) counts once."""
        if self.ended or step <= self.judged:
            return
        self.judged = step
        stretch, self.stretch = self.stretch, Mean()
        if self.threshold is not None:
            self._go_on(loss, stretch, self.threshold)
            return
        self.losses.append(loss)
        self.before.append(stretch)
        if len(self.losses) == self.settings.n_converge and self.losses[0] <= min(self.losses):
            self.threshold = sum(self.losses) / len(self.losses) * (1 + self.settings.tolerance)
            for later, of in zip([*self.losses][1:], self.before):
                self._go_on(later, of, self.threshold)
            self.before.clear()

    def _go_on(self, loss: float, stretch: Mean, threshold: float) -> None:
        self.pending.add(stretch.weights, stretch.steps)
        self.bad = self.bad + 1 if loss > threshold else 0
        if not self.bad:
            self.valley.add(self.pending.weights, self.pending.steps)
        self.ended = self.bad == self.settings.n_tolerance
        if not self.bad or self.ended:
            self.pending = Mean()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        plain = {k: getattr(self, k) for k in ("judged", "bad", "ended", "threshold")}
        means = {k: vars(getattr(self, k)) for k in ("stretch", "valley", "pending")}
        return plain | means | {"losses": [*self.losses], "before": [vars(m) for m in self.before]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What `state_dict` gave."""
        for key in ("judged", "bad", "ended", "threshold"):
            setattr(self, key, state[key])
        for key in ("stretch", "valley", "pending"):
            setattr(self, key, Mean(**state[key]))
        self.losses.extend(state["losses"])
        self.before.extend(Mean(**m) for m in state["before"])


def valley_of(state: Mapping[str, Any]) -> Mean:
    """The average of a run by `Swad.state_dict`, as if it had ended there; of no steps where none has begun."""
    found = Mean()
    for key in ("valley", "pending"):
        found.add(state[key]["weights"], state[key]["steps"])
    return found


def averaged(checkpoint: Mapping[str, Any], where: str, prefix: str) -> dict[str, Any]:
    """A run's checkpoint with the average in the place of the model's weights.

    Args:
        checkpoint: with `swad`.
        where: for the message.
        prefix: of the model's names in its `state_dict`.

    Raises:
        AudiokdError: the run averages nothing, or no valley has begun in it yet.
    """
    if "swad" not in checkpoint:
        raise AudiokdError("this run averages no weights", where=where, fix="--checkpoint best or last")
    mean = valley_of(checkpoint["swad"])
    if not mean.steps:
        fix = "--checkpoint best or last; or train on, or validate more often (run.val_every)"
        raise AudiokdError("SWAD has averaged nothing: the validation loss still fell at the end", where=where, fix=fix)
    return {
        **checkpoint,
        "state_dict": {**checkpoint["state_dict"], **{prefix + k: v for k, v in mean.weights.items()}},
    }


def _changing(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Trained parameters, and what is kept of buffers that are no integers."""
    kept = model.state_dict(keep_vars=True)
    return (
        (k, v) for k, v in kept.items() if (v.requires_grad if isinstance(v, nn.Parameter) else v.is_floating_point())
    )

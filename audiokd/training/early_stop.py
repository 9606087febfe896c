"""A run that ends where its validation loss has stood still: at the same step for a run that was killed."""

from __future__ import annotations

from typing import Any


class EarlyStop:
    """Whether enough validations in a row had no lower loss.

    Args:
        patience: how many are enough; 0 never are.

    Attributes:
        done: they are.
    """

    def __init__(self, patience: int):
        self.patience = patience
        self._best, self._bad, self._step = float("inf"), 0, 0

    @property
    def done(self) -> bool:
        return 0 < self.patience <= self._bad

    def judge(self, loss: float, step: int) -> None:
        """Hear the validation loss of `step`; what was heard before is not heard again."""
        if step <= self._step:
            return
        self._step = step
        self._best, self._bad = (loss, 0) if loss < self._best else (self._best, self._bad + 1)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "bad": self._bad, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best, self._bad, self._step = (state[k] for k in ("best", "bad", "step"))

"""A learning rate that falls where the validation loss stands still: the same for a run that was killed.

torch's `ReduceLROnPlateau` counts its calls, and a resumed run may validate one step twice: this one goes by the step.
"""

from __future__ import annotations

from typing import Any


class Plateau:
    """What the learning rate is multiplied by, `scale`.

    Args:
        patience: validations in a row without a lower loss that are let go; after one more the scale falls. 0 leaves it at 1.
        factor: that it falls by.
        threshold: share of the lowest loss by which a lower one is lower at least, as of torch.
    """

    def __init__(self, patience: int, factor: float, threshold: float = 1e-4):
        self.patience, self.factor, self.threshold = patience, factor, threshold
        self.scale, self._best, self._bad, self._step = 1.0, float("inf"), 0, 0

    def judge(self, loss: float, step: int) -> None:
        """Hear the validation loss of `step`; what was heard before is not heard again."""
        if not self.patience or step <= self._step:
            return
        self._step = step
        if loss < self._best * (1 - self.threshold):
            self._best, self._bad = loss, 0
            return
        self._bad += 1
        if self._bad > self.patience:
            self.scale, self._bad = self.scale * self.factor, 0

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale, "best": self._best, "bad": self._bad, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale, self._best, self._bad, self._step = (state[k] for k in ("scale", "best", "bad", "step"))

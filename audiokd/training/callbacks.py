"""What a person sees of a run while it goes."""

from __future__ import annotations

from typing import Any

import lightning as L

from audiokd.progress import Progress, progress


class ShowProgress(L.Callback):
    """One bar over the whole run by the module's own step count, with the last validation beside it."""

    def __init__(self) -> None:
        self._context: Any = None
        self._bar: Progress | None = None

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        if trainer.is_global_zero:
            self._context = progress("train", module.run.max_steps, "steps")
            self._bar = self._context.__enter__()
            self._bar.update(module.iteration)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *args: Any) -> None:
        if self._bar is not None:
            shown = getattr(module, "shown", ("mel", "distill"))
            note = " ".join(f"{k} {module.val_metrics[k]:.4g}" for k in shown if k in module.val_metrics)
            self._bar.update(module.iteration, f"val {note}" if note else "")

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        self._close()

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = self._bar = None

"""Checkpoints that are whole or absent, and that nothing is unpickled from."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import CheckpointIO

from audiokd.files import atomic_write


class AtomicCheckpointIO(CheckpointIO):
    """torch.save through a temporary file and fsync; loads tensors and plain values only (`weights_only=True`)."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with atomic_write(path) as f:
            f.write(buffer.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class RunCheckpoint(L.Callback):
    """Writes last.ckpt every `every` steps by the module's own count, best.ckpt when validation loss improves, and step<N>.ckpt
    of the module's `kept_steps`.

    Args:
        folder: where to.
        every: steps.
    """

    def __init__(self, folder: Path, every: int):
        self.folder, self.every, self.best = folder, every, float("inf")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *args: Any) -> None:
        # at the last step only after its validation, for a run whose last.ckpt says so is done
        if module.iteration % self.every == 0 and module.iteration < module.run.max_steps:
            trainer.save_checkpoint(self.folder / "last.ckpt")
        if module.iteration in module.kept_steps:
            trainer.save_checkpoint(self.folder / f"step{module.iteration}.ckpt")

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        if module.iteration == 0 or not module.val_metrics:  # an untrained model is nobody's best
            return
        better = module.criterion() < self.best
        if better:
            self.best = module.criterion()
            trainer.save_checkpoint(self.folder / "best.ckpt")
        if module.done or (better and module.iteration % self.every == 0):
            trainer.save_checkpoint(self.folder / "last.ckpt")  # so that a resumed run knows of this best

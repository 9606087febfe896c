"""Crops to a trainer: every Trainer epoch is the stretch from the module's own step to its next validation."""

from __future__ import annotations

from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from audiokd.data.crops import CropDataset, StepSampler, collate
from audiokd.data.utterance import Utterance
from audiokd.training.settings import CropSettings, RunSettings


class CropDataModule(L.LightningDataModule):
    """Random crops to train on, the first seconds of each utterance to validate on.

    Args:
        train, dev: utterances.
        sample_rate: Hz that the model takes.
        settings, run: configuration.
        crops: independent crops of an utterance and step.
    """

    def __init__(
        self,
        train: list[Utterance],
        dev: list[Utterance],
        sample_rate: int,
        settings: CropSettings,
        run: RunSettings,
        crops: int = 1,
    ):
        super().__init__()
        self.train_set = CropDataset(train, sample_rate, settings.crop_s, run.seed, crops)
        dev = dev[: settings.val_utterances]
        self.dev_set = CropDataset(dev, sample_rate, settings.val_crop_s, None, crops)
        self.settings, self.run = settings, run

    def _loader(self, dataset: CropDataset, batches: Any) -> DataLoader:
        return DataLoader(
            dataset,  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=self.settings.num_workers,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
        )

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        start = self.trainer.lightning_module.iteration
        return self.steps(start, min((start // self.run.val_every + 1) * self.run.val_every, self.run.max_steps))

    def steps(self, start: int, stop: int) -> DataLoader:
        """The training batches of steps `start` to `stop` - 1 of this process, whichever have been taken already."""
        assert self.trainer is not None
        sampler = StepSampler(
            len(self.train_set.utterances),
            self.settings.batch_size,
            start,
            stop,
            self.run.seed,
            self.trainer.global_rank,
            self.trainer.world_size,
        )
        return self._loader(self.train_set, sampler)

    def val_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        mine = list(range(self.trainer.global_rank, len(self.dev_set.utterances), self.trainer.world_size))
        size = self.settings.batch_size
        batches = [[(0, i) for i in mine[k : k + size]] for k in range(0, len(mine), size)]
        return self._loader(self.dev_set, batches)

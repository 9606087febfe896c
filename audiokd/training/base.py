"""What every run shares: our own step counter, a step that is a pure function of (seed, step), and metrics by name.

A step is one call of `training_step`, however many optimisers it moves. Lightning's own `global_step` counts optimiser
updates, and its loops cannot resume in mid-epoch; so a Trainer "epoch" here is the stretch up to the next validation, the
loader starts at our counter, and the loops' state is not restored at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from torch import Tensor, nn

from audiokd.data.crops import rng_of
from audiokd.errors import AudiokdError
from audiokd.nn.weights import check_weights, weights_sha256
from audiokd.training.settings import RunSettings


class RunModule(L.LightningModule):
    """Base of every method's module.

    Attributes:
        iteration: steps done; saved in checkpoints and all that resume needs besides weights and optimisers.
        val_metrics: means of the last validation, `loss` among them.
        crops: independent crops of an utterance that a step takes.
        exported: where in the state dict the model stands that `audiokd export` writes.
        kept_steps: whose checkpoints are kept.
        frozen_sha256: of `sign_frozen`, by name.
    """

    automatic_optimization = False
    crops = 1
    exported = "generator."
    kept_steps: frozenset[int] = frozenset()

    def __init__(self, run: RunSettings):
        super().__init__()
        self.run = run
        self.iteration = 0
        self.frozen_sha256: dict[str, str] = {}
        self.val_metrics: dict[str, float] = {}
        self._val_sums: dict[str, Tensor] = {}
        self._val_rows = 0

    def reseed(self) -> None:
        """Make whatever is drawn in this step depend on (seed, step, rank) alone: no RNG state needs saving."""
        torch.manual_seed(int(rng_of(self.run.seed, "step", self.iteration, self.global_rank).integers(2**62)))

    def check_finite(
        self, loss: Tensor, batch: dict[str, Any], parts: dict[str, Tensor] | None = None, name: str = "loss"
    ) -> None:
        """Stop a run before it learns from a loss that is no number, and keep the batch that gave it.

        Args:
            loss: scalar.
            batch: what the step was given, with `ids`.
            parts: scalars that `loss` is made of, by name.
            name: of the scalar, where it is another than the loss.

        Raises:
            AudiokdError: `loss` is not finite; the step, the utterances, the parts that are not either and the file that the batch
                was written to are named.
        """
        if torch.isfinite(loss):
            return
        what = f"the {name} is not finite at step {self.iteration}"
        if parts:
            what += ": " + (", ".join(k for k, v in parts.items() if not torch.isfinite(v)) or "their sum")
        fix = "lower optim.lr, or try precision 32-true; look at the utterances' audio"
        where = f"utterances {batch['ids']}"
        if self._trainer is not None:  # a step by hand has no folder
            path = Path(self.trainer.default_root_dir) / f"not_finite.step{self.iteration}.rank{self.global_rank}.pt"
            torch.save({k: v.cpu() if isinstance(v, Tensor) else v for k, v in batch.items()}, path)
            where += f", kept in {path}"
        raise AudiokdError(what, where=where, fix=fix)

    def clip_gradient(self, parameters: Iterable[nn.Parameter], most: float, batch: dict[str, Any]) -> Tensor:
        """Scale the gradient down to the norm `most` (0 is any), and stop a run before it steps by one that is no number: the next
        batch's loss would be the first to tell, of weights that are lost.

        Args:
            parameters: that have the gradient.
            most: norm, of the gradient without float16's loss scale.
            batch: as of `check_finite`.

        Returns:
            The norm before, scalar, without the loss scale.

        Raises:
            AudiokdError: it is not finite, as of `check_finite`; in float16 the loss scaler leaves such a step out.
        """
        scale = 1.0 if self.loss_scaler is None else float(self.loss_scaler.get_scale())
        norm = nn.utils.clip_grad_norm_(parameters, scale * most or float("inf")) / scale
        if self.loss_scaler is None:
            self.check_finite(norm, batch, name="gradient")
        return norm

    @property
    def loss_scaler(self) -> Any:
        """Of float16; None of other precisions and where there is no trainer."""
        return None if self._trainer is None else getattr(self.trainer.precision_plugin, "scaler", None)

    def step_done(self, metrics: dict[str, Any]) -> None:
        """Count the step; write `metrics` (floats or scalar tensors) to the logs when it is their turn.

        Training rows are rank 0's own; validation's are means over all ranks.
        """
        self.iteration += 1
        if self.iteration % self.run.log_every == 0 or self.iteration == 1:
            self.write_metrics(
                "train",
                {k: float(v.detach() if isinstance(v, Tensor) else v) for k, v in metrics.items()}
                | self.extra_metrics(),
            )
        if self.iteration >= self.run.max_steps:
            self.trainer.should_stop = True

    @property
    def done(self) -> bool:
        """Whether there is no step left."""
        return self.iteration >= self.run.max_steps

    def extra_metrics(self) -> dict[str, float]:
        """Metrics gathered over the steps since the last row."""
        return {}

    def write_metrics(self, split: str, metrics: dict[str, float]) -> None:
        """One row to every logger at our own step count."""
        for logger in self.loggers:
            logger.log_metrics({f"{split}/{k}": v for k, v in metrics.items()}, step=self.iteration)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        if batch["ids"]:  # none of it may be readable
            self.validate_batch(batch)

    def validate_batch(self, batch: dict[str, Any]) -> None:
        """Give `add_val` what the model makes of a validation batch, which has one row at least."""
        raise NotImplementedError

    def add_val(self, metrics: dict[str, Tensor], rows: int) -> None:
        """Add one validation batch's means over its `rows` rows: whatever is counted, utterances or frames."""
        for k, v in metrics.items():
            self._val_sums[k] = self._val_sums.get(k, torch.zeros((), device=self.device)) + v.detach() * rows
        self._val_rows += rows

    def val_means(self) -> dict[str, float]:
        """Means over the validation rows of all processes, however they are spread over batches and processes.

        Raises:
            AudiokdError: there is not one row.
        """
        parts = self.of_processes(({k: float(v) for k, v in self._val_sums.items()}, self._val_rows))
        count = sum(rows for _, rows in parts)
        if not count:
            fix = "errors.jsonl in the run's folder says why of each"
            raise AudiokdError("not one utterance of the validation set can be read", fix=fix)
        names = dict.fromkeys(k for sums, _ in parts for k in sums)
        return {k: sum(sums.get(k, 0.0) for sums, _ in parts) / count for k in names}

    def of_processes(self, mine: Any) -> list[Any]:
        """What each process has of what is `mine` here, plain values or tensors on the CPU; every process has to ask."""
        if self.trainer.world_size == 1:
            return [mine]
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, mine)
        return parts

    def on_validation_epoch_end(self) -> None:
        self.val_metrics = self.val_means() | self.extra_metrics()
        if self.trainer.is_global_zero:
            self.write_metrics("val", self.val_metrics)
        self._val_sums, self._val_rows = {}, 0

    def criterion(self) -> float:
        """What best.ckpt has the smallest of."""
        return self.val_metrics["loss"]

    def sign_frozen(self) -> None:
        """Note the sha256 of the networks that are learnt from and do not change (`audiokd.teachers.base.FrozenTeacher` and its
        like hide them from `state_dict`), as they were loaded: a folder that is named in the settings may hold others by the time
        that a run goes on."""
        held = {f"{name}.net": vars(m).get("net") for name, m in self.named_modules()}
        held["teacher"] = vars(self).get("teacher")
        self.frozen_sha256 = {name: weights_sha256(net) for name, net in held.items() if isinstance(net, nn.Module)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["iteration"], checkpoint["done"] = self.iteration, self.done
        checkpoint["frozen_sha256"] = self.frozen_sha256
        checkpoint.pop("loops", None)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        fix = "go on with the settings that the run began with, or begin another in a new folder"
        check_weights(self.state_dict(), checkpoint["state_dict"], "the run's checkpoint", fix)
        was = checkpoint.get("frozen_sha256", {})  # no run of an earlier release has it
        if changed := [name for name, sha256 in self.frozen_sha256.items() if was.get(name, sha256) != sha256]:
            what = f"{' and '.join(changed)} has other weights than when the run began"
            raise AudiokdError(
                what, where="the run's checkpoint", fix="give it back what it learnt from, or begin another"
            )
        self.iteration = checkpoint["iteration"]
        checkpoint.pop("loops", None)


def share_of_rows(rows: int, device: torch.device) -> float | Tensor:
    """What turns a process' mean over its rows into its part of the mean over all processes' rows, once gradients are
    averaged over processes: masks give every process another number of rows."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return 1.0
    total = torch.tensor(float(rows), device=device)
    dist.all_reduce(total)
    return rows * dist.get_world_size() / total

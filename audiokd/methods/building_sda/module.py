"""Building extraction: learning from masks, from a teacher's answers, from a peer; one floor for all four steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.losses.bernoulli_kl import bernoulli_kl
from audiokd.losses.mask_loss import mask_loss
from audiokd.methods.building_sda.model import BuildingModel
from audiokd.methods.building_sda.settings import BuildingOptim, BuildingSettings
from audiokd.nn.batch_norm import statistics_kept
from audiokd.training.base import RunModule
from audiokd.training.plateau import Plateau
from audiokd.training.schedules import slanted_triangular

NORMS = nn.modules.batchnorm._NormBase


class BuildingModule(RunModule):
    """The network; of dml its peer too, of kd the teacher out of torch's sight. best.ckpt has the best validation IoU.

    IoU is that of all pixels of the validation set at a probability of 0.5.

    Args:
        settings: configuration.
        model: what is exported.
        peer: of dml.
        teacher: of kd.
    """

    shown = ("iou", "loss")
    exported = "model."

    def __init__(
        self,
        settings: BuildingSettings,
        model: BuildingModel,
        peer: BuildingModel | None = None,
        teacher: BuildingModel | None = None,
    ):
        super().__init__(settings.run)
        self.settings, self.model, self.peer = settings, model, peer
        loss = settings.loss
        self.of_labels = mask_loss(loss.name, loss.gamma, loss.alpha, loss.beta)
        # past nn.Module's registry: no optimiser, checkpoint or .train() reaches it
        self.__dict__["teacher"] = None if teacher is None else teacher.eval().requires_grad_(False)
        self.stages = {k: m.segmenter.blocks() for k, m in self._learners()}
        o = settings.optim
        falls = o.schedule == "plateau"
        self.plateaus = {k: Plateau(o.patience, o.factor) for k, _ in self._learners()} if falls else {}
        self._counts: dict[str, list[float]] = {}
        self._set_phase()

    def _apply(self, fn: Any, recurse: bool = True) -> BuildingModule:
        if self.teacher is not None:
            self.teacher._apply(fn)
        return super()._apply(fn, recurse)

    def _learners(self) -> Iterator[tuple[str, BuildingModel]]:
        yield "model", self.model
        if self.peer is not None:
            yield "peer", self.peer

    def _scored(self) -> Iterator[tuple[str, BuildingModel]]:
        yield from self._learners()
        if self.teacher is not None:
            yield "teacher", self.teacher

    @property
    def phase(self) -> int:
        """Stages of the encoder that learn, from the deepest on."""
        phase_steps = self.settings.unfreeze.phase_steps
        return (
            min(self.iteration // phase_steps, len(self.stages["model"])) if phase_steps else len(self.stages["model"])
        )

    def _set_phase(self) -> None:
        """Freeze the encoder's stages whose turn has not come, and let all others learn."""
        frozen = {name for stage in self.stages["model"][self.phase :] for name in stage}
        for name, p in self.model.segmenter.named_parameters():
            p.requires_grad_(name not in frozen)
        self._phase_set = self.phase
        self.train(self.training)

    def train(self, mode: bool = True) -> BuildingModule:
        """As of torch, but norms of a frozen stage stay as they are used: their statistics would drift from its weights."""
        super().train(mode)
        for m in self.model.modules():
            own = list(m.parameters(recurse=False))
            if isinstance(m, NORMS) and own and not any(p.requires_grad for p in own):
                m.eval()
        return self

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        o, optimizers = self.settings.optim, []
        for name, model in self._learners():
            named = dict(model.segmenter.named_parameters())
            of_encoder = {n for stage in self.stages[name] for n in stage}
            parts = [[n for n in named if n not in of_encoder], *self.stages[name]]
            groups = [
                {"params": [named[n] for n in part], "lr": o.lr * o.block_decay**k, "scale": o.block_decay**k}
                for k, part in enumerate(parts)
            ]
            optimizers.append(optimizer_of(o, groups))
        return optimizers

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        if self.phase != self._phase_set:
            self._set_phase()
        found: Any = self.optimizers()
        optimizers = found if isinstance(found, list) else [found]
        rate = self.settings.optim.lr
        if self.settings.optim.schedule == "slanted_triangular":
            rate = slanted_triangular(self.iteration, peak=rate, total_steps=self.run.max_steps)
        for optimizer, (name, _) in zip(optimizers, self._learners()):
            scale = self.plateaus[name].scale if self.plateaus else 1.0
            for group in optimizer.param_groups:
                group["lr"] = rate * scale * group["scale"]
        rates = {"lr": optimizers[0].param_groups[0]["lr"]}
        if self.peer is not None:
            self.step_done(self._mutual(batch, optimizers) | rates)
            return
        parts = self.losses(batch)
        loss = torch.stack([*parts.values()]).sum()
        norm = self._update(self.model, loss, parts, optimizers[0], batch)
        self.step_done({"loss": loss, **parts, "grad_norm": norm, **rates})

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Parts of the loss of a batch, weighted, by name: `labels`, and of kd `teacher`."""
        logits, s = self.model(batch["pixel_values"]), self.settings.loss
        labels = self.of_labels(logits, batch["masks"])
        if self.teacher is None:
            return {"labels": labels}
        with torch.no_grad():
            said = self.teacher(batch["pixel_values"])
        return {
            "labels": (1 - s.share) * labels,
            "teacher": s.share * bernoulli_kl(logits, said, s.temperature),
        }

    def _mutual(self, batch: dict[str, Any], optimizers: list[Any]) -> dict[str, Any]:
        """Deep mutual learning (arXiv 1706.00384, Algorithm 1): one is updated, the other then learns from what it says anew."""
        s, x, y = self.settings.loss, batch["pixel_values"], batch["masks"]
        assert self.peer is not None
        others = self.peer(x)
        told: dict[str, Any] = {}
        for name, model, optimizer in zip(("model", "peer"), (self.model, self.peer), optimizers):
            if name == "model":
                logits, said = model(x), others
            else:
                with torch.no_grad(), statistics_kept(self.model):
                    said = self.model(x)
                logits = others
            parts = {
                "labels": self.of_labels(logits, y),
                "mutual": s.mutual * bernoulli_kl(logits, said, s.temperature),
            }
            loss = torch.stack([*parts.values()]).sum()
            told["grad_norm" if name == "model" else "peer_grad_norm"] = self._update(
                model, loss, parts, optimizer, batch
            )
            told |= {"loss" if name == "model" else "peer_loss": loss}
            told |= {k if name == "model" else f"peer_{k}": v for k, v in parts.items()}
        return told

    def _update(
        self, model: BuildingModel, loss: Tensor, parts: dict[str, Tensor], optimizer: Any, batch: dict[str, Any]
    ) -> Tensor:
        self.check_finite(loss, batch, parts)
        optimizer.zero_grad()
        self.manual_backward(loss)
        learning = [p for p in model.parameters() if p.grad is not None]
        norm = self.clip_gradient(learning, self.settings.optim.grad_clip, batch)
        optimizer.step()
        return norm

    def validate_batch(self, batch: dict[str, Any]) -> None:
        """Counts of pixels, hits, false positives and false negatives, and the labels' loss; the teacher's beside the student's."""
        y = batch["masks"] > 0.5
        for name, model in self._scored():
            logits = model(batch["pixel_values"]).float()
            said = logits > 0
            counts = [float(x.sum()) for x in (said & y, said & ~y, ~said & y)]
            loss = float(self.of_labels(logits, batch["masks"])) * len(y)
            sums = self._counts.setdefault(name, [0.0] * 5)
            for k, v in enumerate((*counts, loss, float(len(y)))):
                sums[k] += v

    def val_means(self) -> dict[str, float]:
        """`iou`, `f1` and `loss`, the mean over pictures; of dml those of the peer too, of kd those of the teacher."""
        parts, self._counts = self.of_processes(self._counts), {}
        if not any(parts):
            return super().val_means()  # which says why
        found: dict[str, float] = {}
        for name, _ in self._scored():
            tp, fp, fn, loss, rows = (sum(p[name][k] for p in parts if name in p) for k in range(5))
            prefix = "" if name == "model" else f"{name}_"
            found |= {
                f"{prefix}iou": tp / max(tp + fp + fn, 1.0),
                f"{prefix}f1": 2 * tp / max(2 * tp + fp + fn, 1.0),
                f"{prefix}loss": loss / rows,
            }
        return found

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        for name, plateau in self.plateaus.items():
            plateau.judge(1 - self.val_metrics["iou" if name == "model" else "peer_iou"], self.iteration)

    def criterion(self) -> float:
        return -self.val_metrics["iou"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["plateaus"] = {name: plateau.state_dict() for name, plateau in self.plateaus.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        for name, plateau in self.plateaus.items():
            plateau.load_state_dict(checkpoint["plateaus"][name])
        self._set_phase()


def optimizer_of(o: BuildingOptim, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimiser of that name over groups that have their own rates."""
    if o.name in ("sgd", "rmsprop"):
        cls: Any = torch.optim.SGD if o.name == "sgd" else torch.optim.RMSprop
        return cls(groups, lr=o.lr, weight_decay=o.weight_decay, momentum=o.momentum)
    cls = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad, "nadam": torch.optim.NAdam}[o.name]
    return cls(groups, lr=o.lr, weight_decay=o.weight_decay)

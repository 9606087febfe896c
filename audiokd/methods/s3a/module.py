"""S3A's self-training: a student learns, from strong views, what its average over time says of weak ones, and cluster names."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.losses.pseudo_labels import confident_labels, pseudo_label_loss
from audiokd.methods.s3a.cvpr import Found
from audiokd.methods.s3a.data import embed_all
from audiokd.methods.s3a.model import S3AModel
from audiokd.methods.s3a.settings import S3ASettings
from audiokd.methods.s3a.structure import structure
from audiokd.nn.ema import ema_update
from audiokd.training.base import RunModule
from audiokd.training.layer_decay import ordered_decay_groups
from audiokd.training.optim import set_learning_rate
from audiokd.training.schedules import linear

OUT_OF_VOCABULARY = -1


class S3AModule(RunModule):
    """Student and teacher. No dropout and the batch norms' statistics of the pair model: CLIP's tower has neither.

    Args:
        settings: configuration.
        model: untrained.
        ids: of the training items.
        found: their clusters and names; None without the structural loss.
        truth: number of the name of validation items by id, where it is known; OUT_OF_VOCABULARY where the vocabulary lacks it.

    Raises:
        AudiokdError: both losses weigh nothing, or the structural one has no clusters.
    """

    shown = ("accuracy", "information", "loss")
    exported = "student."
    labels: Tensor
    names: Tensor

    def __init__(
        self,
        settings: S3ASettings,
        model: S3AModel,
        ids: Sequence[str],
        found: Found | None,
        truth: Mapping[str, int] | None = None,
    ):
        super().__init__(settings.run)
        self.settings, self.truth = settings, dict(truth or {})
        w = settings.loss
        if not w.individual and not w.structural:
            raise AudiokdError("both losses weigh nothing", where="loss", fix="--loss.individual 1.0")
        if w.structural and found is None:
            raise AudiokdError("the structural loss needs the items' clusters", fix="audiokd.methods.s3a.cvpr.cvpr")
        self.student, self.teacher = model, copy.deepcopy(model).requires_grad_(False)
        self.index = {id: k for k, id in enumerate(ids)}
        self.clusters = np.zeros(0, dtype=np.int64) if found is None else found.clusters
        # in the checkpoint: a run that is resumed in mid-epoch goes on with the epoch's labels
        none = np.zeros(0, dtype=np.int64)
        self.register_buffer("labels", torch.from_numpy(none if found is None else found.labels))
        self.register_buffer("names", torch.from_numpy(none if found is None else found.names))
        self._seen: list[Tensor] = []
        self._said: list[tuple[int, int, int]] = []

    def train(self, mode: bool = True) -> S3AModule:
        """Both models stay in eval mode, whatever Lightning asks for."""
        super().train(mode)
        self.student.eval()
        self.teacher.eval()
        return self

    def configure_optimizers(self) -> torch.optim.Optimizer:
        o = self.settings.optim
        groups = ordered_decay_groups(self.student.pair.net, o.layer_decay, o.weight_decay)
        return torch.optim.AdamW(groups, lr=o.lr, betas=(o.beta1, o.beta2), eps=o.eps)

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch: the last batch goes on into the next one's items."""
        batch = self.settings.data.batch_size * (1 if self._trainer is None else self.trainer.world_size)
        return -(-len(self.index) // batch)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        epoch, step = divmod(self.iteration, self.epoch_steps)
        if self.settings.loss.structural and not step and epoch >= self.settings.structure.first_refresh:
            self.refresh()
        optimizer: Any = self.optimizers()
        o, e = self.settings.optim, self.settings.ema
        lr = set_learning_rate(self.iteration, o, self.run, optimizer)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        with torch.no_grad():
            said = self.teacher(batch["weak"])
        named = self.labels_of(batch["ids"]) if self.settings.loss.structural else None
        loss, parts = self.losses(self.student(batch["strong"]), said, named)
        self.check_finite(loss, batch, parts)
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = self.clip_gradient([p for p in self.student.parameters() if p.requires_grad], o.grad_clip, batch)
        optimizer.step()
        decay = linear(self.iteration, first=e.first, last=e.last, ramp_steps=e.ramp_steps)
        ema_update(self.teacher, self.student, decay)
        self.step_done({"loss": loss, **parts, "grad_norm": norm, "lr": lr, "ema": decay})

    def labels_of(self, ids: Sequence[str]) -> Tensor:
        """Structural labels [B] of training items; -1 where there is none."""
        return self.labels[torch.tensor([self.index[i] for i in ids], device=self.labels.device)]

    def losses(self, logits: Tensor, said: Tensor, named: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, scalar, and by name its parts and the share of items that the teacher is sure of.

        Args:
            logits: the student's [B, V].
            said: the teacher's [B, V].
            named: structural labels [B], -1 for none; None without that loss.
        """
        w = self.settings.loss
        labels, kept = confident_labels(said, w.threshold)
        parts: dict[str, Tensor] = {}
        total = torch.zeros((), device=logits.device)
        if w.individual:
            parts["individual"] = pseudo_label_loss(logits, labels, kept)
            total = total + w.individual * parts["individual"]
        if named is not None:
            parts["structural"] = pseudo_label_loss(logits, named.clamp(min=0), named >= 0)
            total = total + w.structural * parts["structural"]
        return total, {**parts, "confident": kept.float().mean()}

    def refresh(self) -> None:
        """Name the clusters anew by what the teacher makes of the training items now; no language model is asked."""
        data, s = self.trainer.datamodule, self.settings.structure  # type: ignore[attr-defined]
        mine = embed_all(self.teacher, data.plain_batches(self.global_rank, self.trainer.world_size))
        rows = {self.index[i]: x for ids, of in self.of_processes((mine[0], mine[1].cpu())) for i, x in zip(ids, of)}
        places = [k for k in sorted(rows) if self.clusters[k] >= 0]
        items = torch.stack([rows[k] for k in places]).to(self.device).float()
        vectors = self.teacher.class_vectors.float()
        with torch.autocast(self.device.type, enabled=False):  # as before the first step
            found = structure(items, vectors, self.clusters[places], s.rounds, s.vote, len(self.names))
        self.labels.fill_(-1)
        self.labels[torch.tensor(places, device=self.device)] = torch.from_numpy(found.labels).to(self.device)
        self.names.copy_(torch.from_numpy(found.names))

    def validate_batch(self, batch: dict[str, Any]) -> None:
        logits, embeddings = self.student(batch["plain"]), self.teacher.embed(batch["plain"])
        said, named = self.teacher.logits_of(embeddings), None
        if self.settings.loss.structural:  # of an item that was in no cluster: the nearest of the clusters' names
            nearest = said[:, self.names].argmax(-1)
            named = self.names[nearest]
        loss, parts = self.losses(logits, said, named)
        probabilities = logits.float().softmax(-1)
        entropy = -(probabilities * probabilities.clamp(min=1e-12).log()).sum(-1).mean()
        self.add_val({"loss": loss, **parts, "own_entropy": entropy}, len(logits))
        self._seen.append(probabilities.sum(0).cpu())
        mine, theirs = logits.argmax(-1).tolist(), said.argmax(-1).tolist()
        unknown = OUT_OF_VOCABULARY - 1
        self._said += [(self.truth.get(i, unknown), a, b) for i, a, b in zip(batch["ids"], mine, theirs)]

    def val_means(self) -> dict[str, float]:
        """Also, over all items: how many names the student gives, the entropy of its mean prediction, what it tells of an item
        (`information`), how often it agrees with the teacher, and accuracies where names are known. Entropies in nats."""
        means = super().val_means()
        none = torch.zeros(len(self.student.labels))  # of a process without a validation item
        parts = self.of_processes((sum(self._seen, none), self._said))
        self._seen, self._said = [], []
        said = [row for _, rows in parts for row in rows]
        mean = torch.stack([total for total, _ in parts]).sum(0).double() / len(said)
        entropy = float(-(mean * mean.clamp(min=1e-12).log()).sum())
        means |= {
            "names": float(len({mine for _, mine, _ in said})),
            "entropy": entropy,
            "information": entropy - means["own_entropy"],
            "agreement": sum(mine == theirs for _, mine, theirs in said) / len(said),
        }
        known = [row for row in said if row[0] >= OUT_OF_VOCABULARY]
        if known:
            means["accuracy"] = sum(true == mine for true, mine, _ in known) / len(known)
            means["teacher_accuracy"] = sum(true == theirs for true, _, theirs in known) / len(known)
        return means

    def criterion(self) -> float:
        """No label says which checkpoint is best, and both losses and agreement are best where all items get one name: the mutual
        information of item and name is not."""
        return -self.val_metrics["information"]

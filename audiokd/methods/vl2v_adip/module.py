"""The steps of VL2V and the baselines on its floor: one loss each, all else is shared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.losses.embedding_cosine import embedding_cosine
from audiokd.losses.logit_kl import logit_kl
from audiokd.methods.vl2v_adip.model import Answer, VL2VModel
from audiokd.methods.vl2v_adip.settings import VL2VLoss, VL2VSettings
from audiokd.teachers.black_box import BlackBox
from audiokd.teachers.text_bank import TextBank
from audiokd.training.base import RunModule
from audiokd.training.swad import Swad


class Target(NamedTuple):
    """What a batch is drawn to.

    Attributes:
        y: classes [B].
        said: the teacher's embeddings [B, D].
        texts: class vectors [C, D].
        scale: what cosines with them are multiplied by.
    """

    y: Tensor
    said: Tensor
    texts: Tensor
    scale: float


def _to_both(a: Answer, t: Target, s: VL2VLoss) -> dict[str, Tensor]:
    return {"embedding_and_text": embedding_cosine(a.embedding, t.said, t.texts[t.y], s.share)}


def _to_embedding(a: Answer, t: Target, s: VL2VLoss) -> dict[str, Tensor]:
    return {"embedding": embedding_cosine(a.embedding, t.said, t.texts[t.y], 1.0)}


def _to_labels(a: Answer, t: Target, s: VL2VLoss) -> dict[str, Tensor]:
    return {"label": F.cross_entropy(a.logits.float(), t.y)}


def _to_zero_shot(a: Answer, t: Target, s: VL2VLoss) -> dict[str, Tensor]:
    with torch.autocast(t.said.device.type, enabled=False):
        zero_shot = t.scale * t.said @ t.texts.T
    return _to_labels(a, t, s) | {"zero_shot": logit_kl(a.logits, zero_shot, s.temperature)}


#: parts of the loss by name, means over the batch, which are added up
LOSSES = {
    "align": _to_both,
    "distill": _to_both,
    "sd": _to_both,
    "erm": _to_labels,
    "kd": _to_zero_shot,
    "cosine": _to_embedding,
}


class VL2VModule(RunModule):
    """The student; of the teacher what a black box gives. best.ckpt has the best validation score.

    The score is the mean over domains of the accuracy, the validation loss that of the cross-entropy: the teacher is not asked.

    Args:
        settings: configuration.
        model: the student.
        labels: class of each item by its id.
        domains: of each validation item by its id.
        teacher: gives embeddings; None of erm.
        bank: class vectors of `model.labels`; None of erm.
        text_queries: texts that were embedded for it.
    """

    shown = ("score", "loss")
    exported = "model."

    def __init__(
        self,
        settings: VL2VSettings,
        model: VL2VModel,
        labels: Mapping[str, int],
        domains: Mapping[str, str],
        teacher: BlackBox | None = None,
        bank: TextBank | None = None,
        text_queries: int = 0,
    ):
        super().__init__(settings.run)
        self.settings, self.model, self.labels, self.domains = settings, model, labels, domains
        self.teacher, self.text_queries = teacher, text_queries
        self.scale = bank.scale if bank else 1.0
        self.register_buffer("texts", bank.vectors.clone() if bank else torch.zeros(0, 0), persistent=False)
        if settings.step == "align":
            model.body.requires_grad_(False)
        if settings.step == "distill":
            model.projection.requires_grad_(False)
        self.swad = Swad(settings.swad, model) if settings.swad.n_converge else None
        self._val: dict[str, list[float]] = {}
        self.train()

    def train(self, mode: bool = True) -> VL2VModule:
        """A frozen backbone stays as it is used, and batch norm keeps its statistics where `model.freeze_bn` says so."""
        super().train(mode)
        body = self.model.body
        if self.settings.step == "align":
            body.eval()
        if self.settings.model.freeze_bn:
            for m in body.modules():
                if isinstance(m, nn.modules.batchnorm._BatchNorm):
                    m.eval()
        return self

    def configure_optimizers(self) -> torch.optim.Optimizer:
        o = self.settings.optim
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return torch.optim.Adam(trained, lr=o.lr, weight_decay=o.weight_decay)

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Parts of the loss of a training batch: `ids`, the view `student`, and `teacher` where the teacher's is another.

        Raises:
            AudiokdError: the teacher's embeddings are of another size than the class vectors.
        """
        y = self._labels(batch["ids"])
        said = y.new_zeros(len(y), 0, dtype=torch.float32)
        if self.teacher is not None:
            said = self.teacher.embed(batch["ids"], batch.get("teacher", batch["student"]))
            if said.shape[1] != self.texts.shape[1]:
                what = f"embeddings of {said.shape[1]} numbers, class vectors of {self.texts.shape[1]}"
                raise AudiokdError(what, where=self.teacher.name, fix="make the bank with the same pair model")
        target = Target(y, said, self.texts, self.scale)
        return LOSSES[self.settings.step](self.model.answer(**batch["student"]), target, self.settings.loss)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        optimizer: Any = self.optimizers()
        parts = self.losses(batch)
        loss = torch.stack([*parts.values()]).sum()
        self.check_finite(loss, batch, parts)
        optimizer.zero_grad()
        self.manual_backward(loss)
        norm = self.clip_gradient(self.model.parameters(), 0.0, batch)
        optimizer.step()
        if self.swad is not None:
            self.swad.add()
        self.step_done({"loss": loss, **parts, "grad_norm": norm})

    def extra_metrics(self) -> dict[str, float]:
        """`queries` of the teacher so far, of all processes, the texts of the class vectors among them."""
        if self.teacher is None:
            return {}
        return {"queries": float(self.teacher.queries * self.trainer.world_size + self.text_queries)}

    def validate_batch(self, batch: dict[str, Any]) -> None:
        logits, y = self.model(**batch["student"]).float(), self._labels(batch["ids"])
        right = (logits.argmax(-1) == y).tolist()
        for i, hit, ce in zip(batch["ids"], right, F.cross_entropy(logits, y, reduction="none").tolist()):
            sums = self._val.setdefault(self.domains[i], [0.0, 0.0, 0.0])
            for k, x in enumerate((1.0, float(hit), ce)):
                sums[k] += x

    def val_means(self) -> dict[str, float]:
        """`score` and `loss`, means over domains, and each domain's accuracy."""
        parts, self._val = self.of_processes(self._val), {}
        names = sorted({d for part in parts for d in part})
        if not names:
            return super().val_means()  # which says why
        of = {d: [sum(p[d][k] for p in parts if d in p) for k in range(3)] for d in names}
        accuracy = {f"accuracy/{d}": hits / rows for d, (rows, hits, _) in of.items()}
        loss = sum(ce / rows for rows, _, ce in of.values()) / len(of)
        return {"score": sum(accuracy.values()) / len(of), "loss": loss, **accuracy}

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        if self.swad is not None:
            self.swad.judge(self.val_metrics["loss"], self.iteration)

    def criterion(self) -> float:
        return -self.val_metrics["score"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.swad is not None:
            checkpoint["swad"] = self.swad.state_dict()
        if self.teacher is not None:
            checkpoint["queries"] = self.teacher.queries

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.swad is not None:
            self.swad.load_state_dict(checkpoint["swad"])
        if self.teacher is not None:
            self.teacher.queries = checkpoint["queries"]

    def _labels(self, ids: list[str]) -> Tensor:
        return torch.tensor([self.labels[i] for i in ids], device=self.device)

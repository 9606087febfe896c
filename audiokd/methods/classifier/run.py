"""What `audiokd fit classifier` is given: labelled clips, a pretrained encoder, and teachers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from audiokd.data.balance import balance_weights
from audiokd.data.inputs import open_input
from audiokd.data.labels import read_labels
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.methods.classifier.settings import ClassifierSettings


class ClassifierRun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: INPUTs.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        AudiokdError: no labels, an utterance without one, more than one of a class, or a dev label that train lacks.
    """

    def __init__(self, settings: ClassifierSettings, train: str, dev: str, allow_pipes: bool = False):
        self.settings = settings
        if not settings.data.labels:
            raise AudiokdError("no labels given", fix="--data.labels [data/train,data/dev], data dirs with utt2label")
        if not settings.model.encoder:
            raise AudiokdError(
                "no encoder given", fix="--model.encoder FOLDER, a pretrained model, ours or one of transformers'"
            )
        table: dict[str, tuple[str, ...]] = {}
        for path in settings.data.labels:
            table |= read_labels(path)
        self.table = table
        paths = {"train": train, "dev": dev}
        self.sets = {
            k: self._labelled(open_input(p, allow_pipes=allow_pipes).utterances(), p) for k, p in paths.items()
        }
        self.names = sorted({n for u in self.sets["train"] for n in table[u.id]})
        strange = sorted({n for u in self.sets["dev"] for n in table[u.id]} - set(self.names))
        if strange:
            raise AudiokdError(f"labels that no training utterance has: {', '.join(strange[:5])}", where=dev)

    def _labelled(self, utterances: list[Utterance], where: str) -> list[Utterance]:
        for u in utterances:
            found = self.table.get(u.id)
            if found is None:
                raise AudiokdError("an utterance without a label", where=f"{where}: {u.id}", fix="see --data.labels")
            if self.settings.model.task == "class" and len(found) != 1:
                what = f"{len(found)} labels where one is due"
                raise AudiokdError(what, where=f"{where}: {u.id}", fix="--model.task tags takes any number")
        return utterances

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        found: dict[str, Any] = {"labels": len(self.names)}
        for name, of in self.sets.items():
            rows = "\n".join(f"{u.id} {' '.join(self.table[u.id])}" for u in of)
            found[name] = {"utterances": len(of), "labelled_sha256": hashlib.sha256(rows.encode()).hexdigest()}
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module, with the encoder's weights and a head that `run.seed` gives, and its data."""
        import lightning as L
        import torch
        from lightning.pytorch.utilities import rank_zero_only
        from transformers import AutoModel

        from audiokd.methods.classifier.config import ClassifierConfig
        from audiokd.methods.classifier.model import ClassifierModel
        from audiokd.methods.classifier.module import ClassifierModule
        from audiokd.teachers.base import load_pretrained
        from audiokd.teachers.trainable import load_trainable, shape_of
        from audiokd.training.cached_logits import StoredLogits
        from audiokd.training.datamodule import CropDataModule
        from audiokd.training.shape_file import write_shape

        s = self.settings
        encoder = load_trainable(s.model.encoder, drop_path=s.model.drop_path)
        config = ClassifierConfig(shape_of(encoder), self.names, s.model.task, s.model.clip_blocks)
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        model = ClassifierModel(config)
        model.encoder.load_state_dict(encoder.state_dict())
        if model.takes_mel:
            model.encoder.mask_embed.requires_grad_(False)  # of pretraining alone
        if rank_zero_only.rank == 0:
            write_shape(folder, config)
        number = {n: k for k, n in enumerate(self.names)}
        labels = {}
        for u in (u for of in self.sets.values() for u in of):
            labels[u.id] = torch.zeros(len(self.names))
            labels[u.id][[number[n] for n in self.table[u.id]]] = 1
        teachers = [load_pretrained(AutoModel, path, "the teacher") for path in s.teachers.models]
        for path, teacher in zip(s.teachers.models, teachers):
            if not isinstance(teacher, ClassifierModel):
                raise AudiokdError(f"a {type(teacher).__name__} is no classifier", where=path)
        ids = [u.id for u in self.sets["train"]]
        stores = [StoredLogits(path, ids, self.names, "logits") for path in s.teachers.logits]
        cached = [{i: of[0] for i, of in store.items()} for store in stores]
        module = ClassifierModule(s, model, labels, teachers, cached)
        train, weights = self.sets["train"], None
        if s.data.balance:
            weights = balance_weights([self.table[u.id] for u in train])
        data = CropDataModule(train, self.sets["dev"], model.sample_rate, s.data, s.run, folder, weights=weights)
        return module, data


def write_model(
    exp_dir: Path, settings: ClassifierSettings, state: dict[str, Any] | None, out: Path, name: str
) -> None:
    """Write the classifier of the run in `exp_dir` as a model folder.

    Raises:
        AudiokdError: `state` is None: an untrained classifier is its encoder with nothing to say.
    """
    from audiokd.methods.classifier.model import ClassifierModel
    from audiokd.training.shape_file import write_trained

    write_trained(exp_dir, ClassifierModel, "model.", state, out, name)

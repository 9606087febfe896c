"""What `audiokd fit detector` is given: clips with events, with labels and with none, a pretrained encoder, and teachers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiokd.data.audio import PAST_END_S
from audiokd.data.crops import duration_of
from audiokd.data.events import Event, read_events
from audiokd.data.inputs import open_input
from audiokd.data.labels import read_labels
from audiokd.data.regime import Regime, Seen, item_of, write_regime
from audiokd.data.utterance import Utterance
from audiokd.errors import AudioError, AudiokdError
from audiokd.methods.detector.settings import DetectorSettings

KINDS = ("strong", "weak", "unlabelled")
KNOWN = ("events", "labels")  # what strongly and weakly labelled clips have


class DetectorRun:
    """The inputs of a run.

    The labels are those of the training set's events. An utterance in `data.events` is strongly labelled, one in `data.labels`
    alone weakly, one in neither is unlabelled. The headers of strongly labelled recordings are read.

    Args:
        settings: configuration.
        train, dev: INPUTs; every utterance of dev needs to stand in `data.events`.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        AudiokdError: no encoder, no strongly labelled training utterance, a dev utterance without events, an event past the
            end of its utterance, or a label of dev or of a weakly labelled utterance that no training event has.
    """

    def __init__(self, settings: DetectorSettings, train: str, dev: str, allow_pipes: bool = False):
        self.settings = settings
        if not settings.model.encoder:
            raise AudiokdError(
                "no encoder given", fix="--model.encoder FOLDER, a pretrained model, ours or one of transformers'"
            )
        self.events: dict[str, list[Event]] = {}
        for path in settings.data.events:
            self.events |= read_events(path)
        self.tags: dict[str, tuple[str, ...]] = {}
        for path in settings.data.labels:
            self.tags |= read_labels(path)
        self.parts: dict[str, list[Utterance]] = {k: [] for k in KINDS}
        for u in open_input(train, allow_pipes=allow_pipes).utterances():
            kind = "strong" if u.id in self.events else "weak" if u.id in self.tags else "unlabelled"
            self.parts[kind].append(u)
        self.dev = open_input(dev, allow_pipes=allow_pipes).utterances()
        self._check_strong(train)
        for u in self.dev:
            if u.id not in self.events:
                fix = "--data.events names every one; a row of a file name alone is one without an event"
                raise AudiokdError("a validation utterance without events", where=f"{dev}: {u.id}", fix=fix)
        self.names = sorted({e.label for u in self.parts["strong"] for e in self.events[u.id]})
        if not self.names:
            raise AudiokdError("not one event in the training set", where=train)
        self._check_names(dev, [(u, [e.label for e in self.events[u.id]]) for u in self.dev])
        self._check_names(train, [(u, self.tags[u.id]) for u in self.parts["weak"]])
        for u in [*self.parts["strong"], *self.dev]:
            self._check_times(u)
        self.train = train
        labelled = [item_of(u, known) for kind, known in zip(KINDS, KNOWN) for u in self.parts[kind]]
        bare, dev_items = ([item_of(u) for u in of] for of in (self.parts["unlabelled"], self.dev))
        tested = [open_input(path, allow_pipes=allow_pipes) for path in settings.data.test]
        test = [item_of(u) for of in tested for u in of.utterances()]
        self.regime = Regime("inductive", [Seen("detector", labelled, bare, selection=dev_items)], test)

    def _check_strong(self, train: str) -> None:
        if not self.parts["strong"]:
            fix = "--data.events [data/train,data/dev], data dirs with events.tsv"
            raise AudiokdError("no training utterance has events", where=train, fix=fix)
        if self.settings.data.batch_strong < 1:
            raise AudiokdError(f"data.batch_strong {self.settings.data.batch_strong}: one at least is needed")

    def _check_names(self, where: str, of: list[tuple[Utterance, Sequence[str]]]) -> None:
        known = set(self.names)
        for u, names in of:
            if strange := sorted(set(names) - known):
                what = f"a label that no training event has: {', '.join(strange[:5])}"
                raise AudiokdError(what, where=f"{where}: {u.id}", fix=f"known are {', '.join(self.names[:20])}")

    def _check_times(self, u: Utterance) -> None:
        if not self.events[u.id]:
            return
        try:
            duration = u.duration_s if u.duration_s is not None else duration_of(u)
        except AudioError:  # it is left out, and said so, when its turn comes
            return
        last = max(self.events[u.id], key=lambda e: e.end_s)
        if last.end_s > duration + PAST_END_S:
            what = f"{last.label} from {last.start_s:g} to {last.end_s:g} s in an utterance of {duration:.2f} s"
            fix = "correct its times; up to 0.1 s too much is cut"
            raise AudiokdError(what, where=f"{u.where or u.path}: {u.id}", fix=fix)

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        found: dict[str, Any] = {"labels": len(self.names)}
        for name, of in {**{f"train_{k}": u for k, u in self.parts.items()}, "dev": self.dev}.items():
            rows = "\n".join(f"{u.id} {self.events.get(u.id, self.tags.get(u.id, ''))}" for u in of)
            found[name] = {"utterances": len(of), "labelled_sha256": hashlib.sha256(rows.encode()).hexdigest()}
        return found

    def batches(self) -> list[tuple[list[Utterance], int]]:
        """Each kind of training utterances that there are, with how many of them a batch has."""
        d = self.settings.data
        sizes = dict(zip(KINDS, (d.batch_strong, d.batch_weak, d.batch_unlabelled)))
        return [(of, sizes[k]) for k, of in self.parts.items() if of and sizes[k] > 0]

    @property
    def averaged(self) -> bool:
        """Whether there is a mean teacher."""
        when = self.settings.mean_teacher.when
        unlabelled = bool(self.parts["unlabelled"]) and self.settings.data.batch_unlabelled > 0
        return when == "always" or (when == "unlabelled" and unlabelled)

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module, with the encoder's weights and a head that `run.seed` gives, and its data; writes regime.json.

        Raises:
            AudiokdError: test clips in training, training clips in dev.
        """
        import lightning as L
        from lightning.pytorch.utilities import rank_zero_only
        from transformers import AutoModel

        from audiokd.methods.detector.config import DetectorConfig
        from audiokd.methods.detector.data import EventDataModule, EventLabels
        from audiokd.methods.detector.model import DetectorModel
        from audiokd.methods.detector.module import DetectorModule
        from audiokd.teachers.base import load_pretrained
        from audiokd.teachers.trainable import load_trainable, shape_of
        from audiokd.training.cached_logits import StoredLogits
        from audiokd.training.layer_decay import train_last_blocks
        from audiokd.training.shape_file import write_shape

        s = self.settings
        encoder = load_trainable(s.model.encoder, drop_path=s.model.drop_path)
        config = DetectorConfig(shape_of(encoder), self.names)
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        model = DetectorModel(config)
        model.encoder.load_state_dict(encoder.state_dict())
        if model.takes_mel:
            model.encoder.mask_embed.requires_grad_(False)  # of pretraining alone
        train_last_blocks(model.encoder, model.depth, s.optim.unfreeze)
        if rank_zero_only.rank == 0:
            before = {"train": self.train, "model.encoder": s.model.encoder}
            before |= {f"teachers.models.{k}": path for k, path in enumerate(s.teachers.models)}
            write_regime(folder, self.regime, before)
            write_shape(folder, config)
        teachers = [load_pretrained(AutoModel, path, "the teacher") for path in s.teachers.models]
        for path, teacher in zip(s.teachers.models, teachers):
            if not isinstance(teacher, DetectorModel):
                raise AudiokdError(f"a {type(teacher).__name__} is no detector", where=path)
        used = self.batches()
        ids = [u.id for of, _ in used for u in of]
        cached = [StoredLogits(path, ids, self.names, "events", model.frame_rate) for path in s.teachers.logits]
        labels = EventLabels(self.names, model.frame_rate, self.events, self.tags)
        module = DetectorModule(s, model, labels, self.averaged, teachers, cached)
        frame_s = model.frame_size / model.sample_rate
        return module, EventDataModule(used, self.dev, model.sample_rate, frame_s, s.data, s.run, folder)


def write_model(exp_dir: Path, settings: DetectorSettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the detector of the run in `exp_dir` as a model folder: the student, or its average if that is what is wanted and
    there is one.

    Raises:
        AudiokdError: `state` is None: an untrained detector is its encoder with nothing to say.
    """
    from audiokd.methods.detector.model import DetectorModel
    from audiokd.training.shape_file import write_trained

    averaged = state is not None and any(k.startswith("mean.") for k in state["state_dict"])
    prefix = "mean." if averaged and settings.mean_teacher.exported == "mean" else "model."
    write_trained(exp_dir, DetectorModel, prefix, state, out, name)

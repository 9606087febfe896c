"""What `audiokd fit talking_models` is given: labelled pictures or sound, or ratings; a student, and a frozen teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiokd.data.classes import named
from audiokd.data.items import Item
from audiokd.data.media import MediaSet, open_media
from audiokd.data.ratings import Rating, holds_ratings, read_ratings
from audiokd.data.regime import Regime, Seen, write_regime
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.talking_models.checks import check_settings, is_folder, layers_of, student_speaks, teacher_speaks
from audiokd.methods.talking_models.settings import TalkSettings


class TalkRun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: data dirs of pictures, sound or ratings.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        AudiokdError: settings that do not go together, an item without a label, a dev label that train lacks, sets of two kinds,
            one class alone where classes are decoupled.
    """

    def __init__(self, settings: TalkSettings, train: str, dev: str, allow_pipes: bool = False):
        self.settings = settings
        self.classes: list[str] = []
        self.sets: dict[str, Any] = {}
        self.items: dict[str, Sequence[Item]] = {}
        paths = {"train": train, "dev": dev}
        _check_ratings({"--train": train, "--dev": dev} | {f"--data.test {p}": p for p in settings.data.test})
        if holds_ratings(train):
            self.kind = "ratings"
            self.sets = {k: read_ratings(p) for k, p in paths.items()}
            self.items = {k: [r.item for r in of] for k, of in self.sets.items()}
            self.tested = [r.item for p in settings.data.test for r in read_ratings(p)]
        else:
            media = {k: open_media(p, allow_pipes) for k, p in paths.items()}
            self.kind = media["train"].kind
            for of in media.values():
                of.labels()  # each has one
            self.sets, self.items = media, {k: of.items for k, of in media.items()}
            self.classes = list(media["train"].classes)
            self._check_media(media, dev)
            self.tested = [i for p in settings.data.test for i in open_media(p, allow_pipes).items]
        check_settings(settings, self.kind)
        if settings.loss.dkd and len(self.classes) == 1:
            raise ConfigError(
                "one class, and nothing to decouple from it", where="loss.dkd", fix="--loss.kd 1, or more classes"
            )

    def _check_media(self, media: dict[str, MediaSet], dev: str) -> None:
        if media["dev"].kind != self.kind:
            raise AudiokdError(f"--train is of {self.kind}, --dev of {media['dev'].kind}", where=dev)
        if strange := sorted({i.label or "" for i in media["dev"].items} - set(self.classes)):
            raise AudiokdError(f"labels that --train does not know: {named(strange)}", where=dev)

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        found: dict[str, Any] = {"kind": self.kind, "classes": self.classes}
        for name, of in self.items.items():
            rows = "\n".join(f"{i.id} {i.label}" for i in of)
            found[name] = {"items": len(of), "labelled_sha256": hashlib.sha256(rows.encode()).hexdigest()}
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module, the student in it as `run.seed` draws it whatever the teacher, and its data; writes regime.json.

        Raises:
            AudiokdError: a teacher of another kind or that lacks classes, no such layer, test items in training.
        """
        import lightning as L
        import torch
        from lightning.pytorch.utilities import rank_zero_only

        from audiokd.methods.talking_models.module import TalkModule
        from audiokd.teachers.labeller import load_labeller
        from audiokd.training.shape_file import write_shape

        s = self.settings
        teacher = load_labeller(s.teacher.model, bool(s.loss.kd or s.loss.dkd)) if s.teacher.model else None
        if teacher is not None and teacher.kind != self.kind:
            raise AudiokdError(f"the teacher is of {teacher.kind}, the data of {self.kind}", where=s.teacher.model)
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        model = self._student()
        if rank_zero_only.rank == 0:
            seen = Seen("student", self.items["train"], selection=self.items["dev"])
            write_regime(folder, Regime("inductive", [seen], self.tested), {"teacher.model": s.teacher.model})
            write_shape(folder, model.config)
        number = {label: k for k, label in enumerate(self.classes)}
        everything = [i for of in self.items.values() for i in of]
        if self.classes:
            targets = {i.id: torch.tensor(number[i.label or ""]) for i in everything}
        else:
            targets = {r.id: torch.tensor(r.rating) for of in self.sets.values() for r in of}
            model.head.bias.data.fill_(_mean(self.sets["train"]))  # the answer that is near from the first step on
        data = self._data(model, teacher, folder)
        batch = data.collate([data.train_set[0, k] for k in range(min(2, len(data.train_set)))])
        module = TalkModule(s, model, targets, batch, self._layers(model, teacher), teacher, self._columns(teacher))
        return module, data

    def _student(self) -> Any:
        from audiokd.methods.talking_models.config import TalkConfig
        from audiokd.methods.talking_models.model import TalkModel
        from audiokd.methods.talking_models.students import build_student, cnn_shape
        from audiokd.teachers.picture_body import picture_body
        from audiokd.teachers.student_body import sound_body, timm_body

        m = self.settings.model
        if self.kind == "ratings":
            names = {of: sorted({getattr(r, of[:-1]) for r in self.sets["train"]}) for of in ("users", "movies")}
            shape = {"body": "ratings", "embed_dim": m.embed_dim, "widths": list(m.widths), **names}
            return TalkModel(TalkConfig(shape, task="rating"))
        if is_folder(m.backbone):
            body: Any = picture_body(m.backbone, m.size)
        elif m.backbone:
            body = timm_body(m.backbone, m.weights, m.size)
        elif m.encoder:
            body = sound_body(m.encoder, m.clip_blocks, layerdrop=0.0)  # a layer that is left out cannot be talked to
        else:
            body = build_student(cnn_shape(self.kind, m.widths, m.size))
        return TalkModel(TalkConfig(body.shape, self.classes), body)

    def _layers(self, model: Any, teacher: Any) -> tuple[Sequence[str], Sequence[str]]:
        """Low and high layers of both where something needs them; those that are given are there in any case."""
        s = self.settings
        found: list[Sequence[str]] = []
        for of, given, option, speaks in (
            (model, s.model, "--model", student_speaks(s)),
            (teacher.net if teacher else None, s.teacher, "--teacher", teacher_speaks(s)),
        ):
            named = of is not None and (given.low or given.high)
            layers = layers_of(of, given, option) if speaks or named else ()
            found.append(layers if speaks else ())
        return found[0], found[1]

    def _columns(self, teacher: Any) -> list[int] | None:
        """Of a teacher whose logits are learnt; else where it happens to know the classes."""
        if teacher is None or not self.classes:
            return None
        needed = self.settings.loss.kd or self.settings.loss.dkd
        return teacher.columns_of(self.classes) if needed or set(self.classes) <= set(teacher.labels) else None

    def _data(self, model: Any, teacher: Any, folder: Path) -> Any:
        from audiokd.data.views.gain_noise import GainNoise
        from audiokd.methods.talking_models.ratings import RatingDataModule
        from audiokd.training.views import PictureView, SoundView, ViewDataModule

        s, d, seed = self.settings, self.settings.data, self.settings.run.seed
        train, dev = self.sets["train"], self.sets["dev"]
        if self.kind == "ratings":
            bodies = {"student": model.body} | ({"teacher": teacher.net.body} if teacher is not None else {})
            return RatingDataModule(train, dev, bodies, d, s.run)
        train_views: dict[str, Any] = {}
        dev_views: dict[str, Any] = {}
        for name, of in (("student", model), ("teacher", teacher)):
            if of is None:
                continue
            if self.kind == "audio":
                how: Any = of.sample_rate
                views: Any = SoundView(how, GainNoise(seed, d.gain_db, d.snr_db)), SoundView(how)
            else:
                how = of.preprocess
                views = PictureView(how, d.view, seed), PictureView(how)
            if name == "teacher" and how == (model.sample_rate if self.kind == "audio" else model.preprocess):
                continue  # it is given the very tensor that the student is
            train_views[name], dev_views[name] = views
        return ViewDataModule(train, dev, train_views, dev_views, d, s.run, folder)


def write_model(exp_dir: Path, settings: TalkSettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the student of the run in `exp_dir`, alone, as a model folder.

    Raises:
        AudiokdError: `state` is None: a student that has learnt nothing has nothing to say.
    """
    from audiokd.methods.talking_models.model import TalkModel
    from audiokd.training.shape_file import write_trained

    write_trained(exp_dir, TalkModel, "model.", state, out, name)


def _mean(ratings: Sequence[Rating]) -> float:
    return sum(r.rating for r in ratings) / len(ratings)


def _check_ratings(paths: dict[str, str]) -> None:
    """That all sets are of ratings, or none.

    Raises:
        AudiokdError: they are of both.
    """
    of = {name: holds_ratings(p) for name, p in paths.items()}
    first, *others = of
    for name in others:
        if of[name] != of[first]:
            kinds = {True: "ratings", False: "pictures or sound"}
            raise AudiokdError(f"{first} is of {kinds[of[first]]}, {name} of {kinds[of[name]]}", where=paths[name])

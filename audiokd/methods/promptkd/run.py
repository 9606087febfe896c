"""What `audiokd fit promptkd` is given: items without labels, a teacher with class vectors, and a student."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from audiokd.data.classes import named
from audiokd.data.draws import few_shot
from audiokd.data.media import open_media
from audiokd.data.regime import Regime, Seen, write_regime
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.promptkd.settings import PromptKDSettings


class PromptKDRun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: data dirs of pictures or of sound. Labels of train are not looked at but to draw `data.per_class`; those of dev
            give a score that nothing is chosen by.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        ConfigError, AudiokdError: no teacher, no student or two, or pictures with sound.
    """

    def __init__(self, settings: PromptKDSettings, train: str, dev: str, allow_pipes: bool = False):
        self.settings, d, m = settings, settings.data, settings.model
        if not settings.teacher.pair:
            raise ConfigError("no teacher", fix="--teacher.pair FOLDER, a pair model or an export of fit promptsrc")
        if sum(map(bool, (m.pair, m.backbone, m.encoder))) != 1:
            raise ConfigError("no student, or several", fix="one of --model.pair, --model.backbone, --model.encoder")
        if m.size and not m.backbone:
            raise ConfigError("a size without a backbone", where="model.size", fix="leave it out, or --model.backbone")
        how = (allow_pipes, d.classes or None, d.same_names)
        self.sets = {k: open_media(p, *how) for k, p in {"train": train, "dev": dev}.items()}
        self.classes = self.sets["train"].classes
        if not self.classes:
            raise AudiokdError("no classes are known", where=train, fix="classes.txt in the folder, or --data.classes")
        if strange := sorted({i.label for i in self.sets["dev"].items if i.label is not None} - set(self.classes)):
            raise AudiokdError(
                f"labels that are no classes of {train}: {named(strange)}", where=dev, fix="--data.classes"
            )
        if d.per_class:
            media = self.sets["train"]
            self.sets["train"] = media.of(few_shot(media.items, d.per_class, settings.run.seed))
        test = [i for path in d.test for i in open_media(path, *how).items]
        seen = Seen("student", unlabelled=self.sets["train"].items, selection=self.sets["dev"].items)
        # the classes that are tested are in the bank, and their items among those that are seen
        self.regime = Regime("transductive", [seen], test)

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        found: dict[str, Any] = {"classes": len(self.classes)}
        for name, media in self.sets.items():
            ids = "\n".join(i.id for i in media.items)
            found[name] = {"items": len(media), "ids_sha256": hashlib.sha256(ids.encode()).hexdigest()}
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module, with prompts and projector that `run.seed` gives, and its data."""
        import lightning as L
        from lightning.pytorch.utilities import rank_zero_only

        from audiokd.methods.promptkd.model import student_of
        from audiokd.methods.promptkd.module import PromptKDModule
        from audiokd.teachers.prompted_pair import load_any_pair
        from audiokd.training.shape_file import write_shape
        from audiokd.training.views import PictureView, SoundView, ViewDataModule, pair_view

        s, d, media = self.settings, self.settings.data, self.sets["train"]
        teacher = load_any_pair(s.teacher.pair)
        body, scale = student_body(s)
        for name, kind in ((s.teacher.pair, teacher.kind), ("the student", body.kind)):
            if kind != media.kind:
                raise AudiokdError(f"{name} takes {kind}, and the set is of {media.kind}", where=media.path)
        bank = self._bank(teacher, folder)
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        prompts = {"prompts": s.model.prompts, "prompt_depth": s.model.prompt_depth}
        model = student_of(body, bank, scale, projector_hidden=s.model.projector_hidden, **prompts)
        if rank_zero_only.rank == 0:
            write_regime(folder, self.regime, {"teacher.pair": s.teacher.pair, "model.pair": s.model.pair})
            write_shape(folder, model.config)
        if body.preprocess is not None:
            students: Any = PictureView(body.preprocess, d.view, s.run.seed), PictureView(body.preprocess)
        else:
            students = SoundView(model.sample_rate), SoundView(model.sample_rate)
        train = {"student": students[0], "teacher": pair_view(teacher, d.view, s.run.seed)}
        dev = {"student": students[1], "teacher": pair_view(teacher)}
        number = {label: k for k, label in enumerate(bank.names)}
        labels = {i.id: number[i.label] for i in self.sets["dev"].items if i.label is not None}
        module = PromptKDModule(s, model, teacher, labels)
        return module, ViewDataModule(media, self.sets["dev"], train, dev, d, s.run, folder)

    def _bank(self, teacher: Any, folder: Path) -> Any:
        """Class vectors, in the order of the classes: those that are given, those of the teacher's export where they are of these
        classes (it may have learnt on another set's), or others that are made once and kept in the run's folder."""
        from audiokd.teachers.prompted_pair import is_prompted
        from audiokd.teachers.text_bank import BANK, encoder_sha256, load_text_bank, make_text_bank

        t, prompts = self.settings.teacher, self._prompts(teacher)
        if t.bank:
            bank = load_text_bank(t.bank).of(list(self.classes))
            bank.check_model(encoder_sha256(teacher), t.bank)
            return bank
        path = folder / BANK
        for known in (*([Path(t.pair) / BANK] if is_prompted(t.pair) else []), path):
            if known.is_file():
                bank = load_text_bank(known)
                bank.check_model(encoder_sha256(teacher), str(known))
                texts = dict(zip(bank.names, bank.prompts))
                if all(texts.get(label) == tuple(of) for label, of in prompts.items()):
                    return bank.of(list(self.classes))
        bank = make_text_bank(teacher, prompts, float(teacher.scale))
        bank.save(path)
        return bank

    def _prompts(self, teacher: Any) -> dict[str, list[str]]:
        """Texts of each class: a teacher with prompts has one, which its learnt tokens begin."""
        from audiokd.teachers.text_bank import fill

        if hasattr(teacher, "texts_of"):
            return {label: [text] for label, text in zip(self.classes, teacher.texts_of(list(self.classes.values())))}
        return fill(self.classes, self.settings.teacher.templates)


def student_body(s: PromptKDSettings) -> tuple[Any, float]:
    """What the student is built on, and the scale of its cosines: its own pair model's, or else CLIP's 100."""
    from audiokd.teachers.pair import load_pair
    from audiokd.teachers.student_body import body_of_pair, sound_body, timm_body

    m = s.model
    if m.pair:
        pair = load_pair(m.pair)
        if pair.kind != "image":
            fix = "--model.encoder, one of ours or of transformers"
            raise AudiokdError("a pair model of sound cannot be a student", where=m.pair, fix=fix)
        return body_of_pair(pair), float(pair.scale)
    body = timm_body(m.backbone, m.weights, m.size) if m.backbone else sound_body(m.encoder, m.clip_blocks)
    return body, 100.0


def write_model(exp_dir: Path, settings: PromptKDSettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the student of the run in `exp_dir` as a model folder.

    Raises:
        AudiokdError: `state` is None: an untrained projector has nothing to say.
    """
    from audiokd.methods.promptkd.model import PromptKDModel
    from audiokd.training.shape_file import write_trained

    write_trained(exp_dir, PromptKDModel, "model.", state, out, name)

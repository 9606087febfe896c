"""What `audiokd fit tiue` is given: pictures or sounds, or prompts alone; and the pipeline folders that it writes."""

from __future__ import annotations

import hashlib
import json
import operator
import os
from pathlib import Path
from typing import Any

from audiokd.data.prompts import Prompt, read_prompts
from audiokd.data.regime import Regime, Seen, write_regime
from audiokd.errors import AudiokdError, ConfigError
from audiokd.files import atomic_folder, write_json
from audiokd.methods.tiue.settings import Distillation, TiUELoss, TiUESettings

SHAPE = "tiue.json"  # what a run has read of its data, in its folder


class TiUERun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: of pretrain and of lcm, pictures or sounds (`open_examples`); else prompts (`read_prompts`), which may be the
            same ones: they choose nothing.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        ConfigError: the step is told what it has no use for, or not what it needs.
        AudiokdError: as the readers; an item without its label or caption.
    """

    def __init__(self, settings: TiUESettings, train: str, dev: str, allow_pipes: bool = False):
        self.settings, self.paths = settings, {"train": train, "dev": dev}
        check_settings(settings)
        self.of_data = settings.step == "pretrain" or settings.distill.kind == "lcm"
        self.sets: dict[str, Any] = {}
        d = settings.data
        if not self.of_data:
            self.sets = {k: read_prompts(p, d.column, d.split) for k, p in self.paths.items()}
            return
        from audiokd.methods.tiue.data import open_examples

        if os.path.realpath(train) == os.path.realpath(dev):
            fix = "a model is selected by other items than it learns from"
            raise AudiokdError("--train and --dev are one folder", where=dev, fix=fix)
        self.sets = {k: open_examples(p, allow_pipes) for k, p in self.paths.items()}
        if len({s.kind for s in self.sets.values()}) > 1:
            raise AudiokdError(
                "pictures to train on and sounds to validate on, or the reverse", where=f"{train}, {dev}"
            )
        for name, media in self.sets.items():
            bare = [i.id for i in media.items if i.label is None and i.caption is None]
            if bare:
                what = f"{len(bare)} of {len(media)} items have neither label nor caption: {', '.join(bare[:5])}"
                raise AudiokdError(what, where=self.paths[name], fix="a model is told one of them")

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        found: dict[str, Any] = {}
        for name, given in self.sets.items():
            things = given.items if self.of_data else given
            rows = "\n".join(f"{i.id}\t{i.label}\t{i.caption}" for i in things)
            found[name] = {"items": len(things), "sha256": hashlib.sha256(rows.encode()).hexdigest()}
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module with the weights that `run.seed` or the teacher gives, and its data; says what memory a step needs.

        Raises:
            AudiokdError: a teacher that cannot be loaded, labels that it does not know, test items in training.
        """
        import lightning as L

        L.seed_everything(self.settings.run.seed, workers=True, verbose=False)
        return self._pretrain(folder) if self.settings.step == "pretrain" else self._distill(folder)

    def _pretrain(self, folder: Path) -> tuple[Any, Any]:
        from audiokd.methods.tiue.networks import new_pipeline
        from audiokd.methods.tiue.pretrain import PretrainModule

        s, sets = self.settings, self.sets
        labels = [] if s.model.text_encoder else sorted({i.label for i in sets["train"].items if i.label is not None})
        is_sound = sets["train"].kind == "audio"
        pipeline: Any = new_pipeline(s, labels, is_sound)
        module = PretrainModule(s, pipeline, pipeline.unet)
        self._write(folder, {"labels": labels, "is_sound": is_sound}, {})
        self._say(module, lambda x, told: pipeline.unet(x, 1, **told).sample, pipeline.sample_shape)
        return module, self._examples(pipeline, folder)

    def _distill(self, folder: Path) -> tuple[Any, Any]:
        from audiokd.methods.tiue.data import prompt_data
        from audiokd.methods.tiue.distill import DistillModule
        from audiokd.methods.tiue.lcm import LCMModule
        from audiokd.methods.tiue.networks import student_of
        from audiokd.vision.load_pipeline import load_pipeline

        s = self.settings
        teacher: Any = load_pipeline(s.distill.teacher)
        student, scheduler = student_of(teacher, s.distill)
        self._write(folder, {}, {"teacher": s.distill.teacher, "init": s.distill.init})
        if s.distill.kind == "lcm":
            if teacher.media == "audio" and teacher.mel is None:
                fix = "tiue and swiftbrush need no data"
                raise ConfigError("lcm reads pictures, or sounds as `pretrain` does", where=s.distill.teacher, fix=fix)
            module: Any = LCMModule(s, teacher, student)
            self._say(module, lambda x, told: student(x, 1, **told).sample, teacher.sample_shape)
            return module, self._examples(teacher, folder)
        by_label = bool(teacher.labels)
        for name, prompts in self.sets.items():
            _check_labels(teacher, prompts, self.paths[name])
        clip = None
        if s.loss.clip:
            if teacher.media == "audio":
                raise ConfigError("CLIP sees pictures", where=s.distill.teacher, fix="leave --loss.clip out")
            from audiokd.teachers.clip_score import ClipScore

            clip = ClipScore(s.loss.clip_model)
        module = DistillModule(s, teacher, student, scheduler, clip)
        self._say(module, module.made, module.shape, None if clip is None else module.judged)
        return module, prompt_data(self.sets, by_label, s.data, s.run)

    def _examples(self, pipeline: Any, folder: Path) -> Any:
        from audiokd.methods.tiue.data import example_data

        by_label = bool(pipeline.labels)
        for name, media in self.sets.items():
            _check_labels(pipeline, [Prompt(i.id, i.label, i.caption) for i in media.items], self.paths[name])
        if (pipeline.mel is not None) != (self.sets["train"].kind == "audio"):
            raise AudiokdError("a teacher of pictures and a folder of sound, or the reverse", where=self.paths["train"])
        channels, *sides = pipeline.sample_shape
        if pipeline.vae is not None:
            factor = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
            channels, sides = pipeline.vae.config.in_channels, [factor * side for side in sides]
        how = {"by_label": by_label, "size": tuple(sides), "channels": channels, "mel": pipeline.mel}
        return example_data(self.sets, how, self.settings.data, self.settings.run, folder)

    def _write(self, folder: Path, shape: dict[str, Any], before: dict[str, str]) -> None:
        from lightning.pytorch.utilities import rank_zero_only

        if rank_zero_only.rank:
            return
        s, steps = self.settings, []
        if self.of_data:
            from audiokd.methods.tiue.data import open_examples

            learnt, dev = self.sets["train"].items, self.sets["dev"].items
            use = {"labelled": learnt} if all(i.label for i in learnt) else {"captioned": learnt}
            steps = [Seen(s.step, selection=dev if s.step == "pretrain" else (), **use)]
            test = [i for path in s.data.test for i in open_examples(path).items]
        else:
            test = []
        write_regime(folder, Regime("inductive", steps, test), before)
        write_json(folder / SHAPE, shape)

    def _say(self, module: Any, run: Any, shape: tuple[int, ...], judge: Any = None) -> None:
        from lightning.pytorch.utilities import rank_zero_only

        from audiokd.methods.tiue.memory import step_memory

        if rank_zero_only.rank == 0:
            print(step_memory(module, run, shape, judge))


def write_model(exp_dir: Path, settings: TiUESettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the run's model as a pipeline folder of diffusers: its teacher's parts, its own UNet and how it is sampled.

    Args:
        exp_dir: folder of the run.
        settings: of it.
        state: checkpoint; None is the untrained model: of distill the teacher's weights, sampled as the student is.
        out: folder to write.
        name: of the checkpoint, for the card.
    """
    import lightning as L
    from diffusers.utils import logging

    from audiokd.methods.tiue.networks import new_pipeline, student_of
    from audiokd.nn.weights import load_weights
    from audiokd.vision.load_pipeline import load_pipeline

    logging.disable_progress_bar()
    L.seed_everything(settings.run.seed, workers=True, verbose=False)
    d = settings.distill
    if settings.step == "pretrain":
        pipeline: Any = new_pipeline(settings, **json.loads((exp_dir / SHAPE).read_text()))
    else:
        pipeline = load_pipeline(d.teacher)
        student, scheduler = student_of(pipeline, d)
        pipeline.register_modules(unet=student, scheduler=scheduler)
        if d.size:
            pipeline.resize(d.size)
        sampler = "lcm" if d.kind == "lcm" else "tiue"
        pipeline.register_to_config(sampler=sampler, steps=d.student_steps, guidance=1.0, solver_steps=d.solver_steps)
    iteration = 0
    if state is not None:
        iteration = state["iteration"]
        weights = {k.removeprefix("ema."): v for k, v in state["state_dict"].items() if k.startswith("ema.")}
        load_weights(pipeline.unet, weights, f"{exp_dir}, {name} checkpoint")
    params = sum(p.numel() for p in pipeline.unet.parameters())
    with atomic_folder(out, last="model_index.json") as folder:
        pipeline.save_pretrained(folder)
        (folder / "README.md").write_text(_card(settings, name, iteration, params, pipeline), encoding="utf-8")
    what = f"tiue {settings.step if settings.step == 'pretrain' else d.kind}, {name} checkpoint, step {iteration}"
    print(f"{out}: {what}, {params / 1e6:.2f} M parameters")


def check_settings(s: TiUESettings) -> None:
    """That the step has what it needs and is told nothing else.

    Raises:
        ConfigError: it is not so.
    """
    d, where = s.distill, f"step {s.step}"
    _check_unused(s)
    if s.step == "pretrain":
        if d != Distillation(checkpointing=d.checkpointing) or s.loss != TiUELoss():
            raise ConfigError(
                "pretrain has neither teacher nor student", where=where, fix="leave --distill.*, --loss.* out"
            )
        return
    if not d.teacher:
        fix = "--distill.teacher FOLDER, an export of a pretrain run or a pipeline of diffusers"
        raise ConfigError("distill has a teacher", where=where, fix=fix)
    if d.kind == "swiftbrush" and (d.student_steps != 1 or d.spacing != "trailing"):
        fix = "leave --distill.steps and --distill.timestep_spacing out, or --distill.kind tiue"
        raise ConfigError("swiftbrush has one step, at the end of the schedule", where=where, fix=fix)
    if d.kind == "lcm" and d.timestep_spacing:
        raise ConfigError("a consistency model's steps are its solver's", where=where, fix="leave the spacing out")
    if s.data.test and d.kind != "lcm":
        fix = "leave --data.test out; it is of pretrain and lcm"
        raise ConfigError(f"{d.kind} learns from no item that could be a test item", where=where, fix=fix)
    if d.kind == "lcm" and d.size:
        raise ConfigError("a consistency model is of its pictures' size", where=where, fix="leave --distill.size out")
    if bool(s.loss.clip) != bool(s.loss.clip_model):
        raise ConfigError("the CLIP term has a weight and a model", where=where, fix="--loss.clip, --loss.clip_model")
    if s.loss.clip and d.kind == "lcm":
        raise ConfigError("the CLIP term is not of lcm", where=where, fix="leave --loss.clip out")
    if not 0 <= d.t_min < d.t_max <= 1:
        raise ConfigError(
            f"times from {d.t_min} to {d.t_max} of the schedule", where=where, fix="0 <= t_min < t_max <= 1"
        )
    if d.fake_steps < 1:
        raise ConfigError("a fake score that does not learn", where=where, fix="--distill.fake_steps 1 or more")


#: options of which a run makes nothing unless it is of these; what gives a network its shape may stand in a file that steps share
OF_KINDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("mel", "noising"), ("pretrain",)),
    **dict.fromkeys(("optim.lora_lr", "distill.t_min", "distill.t_max"), ("tiue", "swiftbrush")),
    **dict.fromkeys(("distill.drop_condition", "distill.fake_steps"), ("tiue", "swiftbrush")),
    "loss.kl": ("tiue",),
    **dict.fromkeys(("distill.solver_steps", "distill.target_decay", "distill.huber"), ("lcm",)),
}


def _check_unused(s: TiUESettings) -> None:
    mine = s.step if s.step == "pretrain" else s.distill.kind
    for name, kinds in OF_KINDS.items():
        of = operator.attrgetter(name)
        if mine not in kinds and of(s) != of(TiUESettings()):
            raise ConfigError(f"set, and {mine} makes nothing of it", where=name, fix=f"it is of {' and '.join(kinds)}")


def _check_labels(pipeline: Any, prompts: list[Prompt], where: str) -> None:
    if not pipeline.labels:
        return
    strange = sorted({p.text(True) for p in prompts} - set(pipeline.labels))
    if strange:
        fix = f"its labels: {', '.join(pipeline.labels[:10])}"
        raise AudiokdError(f"the model knows no label {', '.join(strange[:5])}", where=where, fix=fix)


def _card(s: TiUESettings, name: str, iteration: int, params: int, pipeline: Any) -> str:
    c = pipeline.config
    rows = {
        "made by": s.step if s.step == "pretrain" else s.distill.kind,
        "checkpoint": f"{name}, step {iteration}",
        "UNet": f"{params:,} parameters",
        "sampler": f"{c.sampler}, {c.steps} steps, guidance {c.guidance:g}",
        "labels": ", ".join(pipeline.labels[:20]) or "none: texts",
    }
    table = "\n".join(f"| {k} | {v} |" for k, v in rows.items())
    prompt = pipeline.labels[0] if pipeline.labels else "a lighthouse in fog"
    return f"""---
library_name: diffusers
tags: [audiokd, tiue]
---
# tiue

Trained with audiokd. Load it:

```python
from audiokd.vision.tiue_pipeline import TiUEPipeline

pipeline = TiUEPipeline.from_pretrained("this folder or hub id")
found = pipeline(["{prompt}"], seed=0)      # uint8 [B, H, W, C], or of sounds float32 [B, T]
```

The UNet and the schedule are diffusers' own: `UNet2DConditionModel.from_pretrained(folder, subfolder="unet")`.

| | |
| --- | --- |
{table}
"""

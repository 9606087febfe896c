"""What `audiokd fit salt` is given: videos or sound, a teacher, another run's checkpoint; and what an export writes."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from audiokd.data.inputs import open_input, quarantined
from audiokd.data.item_inputs import holds_items
from audiokd.data.items import Item, read_items
from audiokd.data.video_sets import is_video
from audiokd.errors import AudiokdError, ConfigError
from audiokd.files import atomic_folder
from audiokd.methods.salt.config import MEAN, STD, SALTConfig
from audiokd.methods.salt.settings import SALTSettings

#: what a branch may have otherwise than the run that it leaves: how long it is, how it decays, and what is looked at on the way
BRANCH_OWN = {
    "optim": ("decay_steps", "min_lr"),
    "run": ("max_steps", "val_every", "ckpt_every", "log_every", "accelerator"),
    "data": ("num_workers", "decoder", "keep", "val_items", "val_utterances"),
    "teacher": ("model",),  # by its weights, wherever they lie
}


class SALTRun:
    """The inputs of a run.

    Args:
        settings: configuration; run.max_steps is set where max_flops says how many.
        train, dev: folders with items.jsonl of videos, or INPUTs of sound.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        AudiokdError: settings that do not go together, no videos, a teacher of another grid or none, a budget that is too small, a
            branch that begins in its own decay, or a step to keep that the run does not have.
    """

    def __init__(self, settings: SALTSettings, train: str, dev: str, allow_pipes: bool = False):
        from audiokd.methods.salt.cost import step_flops, steps_within

        self.settings = s = settings
        self.teacher = check_settings(s)
        self.sets = {
            name: videos(path) if s.model.kind == "video" else open_input(path, allow_pipes=allow_pipes).utterances()
            for name, path in (("train", train), ("dev", dev))
        }
        if s.max_flops:
            s.run.max_steps = steps_within(s.max_flops, step_flops(s, self.teacher), self.teacher)
        if s.branch.run and s.branch.step >= s.run.max_steps:
            what = f"a branch of step {s.branch.step} that ends at step {s.run.max_steps}"
            raise ConfigError(
                what, where="run.max_steps", fix="a greater one: it counts from the other run's first step"
            )
        if s.branch.run and s.branch.step > s.run.max_steps - s.optim.decay_steps:
            what = f"a branch of step {s.branch.step}, whose decay begins at {s.run.max_steps - s.optim.decay_steps}"
            raise ConfigError(what, where="optim.decay_steps", fix="a shorter decay, or an earlier checkpoint")
        if none := [k for k in s.keep if not 0 < k <= s.run.max_steps]:
            raise ConfigError(f"step {none[0]} of a run of {s.run.max_steps} steps", where="keep", fix="steps it takes")

    @cached_property
    def teacher_net(self) -> Any:
        """The frozen teacher's network, of step student."""
        from audiokd.methods.salt.model import SALTModel
        from audiokd.teachers.base import load_pretrained

        return load_pretrained(SALTModel, self.settings.teacher.model, "the teacher")

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs: a run does not go on with another teacher in the same folder, either."""
        found: dict[str, Any] = {}
        for name, of in self.sets.items():
            ids = "\n".join(i.id for i in of)
            found[name] = {"items": len(of), "ids_sha256": hashlib.sha256(ids.encode()).hexdigest()}
        if self.settings.step == "student":
            from audiokd.nn.weights import weights_sha256

            found["teacher_sha256"] = weights_sha256(self.teacher_net)
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module, with the weights that `run.seed` or the other run's checkpoint gives, and its data; says what it costs.

        Raises:
            AudiokdError: the teacher cannot be loaded, or what `read_branch` refuses.
        """
        import lightning as L

        from audiokd.methods.salt.cost import flops_of, step_flops
        from audiokd.methods.salt.module import SALTModule
        from audiokd.teachers.latents import LatentTeacher
        from audiokd.training.clips import ClipDataModule, ClipShape
        from audiokd.training.datamodule import CropDataModule

        s, m, d = self.settings, self.settings.model, self.settings.data
        teacher = None
        if s.step == "student":
            teacher = LatentTeacher(self.teacher_net, self.teacher_net.config.depth)
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        module = SALTModule(s, teacher, read_branch(s, self.describe()))
        cost = flops_of(step_flops(s, self.teacher), s.run.max_steps, self.teacher)
        print(f"{folder}: {said(cost)}")
        if m.kind == "video":
            shape = ClipShape(m.frames, m.fps, m.size, MEAN, STD, d.decoder, d.keep)
            scale = (d.scale[0], d.scale[1])
            return module, ClipDataModule(self.sets["train"], self.sets["dev"], shape, scale, d, s.run, folder)
        return module, CropDataModule(self.sets["train"], self.sets["dev"], 16_000, d, s.run, folder)


def said(cost: dict[str, float]) -> str:
    """What `flops_of` gives, for a person."""
    of_teacher = f" and {cost['teacher']:.4g} of its teacher" if cost["teacher"] else ""
    return f"{cost['step']:.4g} operations a step, {cost['steps']} steps{of_teacher}: {cost['total']:.4g} in all"


def videos(path: str) -> list[Item]:
    """Videos of a data dir, without what is in quarantine.

    Raises:
        AudiokdError: no items.jsonl, an item that is no video, or none left.
    """
    if not holds_items(path):
        fix = "a folder with items.jsonl, as audiokd.data.video_sets makes of folders and lists; sound: --model.kind audio"
        raise AudiokdError("no folder of videos", where=path, fix=fix)
    root = Path(path) if Path(path).is_dir() else Path(path).parent
    left_out = quarantined(root)
    items = [i for i in read_items(path) if i.id not in left_out]
    if other := [i for i in items if not is_video(i)]:
        raise AudiokdError(
            f"{Path(other[0].path).name} is no video's name", where=other[0].where, fix="list videos alone"
        )
    if not items:
        raise AudiokdError("every video is in quarantine", where=path, fix="see its quarantine list")
    return items


def check_settings(s: SALTSettings) -> SALTConfig | None:
    """That the settings go together; the config of the teacher of step student.

    Raises:
        ConfigError: they do not, or there is no teacher, or it looks at another grid.
    """
    from audiokd.methods.salt.module import config_of, masker_of

    mine = config_of(s)
    masker_of(s, s.run.seed)
    d, p = s.data, s.predictor
    if p.dim % p.heads or p.dim // p.heads < 2 * mine.axes:
        raise ConfigError(f"a predictor of width {p.dim} and {p.heads} heads", where="predictor", fix="fewer heads")
    if s.model.kind == "audio" and not d.val_crop_s:
        d.val_crop_s = d.crop_s
    if s.model.kind == "audio" and d.val_crop_s != d.crop_s:
        raise ConfigError("masks are of the grid of crop_s", where="data.val_crop_s", fix="leave it out")
    if len(d.scale) != 2 or not 0 < d.scale[0] <= d.scale[1] <= 1:
        raise ConfigError(f"scale {list(d.scale)}", where="data.scale", fix="two shares, such as [0.3, 1.0]")
    if s.loss.power not in (1, 2):
        raise ConfigError(f"power {s.loss.power}", where="loss.power", fix="1 or 2")
    if (s.step == "student") != bool(s.teacher.model):
        fix = "--teacher.model FOLDER with --step student, and no other"
        raise ConfigError("step student has a frozen teacher, the others have none", where="teacher.model", fix=fix)
    if s.step != "student":
        return None
    from audiokd.teachers.base import read_family

    if (family := read_family(s.teacher.model)) != SALTConfig.model_type:
        raise ConfigError(f"{family}, no encoder of SALT", where=s.teacher.model, fix="the export of --step teacher")
    theirs = SALTConfig.from_pretrained(s.teacher.model)
    names = ("kind", "patch", *(("tubelet", "frames", "size", "fps") if mine.kind == "video" else ("top_db",)))
    if differ := [
        f"{k} {getattr(theirs, k)} there, {getattr(mine, k)} here"
        for k in names
        if getattr(theirs, k) != getattr(mine, k)
    ]:
        fix = "the same --model." + " --model.".join(names) + "; width, depth and heads may differ"
        raise ConfigError(f"a teacher of another grid: {'; '.join(differ)}", where=s.teacher.model, fix=fix)
    return theirs


def read_branch(s: SALTSettings, inputs: dict[str, Any]) -> Any:
    """The checkpoint that a branch goes on from; None of a run of its own.

    Args:
        s: settings of the branch.
        inputs: what `SALTRun.describe` says of its.

    Raises:
        AudiokdError: there is none of that step, it is of the other run's decay, or that run has other settings, another training
            set or teacher: the branch would be no run of its length.
    """
    import yaml

    from audiokd.nn.weights import read_checkpoint

    if not s.branch.run:
        return None
    run = Path(s.branch.run)
    path = run / "checkpoints" / f"step{s.branch.step}.ckpt"
    fix = f"train that run with --keep '[{s.branch.step}]'"
    state = read_checkpoint(path, fix)
    other = yaml.safe_load((run / "config.yaml").read_text())
    decay, last = other["optim"]["decay_steps"], other["run"]["max_steps"]
    if decay and s.branch.step > last - decay:
        what = f"step {s.branch.step} lies in its decay, which begins at {last - decay}"
        raise AudiokdError(what, where=str(run), fix="an earlier step, or a run with --optim.decay_steps 0")
    if differ := _otherwise(other, s, inputs):
        fix = "the same settings and training set; a branch has its own length and decay alone"
        raise ConfigError(f"the run has {'; '.join(differ)}", where=str(run), fix=fix)
    return state


def _otherwise(other: dict[str, Any], s: SALTSettings, inputs: dict[str, Any]) -> list[str]:
    """In what a branch is not as `other`, config.yaml of the run that it leaves."""
    found = [] if other["step"] == s.step else [f"step {other['step']}, here {s.step}"]
    for group in ("model", "predictor", "masks", "loss", "teacher", "data", "optim", "run"):
        for key, value in asdict(getattr(s, group)).items():
            mine = list(value) if isinstance(value, tuple) else value
            theirs = other[group].get(key, mine)  # a key that is younger than the run
            if theirs != mine and key not in BRANCH_OWN.get(group, ()):
                found.append(f"{group}.{key} {theirs}, here {mine}")
    for name in ("train", "teacher_sha256"):
        if other["inputs"].get(name) != inputs.get(name):
            found.append(f"another {'training set' if name == 'train' else 'teacher'} in that place")
    return found


def write_model(exp_dir: Path, settings: SALTSettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the encoder of a run as a model folder, with what it cost in its config.json; of step ema that is the average.

    Args:
        exp_dir: folder of the run.
        settings: of the run.
        state: checkpoint; None is the untrained encoder that the run's seed gives. What it cost is what the run has done: that an
            earlier step is the best is known when later ones have been taken.
        out: folder to write.
        name: of the checkpoint.
    """
    import lightning as L
    from transformers.utils import logging

    from audiokd.methods.salt.cost import flops_of, step_flops
    from audiokd.methods.salt.model import SALTModel
    from audiokd.methods.salt.module import config_of
    from audiokd.nn.weights import load_weights, read_checkpoint

    config = config_of(settings)
    L.seed_everything(settings.run.seed, workers=True, verbose=False)
    config.flops = {"step": 0.0, "steps": 0, "teacher": 0.0, "total": 0.0}
    model = SALTModel(config)
    if state is not None:
        teacher = check_settings(settings)
        steps, last = state["iteration"], exp_dir / "checkpoints" / "last.ckpt"
        if last.exists():
            fix = "move it away; then the steps up to this checkpoint alone are counted"
            steps = max(steps, read_checkpoint(last, fix)["iteration"])
        config.flops = model.config.flops = flops_of(step_flops(settings, teacher), steps, teacher)
        prefix = "target_encoder." if settings.step == "ema" else "encoder."
        weights = {k.removeprefix(prefix): v for k, v in state["state_dict"].items() if k.startswith(prefix)}
        load_weights(model, weights, f"{exp_dir}, {name} checkpoint")
    params = sum(p.numel() for p in model.parameters())
    logging.disable_progress_bar()
    with atomic_folder(out) as folder:
        model.eval().save_pretrained(folder)
    cost = f"; {said(model.config.flops)}" if state is not None else ""
    step = state["iteration"] if state is not None else 0
    print(f"{out}: salt {settings.step}, {name} checkpoint, step {step}, {params / 1e6:.2f} M parameters{cost}")

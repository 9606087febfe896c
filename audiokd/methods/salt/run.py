"""What `audiokd fit salt` is given: videos or sound, a teacher, another run's checkpoint; and what an export writes."""

from __future__ import annotations

import hashlib
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


class SALTRun:
    """The inputs of a run.

    Args:
        settings: configuration; run.max_steps is set where max_flops says how many.
        train, dev: folders with items.jsonl of videos, or INPUTs of sound.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        AudiokdError: settings that do not go together, no videos, a teacher of another grid or none, a budget that is too small.
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

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        found: dict[str, Any] = {}
        for name, of in self.sets.items():
            ids = "\n".join(i.id for i in of)
            found[name] = {"items": len(of), "ids_sha256": hashlib.sha256(ids.encode()).hexdigest()}
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module, with the weights that `run.seed` or the other run's checkpoint gives, and its data; says what it costs.

        Raises:
            AudiokdError: the teacher cannot be loaded, or the other run has no such checkpoint.
        """
        import lightning as L

        from audiokd.methods.salt.cost import flops_of, step_flops
        from audiokd.methods.salt.model import SALTModel
        from audiokd.methods.salt.module import SALTModule
        from audiokd.teachers.base import load_pretrained
        from audiokd.teachers.latents import LatentTeacher
        from audiokd.training.clips import ClipDataModule, ClipShape
        from audiokd.training.datamodule import CropDataModule

        s, m, d = self.settings, self.settings.model, self.settings.data
        teacher = None
        if s.step == "student":
            net = load_pretrained(SALTModel, s.teacher.model, "the teacher")
            teacher = LatentTeacher(net, net.config.depth)
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        module = SALTModule(s, teacher, read_branch(s))
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
    masker_of(s)
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
    from audiokd.teachers.base import check_name

    check_name(s.teacher.model)
    theirs = SALTConfig.from_pretrained(s.teacher.model)
    if theirs.model_type != SALTConfig.model_type or not hasattr(theirs, "patch_values"):
        raise ConfigError("no encoder of SALT", where=s.teacher.model, fix="the export of --step teacher")
    names = ("kind", "patch", *(("tubelet", "frames", "size", "fps") if mine.kind == "video" else ()))
    if differ := [
        f"{k} {getattr(theirs, k)} there, {getattr(mine, k)} here"
        for k in names
        if getattr(theirs, k) != getattr(mine, k)
    ]:
        fix = "the same --model." + " --model.".join(names) + "; width, depth and heads may differ"
        raise ConfigError(f"a teacher of another grid: {'; '.join(differ)}", where=s.teacher.model, fix=fix)
    return theirs


def read_branch(s: SALTSettings) -> Any:
    """The checkpoint that a branch goes on from; None of a run of its own.

    Raises:
        AudiokdError: there is none of that step; or it is of the other run's decay.
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
    return state


def write_model(exp_dir: Path, settings: SALTSettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the encoder of a run as a model folder, with what it cost in its config.json; of step ema that is the average.

    Args:
        exp_dir: folder of the run.
        settings: of the run.
        state: checkpoint; None is the untrained encoder that the run's seed gives.
        out: folder to write.
        name: of the checkpoint.
    """
    import lightning as L
    from transformers.utils import logging

    from audiokd.methods.salt.cost import flops_of, step_flops
    from audiokd.methods.salt.model import SALTModel
    from audiokd.methods.salt.module import config_of
    from audiokd.nn.weights import load_weights

    config = config_of(settings)
    L.seed_everything(settings.run.seed, workers=True, verbose=False)
    model = SALTModel(config)
    if state is not None:
        teacher = check_settings(settings)
        config.flops = model.config.flops = flops_of(step_flops(settings, teacher), state["iteration"], teacher)
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

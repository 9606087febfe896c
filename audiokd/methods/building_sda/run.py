"""What `audiokd fit building_sda` is given: pictures with masks, and networks or folders of networks."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from audiokd.data.items import Item
from audiokd.data.masks import check_masks
from audiokd.data.media import open_media
from audiokd.data.regime import Regime, Seen, write_regime
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.building_sda.settings import BuildingSettings, NetworkShape

CLASS = "building"


class BuildingRun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: data dirs of pictures with masks.
        allow_pipes: nothing: pictures come through no pipe.

    Raises:
        ConfigError: the step is told what it has no use for, or not what it needs.
        AudiokdError: sound, an item without a mask, masks without one pixel of a building, one folder for both.
    """

    def __init__(self, settings: BuildingSettings, train: str, dev: str, allow_pipes: bool = False):
        self.settings = settings
        check_settings(settings)
        if os.path.realpath(train) == os.path.realpath(dev):
            raise AudiokdError(
                "--train and --dev are one folder", where=dev, fix="a model is selected by other pictures"
            )
        self.sets = {"train": _items(train), "dev": _items(dev)}
        test = [i for path in settings.data.test for i in open_media(path).items]
        labelled = [i.with_(label=i.label or CLASS) for i in self.sets["train"]]
        self.regime = Regime("inductive", [Seen(settings.step, labelled, selection=self.sets["dev"])], test)

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        found: dict[str, Any] = {}
        for name, items in self.sets.items():
            rows = "\n".join(f"{i.id} {os.path.basename(i.mask or '')}" for i in items)
            found[name] = {"items": len(items), "masked_sha256": hashlib.sha256(rows.encode()).hexdigest()}
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module with the weights that `run.seed` and `init` give, and its data; writes regime.json.

        Raises:
            AudiokdError: a network that cannot be built, a folder of another model, test pictures in training.
        """
        import lightning as L
        from lightning.pytorch.utilities import rank_zero_only

        from audiokd.methods.building_sda.module import BuildingModule
        from audiokd.training.masks import MaskDataModule
        from audiokd.training.shape_file import write_shape

        s = self.settings
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        model = self._network(s.model)
        peer = self._network(s.peer) if s.step == "dml" else None
        teacher = load_folder(s.teacher.model, "the teacher") if s.step == "kd" else None
        for name, other in (("peer", peer), ("teacher", teacher)):
            if other is not None and (other.config.mean, other.config.std) != (model.config.mean, model.config.std):
                what = f"the {name} sees pictures with mean {other.config.mean} and std {other.config.std}"
                what += f", the model with {model.config.mean} and {model.config.std}"
                raise AudiokdError(what, fix="an encoder whose weights were trained on pictures scaled alike")
        if rank_zero_only.rank == 0:
            before = {"model.init": s.model.init, "peer.init": s.peer.init, "teacher.model": s.teacher.model}
            write_regime(folder, self.regime, before)
            write_shape(folder, model.config)
        module = BuildingModule(s, model, peer, teacher)
        c = model.config
        return module, MaskDataModule(self.sets["train"], self.sets["dev"], c.mean, c.std, s.data, s.run, folder)

    def _network(self, shape: NetworkShape) -> Any:
        from audiokd.methods.building_sda.model import new_model

        size = self.settings.data.crop or _side(self.sets["train"][0])
        if not shape.init:
            return new_model(shape.network or "unet", shape.encoder, shape.weights, (size, size))
        model = load_folder(shape.init, "the model to begin with")
        if shape.network and shape.network != model.config.network:
            what = f"a {model.config.network}, and {shape.network} is asked for"
            raise AudiokdError(what, where=shape.init, fix="leave the network out")
        model.config.size = (size, size)
        return model.train()


def load_folder(path: str, what: str) -> Any:
    """A model that `audiokd export` wrote of such a run, with all its weights.

    Raises:
        AudiokdError: no such folder, or of another method.
    """
    from audiokd.methods.building_sda.model import BuildingModel
    from audiokd.teachers.base import load_pretrained

    return load_pretrained(BuildingModel, path, what)


def check_settings(s: BuildingSettings) -> None:
    """That the step has what it needs and is told nothing else.

    Raises:
        ConfigError: it is not so.
    """
    where = f"step {s.step}"
    peers = [("model", s.model), *([("peer", s.peer)] if s.step == "dml" else [])]
    for name, shape in peers:
        if bool(shape.encoder) == bool(shape.init):
            fix = f"--{name}.encoder NAME, or --{name}.init FOLDER, whose network and encoder it has"
            raise ConfigError(f"one {name} is due", where=where, fix=fix)
        if shape.weights and shape.init:
            raise ConfigError(f"{name}.init has all weights", where=where, fix=f"leave --{name}.weights out")
    if s.step != "dml" and s.peer != NetworkShape():
        raise ConfigError("a peer is of dml alone", where=where, fix="--step dml, or leave --peer.* out")
    if s.step == "adapt" and not s.model.init:
        fix = "--model.init FOLDER, the export of a pretrain run"
        raise ConfigError("adapt goes on from a model's weights", where=where, fix=fix)
    if s.step == "pretrain" and s.model.init:
        raise ConfigError("going on from a model's weights is adapt", where=where, fix="--step adapt")
    if bool(s.teacher.model) != (s.step == "kd"):
        fix = "--teacher.model FOLDER, an export" if s.step == "kd" else "--step kd, or leave --teacher.model out"
        raise ConfigError("a teacher is of kd, and kd has one", where=where, fix=fix)
    if s.unfreeze.phase_steps and s.step != "adapt":
        raise ConfigError("gradual unfreezing is of adapt", where=where, fix="leave --unfreeze.* out")
    if s.data.batch_size < 2:
        fix = "--data.batch_size 2 or more: batch norm of pooled maps has one value a picture"
        raise ConfigError("a batch of one picture cannot be trained on", where=where, fix=fix)


def write_model(exp_dir: Path, settings: BuildingSettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the network of the run in `exp_dir` as a model folder.

    Raises:
        AudiokdError: `state` is None: an untrained decoder has nothing to say.
    """
    from audiokd.methods.building_sda.model import BuildingModel
    from audiokd.training.shape_file import write_trained

    write_trained(exp_dir, BuildingModel, "model.", state, out, name)


def _items(path: str) -> list[Item]:
    media = open_media(path)
    if media.kind != "image":
        raise AudiokdError("a folder of sound", where=path, fix="give a folder with items.jsonl")
    check_masks(media.items, path)
    return list(media.items)


def _side(item: Item) -> int:
    """The longer side of a picture, pixels."""
    from audiokd.data.images import load_image

    return max(load_image(item).size)

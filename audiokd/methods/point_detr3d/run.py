"""What `audiokd fit point_detr3d` is given: sets of frames, models to begin with, and a teacher's boxes."""

from __future__ import annotations

import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.data.items import Item
from audiokd.data.regime import Regime, Seen, write_regime
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.point_detr3d.class_sizes import nuscenes_sizes
from audiokd.methods.point_detr3d.settings import Ground, PointDetr3dSettings

BOXED = "boxes"  # what a frame that is learnt from is labelled with


class PointDetr3dRun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: data dirs of frames. Of --train those whose objects all have boxes are learnt from, by the student the others,
            too, with the teacher's boxes; by those of --dev that have boxes a checkpoint is chosen.
        allow_pipes: nothing: frames come through no pipe.

    Raises:
        ConfigError: the step is told what it has no use for, or not what it needs.
        AudiokdError: no frame with boxes, sets of other classes, one folder for both, boxes of another set.
    """

    def __init__(self, settings: PointDetr3dSettings, train: str, dev: str, allow_pipes: bool = False):
        from audiokd.data.frames3d import Frames3d

        self.settings, self.train = settings, train
        check_settings(settings)
        if os.path.realpath(train) == os.path.realpath(dev):
            raise AudiokdError("--train and --dev are one folder", where=dev, fix="a model is selected by other frames")
        cameras = settings.step == "teacher" and settings.teacher.images
        size = settings.teacher.camera_size if cameras else None
        self.sets = {k: Frames3d(p, size=size, with_images=cameras) for k, p in (("train", train), ("dev", dev))}
        self.names = list(self.sets["train"].names)
        if list(self.sets["dev"].names) != self.names:
            what = f"classes {', '.join(self.sets['dev'].names)}; those of {train} are {', '.join(self.names)}"
            raise AudiokdError(what, where=dev, fix="sets of one list of classes")
        self.pseudo = self._pseudo(train)
        self.chosen = {"train": self._learnt(train), "dev": self._boxed("dev", dev)[: settings.data.val_items]}
        if settings.step == "teacher":
            self._check_marks(dev)
        self.regime = self._regime(Frames3d)

    def _boxed(self, name: str, path: str) -> list[int]:
        """Indices of frames with objects, each of which has a box."""
        found = [
            k for k, f in enumerate(self.sets[name].items) if f.objects and all(o.box is not None for o in f.objects)
        ]
        if not found:
            raise AudiokdError("not one frame whose objects all have boxes", where=path, fix="a higher rate of labels")
        return found

    def _learnt(self, path: str) -> list[int]:
        boxed = self._boxed("train", path)
        if self.pseudo is None:
            return boxed
        return sorted({*boxed, *(k for k, id in enumerate(self.sets["train"].ids) if id in self.pseudo)})

    def _pseudo(self, train: str) -> Any:
        if self.settings.step != "student":
            return None
        from audiokd.data.pseudo_boxes import read_pseudo_boxes

        found = read_pseudo_boxes(
            self.settings.data.pseudo, data_sha256=self.sets["train"].sha256, classes=tuple(self.names)
        )
        if lacking := set(found) - set(self.sets["train"].ids):
            what = f"boxes of {len(lacking)} frames that {train} has not, {min(lacking)} first"
            raise AudiokdError(what, where=self.settings.data.pseudo, fix="give the boxes of --train")
        return found

    def _check_marks(self, dev: str) -> None:
        for name in ("train", "dev"):
            if name == "train" and self.settings.data.redraw_marks:
                continue
            of = (self.sets[name].items[k] for k in self.chosen[name])
            if not any(o.mark is not None for f in of for o in f.objects):
                fix = "python -m audiokd.data.point_marks makes a set with marks"
                raise AudiokdError("no object has a mark", where=f"--{name}", fix=fix)

    def _regime(self, open_set: Any) -> Regime:
        known = {k: set(self._boxed(k, k)) for k in ("train", "dev")}
        items = {
            name: [Item(of.ids[k], of.items[k].path, BOXED if k in known[name] else None) for k in self.chosen[name]]
            for name, of in self.sets.items()
        }
        labelled, plain = ([i for i in items["train"] if (i.label is not None) is there] for there in (True, False))
        test = [Item(f.id, f.path) for path in self.settings.data.test for f in open_set(path).items]
        return Regime("inductive", [Seen(self.settings.step, labelled, plain, selection=items["dev"])], test)

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        found: dict[str, Any] = {"classes": self.names}
        for name, of in self.sets.items():
            found[name] = {"frames": len(of), "used": len(self.chosen[name]), "sha256": of.sha256}
        if self.pseudo is not None:
            from audiokd.data.pseudo_boxes import boxes_sha256, read_about

            # a run that goes on with another teacher's boxes, or with others of this one, is another run
            where, count = self.settings.data.pseudo, sum(len(boxes) for boxes, _, _ in self.pseudo.values())
            found["pseudo_boxes"] = {
                "boxes": int(count), "model_sha256": read_about(where)["model_sha256"], "sha256": boxes_sha256(where),
            }  # fmt: skip
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module with the weights that `run.seed` and `init` give, and its data; writes regime.json and the model's config.

        Raises:
            AudiokdError: a model to begin with that is another; test frames in training.
        """
        import lightning as L
        from lightning.pytorch.utilities import rank_zero_only

        from audiokd.methods.point_detr3d.data import FrameDataModule
        from audiokd.training.shape_file import write_shape

        s = self.settings
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        module = self._teacher() if s.step == "teacher" else self._center_point()
        config = module.model.config
        if rank_zero_only.rank == 0:
            write_regime(folder, self.regime, {"init.model": s.init.model, "train": self.train})
            write_shape(folder, config)
        sets = [(self.sets[k], self.chosen[k]) for k in ("train", "dev")]
        return module, FrameDataModule(*sets, config, s, self.pseudo, folder)

    def ground(self) -> dict[str, Any]:
        """What every model's config has: classes, their sizes, range and layers over points."""
        s = self.settings.model
        sizes = nuscenes_sizes(self.names) if s.class_sizes == "nuscenes" else self._mean_sizes()
        return asdict(s) | {"labels": self.names, "class_sizes": sizes}

    def _mean_sizes(self) -> list[list[float]]:
        """Mean sides of each class' boxes; of one that has none those of all boxes."""
        of = self.sets["train"]
        found = [(o.label, o.box[3:6]) for k in self._boxed("train", "--train") for o in of.items[k].objects]
        all_of_them = np.mean([sides for _, sides in found], 0)
        means = [np.mean([b for label, b in found if label == name] or [all_of_them], 0) for name in self.names]
        return [[round(float(v), 3) for v in m] for m in means]

    def _center_point(self) -> Any:
        from audiokd.methods.point_detr3d.center_point import CenterPointModel
        from audiokd.methods.point_detr3d.config import CenterPointConfig
        from audiokd.methods.point_detr3d.module import CenterPointModule

        s = self.settings
        model = CenterPointModel(CenterPointConfig(**self.ground(), **asdict(s.center)))
        if s.init.model:
            begun = load_labeller(s.init.model)
            _check_same(model.config, begun.config, [f.name for f in fields(s.center)[:3]], s.init.model)
            model.load_state_dict(begun.state_dict())
        return CenterPointModule(s, model)

    def _teacher(self) -> Any:
        from audiokd.methods.point_detr3d.config import PointDetr3dConfig
        from audiokd.methods.point_detr3d.model import PointDetr3dModel
        from audiokd.methods.point_detr3d.teacher_module import TeacherModule
        from audiokd.vision.feature_pyramid import load_pyramid

        s, t = self.settings, self.settings.teacher
        own = asdict(t)
        for name in ("roi", "images", "matching", "weights", "keep_maps"):
            del own[name]
        own |= {"roi_side": t.roi_side if t.roi else 0, "cameras": t.cameras if t.images else 0}
        own["roi_start"] = (5.0, 5.0, 4.0) if t.roi_start == "fixed" else ()
        pyramid = None
        if t.images:
            pyramid, whole = load_pyramid(t.backbone, "" if t.weights == "random" else t.weights, stem=False)
            own |= {"image_mean": whole.preprocess.mean, "image_std": whole.preprocess.std}
        model = PointDetr3dModel(PointDetr3dConfig(**self.ground(), **own))
        old = []
        if pyramid is not None and model.pictures is not None:
            model.pictures.pyramid.load_state_dict(pyramid.state_dict())
            old = ["pictures.pyramid."] if t.weights != "random" else []
        if s.init.model:
            begun = load_labeller(s.init.model)
            _check_same(model.config, begun.config, [], s.init.model)
            model.encoder.load_state_dict(begun.encoder.state_dict())
            old.append("encoder.")
        return TeacherModule(s, model, tuple(old))


def load_labeller(path: str) -> Any:
    """A CenterPoint that `audiokd export` wrote, with all its weights.

    Raises:
        AudiokdError: no such folder, or of another model.
    """
    from audiokd.methods.point_detr3d.center_point import CenterPointModel
    from audiokd.teachers.base import load_pretrained

    return load_pretrained(CenterPointModel, path, "the labeller").train()


def _check_same(mine: Any, theirs: Any, more: list[str], where: str) -> None:
    """That a model has what one that it begins with has.

    Raises:
        ConfigError: it has not; the first difference is named.
    """
    for name in ("labels", *(f.name for f in fields(Ground) if f.name != "class_sizes"), *more):
        a, b = getattr(mine, name), getattr(theirs, name)
        if (list(a) if isinstance(a, tuple) else a) != (list(b) if isinstance(b, tuple) else b):
            raise ConfigError(
                f"{name} is {b} there, {a} here", where=where, fix="the settings that it was trained with"
            )


def check_settings(s: PointDetr3dSettings) -> None:
    """That the step has what it needs and is told nothing else.

    Raises:
        ConfigError: it is not so.
    """
    where = f"step {s.step}"
    if bool(s.data.pseudo) != (s.step == "student"):
        fix = "--data.pseudo FOLDER, a teacher's boxes of --train" if s.step == "student" else "leave --data.pseudo out"
        raise ConfigError("a teacher's boxes are what the student learns from", where=where, fix=fix)
    t = s.teacher
    if s.step == "teacher":
        if t.images and not t.weights:
            fix = "--teacher.weights FILE, folder or hub id; random as a floor; or --teacher.images false"
            raise ConfigError("the picture backbone has no weights", where="teacher.weights", fix=fix)
        if not 1 <= t.image_levels <= 3:
            raise ConfigError(f"{t.image_levels} maps of pictures", where="teacher.image_levels", fix="1, 2 or 3")
        if t.roi and t.roi_side < 2:
            fix = "2 or more; --teacher.roi false has no region"
            raise ConfigError(f"a grid of {t.roi_side} places a side", where="teacher.roi_side", fix=fix)
    if other := sorted(set(s.augment.steps) - {"labeller", "teacher", "student"}):
        raise ConfigError(f"no step {other[0]}", where="augment.steps", fix="labeller, teacher or student")
    if not len(s.model.widths) == len(s.model.depths) == len(s.model.strides):
        raise ConfigError("widths, depths and strides of as many stages are due", where="model.widths")


def write_model(
    exp_dir: Path, settings: PointDetr3dSettings, state: dict[str, Any] | None, out: Path, name: str
) -> None:
    """Write the detector of the run in `exp_dir` as a model folder.

    Raises:
        AudiokdError: `state` is None: an untrained head has nothing to say.
    """
    from audiokd.methods.point_detr3d.center_point import CenterPointModel
    from audiokd.methods.point_detr3d.model import PointDetr3dModel
    from audiokd.training.shape_file import write_trained

    cls = PointDetr3dModel if settings.step == "teacher" else CenterPointModel
    write_trained(exp_dir, cls, "model.", state, out, name)

"""What `audiokd fit dbfad` is given: normal pictures, and a teacher."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from audiokd.data.anomaly_labels import check_normal
from audiokd.data.draws import hold_out
from audiokd.data.items import Item
from audiokd.data.media import MediaSet, open_media
from audiokd.data.regime import Regime, Seen, write_regime
from audiokd.errors import AudiokdError, ConfigError
from audiokd.files import atomic_folder, write_bytes
from audiokd.methods.dbfad.settings import DBFADSettings

#: in a run's folder: the teacher as it was at the first step, which `export` puts into the model
TEACHER = "teacher.safetensors"
#: kind -> how levels make a map
OWN = {"dbfad": ("sum", "area"), "rd4ad": ("sum", "equal"), "stfpm": ("product", "equal")}


class DBFADRun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: data dirs of normal pictures; the same folder means that `data.hold_out` of it are held out.
        allow_pipes: of sound; there is none.

    Raises:
        AudiokdError: settings that do not go together; pictures of defects, or none; a domain that is not there; sound.
    """

    def __init__(self, settings: DBFADSettings, train: str, dev: str, allow_pipes: bool = False):
        self.settings = settings
        check_settings(settings)
        d, media = settings.data, _open(train)
        items = self._chosen(media)
        check_normal(items, train)
        if os.path.realpath(train) == os.path.realpath(dev):
            parts = [hold_out(of, d.hold_out, settings.run.seed) for of in _by_domain(items).values()]
            learnt, held = [i for p in parts for i in p[0]], [i for p in parts for i in p[1]]
            self.sets = {"train": media.of(learnt), "dev": media.of(held)}
        else:
            other = _open(dev)
            self.sets = {"train": media.of(items), "dev": other.of(self._chosen(other))}
            check_normal(self.sets["dev"].items, dev)
        test = [i for path in d.test for i in _open(path).items]
        seen = Seen("fit", labelled=self.sets["train"].items, selection=self.sets["dev"].items)
        self.regime = Regime("inductive", [seen], test)

    def _chosen(self, media: MediaSet) -> list[Item]:
        d = self.settings.data
        for name, domain in (("category", d.category), ("leave_out", d.leave_out)):
            if domain and domain not in media.domains():
                known = ", ".join(media.domains()) or "none"
                raise AudiokdError(
                    f"no item of the domain {domain}", where=media.path, fix=f"data.{name}: one of {known}"
                )
        return [i for i in media.items if d.category in ("", i.domain) and (not d.leave_out or i.domain != d.leave_out)]

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        found: dict[str, Any] = {"domains": sorted(_by_domain(self.sets["train"].items))}
        for name, of in self.sets.items():
            ids = "\n".join(i.id for i in of.items)
            found[name] = {"items": len(of), "ids_sha256": hashlib.sha256(ids.encode()).hexdigest()}
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module, with the student that `run.seed` gives, and its data; writes regime.json and the teacher's weights.

        Raises:
            AudiokdError: no such backbone, weights of another, a size that its strides do not divide, test pictures in training.
        """
        import lightning as L
        from lightning.pytorch.utilities import rank_zero_only

        from audiokd.methods.dbfad.model import build_student, map_of
        from audiokd.methods.dbfad.module import DBFADModule
        from audiokd.teachers.pyramid import PyramidTeacher
        from audiokd.training.shape_file import write_shape
        from audiokd.training.views import PictureView, ViewDataModule
        from audiokd.vision.transforms import Preprocess

        s = self.settings
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        pyramid, config = self._teacher(folder)
        L.seed_everything(s.run.seed, workers=True, verbose=False)  # the student's, whatever the teacher drew
        student = build_student(config, pyramid)
        if rank_zero_only.rank == 0:
            write_regime(folder, self.regime)
            write_shape(folder, config)
        view = PictureView(Preprocess(**config.preprocess))
        data = ViewDataModule(
            self.sets["train"], self.sets["dev"], {"student": view}, {"student": view}, s.data, s.run, folder
        )
        return DBFADModule(s, student, PyramidTeacher(pyramid), map_of(config)), data

    def _teacher(self, folder: Path) -> tuple[Any, Any]:
        """The teacher, and the detector's config: those of the run's folder where it has begun before."""
        from lightning.pytorch.utilities import rank_zero_only
        from safetensors.torch import save

        from audiokd.methods.dbfad.config import DBFADConfig
        from audiokd.nn.weights import weights_sha256
        from audiokd.vision.feature_pyramid import check_size, load_pyramid

        s, m = self.settings, self.settings.model
        if (folder / TEACHER).is_file() and (folder / "dbfad.json").is_file():
            config = DBFADConfig.from_dict(json.loads((folder / "dbfad.json").read_text()))
            return _kept_teacher(folder, config), config
        stem = m.kind == "dbfad"
        pyramid, whole = load_pyramid(m.backbone, "" if m.weights == "random" else m.weights, stem)
        check_size(m.size, pyramid.multiple)
        # the whole picture, so that a map lies on it; both sides to one size
        seen = replace(whole.preprocess, size=(m.size, m.size), crop=1.0, crop_mode="squash")
        combine, weigh = (o if given == "own" else given for o, given in zip(OWN[m.kind], (s.map.combine, s.map.weigh)))
        config = DBFADConfig(
            m.kind, m.backbone, weights_sha256(pyramid), stem, pyramid.signed(), m.widths,
            m.depths or (2,) * len(pyramid.levels), m.block, m.residual, m.attention, asdict(seen), combine, weigh,
            s.map.sigma, s.map.align_corners, domains=tuple(sorted(_by_domain(self.sets["train"].items))),
        )  # fmt: skip
        if rank_zero_only.rank == 0:
            write_bytes(folder / TEACHER, save(pyramid.state_dict()))
        return pyramid, config


def check_settings(s: DBFADSettings) -> None:
    """That there is a teacher, and that nothing is said that the kind has no use for.

    Raises:
        ConfigError: it is not so.
    """
    m, d = s.model, s.data
    if not m.weights:
        fix = f"--model.weights FILE, or a hub id such as timm/{m.backbone}.a1_in1k; random is a floor"
        raise ConfigError("the teacher has no weights", where="model.weights", fix=fix)
    if m.kind == "stfpm" and (m.widths or m.depths or m.block != "basic"):
        raise ConfigError("STFPM's student is as its teacher", where="model", fix="leave widths, depths and block out")
    if m.kind != "dbfad" and (not m.residual or not m.attention):
        raise ConfigError(
            f"{m.kind} has neither residual paths nor gates", where="model", fix="leave residual and attention out"
        )
    if s.loss.name == "flat" and s.loss.items == "sum":
        raise ConfigError("the flat distance is a mean over the batch", where="loss.items", fix="mean")
    if d.category and d.leave_out:
        raise ConfigError("one domain alone, and all but one", where="data", fix="category or leave_out")
    if not 0 < d.quantile < 1:
        raise ConfigError(f"a quantile of {d.quantile}", where="data.quantile", fix="over 0 and under 1")


def write_model(exp_dir: Path, settings: DBFADSettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the detector of the run in `exp_dir`, teacher and thresholds in it, as a model folder.

    Raises:
        AudiokdError: `state` is None: a student that has learnt nothing finds nothing; the teacher that the run kept is not
            there, or
            another; or the checkpoint is of a step between validations, which has no thresholds.
    """
    from transformers.utils import logging

    from audiokd.methods.dbfad.config import DBFADConfig
    from audiokd.methods.dbfad.model import DBFADModel
    from audiokd.nn.weights import load_weights

    if state is None:
        raise AudiokdError("a detector has no init checkpoint to export", where=str(exp_dir), fix="--checkpoint best")
    thresholds = dict(state["thresholds"])
    if thresholds.pop("step", None) != state["iteration"]:
        what = f"the {name} checkpoint is of step {state['iteration']}, between two validations: it has no thresholds"
        fix = "--checkpoint best; or let the run end, with run.max_steps a multiple of run.val_every"
        raise AudiokdError(what, where=str(exp_dir), fix=fix)
    config = DBFADConfig.from_dict(json.loads((exp_dir / "dbfad.json").read_text()))
    config.thresholds = thresholds
    model = DBFADModel(config)
    model.teacher.load_state_dict(_kept_teacher(exp_dir, config).state_dict())
    prefix = "student."
    weights = {k.removeprefix(prefix): v for k, v in state["state_dict"].items() if k.startswith(prefix)}
    load_weights(model.student, weights, f"{exp_dir}, {name} checkpoint")
    params = {
        k: sum(p.numel() for p in of.parameters()) for k, of in (("student", model.student), ("teacher", model.teacher))
    }
    logging.disable_progress_bar()
    with atomic_folder(out) as folder:
        model.eval().save_pretrained(folder)
    said = ", ".join(f"{v / 1e6:.2f} M parameters of the {k}" for k, v in params.items())
    score = thresholds["score"]
    print(f"{out}: {config.kind}, {name} checkpoint, step {state['iteration']}, {said}; threshold {score:.4g}")


def _kept_teacher(folder: Path, config: Any) -> Any:
    from safetensors.torch import load_file

    from audiokd.nn.weights import check_weights, weights_sha256
    from audiokd.vision.feature_pyramid import FeaturePyramid

    path, fix = folder / TEACHER, "begin the run again in a new folder"
    if not path.is_file():
        raise AudiokdError("the teacher that the run kept is not there", where=str(path), fix=fix)
    pyramid, found = FeaturePyramid(config.backbone, config.stem), load_file(path)
    check_weights(pyramid.state_dict(), found, str(path), fix)
    pyramid.load_state_dict(found)
    if weights_sha256(pyramid) != config.teacher_sha256:
        raise AudiokdError("another teacher than the run began with", where=str(path), fix=fix)
    return pyramid.eval()


def _open(path: str) -> MediaSet:
    media = open_media(path)
    if media.kind != "image":
        fix = "make pictures of it, as egs/dcase_task2/ad1 makes log-mel ones"
        raise AudiokdError("sound, and a detector looks at pictures", where=path, fix=fix)
    return media


def _by_domain(items: Any) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.domain or "all", []).append(item)
    return dict(sorted(found.items()))

"""What `audiokd fit vl2v` is given: labelled items of several domains, a student, and a pair model or what one said."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from audiokd.data.classes import named
from audiokd.data.draws import hold_out
from audiokd.data.items import Item
from audiokd.data.media import DOMAINS, MediaSet, open_media
from audiokd.data.regime import Regime, Seen, write_regime
from audiokd.errors import AudiokdError
from audiokd.methods.vl2v_adip.settings import VL2VSettings

BANK = "text_bank.safetensors"  # its name in a run's folder
ALL = "all"  # the one domain of items of which none is said


class VL2VRun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: data dirs of pictures or sound; the same folder means that `data.hold_out` of it are held out.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        AudiokdError: settings that the step does not go with, a domain or label that is not there, pictures and sound together.
    """

    def __init__(self, settings: VL2VSettings, train: str, dev: str, allow_pipes: bool = False):
        self.settings = settings
        check_settings(settings)
        d, media = settings.data, open_media(train, allow_pipes)
        items, left = _leave_out(media, d.leave_out)
        if d.leave_out and not left:
            raise AudiokdError(
                f"no item of the domain {d.leave_out}",
                where=train,
                fix=f"one of {', '.join(media.domains()) or 'none'}",
            )
        if os.path.realpath(train) == os.path.realpath(dev):
            parts = [hold_out(of, d.hold_out, settings.run.seed) for of in _by_domain(items).values()]
            sets = {
                "train": media.of([i for p in parts for i in p[0]]),
                "dev": media.of([i for p in parts for i in p[1]]),
            }
        else:
            other = open_media(dev, allow_pipes)
            if other.kind != media.kind:
                raise AudiokdError(f"--train is of {media.kind}, --dev of {other.kind}", where=dev)
            kept, also = _leave_out(other, d.leave_out)
            left += also
            sets = {"train": media.of(items), "dev": other.of(kept)}
        for name, of in sets.items():
            if not len(of):
                raise AudiokdError(f"{name} has no item but of the domain {d.leave_out}", where=of.path)
            of.labels()  # each has one
        if strange := sorted({i.label or "" for i in sets["dev"].items} - set(media.classes)):
            raise AudiokdError(f"labels that --train does not know: {named(strange)}", where=dev)
        self.sets, self.left, self.classes, self.kind = sets, left, media.classes, media.kind
        takes = {"backbone": "image", "encoder": "audio"}
        for name, kind in takes.items():
            if getattr(settings.model, name) and kind != media.kind:
                right = next(k for k, v in takes.items() if v == media.kind)
                raise AudiokdError(f"model.{name} is of {kind}, the data of {media.kind}", fix=f"--model.{right}")

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        found: dict[str, Any] = {"classes": list(self.classes), "domains": sorted(_by_domain(self.sets["train"].items))}
        for name, of in (*((k, m.items) for k, m in self.sets.items()), ("left_out", self.left)):
            rows = "\n".join(f"{i.id} {i.label} {i.domain}" for i in of)
            found[name] = {"items": len(of), "labelled_sha256": hashlib.sha256(rows.encode()).hexdigest()}
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module, the student in it as it begins, and its data; writes regime.json, and the class vectors that it makes.

        Raises:
            AudiokdError: a teacher or student of another kind than the data, class vectors of another model or of other classes,
                a store that lacks items, test items in training.
        """
        import lightning as L
        from lightning.pytorch.utilities import rank_zero_only

        from audiokd.methods.vl2v_adip.module import VL2VModule
        from audiokd.teachers.black_box import BlackBox, StoredBlackBox, black_box
        from audiokd.teachers.pair import load_pair
        from audiokd.training.shape_file import write_shape
        from audiokd.training.views import ViewDataModule

        s, t, train, dev = self.settings, self.settings.teacher, self.sets["train"], self.sets["dev"]
        pair, teacher = load_pair(t.pair) if t.pair else None, None
        if pair is not None and pair.kind != self.kind:
            raise AudiokdError(f"the teacher is of {pair.kind}, the data of {self.kind}", where=t.pair)
        if t.embeddings:
            teacher = StoredBlackBox(t.embeddings)
            if lacking := [i.id for i in train.items if i.id not in teacher.store]:
                what = f"no embedding of {len(lacking)} of {len(train)} training items: {named(lacking)}"
                raise AudiokdError(what, where=t.embeddings, fix="embed the same items")
        bank = self._bank(folder, pair)
        if (
            teacher is not None
            and teacher.model_sha256
            and bank is not None
            and teacher.model_sha256 != bank.model_sha256
        ):
            what = f"made by {teacher.model_sha256[:12]}, the class vectors by {bank.model_sha256[:12]}"
            fix = "make both with one pair model: audiokd extract PAIR DATA STORE --layer embedding, and its text bank"
            raise AudiokdError(what, where=t.embeddings, fix=fix)
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        model = self._student(pair if teacher is None else teacher, bank)
        if rank_zero_only.rank == 0:
            regime = Regime("inductive", [Seen(s.step, train.items, selection=dev.items)], self.left)
            write_regime(folder, regime, {"teacher.pair": t.pair, "model.aligned": s.model.aligned})
            write_shape(folder, model.config)
        texts = len({p for of in bank.prompts for p in of}) if bank is not None and not t.bank else 0
        number = {label: k for k, label in enumerate(self.classes)}
        labels = {i.id: number[i.label or ""] for of in (train, dev) for i in of.items}
        domains = {i.id: i.domain or ALL for i in dev.items}
        box: BlackBox | None = teacher if pair is None else black_box(pair)
        module = VL2VModule(s, model, labels, domains, box, bank, texts)
        place = {item.id: k for k, item in enumerate(train.items)}
        groups = [[place[i.id] for i in of] for _, of in sorted(_by_domain(train.items).items())]
        train_views, dev_views = self._views(model, pair)
        return module, ViewDataModule(train, dev, train_views, dev_views, s.data, s.run, folder, groups=groups)

    def _bank(self, folder: Path, pair: Any) -> Any:
        """Class vectors of all classes; those of the run's folder where it has begun before."""
        from audiokd.nn.weights import weights_sha256
        from audiokd.teachers.text_bank import fill, load_text_bank, make_text_bank

        t = self.settings.teacher
        if t.bank:
            bank = load_text_bank(t.bank).of(list(self.classes))
            if pair is not None:
                bank.check_model(weights_sha256(pair), t.bank)
            return bank
        if pair is None:
            return None
        prompts = fill(self.classes, t.templates or ("photo" if self.kind == "image" else "sound"))
        path = folder / BANK
        if path.is_file():
            bank = load_text_bank(path)
            bank.check_model(weights_sha256(pair), str(path))
            if dict(zip(bank.names, bank.prompts)) == {k: tuple(v) for k, v in prompts.items()}:
                return bank
        bank = make_text_bank(pair, prompts, float(pair.scale))
        bank.save(path)
        return bank

    def _student(self, teacher: Any, bank: Any) -> Any:
        from audiokd.methods.vl2v_adip.config import VL2VConfig
        from audiokd.methods.vl2v_adip.model import VL2VModel
        from audiokd.teachers.base import load_pretrained
        from audiokd.teachers.black_box import weights_of
        from audiokd.teachers.student_body import body_of_pair, sound_body, timm_body

        s = self.settings
        net = weights_of(teacher, "VL2V-SD") if s.step == "sd" else None
        linear = s.step in ("erm", "kd")
        about: dict[str, Any] = {"labels": list(self.classes), "left_out": s.data.leave_out}
        about["learnt_sha256"] = self._learnt_sha256()
        if linear:
            about["head"] = "linear"
        else:
            about |= {"embed_dim": bank.vectors.shape[1], "scale": bank.scale, "bank_sha256": bank.model_sha256}
        if s.step == "distill":
            model = load_pretrained(VL2VModel, s.model.aligned, "the aligned model")
            self._check_aligned(model, bank)
            return model
        if net is not None:
            if bank.vectors.shape[1] != teacher.dim:
                what = f"class vectors of {bank.vectors.shape[1]} numbers, embeddings of {teacher.dim}"
                raise AudiokdError(what, where=teacher.name)
            body: Any = body_of_pair(teacher)
        elif self.kind == "image":
            body = timm_body(s.model.backbone, s.model.weights, s.model.size)
        else:
            body = sound_body(s.model.encoder, s.model.clip_blocks)
        model = VL2VModel(VL2VConfig(body.shape, **about), body)
        if not linear:
            model.class_vectors.copy_(bank.vectors)
        return model

    def _learnt_sha256(self) -> str:
        return hashlib.sha256("\n".join(sorted(i.id for i in self.sets["train"].items)).encode()).hexdigest()

    def _check_aligned(self, model: Any, bank: Any) -> None:
        config, where = model.config, self.settings.model.aligned
        if config.head != "cosine" or config.body["body"] == "pair":
            raise AudiokdError("no export of an align run", where=where, fix="audiokd fit vl2v --step align")
        if model.kind != self.kind:
            raise AudiokdError(f"the aligned model is of {model.kind}, the data of {self.kind}", where=where)
        if config.labels != list(self.classes):
            raise AudiokdError("aligned to other classes, or in another order", where=where, fix="align it to these")
        if config.left_out != self.settings.data.leave_out:
            what = f"aligned without the domain {config.left_out or 'none'}, this run leaves out"
            raise AudiokdError(f"{what} {self.settings.data.leave_out or 'none'}", where=where, fix="align it so")
        if config.learnt_sha256 != self._learnt_sha256():
            what = "aligned on other items: some that this run selects by may be among them"
            fix = "the same --train, --dev, --data.hold_out and --run.seed for both steps"
            raise AudiokdError(what, where=where, fix=fix)
        same = config.bank_sha256 == bank.model_sha256 and model.class_vectors.shape == bank.vectors.shape
        if not same or not bool((model.class_vectors - bank.vectors).abs().max() < 1e-5):
            raise AudiokdError("aligned to other class vectors", where=where, fix="the same teacher and templates")

    def _views(self, model: Any, pair: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of training and validation; the teacher has none where it is a store, or the student's will do."""
        from audiokd.data.views.gain_noise import GainNoise
        from audiokd.training.views import PairView, PictureView, SoundView
        from audiokd.vision.transforms import preprocess_of

        s, seed = self.settings, self.settings.run.seed
        own = pair is not None and s.step != "sd"
        if self.kind == "audio":
            change = GainNoise(seed, s.data.gain_db, s.data.snr_db)
            if s.step == "sd":
                return {"student": PairView(pair, change)}, {"student": PairView(pair)}
            rate = model.sample_rate
            views: dict[str, Any] = {"student": SoundView(rate, change)}
            if own:
                views["teacher"] = PairView(pair, change)
            return views, {"student": SoundView(rate)}
        seen = model.preprocess
        views = {"student": PictureView(seen, s.data.view, seed)}
        if own:
            theirs = preprocess_of(pair.processor)
            if s.teacher.preprocess == "own":
                views["teacher"] = PictureView(theirs, s.data.view, seed)
            elif theirs.size != seen.size:
                what = f"the student sees {seen.size} pixels, the teacher {theirs.size}"
                raise AudiokdError(what, where="teacher.preprocess", fix="--teacher.preprocess own")
        return views, {"student": PictureView(seen)}


def check_settings(s: VL2VSettings) -> None:
    """That the step has what it needs and is told nothing else.

    Raises:
        AudiokdError: it is not so.
    """
    m, t, where = s.model, s.teacher, f"step {s.step}"
    if s.step == "erm":
        if t.pair or t.embeddings or t.bank:
            raise AudiokdError("a teacher is given, and ERM has none", where=where, fix="leave --teacher.* out")
    elif bool(t.pair) == bool(t.embeddings):
        raise AudiokdError("one teacher is due", where=where, fix="--teacher.pair NAME or --teacher.embeddings STORE")
    elif t.embeddings and not t.bank and s.step != "sd":
        fix = "--teacher.bank FILE, of the model that made the embeddings"
        raise AudiokdError("embeddings have no class vectors", where=where, fix=fix)
    if t.bank and t.templates:
        raise AudiokdError("a bank has its prompts already", where="teacher.templates", fix="give one of the two")
    if t.preprocess == "student" and (t.embeddings or m.encoder):
        what = "of stored embeddings" if t.embeddings else "of sound"
        raise AudiokdError(f"preprocess student is not {what}", where="teacher.preprocess", fix="own")
    given = [k for k in ("backbone", "encoder", "aligned") if getattr(m, k)]
    due = {"sd": [], "distill": ["aligned"]}
    if s.step in due and given != due[s.step]:
        fix = "it is the pair's own tower: leave --model.* out" if s.step == "sd" else "--model.aligned FOLDER alone"
        raise AudiokdError(f"the student is {' and '.join(given) or 'not'} given", where=where, fix=fix)
    if s.step not in due and (len(given) != 1 or m.aligned):
        fix = "--model.backbone NAME --model.weights FILE of pictures, --model.encoder FOLDER of sound"
        raise AudiokdError("one student is due", where=where, fix=fix)
    if m.weights and not m.backbone:
        raise AudiokdError("weights without a backbone", where="model.weights", fix="--model.backbone NAME")
    if m.size and not m.backbone:
        raise AudiokdError(
            "a size without a backbone", where="model.size", fix="leave it out, or --model.backbone NAME"
        )


def write_model(exp_dir: Path, settings: VL2VSettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the student of the run in `exp_dir` as a model folder.

    Raises:
        AudiokdError: `state` is None: a student that has learnt nothing is its backbone.
    """
    from audiokd.methods.vl2v_adip.model import VL2VModel
    from audiokd.training.shape_file import write_trained

    write_trained(exp_dir, VL2VModel, "model.", state, out, name)


def _leave_out(media: MediaSet, domain: str) -> tuple[list[Item], list[Item]]:
    """Items of all domains but that, and of it.

    Raises:
        AudiokdError: some items have a domain or are to have one, and others have none.
    """
    without = [i.id for i in media.items if i.domain is None]
    if without and (domain or len(without) < len(media)):
        what = f"{len(without)} of {len(media)} items have no domain: {named(without)}"
        raise AudiokdError(what, where=media.path, fix=f"{DOMAINS}, or `domain` in items.jsonl")
    return [i for i in media.items if not domain or i.domain != domain], [
        i for i in media.items if domain and i.domain == domain
    ]


def _by_domain(items: Any) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.domain or ALL, []).append(item)
    return found

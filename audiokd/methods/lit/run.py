"""What `audiokd fit lit` is given: pictures or sound with captions, and two towers; and what `audiokd export` writes of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from audiokd.data.classes import named
from audiokd.data.media import MediaSet, open_media
from audiokd.data.regime import Regime, Seen, write_regime
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.lit.settings import LitSettings

VIT = "vit"
TOKENIZER = "tokenizer"  # folder in a run's, so that it can be exported without the text encoder's


class LitRun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: data dirs of pictures with captions, or INPUTs of sound with texts.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        ConfigError, AudiokdError: no towers, a locked one with random weights, items without a caption, pictures for an audio
            encoder or sound for an image backbone, or one id with two captions.
    """

    def __init__(self, settings: LitSettings, train: str, dev: str, allow_pipes: bool = False):
        self.settings = settings
        _check(settings)
        self.sets = {k: open_media(p, allow_pipes, same_names=True) for k, p in (("train", train), ("dev", dev))}
        takes = "audio" if _is_encoder(settings.model.media) else "image"
        self.captions: dict[str, str] = {}
        for media in self.sets.values():
            if media.kind != takes:
                what = f"{settings.model.media} takes {takes}, and this is {media.kind}"
                raise AudiokdError(
                    what, where=media.path, fix="--model.media: a timm name, vit, or an audio encoder's folder"
                )
            self._add_captions(media)

    def _add_captions(self, media: MediaSet) -> None:
        if without := [i.id for i in media.items if not (i.caption or "").strip()]:
            what = f"{len(without)} of {len(media)} items have no caption: {named(without)}"
            fix = "`caption` in items.jsonl of pictures, a text of every utterance of sound"
            raise AudiokdError(what, where=media.path, fix=fix)
        for item in media.items:
            caption = item.caption or ""
            if self.captions.setdefault(item.id, caption) != caption:
                raise AudiokdError("train and dev have two captions for it", where=item.id, fix="make the ids unique")

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        found = {}
        for name, media in self.sets.items():
            rows = "\n".join(f"{i.id} {self.captions[i.id]}" for i in media.items)
            found[name] = {"items": len(media), "captioned_sha256": hashlib.sha256(rows.encode()).hexdigest()}
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module, with the towers' weights and heads that `run.seed` gives, and its data.

        Raises:
            AudiokdError: a tower, the tokenizer or the teacher cannot be loaded, or the teacher's embeddings are no goal.
        """
        from lightning.pytorch.utilities import rank_zero_only

        from audiokd.methods.lit.captions import Captions
        from audiokd.methods.lit.module import LitModule
        from audiokd.teachers.black_box import black_box
        from audiokd.teachers.pair import text_limit
        from audiokd.training.shape_file import write_shape
        from audiokd.training.views import PictureView, SoundView, ViewDataModule, pair_view
        from audiokd.vision.transforms import Preprocess

        s = self.settings
        model, tokenizer = build_model(s)
        if rank_zero_only.rank == 0:
            learnt = Seen("pair", captioned=self.sets["train"].items, selection=self.sets["dev"].items)
            write_regime(folder, Regime("inductive", [learnt], ()), {"teacher.pair": s.teacher.pair})
            write_shape(folder, model.config)
            tokenizer.save_pretrained(folder / TOKENIZER)
        captions = Captions(self.captions, tokenizer, text_limit(model.config.text_config))
        changed = "" if s.data.view == "plain" else s.data.view
        if model.config.pairs == "image":
            seen = Preprocess(**model.config.preprocess)
            train_views: dict[str, Any] = {"media": PictureView(seen, changed, s.run.seed)}
            dev_views: dict[str, Any] = {"media": PictureView(seen)}
        else:
            train_views = dev_views = {"media": SoundView(model.sample_rate)}
        teacher = load_goal(s, model.config.pairs)
        if teacher is not None:
            train_views = train_views | {"teacher": pair_view(teacher, changed, s.run.seed)}
        data = ViewDataModule(self.sets["train"], self.sets["dev"], train_views, dev_views, s.data, s.run, folder)
        return LitModule(s, model, captions, None if teacher is None else black_box(teacher)), data


def load_goal(s: LitSettings, pairs: str) -> Any:
    """The pair model whose embeddings are learnt, too; None where there is none.

    Raises:
        AudiokdError: it cannot be loaded, is of other media than `pairs`, or its embeddings have another size.
    """
    from audiokd.teachers.pair import load_pair

    if not s.teacher.pair:
        return None
    teacher = load_pair(s.teacher.pair)
    if teacher.kind != pairs:
        raise AudiokdError(f"the teacher is of {teacher.kind}, the data of {pairs}", where=s.teacher.pair)
    if teacher.dim != s.model.projection_dim:
        what = f"the teacher's embeddings have {teacher.dim} numbers, model.projection_dim is {s.model.projection_dim}"
        raise AudiokdError(what, where=s.teacher.pair, fix=f"--model.projection_dim {teacher.dim}")
    return teacher


def build_model(s: LitSettings) -> tuple[Any, Any]:
    """The pair model that a run begins with, and its tokenizer.

    Raises:
        AudiokdError: a tower or the tokenizer cannot be loaded, or the text encoder is not built as BERT is.
    """
    import lightning as L
    from transformers import AutoModel, CLIPVisionConfig

    from audiokd.methods.lit.config import TIMM, LitConfig
    from audiokd.methods.lit.model import TEXT_TOWERS, LitModel
    from audiokd.teachers.base import load_pretrained, read_family
    from audiokd.teachers.pair import read_tokenizer
    from audiokd.teachers.trainable import load_trainable, shape_of
    from audiokd.vision.backbones import load_backbone
    from audiokd.vision.transforms import Preprocess

    m, v = s.model, s.vit
    if (family := read_family(m.text)) not in TEXT_TOWERS:
        fix = f"one of the families {', '.join(TEXT_TOWERS)}"
        raise AudiokdError(f"a {family} model is no text encoder built as BERT is", where=m.text, fix=fix)
    # in float32 whatever it was published in: it learns, or is read once
    text = load_pretrained(AutoModel, m.text, "the text encoder", add_pooling_layer=False, dtype="float32")
    tokenizer = read_tokenizer(m.text)
    L.seed_everything(s.run.seed, workers=True, verbose=False)
    tower, preprocess = None, {}
    if m.media == VIT:
        sizes = {
            "image_size": v.image_size,
            "patch_size": v.patch_size,
            "hidden_size": v.width,
            "num_hidden_layers": v.depth,
        }
        config = CLIPVisionConfig(**sizes, num_attention_heads=v.heads, intermediate_size=4 * v.width)
        media = config.to_dict()
        size = (v.image_size, v.image_size)
        preprocess = asdict(Preprocess(size, (0.5,) * 3, (0.5,) * 3, crop=1.0))
    elif _is_encoder(m.media):
        tower = load_trainable(m.media)
        media = shape_of(tower)
    else:
        tower = load_backbone(m.media, m.media_weights)
        media, preprocess = {"model_type": TIMM, "architecture": m.media}, asdict(tower.preprocess_at(m.media_size))
    heads = {"media_hidden": m.media_hidden, "text_hidden": m.text_hidden, "projection_dim": m.projection_dim}
    model = LitModel(LitConfig(media, text.config, **heads, clip_blocks=m.clip_blocks, preprocess=preprocess))
    model.text_model.load_state_dict(text.state_dict())
    if tower is not None:
        model.media_tower.load_state_dict(tower.state_dict())
    if hasattr(model.media_tower, "mask_embed"):
        model.media_tower.mask_embed.requires_grad_(False)  # of pretraining alone
    return model, tokenizer


def _is_encoder(media: str) -> bool:
    """Whether it names an audio encoder: no model of timm's has a name with a slash, and no folder's has to have one."""
    return "/" in media or Path(media).is_dir()


def _check(s: LitSettings) -> None:
    m = s.model
    if not m.media or not m.text:
        lacks = "text" if m.media else "media"
        fix = (
            "--model.media NAME (timm's, vit, or an audio encoder's folder) --model.text FOLDER (a sentence encoder's)"
        )
        raise ConfigError(f"no model.{lacks} given", fix=fix)
    begins_at_random = m.media == VIT or not (m.media_weights or _is_encoder(m.media))
    if begins_at_random and m.lock_media:
        fix = "--model.media_weights FILE, or --model.lock_media false to train it"
        raise ConfigError(f"{m.media} would be locked with random weights", fix=fix)
    if m.media_weights and (m.media == VIT or _is_encoder(m.media)):
        raise ConfigError(f"model.media_weights are of timm's backbones, and {m.media} is none", fix="leave them out")
    if m.media_size and (m.media == VIT or _is_encoder(m.media)):
        fix = "--vit.image_size" if m.media == VIT else "leave it out"
        raise ConfigError(f"model.media_size is of timm's backbones, and {m.media} is none", fix=fix)
    if s.teacher.pair and m.lock_media:
        raise ConfigError("a teacher of a media tower that is locked", fix="--model.lock_media false")
    if m.media == VIT and s.vit.image_size % s.vit.patch_size:
        raise ConfigError(f"vit.image_size {s.vit.image_size} is no multiple of vit.patch_size {s.vit.patch_size}")


def write_model(exp_dir: Path, settings: LitSettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the pair model of the run in `exp_dir` as a folder that `audiokd.teachers.pair.load_pair` reads.

    Args:
        exp_dir: folder of the run.
        settings: of the run.
        state: checkpoint.
        out: folder to write.
        name: of the checkpoint.

    Raises:
        AudiokdError: `state` is None: heads that have learnt nothing have nothing to say.
    """
    from audiokd.files import atomic_folder
    from audiokd.methods.lit.config import LitConfig
    from audiokd.methods.lit.folder import write_folder
    from audiokd.methods.lit.model import LitModel
    from audiokd.nn.weights import load_weights
    from audiokd.teachers.pair import read_tokenizer

    if state is None:
        raise AudiokdError("a lit has no init checkpoint to export", where=str(exp_dir), fix="--checkpoint last")
    model = LitModel(LitConfig.from_dict(json.loads((exp_dir / "lit.json").read_text())))
    weights = {k.removeprefix("model."): v for k, v in state["state_dict"].items() if k.startswith("model.")}
    load_weights(model, weights, str(exp_dir))
    with atomic_folder(out) as folder:
        write_folder(model, read_tokenizer(str(exp_dir / TOKENIZER)), folder)
    params = sum(p.numel() for p in model.parameters())
    what = f"lit of {model.config.pairs} and text, {name} checkpoint, step {state['iteration']}"
    print(f"{out}: {what}, {params / 1e6:.2f} M parameters")

"""The small diffusion model that pretrain begins with, and the student and schedule of distill."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

from diffusers import DDIMScheduler, UNet2DConditionModel

from audiokd.errors import ConfigError
from audiokd.frontends.mel_picture import MelPicture
from audiokd.methods.tiue.settings import Distillation, TiUESettings
from audiokd.vision.ddim import ddim_of
from audiokd.vision.load_pipeline import load_pipeline
from audiokd.vision.tiue_pipeline import TiUEPipeline


def mel_of(settings: TiUESettings) -> MelPicture:
    """Of pretrain on sounds."""
    return MelPicture(**asdict(settings.mel))


def new_pipeline(settings: TiUESettings, labels: list[str], is_sound: bool) -> TiUEPipeline:
    """A diffusion model at random weights, conditioned on `labels`, or on texts where a text encoder is asked for.

    Raises:
        AudiokdError: no such text encoder.
        ConfigError: sizes that the network cannot have.
    """
    m, n = settings.model, settings.noising
    if not labels and not m.text_encoder:
        fix = "--model.text_encoder, whose texts captions are; or `label` in items.jsonl, utt2label"
        raise ConfigError("the items have captions and no labels, and there is no text encoder", fix=fix)
    sizes = {
        "model": {k: getattr(m, k) for k in ("size", "layers", "heads", "norm_groups", "text_dim")},
        "noising": {"timesteps": n.timesteps},
    }
    for part, of in sizes.items():
        for name, value in of.items():
            if value < 1:
                raise ConfigError(f"--{part}.{name} {value}", fix="1 or more")
    if m.channels not in (1, 3):
        raise ConfigError(f"pictures of {m.channels} channels", fix="--model.channels 1, grey, or 3")
    tokenizer, text_encoder = text_parts(m.text_encoder) if m.text_encoder else (None, None)
    if len(m.widths) != len(m.attention) or not m.widths:
        raise ConfigError(f"{len(m.widths)} widths and {len(m.attention)} of attention", fix="as many of each")
    if not any(m.attention):
        raise ConfigError("no level attends to the condition", fix="--model.attention, true for one level at least")
    if any(w % m.norm_groups or w % m.heads for w in m.widths):
        fix = f"multiples of {m.norm_groups} (--model.norm_groups) and of {m.heads} (--model.heads)"
        raise ConfigError(f"widths {list(m.widths)}", fix=fix)
    if text_encoder is None:
        condition = {
            "cross_attention_dim": m.text_dim, "encoder_hid_dim": len(labels) + 1, "encoder_hid_dim_type": "text_proj",
        }  # fmt: skip
    else:
        condition = {"cross_attention_dim": text_encoder.config.hidden_size}
    sides = (settings.mel.frames, settings.mel.n_mels) if is_sound else (m.size, m.size)
    if any(side % 2 ** (len(m.widths) - 1) for side in sides):
        fix = f"multiples of {2 ** (len(m.widths) - 1)}, for {len(m.widths)} levels"
        raise ConfigError(f"pictures of {sides[0]} x {sides[1]}", fix=fix)
    channels = 1 if is_sound else m.channels
    unet = UNet2DConditionModel(
        sample_size=sides[0] if sides[0] == sides[1] else sides,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=m.widths,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in m.attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in m.attention[::-1]),
        layers_per_block=m.layers,
        attention_head_dim=tuple(w // m.heads for w in m.widths),  # diffusers' name for the number of heads
        norm_num_groups=m.norm_groups,
        **condition,
    )
    scheduler = DDIMScheduler(
        num_train_timesteps=n.timesteps,
        beta_schedule=n.beta_schedule,
        beta_start=n.beta_start,
        beta_end=n.beta_end,
        prediction_type=m.prediction,
        clip_sample=False,
        timestep_spacing="trailing",  # one step alone is then at the end of the schedule
    )
    return TiUEPipeline(
        unet,
        scheduler,
        text_encoder,
        tokenizer,
        label2id=None if text_encoder is not None else {label: k for k, label in enumerate(labels)},
        mel=asdict(mel_of(settings)) if is_sound else None,
        guidance=2.0,
    )


def text_parts(name: str) -> tuple[Any, Any]:
    """Tokenizer and frozen text encoder of transformers.

    Raises:
        AudiokdError: nothing there, or an encoder whose class is not known.
    """
    from transformers import AutoModel, AutoTokenizer, CLIPTextModel, T5EncoderModel

    from audiokd.teachers.base import load_pretrained, read_family

    family = read_family(name)
    classes = {"clip": CLIPTextModel, "clip_text_model": CLIPTextModel, "t5": T5EncoderModel}
    encoder = load_pretrained(classes.get(family, AutoModel), name, "the text encoder")
    if not hasattr(encoder.config, "hidden_size"):
        raise ConfigError(f"a {family} model has no text states of one width", where=name, fix="a BERT, CLIP or T5")
    return AutoTokenizer.from_pretrained(name), encoder.eval().requires_grad_(False)


def student_of(teacher: TiUEPipeline, d: Distillation) -> tuple[Any, DDIMScheduler]:
    """The student with the weights that it begins with, and its schedule.

    Raises:
        AudiokdError: `init` is no folder of a student of this teacher; steps that the schedule does not have.
    """
    student = copy.deepcopy(teacher.unet)
    if d.init:
        before = load_pipeline(d.init).unet
        if _network(before) != _network(teacher.unet):
            raise ConfigError(
                "its UNet is another one than the teacher's", where=d.init, fix="a student of this teacher"
            )
        student.load_state_dict(before.state_dict())
    changes: dict[str, Any] = {"timestep_spacing": d.spacing}
    if d.kind == "swiftbrush":
        changes["set_alpha_to_one"] = True  # its one step ends at the picture itself
    return student, ddim_of(teacher.scheduler, **changes)


def _network(unet: Any) -> dict[str, Any]:
    """What its configuration says of its layers; `sample_size` is of what it was trained on."""
    return {k: v for k, v in unet.config.items() if k[0] != "_" and k != "sample_size"}

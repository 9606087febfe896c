"""Diffusion pipelines by folder or hub id: ours, and those of diffusers that have the same parts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError
from audiokd.nn.weights import weights_sha256
from audiokd.vision.ddim import ddim_of
from audiokd.vision.tiue_pipeline import SECOND_TEXT, TiUEPipeline

#: guidance, as diffusers has it, by pipeline whose UNet is told what `TiUEPipeline.conditions` gives
OTHERS = {"StableDiffusionPipeline": 7.5, "AudioLDMPipeline": 2.5, "MusicLDMPipeline": 2.0, "AudioLDM2Pipeline": 3.5}
INDEX = "model_index.json"
FIX = "give a folder that 'audiokd export' wrote of a tiue run, or a folder or hub id of Stable Diffusion's layout"


def load_pipeline(name: str, device: str = "cpu", dtype: Any = None) -> TiUEPipeline:
    """A pipeline in eval mode, no parameter of which takes a gradient.

    Args:
        name: folder with model_index.json, or hub id.
        device: cpu, cuda, ...
        dtype: of the weights, torch.float32 unless given.

    Raises:
        AudiokdError: nothing there, a damaged folder, a pipeline of another class, or a schedule that DDIM cannot run.
    """
    import torch
    from diffusers.utils import logging

    if not os.path.isdir(name) and (name.count("/") != 1 or name.startswith((".", "/"))):
        raise AudiokdError("no such folder", where=name, fix=FIX)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    kind = _class_of(name)
    if kind != TiUEPipeline.__name__ and kind not in OTHERS:
        fix = f"one of {', '.join((TiUEPipeline.__name__, *OTHERS))}"
        raise AudiokdError(f"a {kind} has other parts than this one's", where=name, fix=fix)
    try:
        if kind == TiUEPipeline.__name__:
            found = TiUEPipeline.from_pretrained(name, dtype=dtype or torch.float32)
        else:
            found = _of_other(kind, name, dtype or torch.float32)
    except (OSError, ValueError, RuntimeError, ImportError) as e:
        raise AudiokdError(f"cannot load the {kind}: {str(e).splitlines()[0]}", where=name, fix=FIX) from e
    found.set_progress_bar_config(disable=True)
    for part in networks(found).values():
        part.eval().requires_grad_(False)
    return found.to(device)


def networks(pipeline: TiUEPipeline) -> dict[str, Any]:
    """Its parts that have weights, by name."""
    import torch

    return {k: v for k, v in sorted(pipeline.components.items()) if isinstance(v, torch.nn.Module)}


def pipeline_sha256(pipeline: TiUEPipeline) -> str:
    """Over the weights of all its parts: the same for a folder and a hub id, on any device."""
    from audiokd.files import sha256_bytes

    return sha256_bytes(*(f"{k} {weights_sha256(v)}\n".encode() for k, v in networks(pipeline).items()))


def _class_of(name: str) -> str:
    if not os.path.isdir(name):
        from diffusers import DiffusionPipeline

        try:
            return str(DiffusionPipeline.load_config(name)["_class_name"])
        except OSError as e:
            raise AudiokdError(f"cannot read {INDEX}: {str(e).splitlines()[0]}", where=name, fix=FIX) from e
    path = Path(name) / INDEX
    try:
        return str(json.loads(path.read_text())["_class_name"])
    except FileNotFoundError as e:
        raise AudiokdError(f"no {INDEX}", where=name, fix=FIX) from e
    except (ValueError, KeyError, TypeError) as e:
        raise AudiokdError("not what diffusers writes", where=str(path), fix=FIX) from e


def _of_other(kind: str, name: str, dtype: Any) -> TiUEPipeline:
    import diffusers
    from transformers import VitsModel

    # a checker of what is safe to show is none of a teacher's parts
    extra = {"safety_checker": None, "requires_safety_checker": False} if kind == "StableDiffusionPipeline" else {}
    theirs = getattr(diffusers, kind).from_pretrained(name, dtype=dtype, **extra)
    if isinstance(getattr(theirs, "text_encoder_2", None), VitsModel):
        raise AudiokdError(
            "an AudioLDM2 that speaks a transcription", where=name, fix="one whose second text encoder is a T5"
        )
    names = ("unet", "text_encoder", "tokenizer", "vae", "vocoder", *SECOND_TEXT)
    parts = {k: getattr(theirs, k, None) for k in names}
    return TiUEPipeline(scheduler=ddim_of(theirs.scheduler), guidance=OTHERS[kind], **parts)

"""A LiT model's folder as `audiokd.teachers.pair.load_pair` reads it: weights, preprocessing and tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError
from audiokd.methods.lit.model import LitModel
from audiokd.vision.transforms import Preprocess


def write_folder(model: LitModel, tokenizer: Any, folder: Path) -> None:
    """Write config.json, model.safetensors, preprocessor_config.json and the tokenizer's files into `folder`."""
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if model.config.pairs == "image":
        image_processor(Preprocess(**model.config.preprocess)).save_pretrained(folder)
        return
    from transformers import EncodecFeatureExtractor

    # the waveform's contract in transformers' terms, as of every model of ours: mono float at this rate
    EncodecFeatureExtractor(feature_size=1, sampling_rate=model.sample_rate).save_pretrained(folder)


def image_processor(preprocess: Preprocess) -> Any:
    """transformers' own processor that sees pictures as `audiokd.vision.transforms.plain_view` does, but for the last digits of
    resizing, and for one pixel where what is cut off is an odd number of them.

    Raises:
        AudiokdError: pictures are padded ("border"), which it does not do.
    """
    from timm.data.transforms import str_to_pil_interp
    from transformers import CLIPImageProcessor

    p = preprocess
    height, width = p.size
    scaled = [int(s / p.crop) for s in (height, width)]  # rounded as timm does
    if p.crop_mode == "center" and height == width:
        size = {"shortest_edge": scaled[0]}
    elif p.crop_mode == "squash":
        size = {"height": scaled[0], "width": scaled[1]}
    else:
        what = f"pictures of {height} x {width} with crop mode {p.crop_mode} have no processor in transformers"
        raise AudiokdError(what, fix="a square backbone with crop mode center or squash")
    return CLIPImageProcessor(
        size=size,
        crop_size={"height": height, "width": width},
        resample=int(str_to_pil_interp(p.interpolation)),
        image_mean=list(p.mean),
        image_std=list(p.std),
    )

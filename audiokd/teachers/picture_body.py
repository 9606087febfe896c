"""A picture model of transformers without a head: its states, which a teacher is asked for, and a body for a student."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.teachers.base import load_pretrained, load_processor, read_family
from audiokd.teachers.student_body import StudentBody
from audiokd.vision.transforms import Preprocess, preprocess_of

#: families that transformers lists among its picture models, and that are none of one picture seen whole: timm's own names are
#: shorter, MAE leaves patches out by chance
OTHERS = ("timm_backbone", "timm_wrapper", "vit_mae")
FIX = (
    "give a folder or hub id of a picture model of transformers with its preprocessor_config.json, such as ViT, DINOv2, Swin "
    "or ConvNeXt"
)


def is_picture_family(family: str) -> bool:
    """Whether transformers' model_type is one of a picture model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_MAPPING_NAMES

    return family not in OTHERS and (family in MODEL_FOR_IMAGE_MAPPING_NAMES or family == "clip_vision_model")


def has_head(name: str) -> bool:
    """Whether the folder or hub id is of a model with a head of classes, by its config.json; where that does not tell, it is."""
    from transformers import AutoConfig

    heads = AutoConfig.from_pretrained(name).architectures or []
    return not heads or any("Classification" in of for of in heads)


def load_picture_body(name: str, what: str) -> nn.Module:
    """The network, in eval mode, without a head and without a pooler, which states have no use for.

    Args:
        name: folder or hub id, of a model with a head or without.
        what: it is, for messages.

    Raises:
        AudiokdError: no picture model of transformers, or it cannot be loaded.
    """
    from transformers import AutoConfig, AutoModel

    if not is_picture_family(family := read_family(name)):
        raise AudiokdError(f"a {family} is no picture model that can be had without a head", where=name, fix=FIX)
    options = _without_pooler(AutoConfig.from_pretrained(name))
    return load_pretrained(AutoModel, name, what, FIX, **options)


def _without_pooler(config: Any) -> dict[str, bool]:
    from transformers import MODEL_MAPPING

    found = MODEL_MAPPING[type(config)]
    takes = inspect.signature(found.__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in takes else {}


class PictureBody(StudentBody):
    """A picture model of transformers, `model` its config: its output pooled, by itself or as the mean over all positions.

    Args:
        shape: `model`, `preprocess`, and `dim` of what is pooled.
        net: with weights; built at random by default.
    """

    def __init__(self, shape: dict[str, Any], net: nn.Module | None = None):
        super().__init__(shape)
        self.net: Any = _build(shape["model"]) if net is None else net
        self.preprocess, self.dim = Preprocess(**shape["preprocess"]), shape["dim"]
        for name, p in self.net.named_parameters():
            if name.endswith("mask_token"):  # of pretraining alone
                p.requires_grad_(False)

    def forward(self, view: dict[str, Tensor], tokens: Tensor | None = None) -> Tensor:
        """As of `StudentBody`."""
        return _pooled(self.net(pixel_values=view["pixel_values"]))


def _build(config: dict[str, Any]) -> nn.Module:
    from transformers import AutoConfig, AutoModel

    found = AutoConfig.for_model(**config)
    return AutoModel.from_config(found, **_without_pooler(found))


def _pooled(output: Any) -> Tensor:
    """[B, D]: what the network pools by itself, or the mean of its last state [B, N, D] or [B, D, H, W]."""
    if getattr(output, "pooler_output", None) is not None:
        return output.pooler_output.flatten(1)
    state = output.last_hidden_state
    return state.mean(1) if state.ndim == 3 else state.flatten(2).mean(2)


def picture_body(name: str, size: int = 0) -> PictureBody:
    """A body with weights by folder or hub id.

    Args:
        name: of a picture model of transformers, with a head or without.
        size: of pictures, pixels; only its own, which 0 is.

    Raises:
        AudiokdError: it cannot be loaded, takes no pictures alone, or pictures of another size are asked for.
    """
    from transformers import AutoImageProcessor

    net, seen = load_picture_body(name, "the backbone"), preprocess_of(load_processor(AutoImageProcessor, name))
    if size and (size, size) != tuple(seen.size):
        what = f"it sees pictures of {seen.size[0]} x {seen.size[1]} pixels, not of {size}"
        raise AudiokdError(what, where=name, fix="--model.size 0")
    try:
        with torch.no_grad():
            dim = _pooled(net(pixel_values=torch.zeros(1, 3, *seen.size))).shape[1]
    except (TypeError, ValueError, AttributeError, RuntimeError) as e:
        what = f"it gives no state of a picture alone: {str(e).splitlines()[0]}"
        raise AudiokdError(what, where=name, fix=FIX) from e
    config: Any = net.config
    kept = {k: v for k, v in config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
    return PictureBody({"body": "picture", "model": kept, "preprocess": asdict(seen), "dim": dim}, net)

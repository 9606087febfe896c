"""The side of a pair model that sees or hears, by itself: a network that can be trained, saved and built again without texts."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from audiokd.errors import AudiokdError
from audiokd.teachers.pair import ContrastivePair

#: parts of a pair model that are of its text side alone
TEXT_SIDE = ("text_model", "text_projection")
#: what no gradient is taken of: the scale and bias of logits
SCALES = ("logit_scale", "logit_scale_a", "logit_scale_t", "logit_bias")


def media_shape(pair: ContrastivePair) -> dict[str, Any]:
    """What `build_media` makes the media side of `pair` of, without its weights: plain values."""
    net: Any = pair.net
    extractor = pair.processor.to_dict() if pair.kind == "audio" else None
    return {"config": net.config.to_dict() | {"model_type": net.config.model_type}, "extractor": extractor}


def build_media(shape: dict[str, Any]) -> ContrastivePair:
    """The media side of a pair model with random weights: `preprocess` of sound, `embed_media` and `dim` are those of the whole
    model. Its weights are trained, but for the scales of logits."""
    found = copy.deepcopy(shape["config"])
    found["text_config"] |= {"num_hidden_layers": 1}  # it is built and thrown away
    from transformers import AutoConfig, AutoModel

    net = AutoModel.from_config(AutoConfig.for_model(found.pop("model_type"), **found))
    for name in TEXT_SIDE:
        if hasattr(net, name):
            delattr(net, name)
    media = ContrastivePair(net, _extractor(shape["extractor"]), None, "media side")
    media.requires_grad_(True)
    for name in SCALES:
        if hasattr(net, name):
            getattr(net, name).requires_grad_(False)
    return media


def copy_media(pair: ContrastivePair, media: ContrastivePair) -> None:
    """Copy a pair model's weights into its media side."""
    weights = {k: v for k, v in pair.net.state_dict().items() if k.split(".")[0] not in TEXT_SIDE}
    media.net.load_state_dict(weights)


def _extractor(about: dict[str, Any] | None) -> Any:
    """transformers' feature extractor; None for pictures, whose preprocessing a model's own config has."""
    if not about:
        return None
    import transformers

    name = about.get("feature_extractor_type", "")
    cls: Any = getattr(transformers, name, nn.Module)
    if not issubclass(cls, transformers.FeatureExtractionMixin):
        raise AudiokdError(
            f"transformers has no feature extractor {name!r}", where="config of a pair model's media side"
        )
    return cls.from_dict(about)

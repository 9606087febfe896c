"""Shape of a MERT encoder as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from transformers import PreTrainedConfig

from audiokd.errors import AudiokdError
from audiokd.methods.mert.settings import MERTShape

CONV_KERNEL, CONV_STRIDE = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
FRAME_SIZE = 320
#: that one frame needs
MIN_SAMPLES = 400


def hubert_shape(shape: MERTShape) -> dict[str, Any]:
    """The same encoder in the words of transformers' HubertConfig."""
    return {
        "hidden_size": shape.dim,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.hidden,
        "do_stable_layer_norm": shape.pre_norm,
        "hidden_dropout": shape.dropout,
        "feat_proj_dropout": shape.dropout,
        "attention_dropout": shape.attention_dropout,
        "activation_dropout": shape.activation_dropout,
        "layerdrop": shape.layerdrop,
        "conv_dim": [shape.channels] * len(CONV_KERNEL),
        "conv_kernel": list(CONV_KERNEL),
        "conv_stride": list(CONV_STRIDE),
        # left out of the published MERT's config.json, without which transformers fails
        "conv_pos_batch_norm": False,
        "feat_extract_norm": "group",
        "feat_proj_layer_norm": True,
        "conv_bias": False,
        "layer_norm_eps": 1e-5,
        "num_conv_pos_embeddings": 128,
        "num_conv_pos_embedding_groups": 16,
    }


class MERTConfig(PreTrainedConfig):
    """The fields of `MERTShape`, saved as config.json beside those of transformers' HubertConfig; the defaults are MERT 95M."""

    model_type = "mert"

    def __init__(self, **kwargs: Any):
        names = {f.name for f in fields(MERTShape)}
        shape = MERTShape(**{k: v for k, v in kwargs.items() if k in names})
        for name, value in asdict(shape).items():
            setattr(self, name, value)
        theirs = hubert_shape(shape)
        super().__init__(**{k: v for k, v in kwargs.items() if k not in names and k not in theirs})
        for name, value in theirs.items():
            setattr(self, name, value)
        if problems := [*self._problems()]:
            raise AudiokdError("; ".join(problems), where="MERT config", fix="change the keys named")

    def _problems(self):
        if self.dim % self.heads:
            yield f"dim {self.dim} does not split into {self.heads} heads"
        if self.dim % self.num_conv_pos_embedding_groups:
            yield f"dim {self.dim} does not split into the positions' {self.num_conv_pos_embedding_groups} groups"
        if self.deepnorm and self.pre_norm:
            yield "deepnorm is of norms after the branches: set pre_norm false"
        if self.chunk_s * self.sample_rate < MIN_SAMPLES:
            yield f"chunk_s {self.chunk_s} is shorter than a frame"

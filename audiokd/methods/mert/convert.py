"""MERT checkpoints, Hugging Face's and fairseq's, to model folders; and folders that HubertModel loads."""

from __future__ import annotations

import json
import os
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Wav2Vec2FeatureExtractor
from transformers.utils import logging

from audiokd.errors import AudiokdError
from audiokd.files import atomic_folder
from audiokd.methods.mert.config import CONV_KERNEL, CONV_STRIDE, MERTConfig
from audiokd.methods.mert.model import MERTModel
from audiokd.methods.mert.run import HEADS
from audiokd.methods.mert.settings import SAMPLE_RATE, MERTShape
from audiokd.nn.weights import weight_problems
from audiokd.teachers.torch_file import load_tensors

#: fairseq's names -> transformers', in the order in which they are tried
FAIRSEQ = [
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^mask_emb$", "masked_spec_embed"),
    (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"^feature_extractor\.conv_layers\.0\.2\.", "feature_extractor.conv_layers.0.layer_norm."),
    (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.self_attn\.", ".attention."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
]
#: weight norm as torch names it since 2.0
SPELLINGS = {
    f"encoder.pos_conv_embed.conv.weight_{old}": f"encoder.pos_conv_embed.conv.parametrizations.weight.original{new}"
    for old, new in (("g", 0), ("v", 1))
}
#: of pretraining: they go into the side file, if anywhere
OF_HEADS = re.compile(r"^(final_proj|label_embs_concat|encoder_cqt_model|encoder_mel_model)\b")
CARD = """---
library_name: audiokd
tags: [audio, music, mert]
---
# mert

Trained with audiokd ({what}). transformers loads it without remote code, and audiokd with features that do not depend on the batch:

```python
from transformers import HubertModel
model = HubertModel.from_pretrained("this folder or hub id")    # waveforms at {rate} Hz, {level}

import audiokd
model = audiokd.load_model("this folder or hub id")
features = model.extract_features(wav, lengths)                 # wav [B, T] float32 at {rate} Hz
```

{layers}
"""
LAYERS = {
    False: "`hidden_states` of both are the same: the first layer's input, then what each layer gives.",
    True: "`hidden_states` of HubertModel have not gone through the last norm, in transformers from version 5 on (before, the "
    "last one had); audiokd's `hidden_states` are those, `extract_features` has all of them through it.",
}


def write_folder(model: MERTModel, heads: dict[str, Tensor], dst: str | os.PathLike[str], what: str) -> int:
    """Write a model folder whose weights and config.json HubertModel reads, and the heads in a file beside them.

    DeepNorm, which HubertModel does not know, is folded into the branches' last layers.

    Returns:
        The number of parameters.
    """
    model = _without_deepnorm(model).eval()
    logging.disable_progress_bar()
    with atomic_folder(dst) as folder:
        model.save_pretrained(folder)
        Wav2Vec2FeatureExtractor(
            sampling_rate=model.sample_rate, do_normalize=model.config.normalize, return_attention_mask=True
        ).save_pretrained(folder)
        if heads:
            save_file({k: v.contiguous() for k, v in heads.items()}, folder / HEADS)
        level = "each with mean 0 and variance 1" if model.config.normalize else "as they are"
        card = CARD.format(what=what, rate=model.sample_rate, level=level, layers=LAYERS[model.config.pre_norm])
        (folder / "README.md").write_text(card, encoding="utf-8")
    return sum(p.numel() for p in model.parameters())


def convert_mert(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Write MERT's weights as a model folder.

    Args:
        src: a Hugging Face folder (config.json and pytorch_model.bin or model.safetensors; MERT-v0, v1-95M, v1-330M, or any
            HuBERT of the same convolutions), or fairseq's checkpoint file, whose configuration says what the weights do not.
        dst: folder to write. The heads that are in the file go into heads.safetensors, under their own names.

    Raises:
        AudiokdError: no such folder or file, another architecture, missing or unknown weights (all are named).
    """
    path = Path(src)
    if path.is_dir():
        weights, shape, normalize = _hugging_face(path)
    elif path.is_file():
        weights, shape, normalize = _fairseq(path)
    else:
        raise AudiokdError("no such file or folder", where=str(src), fix="give MERT's folder or checkpoint")
    weights = {SPELLINGS.get(k, k): v.float().contiguous() for k, v in weights.items()}
    heads = {k: v for k, v in weights.items() if OF_HEADS.match(k)}
    body = {k: v for k, v in weights.items() if k not in heads}
    config = MERTConfig(**(shape | {"normalize": normalize}))
    with torch.device("meta"):
        model = MERTModel(config)
    if "masked_spec_embed" not in body:
        body["masked_spec_embed"] = torch.zeros(config.dim)
    if problems := weight_problems(model.state_dict(), body):
        raise AudiokdError("not a MERT encoder: " + "; ".join(problems), where=str(path))
    model.load_state_dict(body, strict=True, assign=True)
    write_folder(model, heads, dst, f"converted from {path.name}")


def _hugging_face(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], bool]:
    """Weights, shape and whether waveforms are to be levelled, of a transformers folder."""
    if not (path / "config.json").is_file():
        raise AudiokdError("no config.json", where=str(path), fix="give MERT's Hugging Face folder")
    c = json.loads((path / "config.json").read_text())
    if (family := c.get("model_type", "hubert")) not in ("hubert", "mert_model", MERTConfig.model_type):
        fix = "give MERT's own folder, or another HuBERT's of its shape"
        raise AudiokdError(f"a {family} model is no MERT", where=str(path), fix=fix)
    for name, wanted in (("conv_kernel", CONV_KERNEL), ("conv_stride", CONV_STRIDE)):
        if tuple(c.get(name, wanted)) != wanted:
            raise AudiokdError(f"its {name} is {c[name]}, MERT's {list(wanted)}", where=str(path / "config.json"))
    if c.get("feat_extract_norm", "group") != "group" or c.get("conv_bias", False):
        raise AudiokdError("its convolutions are not MERT's: no norm but the first's, and no bias", where=str(path))
    computed: dict[str, Any] = {"hidden_act": "gelu", "feat_extract_activation": "gelu", "layer_norm_eps": 1e-5}
    for name, of_mert in computed.items():
        if c.get(name, of_mert) != of_mert:
            raise AudiokdError(f"its {name} is {c[name]}, MERT's {of_mert}", where=str(path / "config.json"))
    files = [path / n for n in ("model.safetensors", "pytorch_model.bin") if (path / n).is_file()]
    if not files:
        raise AudiokdError(
            "no model.safetensors and no pytorch_model.bin", where=str(path), fix="fetch the weights too"
        )
    weights = load_file(files[0]) if files[0].suffix == ".safetensors" else load_tensors(files[0])
    extractor = path / "preprocessor_config.json"
    about = json.loads(extractor.read_text()) if extractor.is_file() else {}
    relax = float(c.get("attention_relax", c.get("relax", 1.0)))  # theirs, ours
    shape = {
        "sample_rate": about.get("sampling_rate", c.get("sample_rate", SAMPLE_RATE)),
        "dim": c.get("hidden_size", 768),
        "depth": c.get("num_hidden_layers", 12),
        "heads": c.get("num_attention_heads", 12),
        "hidden": c.get("intermediate_size", 3072),
        "pre_norm": c.get("do_stable_layer_norm", False),
        "channels": c.get("conv_dim", [512])[0],
        "dropout": c.get("hidden_dropout", 0.1),
        "attention_dropout": c.get("attention_dropout", 0.1),
        "activation_dropout": c.get("activation_dropout", 0.0),
        "layerdrop": c.get("layerdrop", 0.05),
        "relax": relax if relax > 0 else 1.0,
        "deepnorm": bool(c.get("deepnorm", False)),
    }
    prefix = re.compile(r"^(hubert|mert)\.")
    return {prefix.sub("", k): v for k, v in weights.items()}, shape, bool(about.get("do_normalize", False))


def _fairseq(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], bool]:
    """The same of a fairseq checkpoint, whose `cfg` (`args` in old ones) has the sizes that the weights do not show."""
    state = load_tensors(path)
    weights = state.get("model") if isinstance(state.get("model"), dict) else None
    cfg = state.get("cfg") or {}
    said, task = (_mapping(cfg.get(k)) if isinstance(cfg, dict) else {} for k in ("model", "task"))
    if isinstance(state.get("args"), Namespace):
        said = vars(state["args"])
    if not weights or "post_extract_proj.weight" not in weights:
        raise AudiokdError(
            "not fairseq's checkpoint of a MERT", where=str(path), fix="give the .pt that training wrote"
        )
    found = {}
    for name, tensor in weights.items():
        for pattern, ours in FAIRSEQ:
            name = re.sub(pattern, ours, name)
        found[name] = tensor
    dim = weights["post_extract_proj.weight"].shape[0]
    layers = {int(m[1]) for k in weights if (m := re.match(r"encoder\.layers\.(\d+)\.", k))}
    shape = {
        "sample_rate": task.get("sample_rate", SAMPLE_RATE),
        "dim": dim,
        "depth": len(layers),
        "heads": said.get("encoder_attention_heads", 16 if dim == 1024 else 12),
        "hidden": weights["encoder.layers.0.fc1.weight"].shape[0],
        "pre_norm": said.get("layer_norm_first", dim == 1024),
        "channels": weights["post_extract_proj.weight"].shape[1],
        "dropout": said.get("dropout", 0.1),
        "attention_dropout": said.get("attention_dropout", 0.1),
        "activation_dropout": said.get("activation_dropout", 0.0),
        "layerdrop": said.get("encoder_layerdrop", 0.05),
        "relax": max(1.0, float(said.get("attention_relax", 1.0))),
        "deepnorm": bool(said.get("deepnorm", False)),
    }
    return found, shape, bool(task.get("normalize", False))


def _mapping(of: Any) -> dict[str, Any]:
    return vars(of) if isinstance(of, Namespace) else dict(of or {})


def _without_deepnorm(model: MERTModel) -> MERTModel:
    """The same encoder with plain skip paths: norm(a x + f(x)) is norm(x + f(x) / a)."""
    if not model.config.deepnorm:
        return model
    plain = MERTModel(
        MERTConfig(**{f: getattr(model.config, f) for f in MERTShape.__dataclass_fields__} | {"deepnorm": False})
    )
    weights = model.state_dict()
    alpha = (2 * model.config.depth) ** 0.25
    for name in weights:
        if re.search(r"layers\.\d+\.(attention\.out_proj|feed_forward\.output_dense)\.", name):
            weights[name] = weights[name] / alpha
    plain.load_state_dict(weights)
    return plain

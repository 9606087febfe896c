"""Official ATST checkpoints (github.com/Audio-WestlakeU/audiossl) to model folders and back."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import EncodecFeatureExtractor
from transformers.utils import logging

from audiokd.errors import AudiokdError
from audiokd.files import atomic_folder, atomic_write
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.atst.settings import PATCH
from audiokd.teachers.base import load_pretrained

#: ours -> the official encoder's
NAMES = {"patch_embed": "patch_embed.patch_embed", "norm.frame": "norm_frame", "norm.clip": "norm"}
#: heads of the published widths (small, base, large)
HEADS = {384: 6, 768: 12, 1024: 16}
BRANCH = re.compile(r"(?:model\.)?(student|teacher)\.")
#: of a Lightning module or its parts, which train the encoder and are no part of it
REST = re.compile(r"(projector|predictor|head|loss_fn)\.")


def convert_atst(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    branch: Literal["teacher", "student"] = "teacher",
    num_heads: int = 0,
) -> None:
    """Write an official checkpoint's encoder as a model folder.

    Args:
        src: a Lightning checkpoint of ATST-Clip or ATST-Frame, a file of its weights alone, or one of a bare encoder.
        dst: folder to write: config.json, model.safetensors (float32), preprocessor_config.json.
        branch: which of the two networks, where the file has both.
        num_heads: of attention, which the weights do not show; by default the published ones of their width.

    Raises:
        AudiokdError: no such file, not a checkpoint, keys of another architecture, missing or unknown keys (all are
            named), or a width whose number of heads is not known. Nothing is written then.
    """
    path = Path(src)
    weights, hparams = _read(path)
    encoder = _encoder(weights, branch, str(path))
    config = _config(encoder, hparams, num_heads, str(path))
    with torch.device("meta"):
        model = ATSTModel(config)
    shapes = {k: v.shape for k, v in model.state_dict().items()}
    found = {_ours(k): v.float().contiguous() for k, v in encoder.items()}
    problems = [f"missing: {_theirs(k, config.kind)}" for k in sorted(shapes.keys() - found.keys())]
    problems += [f"unknown: {k}" for k in sorted(found.keys() - shapes.keys())]
    problems += [
        f"{_theirs(k, config.kind)}: {list(found[k].shape)} there, {list(shapes[k])} expected"
        for k in sorted(shapes.keys() & found.keys())
        if found[k].shape != shapes[k]
    ]
    if problems:
        raise AudiokdError(f"not an encoder of ATST-{config.kind.title()}: " + "; ".join(problems), where=str(path))
    model.load_state_dict(found, strict=True, assign=True)
    logging.disable_progress_bar()
    with atomic_folder(dst) as folder:
        model.save_pretrained(folder)
        EncodecFeatureExtractor(feature_size=1, sampling_rate=model.sample_rate).save_pretrained(folder)


def convert_atst_official(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Write a model folder as a checkpoint file that the official code loads.

    Student and teacher both have the folder's encoder. The heads of pretraining are not in a model folder, so the
    official code loads it with `strict=False`, as its downstream tasks do.

    Args:
        src: folder that `audiokd export` or `audiokd convert atst` wrote.
        dst: file to write.

    Raises:
        AudiokdError: no ATST model there.
    """
    path = Path(src) / "config.json"
    fix = "give a folder that 'audiokd export' or 'audiokd convert atst' wrote"
    if not path.is_file():
        raise AudiokdError("no config.json", where=str(src), fix=fix)
    there = json.loads(path.read_text()).get("model_type")
    if there != ATSTConfig.model_type:
        raise AudiokdError(f"a {there} model, not {ATSTConfig.model_type}", where=str(path), fix=fix)
    logging.disable_progress_bar()
    model = load_pretrained(ATSTModel, str(src), "the model")
    kind, width = model.config.kind, model.config.dim
    weights = {_theirs(k, kind): v.contiguous() for k, v in model.state_dict().items()}
    tree = {
        "state_dict": {f"model.{b}.encoder.{k}": v for b in ("student", "teacher") for k, v in weights.items()},
        "hyper_parameters": {
            "arch": {384: "small", 768: "base", 1024: "large"}.get(width, "audiokd"),
            "num_heads": model.config.heads,
            "win_length": model.config.win_length,
        },
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": "2.2.1",
    }
    with atomic_write(dst) as f:
        torch.save(tree, f)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name and hyperparameters, if any. Nothing but tensors and plain values is unpickled."""
    if not path.is_file():
        raise AudiokdError("no such file", where=str(path), fix="give a .ckpt, .pt or .bin file")
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # of a damaged file, anything from IndexError to struct.error
        what = f"cannot be read without running code from it: {(str(e) or type(e).__name__).splitlines()[0]}"
        fix = "where it was made, save torch.load(FILE)['state_dict'] alone"
        raise AudiokdError(what, where=str(path), fix=fix) from e
    hparams = tree.get("hyper_parameters", {}) if isinstance(tree, dict) else {}
    weights = tree.get("state_dict", tree) if isinstance(tree, dict) else tree
    tensors = isinstance(weights, dict) and {str(k): v for k, v in weights.items() if isinstance(v, Tensor)}
    if not tensors:
        raise AudiokdError(f"no tensors by name in a {type(tree).__name__}", where=str(path))
    return tensors, dict(hparams)


def _encoder(weights: dict[str, Tensor], branch: str, where: str) -> dict[str, Tensor]:
    """The encoder's tensors under the names that they have in it."""
    branches = {m[1] for m in map(BRANCH.match, weights) if m}
    if branches:
        if branch not in branches:
            raise AudiokdError(f"no {branch} in it, only {', '.join(sorted(branches))}", where=where)
        weights = {k[m.end() :]: v for k, v in weights.items() if (m := BRANCH.match(k)) and m[1] == branch}
    weights = {k.removeprefix("encoder."): v for k, v in weights.items() if not REST.match(k)}
    if "pos_embed" not in weights or "patch_embed.patch_embed.weight" not in weights:
        some = ", ".join(sorted(weights)[:4])
        what = f"no ATST encoder: it has {some} ..., and neither pos_embed nor patch_embed.patch_embed.weight"
        raise AudiokdError(what, where=where)
    return weights


def _config(encoder: dict[str, Tensor], hparams: dict[str, Any], num_heads: int, where: str) -> ATSTConfig:
    """Sizes from the tensors; what they do not show from the hyperparameters."""
    dim = encoder["pos_embed"].shape[-1]
    heads = num_heads or hparams.get("num_heads") or HEADS.get(dim)
    if not heads:
        what = f"no published ATST has width {dim}, so its number of heads is not known"
        raise AudiokdError(what, where=where, fix="--num_heads N")
    blocks = {int(m[1]) for m in (re.match(r"blocks\.(\d+)\.", k) for k in encoder) if m}
    hidden = encoder.get("blocks.0.mlp.fc1.bias")
    return ATSTConfig(
        kind="clip" if "cls_token" in encoder else "frame",
        dim=dim,
        depth=max(blocks, default=-1) + 1,
        heads=heads,
        mlp_ratio=len(hidden) / dim if hidden is not None else 4.0,
        qkv_bias="blocks.0.attn.qkv.bias" in encoder,
        max_frames=(encoder["pos_embed"].shape[1] - 1) * PATCH + 1,
        win_length=hparams.get("win_length", 1024),
    )


def _ours(name: str) -> str:
    for ours, theirs in NAMES.items():
        if name.rpartition(".")[0] == theirs:
            return f"{ours.partition('.')[0]}.{name.rpartition('.')[2]}"
    return name


def _theirs(name: str, kind: str) -> str:
    module, _, leaf = name.rpartition(".")
    known = NAMES.get(module) or NAMES.get(f"{module}.{kind}")
    return f"{known}.{leaf}" if known else name

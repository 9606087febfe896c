"""Official ATST checkpoints (github.com/Audio-WestlakeU/audiossl) to model folders and back."""

from __future__ import annotations

import json
import os
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import EncodecFeatureExtractor
from transformers.utils import logging

from audiokd.errors import AudiokdError
from audiokd.files import atomic_folder, atomic_write
from audiokd.frontends.atst_mel import N_MELS, SAMPLE_RATE, ATSTLogMel
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.atst.settings import PATCH
from audiokd.nn.heads import MLPHead
from audiokd.nn.weights import read_checkpoint, weight_problems
from audiokd.teachers.base import load_pretrained

#: ours -> the official encoder's
NAMES = {"patch_embed": "patch_embed.patch_embed", "norm.frame": "norm_frame", "norm.clip": "norm"}
#: heads of the published widths (small, base, large)
HEADS = {384: 6, 768: 12, 1024: 16}
ARCHS = {384: "small", 768: "base", 1024: "large"}
BRANCH = re.compile(r"(?:model\.)?(student|teacher)\.")
#: what an encoder is wrapped in: distributed training, the first code's crops, a fine-tuned model
AROUND = ("module.", "backbone.", "encoder.")
#: of a Lightning module or its parts, which train the encoder and are no part of it
REST = re.compile(r"(projector|predictor|head|loss_fn)\.")
#: seconds of a chunk of ATST-Clip where the file does not say (methods/atst/downstream/train_freeze.py)
CLIP_CHUNK_S = 6.0
#: what the official training leaves in a checkpoint besides tensors: rates and decays from numpy tables, as numpy 1 and 2 name
#: them, and the first code's arguments; none of them runs anything
SAFE: list[Any] = [
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
    Namespace,
]


def convert_atst(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    branch: Literal["teacher", "student"] = "teacher",
    num_heads: int = 0,
    win_length: int = 0,
) -> None:
    """Write an official checkpoint's encoder as a model folder.

    `chunk_frames` is what the official downstream code has: the training crop of ATST-Frame; of ATST-Clip train_len, 6 s if
    the file has none.

    Args:
        src: a checkpoint of ATST-Clip or ATST-Frame, of pretraining or fine-tuned, as Lightning or the first code (`teacher`,
            `student`, `args`) writes it, a file of its weights alone, or one of a bare encoder.
        dst: folder to write: config.json, model.safetensors (float32), preprocessor_config.json.
        branch: which of the two networks, where the file has both.
        num_heads: of attention, which the weights do not show; by default the published ones of their width.
        win_length: of the log-mel's window, samples, which they do not show either; by default the file's, or 1024.

    Raises:
        AudiokdError: no such file, not a checkpoint, keys of another architecture, missing or unknown keys (all are
            named), a width whose number of heads is not known, or an ATST-Frame small that does not say its window. Nothing is
            written then.
    """
    path = Path(src)
    weights, hparams = _read(path, branch)
    encoder = _encoder(weights, branch, str(path))
    config = _config(encoder, hparams, num_heads, win_length, str(path))
    with torch.device("meta"):
        model = ATSTModel(config)
    found = {_ours(k): v.float().contiguous() for k, v in encoder.items()}
    if problems := weight_problems(model.state_dict(), found, lambda k: _theirs(k, config.kind)):
        raise AudiokdError(f"not an encoder of ATST-{config.kind.title()}: " + "; ".join(problems), where=str(path))
    model.load_state_dict(found, strict=True, assign=True)
    logging.disable_progress_bar()
    with atomic_folder(dst) as folder:
        model.save_pretrained(folder)
        EncodecFeatureExtractor(feature_size=1, sampling_rate=model.sample_rate).save_pretrained(folder)


def convert_atst_official(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Write a model folder as a checkpoint file that the official code loads.

    Student and teacher both have the folder's encoder. The heads of pretraining are not in a model folder: the official code, whose
    downstream tasks load whole modules, gets heads of random weights (seed 0) of the official sizes.

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
    c = model.config
    weights = {_theirs(k, c.kind): v.contiguous() for k, v in model.state_dict().items()}
    state = {f"model.{b}.encoder.{k}": v for b in ("student", "teacher") for k, v in weights.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        heads = {"projector": MLPHead(c.dim).state_dict(), "predictor": MLPHead(256).state_dict()}
    for name in ("student.projector", "student.predictor", "teacher.projector"):
        state |= {f"model.{name}.{k}": v for k, v in heads[name.partition(".")[2]].items()}
    chunk_s = ATSTLogMel.seconds(c.chunk_frames or c.max_frames)
    hparams: dict[str, Any] = {"arch": ARCHS.get(c.dim, "audiokd"), "win_length": c.win_length, "n_mels": N_MELS}
    hparams |= {"train_len": chunk_s} if c.kind == "clip" else {"anchor_len": chunk_s}
    if c.heads != HEADS.get(c.dim):  # the official code has one number of heads a width, and refuses to be told
        hparams["num_heads"] = c.heads
    tree = {
        "state_dict": state,
        "hyper_parameters": hparams,
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": "2.2.1",
    }
    with atomic_write(dst) as f:
        torch.save(tree, f)


def _read(path: Path, branch: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name and hyperparameters, if any. Nothing but tensors, numbers and plain values is unpickled."""
    if not path.is_file():
        raise AudiokdError("no such file", where=str(path), fix="give a .ckpt, .pt or .bin file")
    tree = read_checkpoint(path, "where it was made, save torch.load(FILE)['state_dict'] alone", SAFE)
    hparams: dict[str, Any] = {}
    weights = tree
    if isinstance(tree, Mapping):
        hparams = dict(tree.get("hyper_parameters", {}))
        weights = tree.get("state_dict", tree)
        networks = [k for k in ("teacher", "student") if isinstance(weights.get(k), Mapping)]
        if networks:  # the first code's: one dict of tensors a network
            hparams |= vars(tree["args"]) if isinstance(tree.get("args"), Namespace) else {}
            weights = {f"{b}.{k}": v for b in networks for k, v in weights[b].items()}
    tensors = isinstance(weights, Mapping) and {str(k): v for k, v in weights.items() if isinstance(v, Tensor)}
    if not tensors:
        raise AudiokdError(f"no tensors by name in a {type(tree).__name__}", where=str(path))
    return tensors, hparams


def _encoder(weights: dict[str, Tensor], branch: str, where: str) -> dict[str, Tensor]:
    """The encoder's tensors under the names that they have in it."""
    branches = {m[1] for m in map(BRANCH.match, weights) if m}
    if branches:
        if branch not in branches:
            raise AudiokdError(f"no {branch} in it, only {', '.join(sorted(branches))}", where=where)
        weights = {k[m.end() :]: v for k, v in weights.items() if (m := BRANCH.match(k)) and m[1] == branch}
    bare = {_without(k, AROUND): v for k, v in weights.items()}
    weights = {k: v for k, v in bare.items() if not REST.match(k)}
    if "pos_embed" not in weights or "patch_embed.patch_embed.weight" not in weights:
        some = ", ".join(sorted(weights)[:4])
        what = f"no ATST encoder: it has {some} ..., and neither pos_embed nor patch_embed.patch_embed.weight"
        raise AudiokdError(what, where=where)
    return weights


def _without(name: str, around: tuple[str, ...]) -> str:
    """`name` without any of these before it."""
    while prefix := next((p for p in around if name.startswith(p)), ""):
        name = name.removeprefix(prefix)
    return name


def _config(
    encoder: dict[str, Tensor], hparams: dict[str, Any], num_heads: int, win_length: int, where: str
) -> ATSTConfig:
    """Sizes from the tensors; what they do not show from the hyperparameters."""
    dim = encoder["pos_embed"].shape[-1]
    kind: Literal["clip", "frame"] = "clip" if "cls_token" in encoder else "frame"
    if not hparams and not win_length and (kind, dim) == ("frame", 384):
        what = "the published ATST-Frame small has a window of 640 samples, others 1024, and this file does not say its own"
        raise AudiokdError(what, where=where, fix="--win_length 640")
    heads = num_heads or hparams.get("num_heads") or HEADS.get(dim)
    if not heads:
        what = f"no published ATST has width {dim}, so its number of heads is not known"
        raise AudiokdError(what, where=where, fix="--num_heads N")
    blocks = {int(m[1]) for m in (re.match(r"blocks\.(\d+)\.", k) for k in encoder) if m}
    hidden = encoder.get("blocks.0.mlp.fc1.bias")
    max_frames = (encoder["pos_embed"].shape[1] - 1) * PATCH + 1
    chunk_s = hparams.get("train_len", hparams.get("anchor_len", CLIP_CHUNK_S if kind == "clip" else None))
    chunk_s = chunk_s[0] if isinstance(chunk_s, (list, tuple)) else chunk_s
    return ATSTConfig(
        kind=kind,
        dim=dim,
        depth=max(blocks, default=-1) + 1,
        heads=heads,
        mlp_ratio=len(hidden) / dim if hidden is not None else 4.0,
        qkv_bias="blocks.0.attn.qkv.bias" in encoder,
        max_frames=max_frames,
        win_length=win_length or hparams.get("win_length", 1024),
        chunk_frames=min(max_frames, ATSTLogMel.frames(round(chunk_s * SAMPLE_RATE))) if chunk_s else 0,
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

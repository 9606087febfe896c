"""Encoder-decoder networks that say of each pixel whether it is of the one class: segmentation_models_pytorch with timm's encoders.

Seven networks are of segmentation_models_pytorch (github.com/qubvel-org/segmentation_models.pytorch), the eighth is
`audiokd.vision.unet3plus`. Encoders are timm's, by timm's names, with weights of a file or of the hub, checked to the last tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.nn.weights import check_weights
from audiokd.vision.backbones import FIX, check_name, load_backbone
from audiokd.vision.sliced_convs import slice_strided_pointwise
from audiokd.vision.transforms import Preprocess, require_timm

#: the strides of their inputs are 32, of pspnet 8 (three stages of the encoder), of deeplabv3plus 16 (its last stage is dilated)
NETWORKS = ("unet", "unetplusplus", "unet3plus", "linknet", "pspnet", "fpn", "deeplabv3plus", "manet")


class Segmenter(nn.Module):
    """Logits [B, H, W] of images [B, 3, H, W] of any size: what the stride does not divide is padded, and the padding undone.

    Args:
        net: a network of segmentation_models_pytorch, or one made as they are, with `encoder`.

    Attributes:
        stride: that the network's sides are multiples of, pixels.
        mean, std: of each channel, as the encoder's weights were trained to see pictures.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.stride = net, int(net.encoder.output_stride)
        cfg = require_timm().get_pretrained_cfg(net.encoder.name, allow_unregistered=True)
        self.mean, self.std = tuple(cfg.mean), tuple(cfg.std)

    def forward(self, images: Tensor) -> Tensor:
        """As of the class. Rows and columns that are added repeat the last one; a picture has the same logits in any batch."""
        height, width = images.shape[-2:]
        added = [-side % self.stride for side in (height, width)]
        x = F.pad(images, (0, added[1], 0, added[0]), mode="replicate") if any(added) else images
        # depthwise convolutions train in half the time where the channels of a pixel lie together
        logits = self.net(x.contiguous(memory_format=torch.channels_last))
        return logits[:, 0, :height, :width]

    def blocks(self) -> list[list[str]]:
        """Names of the encoder's parameters, in a list a stage, deepest stage first.

        A parameter belongs to the shallowest stage whose map depends on it, whatever the architecture calls its parts; one that no
        map depends on to the deepest.

        Raises:
            AudiokdError: some are frozen already.
        """
        encoder = self.net.encoder
        named = {f"net.encoder.{n}": p for n, p in encoder.named_parameters()}
        if not all(p.requires_grad for p in named.values()):
            raise AudiokdError("the encoder's stages cannot be told apart once some of it is frozen")
        modes = {m: m.training for m in encoder.modules()}
        encoder.eval()
        with torch.enable_grad():
            maps = [f for f in encoder(torch.zeros(1, 3, 64, 64, device=next(encoder.parameters()).device))]
            stages: list[list[str]] = []
            left = dict(named)
            for found in (f for f in maps if f.requires_grad):
                slopes = torch.autograd.grad(found.sum(), list(left.values()), retain_graph=True, allow_unused=True)
                stages.append([name for name, slope in zip(left, slopes) if slope is not None])
                left = {name: p for name, p in left.items() if name not in stages[-1]}
        for module, mode in modes.items():
            module.training = mode
        stages[-1] += left
        return [stage for stage in reversed(stages) if stage]


def build_segmenter(network: str, encoder: str, weights: str = "") -> Segmenter:
    """A network in training mode, as torch builds modules; the decoder begins at random.

    Args:
        network: one of `NETWORKS`.
        encoder: timm's name, with segmentation_models_pytorch's prefix "tu-" or without.
        weights: of the encoder (`audiokd.vision.backbones.load_backbone`); empty draws them at random.

    Raises:
        AudiokdError: no such network or encoder, a pair that cannot be built (both are named), weights of another model.
    """
    smp = require_smp()
    if network not in NETWORKS:
        raise AudiokdError(f"no network {network!r}", fix=f"one of {', '.join(NETWORKS)}")
    name = encoder.removeprefix("tu-")
    check_name(name)
    try:
        if network == "unet3plus":
            from audiokd.vision.unet3plus import UNet3Plus

            net: nn.Module = UNet3Plus(smp.encoders.get_encoder(f"tu-{name}", weights=None))
        else:
            net = smp.create_model(network, f"tu-{name}", encoder_weights=None)
    except (
        Exception
    ) as e:  # timm's and smp's models refuse in ways of their own: TypeError, RuntimeError, AssertionError...
        what = f"{network} cannot be built on {name}: {' '.join(str(e).split())[:200]}"
        fix = "take another of the two; deeplabv3plus needs an encoder that can be dilated (not DenseNet, HRNet, DPN)"
        raise AudiokdError(what, where=f"{network} on {name}", fix=fix) from e
    segmenter = Segmenter(slice_strided_pointwise(net))
    if weights:
        seen = _load_encoder(net.encoder, name, weights)
        segmenter.mean, segmenter.std = seen.mean, seen.std
    return segmenter


def _load_encoder(encoder: nn.Module, name: str, weights: str) -> Preprocess:
    """Weights of timm's whole model into the part of it that gives maps; how they were trained to see pictures."""
    backbone = load_backbone(name, weights)  # which checks them to the last tensor
    whole = backbone.net.state_dict()
    expected = encoder.model.state_dict()
    # where timm takes a sequence apart, stages.0.conv is named stages_0.conv
    flat = {k.replace(".", "_", 1): v for k, v in whole.items()}
    found = {k: whole.get(k, flat.get(k)) for k in expected}
    kept: Mapping[str, Tensor] = {k: v for k, v in found.items() if v is not None}
    check_weights(expected, kept, where=weights, fix=FIX)
    nn.Module.load_state_dict(encoder.model, kept)
    return backbone.preprocess


def require_smp() -> ModuleType:
    """segmentation_models_pytorch, where it is installed.

    Raises:
        AudiokdError: it is not.
    """
    require_timm()
    try:
        import segmentation_models_pytorch as smp
    except ImportError as e:
        what = "segmentation networks need segmentation_models_pytorch, which is not there"
        raise AudiokdError(what, fix="pip install 'audiokd[vision]'") from e
    return smp

"""A teacher is frozen once, here: eval, no gradient of its own, in no optimiser, in no state_dict, and it stays so."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Any, ClassVar, Literal, TypeAlias

import torch
import torchaudio
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.nn.lengths import length_mask, zero_beyond

#: which hidden state is the feature: k as transformers' `hidden_states[k]` has it, the mean of them all, what each layer gives
#: through the final norm (side by side), or the network's output
Layer: TypeAlias = int | Literal["mean", "normed"] | None


#: weights of HuBERT and its kin that published folders may lack: what hides a frame in pretraining
OF_PRETRAINING = "masked_spec_embed"


class FrozenTeacher(nn.Module):
    """A module that holds `net` out of torch's sight.

    `net` follows `.to(device)`, but `parameters()`, `state_dict()` and `train()` of anything that holds the teacher never
    reach it; gradients still pass through it to its input.

    Args:
        net: the network.
        num_layers: of the network; it has the hidden states 0 to num_layers.
        layer: the hidden state that is the feature as transformers has it, "mean" for the mean of all of them, "normed" for the
            states after each layer, each through `final_norm`, side by side [B, T', num_layers D]; None for the net's output.

    Attributes:
        sample_rate: Hz of the waveform it takes.
        frame_rate: frames a second of its features.
        dim: size of a feature.
        window: "crop" where features cover a clip's true length, "full" where every clip is padded to one length.
        min_samples: that give a frame.
        max_duration_s: of a clip, or None.
        preprocessor: settings of a model's preprocessor_config.json that its config.json lacks, by the name of the argument and
            attribute here; a model that is built around the network keeps them.
        final_norm: name in `net` of the norm after the last layer, which gives its output; empty where none follows that layer.

    Raises:
        AudiokdError: no such layer.
    """

    sample_rate: int
    frame_rate: float
    dim: int
    window: Literal["full", "crop"] = "crop"
    min_samples: int = 1
    max_duration_s: float | None = None
    final_norm: str = ""
    preprocessor: ClassVar[dict[str, str]] = {}

    def __init__(self, net: nn.Module, num_layers: int, layer: Layer = None):
        super().__init__()
        if not (layer in (None, "mean", "normed") or (isinstance(layer, int) and 0 <= layer <= num_layers)):
            fix = f"use 0 (before the first layer) to {num_layers}, mean, normed, or null for the network's output"
            raise AudiokdError(f"no layer {layer!r}: this teacher has {num_layers} layers", fix=fix)
        self.layer, self.num_layers = layer, num_layers
        self.__dict__["net"] = net.eval().requires_grad_(False)  # past nn.Module's registry, on purpose

    def _apply(self, fn: Any, recurse: bool = True) -> FrozenTeacher:
        self.net._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features of waveforms; the gradient passes to `wav`.

        Args:
            wav: [B, T] at `sample_rate`.
            lengths: [B] samples; all of T by default. What lies past them is not heard.

        Returns:
            Features [B, T', D] float32 and how many of them count, [B].

        Raises:
            AudiokdError: more audio than the teacher hears at once (`max_duration_s`).
        """
        raise NotImplementedError

    @torch.no_grad()
    def targets(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`features` [B, T', D] and `feature_lengths` [B] of `wav` [B, T] at `sample_rate` with `lengths` [B]."""
        features, frames = self(batch["wav"], batch.get("lengths"))
        return {"features": features, "feature_lengths": frames}

    def at_rate(self, wav: Tensor, sample_rate: int, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`wav` [B, T] at `sample_rate` as the teacher takes it, on its device, differentiably.

        Returns:
            The waveform [B, ceil(T r)] and its lengths ceil(n r), r = self.sample_rate / sample_rate.
        """
        n = torch.full((wav.shape[0],), wav.shape[-1], device=wav.device) if lengths is None else lengths
        if sample_rate == self.sample_rate:
            return wav, n
        # zeros past the end, as alone: the filter looks a few milliseconds ahead
        wav = zero_beyond(wav[:, None], lengths)[:, 0]
        with torch.autocast(wav.device.type, enabled=False):
            out = _resampler(sample_rate, self.sample_rate, wav.device)(wav.float())
        return out, -(-n * self.sample_rate // sample_rate)

    def _state(self, k: int, x: Tensor) -> Tensor:
        """What `k` layers leave; through the final norm where all are wanted so, or the output is and this is the last."""
        wanted = self.layer == "normed" or (self.layer is None and k == self.num_layers)
        return self.net.get_submodule(self.final_norm)(x) if wanted and self.final_norm else x

    def _pick(self, states: Iterable[Tensor]) -> Tensor:
        """The feature out of hidden states 0 to num_layers, as `_state` gives them; none after it is computed."""
        if self.layer == "mean":
            return torch.stack(list(states)).mean(0)
        if self.layer == "normed":
            return torch.cat(list(islice(states, 1, None)), -1)
        wanted = self.num_layers if self.layer is None else self.layer
        return next(islice(states, wanted, None))


@lru_cache
def _resampler(rate_in: int, rate_out: int, device: torch.device) -> nn.Module:
    """torchaudio's default windowed sinc with its kernel made once; float32 gives the kernel that its function makes."""
    with torch.inference_mode(False):  # a kernel made in inference mode would refuse gradients ever after
        return torchaudio.transforms.Resample(rate_in, rate_out, dtype=torch.float32).to(device)


def additive_mask(frames: Tensor, x: Tensor) -> Tensor:
    """What keeps padded frames of `x` [B, T', D] from being attended to, added to the scores: [B, 1, 1, T'].

    Not Boolean, since eager attention would add that as 0 and 1; finite, so that an item without frames gives no NaN.
    """
    hidden = ~length_mask(frames, x.shape[1])[:, None, None]
    return torch.zeros_like(hidden, dtype=x.dtype).masked_fill(hidden, torch.finfo(x.dtype).min)


def load_processor(auto: Any, name: str) -> Any:
    """transformers' image processor or feature extractor of a folder or hub id; `auto` is its class that finds the right one.

    Raises:
        AudiokdError: there is none.
    """
    try:
        return auto.from_pretrained(name)
    except (OSError, ValueError) as e:
        what = f"cannot load how its inputs are prepared: {str(e).splitlines()[0]}"
        raise AudiokdError(what, where=name, fix="its folder needs preprocessor_config.json") from e


def check_name(name: str) -> None:
    """Refuse a path that is not there before a hub is asked for it.

    Raises:
        AudiokdError: neither a folder nor like a hub id; or the folder of a run, which is no model yet.
    """
    if os.path.isdir(os.path.join(name, "checkpoints")) and not os.path.exists(os.path.join(name, "config.json")):
        fix = f"audiokd export {name} FOLDER, and give that folder"
        raise AudiokdError("the folder of a run, and no model", where=name, fix=fix)
    if not os.path.isdir(name) and (name.count("/") != 1 or name.startswith((".", "/"))):
        raise AudiokdError("no such folder", where=name, fix="give a hub id (owner/name) or a folder with config.json")


def read_family(name: str) -> str:
    """transformers' model_type of a folder or hub id.

    Raises:
        AudiokdError: nothing there, or no config that can be read.
    """
    from transformers import AutoConfig

    check_name(name)
    try:
        return AutoConfig.from_pretrained(name).model_type
    except (OSError, ValueError) as e:
        fix = "give a folder with config.json, or the hub id of a model that can be fetched or was before"
        raise AudiokdError(f"cannot read its config: {str(e).splitlines()[0]}", where=name, fix=fix) from e


def load_pretrained(transformers_class: Any, name: str, what: str, fix: str = "", **kwargs: Any) -> Any:
    """`transformers_class.from_pretrained(name, **kwargs)` for a folder or hub id.

    Raises:
        AudiokdError: nothing there, not `what`, or not all of its weights, or of other shapes: transformers draws those at random,
            with a warning or a long report.
    """
    from safetensors import SafetensorError
    from transformers import FeatureExtractionMixin
    from transformers.utils import logging

    check_name(name)
    has_weights = not issubclass(transformers_class, FeatureExtractionMixin)
    if has_weights:
        kwargs |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        found = transformers_class.from_pretrained(name, **kwargs)
    except (OSError, ValueError, RuntimeError, SafetensorError) as e:
        fix = fix or "give a hub id or a transformers folder"
        raise AudiokdError(f"cannot load {what}: {str(e).splitlines()[0]}", where=name, fix=fix) from e
    finally:
        logging.set_verbosity(level)
    if not has_weights:
        return found
    model, info = found
    if other := sorted(info["mismatched_keys"]):
        key, there, expected = other[0]
        shapes = f"{key} is {list(there)} there, {list(expected)} by its config.json"
        what = f"cannot load {what}: {len(other)} weights are of other shapes: {shapes}"
        raise AudiokdError(what, where=name, fix="its config and its file of weights are of two models")
    missing = sorted(k for k in info["missing_keys"] if not k.endswith(OF_PRETRAINING))
    if missing:
        what = f"cannot load {what}: {len(missing)} weights are missing, {missing[0]} first"
        raise AudiokdError(what, where=name, fix="its config is of another model, or the file of weights is not whole")
    return model

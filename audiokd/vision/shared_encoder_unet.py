"""A diffusion UNet in two halves: the encoder once, the decoder for many time steps in one batched call.

Along a sampling trajectory what the encoder (down and mid blocks) makes varies little from step to step, what the decoder makes
varies a lot (TiUE, arXiv 2505.21960). So the encoder looks once, at the first step's noise, and the decoder answers for all steps
at once: its skips and its input are the same, only the time embedding is another.

The halves are made of the UNet's own blocks by their public names; no forward of diffusers is replaced. At one time step the two
halves give what `unet.forward` gives to the last bit; tests/vision/test_shared_encoder_unet.py holds it for the installed release.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AudioLDM2UNet2DConditionModel, UNet2DConditionModel
from torch import Tensor, nn

from audiokd.errors import AudiokdError

#: what a decoder call repeats for each time step
Tree = Any


@dataclass(frozen=True)
class Encoded:
    """What the decoder needs, the same for every time step.

    Attributes:
        hidden: of the mid block, [B, D, h, w].
        skips: of `conv_in` and the down blocks, in their order.
        text: keyword arguments of blocks with cross-attention.
        class_embedding, added_embedding: [B, D'] that go with each time embedding; None where the UNet has none.
        time_condition: [B, D''] that goes into the time embedding (LCM's guidance), or None.
        odd: a side does not divide by the UNet's stride: the decoder's sizes are then the skips'.
    """

    hidden: Tensor
    skips: tuple[Tensor, ...]
    text: dict[str, Tree]
    class_embedding: Tensor | None
    added_embedding: Tensor | None
    time_condition: Tensor | None
    odd: bool


class SharedEncoderUNet(nn.Module):
    """`unet` in two halves. Conditions go by the names that `unet.forward` has for them.

    UNet2DConditionModel: `encoder_hidden_states`, `encoder_attention_mask`, `attention_mask`, `class_labels`, `timestep_cond`,
    `added_cond_kwargs`; among its users are Stable Diffusion, and AudioLDM and MusicLDM, whose text is `class_labels`.
    AudioLDM2UNet2DConditionModel: these without the last, and `encoder_hidden_states_1`, `encoder_attention_mask_1`.

    Args:
        unet: of one of these classes.

    Raises:
        AudiokdError: it is of another class.
    """

    def __init__(self, unet: nn.Module):
        super().__init__()
        name = type(unet).__name__
        if type(unet) not in ADAPTERS:
            fix = f"a UNet of {', '.join(c.__name__ for c in ADAPTERS)}"
            raise AudiokdError(f"{name} cannot be taken apart: its halves are not known", fix=fix)
        self.unet, self.adapter = unet, ADAPTERS[type(unet)]

    def encode(self, sample: Tensor, timestep: Tensor | int, **conditions: Any) -> Encoded:
        """The encoder's part.

        Args:
            sample: [B, C, H, W], the noise that sampling begins with.
            timestep: the first one, of all pictures or [B].
            conditions: see the class; the batch is the first axis of each tensor.

        Raises:
            AudiokdError: a condition that the UNet does not take.
        """
        unet: Any = self.unet
        if strange := sorted(conditions.keys() - self.adapter.conditions):
            fix = f"it takes {', '.join(sorted(self.adapter.conditions))}"
            raise AudiokdError(f"{type(unet).__name__} has no condition {', '.join(strange)}", fix=fix)
        odd = any(side % 2**unet.num_upsamplers for side in sample.shape[-2:])
        if unet.config.get("center_input_sample"):
            sample = 2 * sample - 1.0
        classes = _class_embedding(unet, sample, conditions.get("class_labels"))
        added, hint = self.adapter.added(unet, sample, conditions)
        if hint is not None:
            sample = torch.cat([sample, hint], dim=1)
        text = self.adapter.text(unet, conditions, sample.dtype)
        condition = conditions.get("timestep_cond")
        temb = _embedding(unet, timestep, len(sample), sample.dtype, classes, added, condition)
        hidden = unet.conv_in(sample)
        skips: tuple[Tensor, ...] = (hidden,)
        for block in unet.down_blocks:
            hidden, more = block(hidden_states=hidden, temb=temb, **_text_of(block, text))
            skips += more
        if unet.mid_block is not None:
            hidden = unet.mid_block(hidden, temb, **_text_of(unet.mid_block, text))
        return Encoded(hidden, skips, text, classes, added, condition, odd)

    def decode(self, encoded: Encoded, timesteps: Tensor | Sequence[int]) -> Tensor:
        """The decoder's part, for T time steps in one call.

        Args:
            encoded: as `encode` gives it, of B pictures.
            timesteps: [T].

        Returns:
            The UNet's output at each of them, [T, B, C, H, W].
        """
        unet: Any = self.unet
        e, batch = encoded, len(encoded.hidden)
        t = torch.as_tensor(timesteps, device=e.hidden.device)
        count = len(t)
        hidden, skips, text, classes, added, condition = (
            _repeated(x, count)
            for x in (e.hidden, e.skips, e.text, e.class_embedding, e.added_embedding, e.time_condition)
        )
        steps = t.repeat_interleave(batch)  # time-major, as the repeated rest is
        temb = _embedding(unet, steps, len(hidden), hidden.dtype, classes, added, condition)
        for block in unet.up_blocks:
            own = len(block.resnets)
            skips, mine = skips[:-own], skips[-own:]
            size = skips[-1].shape[2:] if e.odd and skips else None
            hidden = block(
                hidden_states=hidden,
                temb=temb,
                res_hidden_states_tuple=mine,
                upsample_size=size,
                **_text_of(block, text),
            )
        if unet.conv_norm_out:
            hidden = unet.conv_act(unet.conv_norm_out(hidden))
        return unet.conv_out(hidden).unflatten(0, (count, batch))

    def forward(self, sample: Tensor, timesteps: Tensor | Sequence[int], **conditions: Any) -> Tensor:
        """[T, B, C, H, W]: `encode` at the first of the time steps [T], `decode` at all."""
        steps = torch.as_tensor(timesteps, device=sample.device)
        return self.decode(self.encode(sample, steps[0], **conditions), steps)


@dataclass(frozen=True)
class Adapter:
    """What one UNet class does its own way.

    Attributes:
        conditions: names that its forward has for them.
        text: its keyword arguments for blocks with cross-attention, of (unet, conditions, dtype).
        added: embedding [B, D'] beside that of time, and channels beside those of the sample, of (unet, sample, conditions).
    """

    conditions: frozenset[str]
    text: Callable[[Any, dict[str, Any], torch.dtype], dict[str, Tree]]
    added: Callable[[Any, Tensor, dict[str, Any]], tuple[Tensor | None, Tensor | None]]


def _plain_text(unet: Any, conditions: dict[str, Any], dtype: torch.dtype) -> dict[str, Tree]:
    states = unet.process_encoder_hidden_states(
        encoder_hidden_states=conditions.get("encoder_hidden_states"),
        added_cond_kwargs=conditions.get("added_cond_kwargs"),
    )
    return {
        "encoder_hidden_states": states,
        "attention_mask": _bias(conditions.get("attention_mask"), dtype),
        "encoder_attention_mask": _bias(conditions.get("encoder_attention_mask"), dtype),
    }


def _plain_added(unet: Any, sample: Tensor, conditions: dict[str, Any]) -> tuple[Tensor | None, Tensor | None]:
    kind = unet.config.addition_embed_type
    found = unet.get_aug_embed(  # of the embedding of time it takes the type alone
        emb=sample,
        encoder_hidden_states=conditions.get("encoder_hidden_states"),
        added_cond_kwargs=conditions.get("added_cond_kwargs"),
    )
    return found if kind == "image_hint" else (found, None)


def _two_texts(unet: Any, conditions: dict[str, Any], dtype: torch.dtype) -> dict[str, Tree]:
    masks = ("attention_mask", "encoder_attention_mask", "encoder_attention_mask_1")
    states = ("encoder_hidden_states", "encoder_hidden_states_1")
    return {k: conditions.get(k) for k in states} | {k: _bias(conditions.get(k), dtype) for k in masks}


def _nothing_added(unet: Any, sample: Tensor, conditions: dict[str, Any]) -> tuple[None, None]:
    return None, None


_SHARED = {"encoder_hidden_states", "encoder_attention_mask", "attention_mask", "class_labels", "timestep_cond"}
_SECOND = {"encoder_hidden_states_1", "encoder_attention_mask_1"}
#: by the UNet's class, exactly: a subclass may have a forward of its own
ADAPTERS: dict[type[nn.Module], Adapter] = {
    UNet2DConditionModel: Adapter(frozenset(_SHARED | {"added_cond_kwargs"}), _plain_text, _plain_added),
    AudioLDM2UNet2DConditionModel: Adapter(frozenset(_SHARED | _SECOND), _two_texts, _nothing_added),
}


def _embedding(
    unet: Any,
    timestep: Tensor | int,
    count: int,
    dtype: torch.dtype,
    classes: Tensor | None,
    added: Tensor | None,
    condition: Tensor | None,
) -> Tensor:
    """[B, D] of time, class and what is added."""
    device = next(unet.time_embedding.parameters()).device
    steps = torch.as_tensor(timestep, device=device).expand(count)
    temb = unet.time_embedding(unet.time_proj(steps).to(dtype=dtype), condition)
    if classes is not None:
        temb = torch.cat([temb, classes], dim=-1) if unet.config.class_embeddings_concat else temb + classes
    temb = temb if added is None else temb + added
    return temb if unet.time_embed_act is None else unet.time_embed_act(temb)


def _class_embedding(unet: Any, sample: Tensor, labels: Tensor | None) -> Tensor | None:
    if unet.class_embedding is None:
        return None
    if labels is None:
        raise AudiokdError(f"{type(unet).__name__} has a class embedding and is given no class_labels")
    if unet.config.class_embed_type == "timestep":
        labels = unet.time_proj(labels).to(dtype=sample.dtype)
    return unet.class_embedding(labels).to(dtype=sample.dtype)


def _text_of(block: Any, text: dict[str, Tree]) -> dict[str, Tree]:
    return text if getattr(block, "has_cross_attention", False) else {}


def _bias(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """What is added to the scores of a mask [B, keys] of 1 and 0: [B, 1, keys], as the UNets themselves make it."""
    return None if mask is None else ((1 - mask.to(dtype)) * -10000.0).unsqueeze(1)


def _repeated(x: Tree, count: int) -> Tree:
    """Every tensor `count` times along its batch, [0 .. B-1, 0 .. B-1, ...]."""
    if count == 1 or x is None:
        return x
    if isinstance(x, Tensor):
        return x.repeat(count, *(1,) * (x.ndim - 1))
    if isinstance(x, dict):
        return {k: _repeated(v, count) for k, v in x.items()}
    return type(x)(_repeated(v, count) for v in x)

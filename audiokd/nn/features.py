"""What every audiokd encoder gives for a batch of clips."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class AudioFeatures:
    """Features of B clips.

    Attributes:
        hidden_states: frames [B, T', D] of each layer in order, as the encoder's final norm (if it has one) leaves them.
        lengths: [B] frames of each clip; what lies past them is zeros.
        clip: [B, D'] one embedding a clip.
        cls: [B, D] of each layer, where the encoder has a token for the clip.
    """

    hidden_states: list[Tensor]
    lengths: Tensor
    clip: Tensor
    cls: list[Tensor] | None = None

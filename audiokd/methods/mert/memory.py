"""What a step of MERT pretraining needs, from its first two layers: all are alike."""

from __future__ import annotations

from dataclasses import asdict

import torch

from audiokd.methods.mert.config import MERTConfig
from audiokd.methods.mert.model import MERTModel
from audiokd.methods.mert.settings import MERTSettings
from audiokd.training.memory import ADAMW_BYTES, saved_bytes


def parameters_of(settings: MERTSettings) -> int:
    """How many the encoder has, built without storage."""
    with torch.device("meta"):
        return sum(p.numel() for p in MERTModel(MERTConfig(**asdict(settings.model))).parameters())


def activation_bytes(settings: MERTSettings) -> int:
    """Bytes of float32 that the encoder keeps of a batch of crops for the backward pass; one crop is run through its
    convolutions and two layers."""
    samples = round(settings.data.crop_s * settings.model.sample_rate)
    of = {}
    rng = torch.get_rng_state()
    for depth in (1, 2):
        shape = asdict(settings.model) | {"depth": depth, "layerdrop": 0.0}
        model = MERTModel(MERTConfig(**shape)).train()

        def run(model: MERTModel = model) -> list[torch.Tensor]:
            features, frames = model.convolve(torch.zeros(1, samples), torch.tensor([samples]))
            return [*model.states(features, frames)]

        of[depth] = saved_bytes(run, model.parameters())
    torch.set_rng_state(rng)
    return (of[1] + (settings.model.depth - 1) * (of[2] - of[1])) * settings.data.batch_size


def step_memory(settings: MERTSettings) -> str:
    """A line that says it."""
    count, held = parameters_of(settings), activation_bytes(settings)
    fixed = count * ADAMW_BYTES
    return (
        f"mert: {count / 1e6:.1f} M parameters; a step needs about {(fixed + held) / 2**30:.1f} GiB a device: "
        f"{fixed / 2**30:.1f} of weights, gradients and AdamW, {held / 2**30:.1f} of activations of {settings.data.batch_size} "
        f"crops of {settings.data.crop_s:g} s in float32, teachers not counted"
    )

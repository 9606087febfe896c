"""How a diffusion model's features change from one sampling step to the next, for the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError, ConfigError


def trajectory(
    model: str, input: str, out: str, steps: int = 50, items: int = 8, seed: int = 0, device: str = "cpu"
) -> int:
    """Write a CSV of how much each block of a UNet changes along a DDIM trajectory without guidance.

    Its columns are those of metrics.csv: `step`, the timestep that a sampling step goes to; `split`, the block (down0, mid) or
    encoder and decoder for the means over theirs; `name`, relative change or cosine; `value`. The page of a run draws
    EXP/trajectory.csv.

    Args:
        model: folder of a diffusion model, or hub id.
        input: prompts, as `audiokd generate` takes them.
        out: file to write.
        steps: of the trajectory.
        items: prompts that the mean is over, evenly spaced.
        seed: of the noise.
        device: cpu, cuda, ...

    Returns:
        Rows that were written.

    Raises:
        AudiokdError: as `load_pipeline` and `read_prompts`.
        ConfigError: under two steps, or no item.
    """
    import numpy as np
    import torch

    from audiokd.data.crops import rng_of
    from audiokd.data.items import spaced
    from audiokd.data.prompts import read_prompts
    from audiokd.files import write_text
    from audiokd.vision.ddim import SPACINGS, ddim_of
    from audiokd.vision.feature_change import feature_change
    from audiokd.vision.load_pipeline import load_pipeline

    if steps < 2 or items < 1:
        raise ConfigError(
            f"{steps} steps of {items} items: nothing to compare", fix="--steps 2 or more, --items 1 or more"
        )
    pipeline: Any = load_pipeline(model, device)
    prompts = spaced(read_prompts(input), items)  # of several classes
    if steps > (total := pipeline.scheduler.config.num_train_timesteps):
        raise AudiokdError(f"{steps} steps of a schedule of {total}", where=model)
    drawn = [rng_of(seed, "noise", p.id, 0).standard_normal(pipeline.sample_shape, np.float32) for p in prompts]
    told = {"encoder_hidden_states": None} | pipeline.conditions([p.text(bool(pipeline.labels)) for p in prompts])
    spacing = pipeline.scheduler.config.timestep_spacing
    scheduler = ddim_of(pipeline.scheduler, timestep_spacing=spacing if spacing in SPACINGS else "leading")
    noise = torch.from_numpy(np.stack(drawn)).to(pipeline.unet.device, pipeline.unet.dtype)
    found = feature_change(pipeline.unet, scheduler, noise, steps, told)
    rows = []
    for half, (relative, cosine) in found.halves().items():
        rows += [(t, half, "relative change", v) for t, v in zip(found.timesteps, relative.tolist())]
        rows += [(t, half, "cosine", v) for t, v in zip(found.timesteps, cosine.tolist())]
    for k, block in enumerate(found.blocks):
        rows += [
            (t, block, "relative change by block", v) for t, v in zip(found.timesteps, found.relative[:, k].tolist())
        ]
    text = "".join(f"{t},{split},{name},{value:.6g}\n" for t, split, name, value in rows)
    write_text(Path(out), f"step,split,name,value\n{text}")
    means = {k: float(relative.mean()) for k, (relative, _) in found.halves().items()}
    print(
        f"{out}: mean relative change of {steps} steps: encoder {means['encoder']:.3f}, decoder {means['decoder']:.3f}"
    )
    return len(rows)

"""Cells of kd_grid.py whose model generates: pictures or sounds for a test set's labels, their scores, and their time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

from cells import Cell, options, run

#: a picture that the latency is the median of, after some that are not counted
TIMED, WARM_UP = 9, 2
#: of `audiokd generate`, those that say how the model is sampled
SAMPLING = ("steps", "guidance", "sampler", "timestep_spacing")


def score_generated(cell: Cell, model: str, test: str, out: str, made: dict[str, Any], scored: dict[str, Any]) -> None:
    """Generate for the labels of `test` and score that against `test`.

    Args:
        cell: whose log and seed it is.
        model: folder of a diffusion model.
        test: set.
        out: file of the scores; what is generated lies beside it.
        made: options of `audiokd generate`.
        scored: options of `audiokd fidelity`.
    """
    folder = out.removesuffix(".json")
    run(cell, "generate", model, test, folder, *options({"seed": cell.seed} | made))
    run(cell, "fidelity", folder, test, "--out", out, *options(scored))


def latencies_ms(systems: Sequence[tuple[str, dict[str, Any]]]) -> list[float]:
    """Median times that one thread computes on one item of each model, milliseconds, taken in turn: what else the machine does
    falls on all of them.

    Args:
        systems: folder, and options of `audiokd generate`, of each.
    """
    import torch

    from audiokd.vision.load_pipeline import load_pipeline

    torch.set_num_threads(1)
    loaded = [(load_pipeline(m), {k: how[k] for k in SAMPLING if k in how}) for m, how in systems]
    times: list[list[float]] = [[] for _ in loaded]
    for _ in range(WARM_UP + TIMED):
        for (pipeline, how), of in zip(loaded, times):
            prompts = [pipeline.labels[0] if pipeline.labels else "a photo"]
            noise = torch.zeros(1, *pipeline.sample_shape)
            began = time.thread_time()
            with torch.inference_mode():
                pipeline.sample(prompts, noise, more_noise=lambda k, x=noise: x, **how)
            of.append(time.thread_time() - began)
    return [round(1000 * statistics.median(of[WARM_UP:]), 2) for of in times]


def unet_parameters(model: str) -> int:
    """Numbers of a diffusion model's network."""
    from audiokd.vision.load_pipeline import load_pipeline

    return sum(p.numel() for p in load_pipeline(model).unet.parameters())

"""What a run of SALT costs: operations of a whole training step, and of all that its encoder goes back to.

A step is run on the meta device, as it is: teacher, encoder, predictor, backward. Masks differ from step to step: what was counted
is scaled by the closed form of the blocks, its mean over masks as they are drawn over that of this step, so that it does not depend
on a run's seed. The log-mel front end, the optimiser and the average of weights are not counted (no matrix products, or hardly
any). A student's total has its teacher's whole training in it.
"""

from __future__ import annotations

import math
from collections import Counter

import torch

from audiokd.errors import ConfigError
from audiokd.methods.salt.config import SALTConfig
from audiokd.methods.salt.model import SALTModel
from audiokd.methods.salt.module import SALTModule, config_of, grid_shape, masker_of
from audiokd.methods.salt.settings import SALTSettings
from audiokd.nn.block_masks import Masks
from audiokd.nn.patches import grid_of
from audiokd.teachers.latents import LatentTeacher
from audiokd.training.flops import count_flops

#: steps over whose sizes of blocks the mean is, and batches of each size
SIZES, BATCHES = 4000, 16
#: of these masks: no run's own
SEED = -1


def block_flops(tokens: float, dim: int, mlp_ratio: float = 4.0) -> float:
    """Operations of a transformer block forward, two a multiplication and addition: queries, keys, values and projection 4 d^2, MLP
    2 r d^2, scores and values 2 n d, a token."""
    return 2 * tokens * ((4 + 2 * mlp_ratio) * dim * dim + 2 * tokens * dim)


def step_flops(s: SALTSettings, teacher: SALTConfig | None) -> float:
    """Operations of a training step of all devices, a mean over masks.

    Args:
        s: settings.
        teacher: config of the frozen teacher, of step student.
    """
    with torch.device("meta"):
        frozen = LatentTeacher(SALTModel(teacher), teacher.depth) if teacher is not None else None
        module = SALTModule(s, frozen)
        grids = torch.empty(s.data.batch_size, *grid_shape(s))
    masker, ids = masker_of(s, SEED), [str(k) for k in range(s.data.batch_size)]
    first = masker(ids, 0, "meta")
    count = count_flops(lambda: module.losses(grids, first)[0]["loss"].backward())
    target = teacher or (config_of(s) if s.step == "ema" else None)
    form = _of_target(s, target) + sum(_of_masks(s, target, of) for of in first)
    mean = _of_target(s, target)
    drawn = Counter(of for step in range(SIZES) for of in enumerate(masker.sizes(step)))
    for (kind, size), times in drawn.items():
        batches = [masker.of_size(kind, size, ids, step) for step in range(BATCHES)]
        mean += times / SIZES * sum(_of_masks(s, target, of) for of in batches) / BATCHES
    return float(count) * mean / form * s.run.devices * s.run.num_nodes


def _of_target(s: SALTSettings, target: SALTConfig | None) -> float:
    """Operations of a step for an item: of what gives the targets, by the closed form."""
    if target is None:
        return 0.0
    n = math.prod(grid_of(grid_shape(s)[1:], target.patch_sizes))
    return target.depth * block_flops(n, target.dim, target.mlp_ratio) + 2 * n * target.patch_values * target.dim


def _of_masks(s: SALTSettings, target: SALTConfig | None, masks: Masks) -> float:
    """Of encoder and predictor, forward and backward, behind one kind of mask."""
    m, p, values = s.model, s.predictor, config_of(s).patch_values
    seen, said = masks.context.shape[1], masks.target.shape[1]
    width = target.dim if target is not None else values
    encoder = 3 * m.depth * block_flops(seen, m.dim, m.mlp_ratio) + 4 * seen * values * m.dim
    return encoder + 3 * p.depth * block_flops(seen + said, p.dim) + 6 * p.dim * (seen * m.dim + said * width)


def flops_of(step: float, steps: int, teacher: SALTConfig | None) -> dict[str, float]:
    """What an encoder's config keeps of it: of one step, how many, the teacher's total, and the total.

    Raises:
        ConfigError: a teacher whose cost is not known: it would count as free.
    """
    before = _trained(teacher) if teacher is not None else 0.0
    return {"step": step, "steps": steps, "teacher": before, "total": step * steps + before}


def steps_within(most: float, step: float, teacher: SALTConfig | None) -> int:
    """Steps of a run that costs at most `most` operations, its teacher's among them.

    Raises:
        ConfigError: not one; or a teacher whose cost is not known.
    """
    left = most - flops_of(step, 0, teacher)["total"]
    if left < step:
        what = f"{most:.3g} operations are not one step of {step:.3g} after the teacher's {most - left:.3g}"
        raise ConfigError(what, where="max_flops", fix="a greater budget, or a smaller teacher")
    return int(left // step)


def _trained(teacher: SALTConfig) -> float:
    """What the teacher's training cost."""
    if "total" not in teacher.flops:
        fix = "export it by 'audiokd export' from its run"
        raise ConfigError("what the teacher's training cost is not in its config.json", where="teacher.model", fix=fix)
    return float(teacher.flops["total"])

"""What a run of SALT costs: operations of a whole training step, and of all that its encoder goes back to.

The run's first step is run on the meta device, as it is: teacher, encoder, predictor, backward. Masks differ from step to step:
what was counted is scaled by the closed form of the blocks, the mean over the masks of the first steps over that of this one. The
log-mel front end, the optimiser and the average of weights are not counted (no matrix products, or hardly any). A student's total
has its teacher's whole training in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from audiokd.errors import ConfigError
from audiokd.methods.salt.config import SALTConfig
from audiokd.methods.salt.model import SALTModel
from audiokd.methods.salt.module import SALTModule, config_of, grid_shape
from audiokd.methods.salt.settings import SALTSettings
from audiokd.nn.block_masks import Masks
from audiokd.nn.patches import grid_of
from audiokd.teachers.latents import LatentTeacher
from audiokd.training.flops import count_flops

#: the first steps of the run, over whose masks the mean is
STEPS = 32


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
    ids = [str(k) for k in range(s.data.batch_size)]
    first = module.masker(ids, 0, "meta")
    count = count_flops(lambda: module.losses(grids, first)[0]["loss"].backward())
    forms = [_closed_form(s, teacher, module.masker(ids, n)) for n in range(STEPS)]
    return float(count) * sum(forms) / STEPS / forms[0] * s.run.devices * s.run.num_nodes


def _closed_form(s: SALTSettings, teacher: SALTConfig | None, masks: Sequence[Masks]) -> float:
    """Operations of a step for an item, by the sizes of its masks."""
    m, p, c = s.model, s.predictor, config_of(s)
    target = teacher or (c if s.step == "ema" else None)
    n = math.prod(grid_of(grid_shape(s)[1:], c.patch_sizes))
    of_target = 0.0
    if target is not None:
        of_target = (
            target.depth * block_flops(n, target.dim, target.mlp_ratio) + 2 * n * target.patch_values * target.dim
        )
    width = target.dim if target is not None else c.patch_values
    learnt = 0.0
    for of in masks:
        seen, said = of.context.shape[1], of.target.shape[1]
        learnt += 3 * m.depth * block_flops(seen, m.dim, m.mlp_ratio) + 4 * seen * c.patch_values * m.dim
        learnt += 3 * p.depth * block_flops(seen + said, p.dim) + 6 * p.dim * (seen * m.dim + said * width)
    return of_target + learnt


def flops_of(step: float, steps: int, teacher: SALTConfig | None) -> dict[str, float]:
    """What an encoder's config keeps of it: of one step, how many, the teacher's total, and the total."""
    before = float(teacher.flops.get("total", 0.0)) if teacher is not None else 0.0
    return {"step": step, "steps": steps, "teacher": before, "total": step * steps + before}


def steps_within(most: float, step: float, teacher: SALTConfig | None) -> int:
    """Steps of a run that costs at most `most` operations, its teacher's among them.

    Raises:
        ConfigError: not one; or a teacher whose cost is not known.
    """
    if teacher is not None and not teacher.flops.get("total"):
        fix = "export it by 'audiokd export' from its run"
        raise ConfigError("what the teacher's training cost is not in its config.json", where="teacher.model", fix=fix)
    left = most - flops_of(step, 0, teacher)["total"]
    if left < step:
        what = f"{most:.3g} operations are not one step of {step:.3g} after the teacher's {most - left:.3g}"
        raise ConfigError(what, where="max_flops", fix="a greater budget, or a smaller teacher")
    return int(left // step)

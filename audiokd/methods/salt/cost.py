"""What a run of SALT costs: operations of a whole training step, and of all that its encoder goes back to.

A step is run on the meta device, as it is: teacher, encoder, predictor, backward; with masks of the mean size of the first steps'. The
log-mel front end, the optimiser and the average of weights are not counted (no matrix products, or hardly any). A student's total has
its teacher's whole training in it.
"""

from __future__ import annotations

import torch

from audiokd.errors import ConfigError
from audiokd.methods.salt.config import SALTConfig
from audiokd.methods.salt.model import SALTModel
from audiokd.methods.salt.module import SALTModule, grid_shape, masker_of
from audiokd.methods.salt.settings import SALTSettings
from audiokd.nn.block_masks import Masks
from audiokd.teachers.latents import LatentTeacher
from audiokd.training.flops import count_flops

#: the first steps of the run, whose masks' mean sizes are taken
STEPS = 32


def mean_masks(s: SALTSettings) -> list[Masks]:
    """Masks of the mean sizes of the first steps' of a run, of each kind, on the meta device."""
    masker = masker_of(s)
    ids = [str(k) for k in range(s.data.batch_size)]
    drawn = [[(m.context.shape[1], m.target.shape[1]) for m in masker(ids, n)] for n in range(STEPS)]
    sizes = [[round(sum(of) / STEPS) for of in zip(*kind)] for kind in zip(*drawn)]
    return [Masks(*(torch.zeros(len(ids), n, dtype=torch.long, device="meta") for n in size)) for size in sizes]


def step_flops(s: SALTSettings, teacher: SALTConfig | None) -> float:
    """Operations of a training step of all devices.

    Args:
        s: settings.
        teacher: config of the frozen teacher, of step student.
    """
    with torch.device("meta"):
        frozen = LatentTeacher(SALTModel(teacher), teacher.depth) if teacher is not None else None
        module = SALTModule(s, frozen)
        grids = torch.empty(s.data.batch_size, *grid_shape(s))
    masks = mean_masks(s)
    count = count_flops(lambda: module.losses(grids, masks)[0]["loss"].backward())
    return float(count * s.run.devices * s.run.num_nodes)


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

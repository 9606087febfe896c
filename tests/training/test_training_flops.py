"""Counted operations against the closed form of a transformer block, and of a whole step of SALT."""

from __future__ import annotations

import pytest
import torch
from method_settings import settings_of

from audiokd.errors import ConfigError
from audiokd.methods.salt.cost import block_flops, flops_of, step_flops, steps_within
from audiokd.methods.salt.model import SALTModel
from audiokd.methods.salt.module import SALTModule, config_of, grid_shape
from audiokd.nn.axial_rope import rope_angles
from audiokd.nn.block_masks import Masks
from audiokd.nn.patches import grid_positions
from audiokd.nn.rope_vit import RopeBlock
from audiokd.teachers.latents import LatentTeacher
from audiokd.training.flops import count_flops


@pytest.mark.parametrize(("n", "d", "heads"), [(64, 96, 3), (196, 192, 6)])
def test_a_block_is_its_closed_form(n: int, d: int, heads: int) -> None:
    block = RopeBlock(d, heads)
    x = torch.randn(2, n, d, requires_grad=True)
    angles = rope_angles(grid_positions((n,)), d // heads)
    assert count_flops(lambda: block(x, angles)) == pytest.approx(2 * block_flops(n, d), rel=0.01)
    assert count_flops(lambda: block(x, angles).sum().backward()) == pytest.approx(6 * block_flops(n, d), rel=0.01)


@pytest.mark.parametrize("step", ["teacher", "student", "ema"])
def test_a_step_costs_what_the_steps_of_a_run_do(step: str) -> None:
    """Counted one by one on the CPU, whatever the run's seed: masks of 32 steps alone would be 4 % off."""
    options = {"step": step, "teacher.model": "somewhere" if step == "student" else ""}
    s = settings_of("salt", "debug", options)
    t = config_of(settings_of("salt", "debug", {"model.dim": 36, "model.depth": 3}))
    teacher = LatentTeacher(SALTModel(t), t.depth) if step == "student" else None
    module = SALTModule(s, teacher)
    ids = [str(k) for k in range(s.data.batch_size)]
    grids = torch.randn(s.data.batch_size, *grid_shape(s))

    known: dict[tuple[int, ...], float] = {}

    def real(masks: list[Masks]) -> float:
        shape = tuple(side.shape[1] for of in masks for side in (of.context, of.target))
        if shape not in known:
            known[shape] = count_flops(lambda: module.losses(grids, masks)[0]["loss"].backward())
        return known[shape]

    steps = 500
    counts = [real(module.masker(ids, n)) for n in range(steps)]
    cost = step_flops(s, t if teacher else None)
    assert len(known) > 3
    assert cost == pytest.approx(sum(counts) / steps, rel=0.02)
    assert step_flops(settings_of("salt", "debug", options | {"run.seed": 7}), t if teacher else None) == cost


def test_a_students_step_has_its_teachers_forward_and_its_total_the_teachers_training() -> None:
    s = settings_of("salt", "debug", {"step": "student", "teacher.model": "somewhere"})
    small, large = (config_of(settings_of("salt", "debug", {"model.depth": d})) for d in (1, 5))
    n, d = 2 * 16, 24  # patches of a clip, width
    grown = step_flops(s, large) - step_flops(s, small)
    assert grown == pytest.approx(4 * 4 * block_flops(n, d), rel=0.01)  # a batch of four, four blocks, forward alone
    small.flops = {"total": 500.0}
    assert flops_of(10.0, 7, small) == {"step": 10.0, "steps": 7, "teacher": 500.0, "total": 570.0}
    assert steps_within(579.0, 10.0, small) == 7
    with pytest.raises(ConfigError, match="are not one step"):
        steps_within(505.0, 10.0, small)
    for refused in (lambda: steps_within(505.0, 10.0, large), lambda: flops_of(10.0, 7, large)):
        with pytest.raises(ConfigError, match="what the teacher's training cost"):
            refused()

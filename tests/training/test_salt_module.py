"""A step of SALT: what the student sees and does not, what is frozen, what the targets and the validation are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from method_settings import settings_of

from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.methods.salt.model import SALTModel
from audiokd.methods.salt.module import SALTModule, config_of, grid_shape
from audiokd.methods.salt.predictor import Predictor
from audiokd.nn.block_masks import BlockMasker, Masks
from audiokd.nn.vit import take_rows
from audiokd.teachers.latents import LatentTeacher

IDS = ["a", "b", "c", "d"]


def settings(**changes: Any) -> Any:
    return settings_of("salt", "debug", {k.replace("__", "."): v for k, v in changes.items()})


def of_student() -> SALTModule:
    theirs = config_of(settings(model__dim=48, model__heads=4))
    torch.manual_seed(0)
    return SALTModule(settings(step="student"), LatentTeacher(SALTModel(theirs), theirs.depth))


def test_what_is_hidden_does_not_reach_the_student() -> None:
    module = of_student()
    grids = torch.randn(4, *grid_shape(module.settings))
    masks = module.masker(IDS, 0)[0]
    patches, positions = module.encoder.patches(grids)
    seen = module.encoder.net(patches, positions, masks.context)
    noise = torch.zeros_like(patches).scatter_(1, masks.target[..., None].expand(-1, -1, patches.shape[-1]), 1.0)
    hidden = module.encoder.net(patches + 1e6 * noise, positions, masks.context)
    assert torch.equal(seen, hidden)
    visible = module.encoder.net(patches + 0.1 * (1 - noise), positions, masks.context)
    assert not torch.allclose(seen, visible)


def test_hidden_sound_does_not_reach_the_student(beckett: Path) -> None:
    """By the waveform: log-mel of a crop with a floor that goes by its loudest frame would tell of it."""
    wav = torch.from_numpy(load_at(Utterance("beckett", str(beckett)), 16_000)[None, : 4 * 16_000]) / 200
    loud = wav.clone()
    loud[:, 32_000:48_000] *= 200  # frames 200 to 300
    visible = torch.cat([torch.arange(195), torch.arange(306, 401)])  # whose windows do not reach there
    changed = {}
    for top_db in (0.0, 80.0):
        module = SALTModule(settings(model__kind="audio", model__patch=16, model__top_db=top_db))
        a, b = (module.grids_of({"wav": w})[0, 0][:, visible] for w in (wav, loud))
        changed[top_db] = float((a - b).abs().max())
    assert changed[0.0] == 0
    assert changed[80.0] > 0.05


def test_gradients_of_pixels_that_are_hidden_are_zero() -> None:
    module = SALTModule(settings())
    grids = torch.randn(4, *grid_shape(module.settings), requires_grad=True)
    masks = module.masker(IDS, 0)
    patches, positions = module.encoder.patches(grids)
    said = module.predictor(module.encoder.net(patches, positions, masks[1].context), positions, masks[1], 1)
    (g,) = torch.autograd.grad(said.sum(), grids)
    by_patch = module.encoder.patches(g)[0].abs().sum(-1)
    assert float(take_rows(by_patch[..., None], masks[1].target).max()) == 0
    assert float(take_rows(by_patch[..., None], masks[1].context).min()) > 0


def test_the_predictor_is_told_positions_alone() -> None:
    module = of_student()
    p, positions = module.predictor, module.encoder.patches(torch.zeros(4, *grid_shape(module.settings)))[1]
    p.mask_tokens.data.normal_()
    for block in p.blocks:
        block.attn.qkv.weight.data *= 40  # at its start attention is nearly even
        block.attn.proj.weight.data *= 20
    masks = module.masker(IDS, 0)[0]
    context = torch.randn(4, masks.context.shape[1], module.encoder.dim)
    said = p(context, positions, masks, 0)
    assert said.shape == (4, masks.target.shape[1], 48)  # the teacher's width, not the student's
    moved = type(masks)(masks.context, masks.target.flip(1))
    assert torch.allclose(p(context, positions, moved, 0), said.flip(1), atol=1e-5)  # by place, whatever the order
    elsewhere = p(context, positions + torch.tensor([0, 0, 3]), masks, 0)
    assert torch.allclose(elsewhere, said, atol=1e-4)  # and by differences of places
    assert not torch.allclose(p(context, positions * 2, masks, 0), said, atol=1e-3)
    assert not torch.allclose(p(context, positions, masks, 1), said, atol=1e-3)  # a token for each kind of mask


def test_the_mask_tokens_begin_at_zero_and_learn() -> None:
    p = Predictor(8, 24, 1, 2, 5, 2)
    assert float(p.mask_tokens.detach().abs().max()) == 0
    module = of_student()
    losses, _ = module.losses(torch.randn(4, *grid_shape(module.settings)), module.masker(IDS, 0))
    losses["loss"].backward()
    assert float(module.predictor.mask_tokens.grad.abs().sum(1).min()) > 0


def test_first_weights_are_as_wide_as_told() -> None:
    wide = SALTModule(settings(model__init_std=0.1))
    for net in (wide.encoder.net.blocks[0].attn.qkv, wide.encoder.net.embed, wide.predictor.embed, wide.predictor.out):
        assert float(net.weight.detach().std()) == pytest.approx(0.1, rel=0.15)  # type: ignore[union-attr,operator]
    assert config_of(wide.settings).init_std == 0.1  # an export of the untrained encoder draws them again


def test_frozen_means_frozen() -> None:
    module = of_student()
    assert module.teacher is not None
    net = module.teacher.net
    before = {k: v.clone() for k, v in net.state_dict().items()}
    assert not any(k.startswith("teacher") for k in module.state_dict())
    mine = {id(p) for g in module.configure_optimizers().param_groups for p in g["params"]}
    assert not mine & {id(p) for p in net.parameters()}
    module.train()
    assert not net.training
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    losses, looked = module.losses(torch.randn(4, *grid_shape(module.settings)), module.masker(IDS, 0))
    assert not looked["true"].requires_grad
    losses["loss"].backward()
    optimizer.step()
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_validation_is_one_task_whatever_the_seed_and_of_many_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[int, list[Any]] = {0: [], 1: []}
    sizes: list[Any] = []
    losses, sized = SALTModule.losses, BlockMasker.sizes

    def noted(self: SALTModule, grids: torch.Tensor, masks: list[Masks]) -> Any:
        drawn[self.run.seed].append([of.context.tolist() for of in masks])
        return losses(self, grids, masks)

    def noted_sizes(self: BlockMasker, step: int | str) -> Any:
        sizes.append(tuple(sized(self, step)))
        return list(sizes[-1])

    monkeypatch.setattr(SALTModule, "losses", noted)
    monkeypatch.setattr(BlockMasker, "sizes", noted_sizes)
    for seed in drawn:
        module = SALTModule(settings(run__seed=seed))
        grids = torch.randn(4, *grid_shape(module.settings))
        for batch in range(12):
            module.validate_batch({"clips": grids, "ids": [f"{batch}-{i}" for i in range(4)]})
    assert drawn[0] == drawn[1]
    assert len(set(sizes[:12])) > 2


def test_the_average_follows_its_encoder_and_takes_no_gradient() -> None:
    module = SALTModule(settings(step="ema"))
    assert module.target_encoder is not None
    optimizer = module.configure_optimizers()
    mine = {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert not mine & {id(p) for p in module.target_encoder.parameters()}
    assert torch.equal(module.target_encoder.net.embed.weight, module.encoder.net.embed.weight)
    losses, _ = module.losses(torch.randn(4, *grid_shape(module.settings)), module.masker(IDS, 0))
    losses["loss"].backward()
    assert all(p.grad is None for p in module.target_encoder.parameters())


def test_targets_are_the_whole_clips_and_normalised_where_asked() -> None:
    module = of_student()
    grids = torch.randn(4, *grid_shape(module.settings))
    patches = module.encoder.patches(grids)[0]
    found = module.targets(grids, patches)
    assert found.shape == (4, patches.shape[1], 48)
    assert torch.allclose(found.mean(-1), torch.zeros(4, patches.shape[1]), atol=1e-5)
    module.settings.loss.norm_latents = False
    assert torch.equal(module.targets(grids, patches), module.teacher(grids))  # type: ignore[misc]
    pixels = SALTModule(settings())
    assert torch.equal(pixels.targets(grids, patches), patches)

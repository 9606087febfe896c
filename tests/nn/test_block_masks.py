"""What is hidden: published shares, places, cuts, and that a draw depends on seed, step and sample alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiokd.data.crops import rng_of
from audiokd.errors import ConfigError
from audiokd.nn.block_masks import BlockMasker, TubeMasker, block_size

IDS = [f"clip{k}" for k in range(6)]


def masker(grid: tuple[int, ...] = (2, 14, 14), shape: str = "square", **more: object) -> BlockMasker:
    return BlockMasker(grid, (8, 2), (0.15, 0.7), shape, 0, **more)  # type: ignore[arg-type]


def visible(of: BlockMasker, draws: int = 600) -> list[float]:
    """Mean share that is left of the space, of each kind."""
    shares = [
        [1 - of.draw(kind, size, rng_of("draw", n, kind)).mean() for kind, size in enumerate(of.sizes(n))]
        for n in range(draws)
    ]
    return np.mean(shares, 0).tolist()


@pytest.mark.parametrize(("grid", "wanted"), [((8, 16, 16), (0.38, 0.19)), ((8, 14, 14), (0.375, 0.18))])
def test_visible_shares_are_the_published_draw(grid: tuple[int, ...], wanted: tuple[float, float]) -> None:
    assert visible(masker(grid)) == pytest.approx(wanted, abs=0.015)


def test_a_flat_grid_needs_blocks_relative_to_it() -> None:
    assert visible(masker((8, 64)))[1] == pytest.approx(0.53, abs=0.02)
    assert visible(masker((8, 64), "relative")) == pytest.approx((0.38, 0.19), abs=0.02)


@pytest.mark.parametrize("shape", ["square", "relative"])
def test_blocks_fit_the_grid(shape: str) -> None:
    for aspect in (0.75, 1.0, 1.5):
        for space in ((1, 40), (4, 4), (16, 16)):
            h, w = block_size(0.7, aspect, space, shape)  # type: ignore[arg-type]
            assert 1 <= h <= space[0]
            assert 1 <= w <= space[1]
    assert block_size(0.25, 1.0, (8, 64), "relative") == (4, 32)


def test_context_and_target_are_apart_and_hide_through_all_of_time() -> None:
    for masks in masker((3, 14, 14))(IDS, 5):
        assert masks.context.shape[0] == masks.target.shape[0] == len(IDS)
        for context, target in zip(masks.context, masks.target):
            assert not set(context.tolist()) & set(target.tolist())
            assert context.tolist() == sorted(set(context.tolist()))
            assert target.tolist() == sorted(set(target.tolist()))
            seen, hidden = ({int(k) % 196 for k in rows} for rows in (context, target))
            assert not seen & hidden  # a place in space is hidden at every time, or at none
    whole = masker((3, 14, 14))(["alone"], 5)
    assert [m.context.shape[1] + m.target.shape[1] for m in whole] == [3 * 196] * 2  # nothing is cut of one sample


def test_sizes_are_the_batchs_and_places_each_samples() -> None:
    of = masker()
    assert of.sizes(3) == of.sizes(3)
    assert len({tuple(of.sizes(n)) for n in range(20)}) > 5
    first = of(IDS, 3)[1].target
    assert len({tuple(row.tolist()) for row in first}) == len(IDS)


def test_a_draw_depends_on_seed_step_and_sample_alone() -> None:
    once, again = masker()(IDS, 7), masker()(IDS, 7)
    assert all(torch.equal(a.context, b.context) and torch.equal(a.target, b.target) for a, b in zip(once, again))
    alone = masker()([IDS[2]], 7)[0]
    with_mates = once[0]
    assert set(with_mates.context[2].tolist()) <= set(alone.context[0].tolist())
    assert not torch.equal(masker()(IDS, 8)[0].target[:, :5], once[0].target[:, :5])
    other = BlockMasker((2, 14, 14), (8, 2), (0.15, 0.7), "square", 1)(IDS, 7)
    assert not torch.equal(other[0].target[:, :5], once[0].target[:, :5])


def test_a_cut_is_random_and_in_raster_order_where_asked() -> None:
    ids = [f"s{k}" for k in range(24)]
    mine, raster = masker()(ids, 2)[0], masker(raster=True)(ids, 2)[0]
    assert mine.context.shape == raster.context.shape
    # the first patches in raster order are early ones: the cut moves the mean place
    assert raster.context.float().mean() < mine.context.float().mean() - 5
    whole = [set(masker()([i], 2)[0].context[0].tolist()) for i in ids]
    for row, of in zip(raster.context, whole):
        assert row.tolist() == sorted(of)[: len(row)]
    assert all(set(row.tolist()) <= of for row, of in zip(mine.context, whole))


def test_tubes_hide_single_patches_through_time() -> None:
    masks = TubeMasker((4, 8, 8), (0.9, 0.75), 0)(IDS, 1)
    assert [m.target.shape[1] for m in masks] == [58 * 4, 48 * 4]
    assert [m.context.shape[1] for m in masks] == [6 * 4, 16 * 4]
    places = {int(k) % 64 for k in masks[0].context[0]}
    assert len(places) == 6


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BlockMasker((2, 4, 4), (8,), (0.15, 0.7), "square", 0), "1 kinds of blocks and 2 scales"),
        (lambda: BlockMasker((2, 4, 4), (), (), "square", 0), "0 kinds"),
        (lambda: TubeMasker((2, 4, 4), (1.0,), 0), "hides 1 of 4 x 4"),
    ],
)
def test_masks_that_cannot_be(make: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()  # type: ignore[operator]


def test_blocks_that_hide_everything() -> None:
    of = BlockMasker((2, 1, 4), (2,), (1.0,), "relative", 0)
    with pytest.raises(ConfigError, match="2 blocks of 1 x 4 hide a grid of 1 x 4"):
        of.draw(0, (1, 4), rng_of(0))

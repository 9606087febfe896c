"""What turns with the scene: boxes, marks, cameras, grids over regions, maps, targets. In double, to 1e-6."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from tiny_frames import pinholes
from torch import Tensor

from audiokd.methods.point_detr3d.config import CenterPointConfig
from audiokd.methods.point_detr3d.roi_attention import Views, region_in_views
from audiokd.methods.point_detr3d.targets import head_targets
from audiokd.nn.deformable_attention import deformable_gather
from audiokd.vision.bev_augment import augmentation, move_boxes, move_cameras, move_points, undo_on_map
from audiokd.vision.bev_grid import BevGrid
from audiokd.vision.box_code import from_code, to_code
from audiokd.vision.boxes3d import corners, placed, roi_grid
from audiokd.vision.cameras import camera_matrices, project

EXACT = {"atol": 1e-6, "rtol": 0}
MOVES = [
    augmentation(False, False, 0.5, 1.0, (0.0, 0.0, 0.0)),
    augmentation(True, False, -2.9, 1.15, (3.0, -1.0, 0.4)),
    augmentation(False, True, 0.2, 0.85, (-0.3, 0.2, -0.1)),
    augmentation(True, True, 1.6, 1.0, (0.0, 5.0, 0.0)),
]


def boxes(count: int = 12) -> Tensor:
    g = torch.Generator().manual_seed(0)
    centre = torch.randn(count, 3, generator=g, dtype=torch.float64) * torch.tensor([6.0, 6, 0.5])
    sides = torch.rand(count, 3, generator=g, dtype=torch.float64) * 4 + 0.3
    rest = torch.randn(count, 3, generator=g, dtype=torch.float64) * 2
    return torch.cat([centre, sides, rest], 1)


def same_angle(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(torch.stack([a.cos(), a.sin()]), torch.stack([b.cos(), b.sin()]), **EXACT)


@pytest.mark.parametrize("move", MOVES)
def test_a_moved_box_has_the_moved_corners(move: Tensor) -> None:
    b = boxes()
    moved, want = corners(move_boxes(b, move)), move_points(corners(b), move)
    distance = torch.cdist(moved, want)  # mirrored, corners change places
    assert float(distance.amin(1).max()) < 1e-6
    assert float(distance.amin(2).max()) < 1e-6
    # speeds: where the centre is a moment later
    later = move_points(torch.cat([b[:, :2] + 0.1 * b[:, 7:9], b[:, 2:3]], 1), move)
    m = move_boxes(b, move)
    torch.testing.assert_close(m[:, :2] + 0.1 * m[:, 7:9], later[:, :2], **EXACT)
    torch.testing.assert_close(_front(m), move_points(_front(b), move), **EXACT)


def _front(b: Tensor) -> Tensor:
    """Middle of the front side."""
    return torch.cat([placed(b, b.new_tensor([[0.5, 0.0]]))[:, 0], b[:, 2:3]], 1)


@pytest.mark.parametrize("move", MOVES)
def test_the_way_back(move: Tensor) -> None:
    b, back = boxes(), torch.linalg.inv(move)
    again = move_boxes(move_boxes(b, move), back)
    torch.testing.assert_close(again[:, [0, 1, 2, 3, 4, 5, 7, 8]], b[:, [0, 1, 2, 3, 4, 5, 7, 8]], **EXACT)
    same_angle(again[:, 6], b[:, 6])
    points = torch.cat([b[:, :3], torch.rand(len(b), 2, dtype=torch.float64)], 1)
    torch.testing.assert_close(move_points(move_points(points, move), back), points, **EXACT)
    assert torch.equal(move_points(points, move)[:, 3:], points[:, 3:])


def cameras() -> tuple[Tensor, Tensor]:
    intrinsics, to_camera = (torch.from_numpy(x) for x in pinholes(6, (96, 160)))
    return intrinsics, to_camera


@pytest.mark.parametrize("move", MOVES)
def test_cameras_see_what_they_saw(move: Tensor) -> None:
    intrinsics, poses = cameras()
    b = boxes()
    seen = project(b[:, :3], camera_matrices(intrinsics, poses), (96, 160))
    moved = camera_matrices(intrinsics, move_cameras(poses, move))
    again = project(move_points(b[:, :3], move), moved, (96, 160))
    assert 6 <= int(seen.visible.sum()) < seen.visible.numel()
    assert torch.equal(again.visible, seen.visible)
    torch.testing.assert_close(again.pixels[seen.visible], seen.pixels[seen.visible], **EXACT)
    torch.testing.assert_close(again.depth, seen.depth, **EXACT)
    # a region as well: the upright rectangle of its corners in the picture
    grid = roi_grid(5, b)
    first = region_in_views(b[None, :, :7], Views([], camera_matrices(intrinsics, poses)[None], (96, 160)), grid)
    then = region_in_views(move_boxes(b, move)[None, :, :7], Views([], moved[None], (96, 160)), grid)
    assert torch.equal(first[1], then[1])
    torch.testing.assert_close(first[0][first[1]], then[0][first[1]], **EXACT)


def test_project_against_a_loop_with_its_mask() -> None:
    intrinsics, poses = cameras()
    matrices = camera_matrices(intrinsics, poses)
    points = torch.cat([boxes()[:, :3], torch.tensor([[0.2, 0.0, 0.3], [5.0, 0.0, 0.3]], dtype=torch.float64)])
    seen = project(points, matrices, (96, 160))
    assert torch.isfinite(seen.pixels).all()
    for c, n in product(range(6), range(len(points))):
        x, y, z = (poses[c] @ torch.cat([points[n], points.new_ones(1)]))[:3].tolist()
        assert float(seen.depth[c, n]) == pytest.approx(z, abs=1e-9)
        if z <= 1e-5:
            assert not seen.visible[c, n]
            continue
        k = intrinsics[c]
        u, v = float(k[0, 0]) * x / z + float(k[0, 2]), float(k[1, 1]) * y / z + float(k[1, 2])
        assert seen.pixels[c, n].tolist() == pytest.approx([u, v], abs=1e-6)
        assert bool(seen.visible[c, n]) == (0 <= u < 160 and 0 <= v < 96)
    assert bool(seen.visible[0, -1])  # straight ahead of the first
    assert seen.pixels[0, -1].tolist() == pytest.approx([80, 48])


@pytest.mark.parametrize("angle", [0.3, 1.5707963267948966, -2.2])
def test_grids_over_regions_turn_with_the_scene(angle: float) -> None:
    move = augmentation(False, False, angle, 1.0, (1.0, 2.0, 0.0))
    b, grid = boxes(), roi_grid(7, boxes())
    flat = torch.cat([placed(b, grid), torch.zeros(len(b), 49, 1, dtype=b.dtype)], -1)
    torch.testing.assert_close(placed(move_boxes(b, move), grid), move_points(flat, move)[..., :2], **EXACT)
    assert grid.amin() == -0.5
    assert grid.amax() == 0.5
    torch.testing.assert_close(grid.mean(0), torch.zeros(2, dtype=b.dtype))


def test_what_a_region_reads_turns_with_the_scene() -> None:
    """A quarter turn of map and boxes: the same numbers."""
    grid = BevGrid((-8.0, -8.0, -1.0), (8.0, 8.0, 1.0), 0.5)
    g = torch.Generator().manual_seed(0)
    maps = torch.randn(1, 1, 4, 32, 32, generator=g, dtype=torch.float64)
    b, quarter = boxes(), augmentation(False, False, math.pi / 2, 1.0, (0.0, 0.0, 0.0))

    def read(m: Tensor, at: Tensor) -> Tensor:
        places = grid.relative(placed(at, roi_grid(5, at)))[None, :, None, None]
        return deformable_gather([m], places, places.new_ones(places.shape[:-1]))

    # rows go with y: counter-clockwise on the ground is clockwise on the array
    turned = torch.rot90(maps, -1, (3, 4))
    torch.testing.assert_close(read(turned, move_boxes(b, quarter)), read(maps, b), **EXACT)


@pytest.mark.parametrize("move", MOVES)
def test_maps_come_back(move: Tensor) -> None:
    """A map of the moved scene that is linear in the place before: what is between four cells is exact."""
    grid = BevGrid((-8.0, -6.0, -1.0), (8.0, 6.0, 1.0), 0.25)
    at = grid.centres(48, 64, move)
    back = torch.linalg.inv(move)
    before = torch.einsum("ij,hwj->hwi", back[:2, :2], at) + back[:2, 3]
    moved = torch.stack([before[..., 0], before[..., 1], 2 * before[..., 0] - before[..., 1] + 1])[None]
    out, there = undo_on_map(moved, move[None], grid)
    goes = torch.einsum("ij,hwj->hwi", move[:2, :2], at) + move[:2, 3]
    edge = at.new_tensor([8.0 - 0.13, 6.0 - 0.13])
    inner = (goes.abs() < edge).all(-1)  # with all four cells
    want = torch.stack([at[..., 0], at[..., 1], 2 * at[..., 0] - at[..., 1] + 1])[None]
    assert inner.float().mean() > 0.2
    torch.testing.assert_close(out[:, :, inner], want[:, :, inner], **EXACT)
    assert torch.equal(there[0], (goes.abs() <= at.new_tensor([8.0, 6.0])).all(-1))
    assert out[:, :, ~there[0]].abs().max() < 20


def test_codes() -> None:
    b = boxes()
    again = from_code(to_code(b))
    torch.testing.assert_close(again[:, :6], b[:, :6], **EXACT)
    same_angle(again[:, 6], b[:, 6])
    for angle in (0.4, -3.0):
        move = augmentation(False, False, angle, 1.0, (2.0, -7.0, 0.0))
        moved = from_code(to_code(move_boxes(b, move)))
        want = move_boxes(from_code(to_code(b)), move)
        torch.testing.assert_close(moved[:, :6], want[:, :6], **EXACT)
        same_angle(moved[:, 6], want[:, 6])
        # the code's numbers turn as vectors do
        c, t = to_code(b), to_code(move_boxes(b, move))
        torch.testing.assert_close(t[:, 7], math.cos(angle) * c[:, 7] - math.sin(angle) * c[:, 6], **EXACT)
    assert torch.isfinite(from_code(torch.full((1, 8), 1e9))).all()


def test_targets_turn_with_the_scene() -> None:
    """A quarter turn: the heat map is turned, and what the cells hold decodes to turned boxes."""
    config = CenterPointConfig(
        ["a", "b"], [[4, 2, 2], [1, 1, 1]], (-8, -8, -3), (8, 8, 3), 0.5, widths=(4, 4), depths=(0, 0), strides=(2, 2)
    )
    b = boxes(8)[:, :7]
    b[:, :2] = b[:, :2].clamp(-7.3, 7.3)
    labels, item = torch.tensor([0, 1] * 4), torch.tensor([0] * 5 + [1] * 3)
    quarter = augmentation(False, False, math.pi / 2, 1.0, (0.0, 0.0, 0.0))
    first = head_targets(b, labels, item, [0, 1], config, 2)
    then = head_targets(move_boxes(b, quarter), labels, item, [0, 1], config, 2)
    torch.testing.assert_close(then.heat, torch.rot90(first.heat, -1, (2, 3)), **EXACT)
    for t, want in ((first, b), (then, move_boxes(b, quarter))):
        at = torch.stack([t.column, t.row], -1) + t.code[:, :2]
        found = from_code(torch.cat([at * 1.0 - 8.0, t.code[:, 2:]], -1))
        torch.testing.assert_close(found[:, :6], want[:, :6], **EXACT)
        same_angle(found[:, 6], want[:, 6])
        assert (t.heat[t.item, labels, t.row, t.column] == 1).all()

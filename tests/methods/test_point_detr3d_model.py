"""The teacher: what a query is told, what it reads, that query i gives box i, and that neither batch nor padding matters."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_frames import NAMES, SIZES, frame, without_boxes
from torch import Tensor, nn

import audiokd
from audiokd.data.frame3d import Frame3d
from audiokd.errors import ConfigError, FrameError
from audiokd.methods.point_detr3d.config import PointDetr3dConfig
from audiokd.methods.point_detr3d.frames import grid_of, objects_within
from audiokd.methods.point_detr3d.match import hungarian
from audiokd.methods.point_detr3d.model import PointDetr3dModel
from audiokd.methods.point_detr3d.query import PointQuery, explicit_position
from audiokd.methods.point_detr3d.roi_attention import GroundReader, ViewReader, Views, region_in_views
from audiokd.vision.box_code import to_code
from audiokd.vision.boxes3d import placed, roi_grid
from audiokd.vision.cameras import project


def config(**changes: Any) -> PointDetr3dConfig:
    shape = {
        "labels": NAMES, "class_sizes": SIZES, "low": (-12.8, -12.8, -3.0), "high": (12.8, 12.8, 3.0), "cell": 0.8,
        "point_channels": 8, "widths": (8, 16), "depths": (0, 0), "strides": (2, 2), "dim": 24, "heads": 2, "samples": 2,
        "roi_side": 3, "ffn": 32, "cameras": 2, "camera_size": (32, 64), "backbone": "test_resnet", "image_levels": 2,
    }  # fmt: skip
    return PointDetr3dConfig(**{**shape, **changes})


def shaken(module: nn.Module) -> Any:
    """In eval mode; what begins with zeros has other values, so that queries differ."""
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, p in module.named_parameters():
            if "pyramid" not in name:
                p.add_(torch.randn(p.shape, generator=g) * 0.15)
    return module.eval()


def model(**changes: Any) -> PointDetr3dModel:
    torch.manual_seed(0)
    return shaken(PointDetr3dModel(config(**changes)))


def picked(of: Frame3d, order: Any) -> Frame3d:
    return dataclasses.replace(of, **{k: getattr(of, k)[order] for k in ("boxes", "labels", "marks", "boxed")})


def boxes(found: list[Any]) -> list[np.ndarray]:
    return [b[:, :7] for b, _, _ in found]


def test_the_explicit_position_by_hand() -> None:
    """y, x, z, width, length, height, 42 numbers each, and zeros up to 256."""
    relative, sizes = (torch.tensor(v, dtype=torch.float64) for v in ([0.1, 0.6, 0.3], [4.63, 1.96, 1.74]))
    want = []
    for v in (0.6 * 2 * math.pi, 0.1 * 2 * math.pi, 0.3 * 2 * math.pi, 1.96, 4.63, 1.74):
        for k in range(21):
            angle = v / 10000 ** (2 * k / 42)
            want += [math.sin(angle), math.cos(angle)]
    found = explicit_position(relative, sizes, 256)
    assert found.tolist() == pytest.approx([*want, 0, 0, 0, 0], abs=1e-9)
    slip = explicit_position(relative, sizes, 256, height_of_length=True)
    assert torch.equal(slip[:210], found[:210])
    assert torch.equal(slip[210:252], found[168:210])


def test_what_queries_are_made_of() -> None:
    torch.manual_seed(0)
    at, labels = torch.rand(2, 3, 3), torch.tensor([[0, 1, 1], [2, 0, 1]])
    query = PointQuery(config())
    content, position = query(at, labels)
    torch.testing.assert_close(content - position, query.classes.weight[labels])
    assert not query.classes.weight.min() < 0  # drawn from 0 to 1
    plain = PointQuery(config(query="mlp"))
    assert torch.equal(plain(at, labels)[1], plain(at, labels * 0)[1])  # the place alone
    assert not torch.allclose(position, query(at, labels * 0)[1])


def at(x: Tensor, u: Tensor) -> Tensor:
    """[C] of a map [C, H, W] at u, as parts."""
    grid = (2 * u - 1).view(1, 1, 1, 2)
    return torch.nn.functional.grid_sample(x[None], grid, align_corners=False)[0, :, 0, 0]


def scene() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    x, points = torch.randn(1, 3, 24), torch.rand(1, 3, 3) * 16 - 8
    regions = torch.cat([points, torch.rand(1, 3, 3) * 3 + 1, torch.randn(1, 3, 1)], -1)
    return x, points, regions


@torch.no_grad()
def test_the_ground_is_read_as_a_loop_reads_it() -> None:
    torch.manual_seed(0)
    grid, (x, points, regions) = grid_of(config()), scene()
    reader = shaken(GroundReader(config(), 2, grid))
    maps = [torch.randn(1, 24, 8, 8), torch.randn(1, 24, 4, 4)]
    found = reader(x, points, regions, maps)
    values = [reader.value(m.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)[0] for m in maps]
    side = torch.tensor([8.0, 4.0])
    cells = grid.relative(placed(regions, roi_grid(3, x)))
    for q, head in itertools.product(range(3), range(2)):
        offset = reader.offsets(x[0, q]).view(2, 2, 2, 2)[head]
        share = reader.logits(x[0, q]).view(2, 4)[head].softmax(0).view(2, 2)
        moved, roi = reader.roi_offsets(x[0, q]).view(2, 2, 2)[head], reader.roi_logits(x[0, q]).softmax(0) / 2
        want = torch.zeros(12)
        for level, v in enumerate(values):
            mine = v[12 * head : 12 * head + 12]
            for p in range(2):
                place = grid.relative(points[0, q, :2]) + offset[level, p] / side[level]
                want += share[level, p] * at(mine, place)
            for p in range(9):
                want += roi[p] * at(mine, cells[0, q, p] + moved[level] / side[level])
        torch.testing.assert_close(found[0, q, 12 * head : 12 * head + 12], want, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_pictures_are_read_as_a_loop_reads_them() -> None:
    torch.manual_seed(0)
    from audiokd.methods.point_detr3d.frames import frame_tensors

    matrices = frame_tensors(frame(0), config())["matrices"][None]
    x, points, regions = scene()
    points[0, 0], regions[0, 0, :3] = torch.tensor([6.0, 0.5, 0.0]), torch.tensor([6.0, 0.5, 0.0])
    reader = shaken(ViewReader(config(), 2))
    views = Views([torch.randn(1, 2, 24, 4, 8), torch.randn(1, 2, 24, 2, 4)], matrices, (32, 64))
    found = reader(x, points, regions, views)
    bounds, sizes = torch.tensor([64.0, 32.0]), [torch.tensor([8.0, 4.0]), torch.tensor([4.0, 2.0])]
    pixels, sees = region_in_views(regions, views, roi_grid(3, x))
    assert sees.any()
    assert not sees.all()
    for q, head in itertools.product(range(3), range(2)):
        want = torch.zeros(12)
        offset = reader.offsets(x[0, q]).view(2, 2, 3)[head]
        share = reader.logits(x[0, q]).view(2, 4)[head].softmax(0).view(2, 2)
        moved, roi = reader.roi_offsets(x[0, q]).view(2, 2, 2)[head], reader.roi_logits(x[0, q]).softmax(0) / 2
        for camera in range(2):
            gate = reader.cameras(x[0, q]).sigmoid()[camera]
            seen = project(points[0, q] + offset, matrices[0, camera], (32, 64))
            for level, m in enumerate(views.maps):
                v = reader.value(m[0, camera].permute(1, 2, 0)).permute(2, 0, 1)[12 * head : 12 * head + 12]
                for p in range(2):
                    if seen.visible[p]:
                        want += gate * share[level, p] * at(v, seen.pixels[p] / bounds)
                for p in range(9):
                    if sees[0, camera, q]:
                        place = pixels[0, camera, q, p] / bounds + moved[level] / sizes[level]
                        want += gate * roi[p] * at(v, place)
        torch.testing.assert_close(found[0, q, 12 * head : 12 * head + 12], want, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_corners_behind_a_camera_are_taken_at_a_tenth_of_a_metre() -> None:
    """As if their depth alone were another one: of a principal point that is no centre, and of a scene that was scaled."""
    from audiokd.vision.boxes3d import corners
    from audiokd.vision.cameras import camera_matrices

    intrinsics = torch.tensor([[[30.0, 0, 11], [0, 40, 21], [0, 0, 1]]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3] = torch.tensor([[0.6, -0.8, 0, 0.2], [0, 0, -1, 0.3], [0.8, 0.6, 0, 0.1]])
    pose[:3, :3] /= 1.1
    box = torch.tensor([[[1.0, 0.8, -0.2, 4.0, 1.0, 0.5, 0.4]]], dtype=torch.float64)
    views = Views([], camera_matrices(intrinsics, pose[None])[None], (400, 600))
    pixels, sees = region_in_views(box, views, roi_grid(3, box))
    assert sees.all()
    seen = corners(box)[0, 0] @ pose[:3, :3].T + pose[:3, 3]
    assert (seen[:, 2] < 0).any()
    assert (seen[:, 2] > 0.1).any()
    seen[:, 2] = seen[:, 2].clamp(min=0.1)
    at_all = seen @ intrinsics[0].T
    at_all = at_all[:, :2] / at_all[:, 2:]
    sides = at_all.amax(0) - at_all.amin(0)
    assert (sides < torch.tensor([600.0, 400.0])).all()
    found = pixels[0, 0, 0].amax(0) - pixels[0, 0, 0].amin(0)
    grid = roi_grid(3, box)
    torch.testing.assert_close(found, sides * (grid.amax(0) - grid.amin(0)))


OPTIONS = [{}, {"query": "mlp"}, {"roi_side": 0}, {"cameras": 0}, {"decoder_layers": 2, "roi_start": ()}]


@pytest.mark.parametrize("changes", OPTIONS)
def test_query_i_gives_box_i(changes: dict[str, Any]) -> None:
    net, of = model(**changes), frame(0, 5)
    found, labels, _ = net.predict([of])[0]
    assert found.shape == (5, 9)
    assert np.isnan(found[:, 7:]).all()
    assert labels.tolist() == of.labels.tolist()
    order = [3, 0, 4, 2, 1]
    turned, *_ = net.predict([picked(of, order)])[0]
    np.testing.assert_allclose(turned, found[order], rtol=1e-4, atol=1e-5)
    # another object's mark is nothing to it; boxes are nobody's
    marks = of.marks.copy()
    marks[2] += 0.4
    other, *_ = net.predict([without_boxes(dataclasses.replace(of, marks=marks))])[0]
    rest = [0, 1, 3, 4]
    np.testing.assert_allclose(other[rest], found[rest], rtol=1e-4, atol=1e-5)
    assert np.abs(other[2, :7] - found[2, :7]).max() > 1e-3
    # one without a mark is left out, the others keep their order
    marks[1] = np.nan
    fewer, *_ = net.predict([dataclasses.replace(of, marks=marks)])[0]
    np.testing.assert_allclose(fewer, other[[0, 2, 3, 4]], rtol=1e-4, atol=1e-5)


def test_a_mark_outside_the_range_keeps_its_place() -> None:
    """No box at the range's border: whoever learns from it leaves it out. All others are as they were."""
    net, of = model(), frame(0, 5)
    marks = of.marks.copy()
    marks[1, :2], marks[3, :2] = (40.0, -3.0), (2.0, -12.9)
    before, after = net.predict([of])[0][0], net.predict([dataclasses.replace(of, marks=marks)])[0][0]
    np.testing.assert_array_equal(after[[1, 3], :2], marks[[1, 3], :2])
    np.testing.assert_allclose(after[[0, 2, 4]], before[[0, 2, 4]], rtol=1e-4, atol=1e-5)
    assert (np.abs(after[[0, 2, 4], :2]) < 12.8).all()
    kept = objects_within(grid_of(net.config), after, of.labels, np.full_like(marks, np.nan))
    assert len(kept["boxes"]) == 3


@pytest.mark.parametrize("changes", OPTIONS)
def test_mates_and_padding_change_nothing(changes: dict[str, Any]) -> None:
    net = model(**changes)
    frames = [frame(0, 5), frame(1, 1), picked(frame(2), []), frame(3, 2)]
    together = boxes(net.predict(frames))
    assert [len(b) for b in together] == [5, 1, 0, 2]
    for of, b in zip(frames, together):
        np.testing.assert_allclose(boxes(net.predict([of]))[0], b, rtol=1e-4, atol=1e-5)
    assert net.predict([]) == []


def test_pictures_count_where_they_are_read() -> None:
    of = frame(0, 4)
    dark = dataclasses.replace(of, images=tuple(np.zeros_like(i) for i in of.images))
    with_them, without = model(), model(cameras=0)
    assert np.abs(boxes(with_them.predict([of]))[0] - boxes(with_them.predict([dark]))[0]).max() > 1e-4
    assert np.array_equal(boxes(without.predict([of]))[0], boxes(without.predict([dark]))[0])
    assert without.pictures is None
    none = dataclasses.replace(of, images=(), intrinsics=of.intrinsics[:0], to_camera=of.to_camera[:0])
    assert len(without.predict([none])[0][0]) == 4


def test_a_class_that_is_told_or_predicted() -> None:
    of, net = frame(0, 5), model(predict_class=True)
    _, labels, scores = net.predict([of])[0]
    net.config.predict_class = False
    _, told, others = net.predict([of])[0]
    assert told.tolist() == of.labels.tolist()
    assert (scores >= others - 1e-6).all()
    same = labels == told
    np.testing.assert_allclose(scores[same], others[same])


def test_the_backbone_stays(tmp_path: Path) -> None:
    net = model()
    assert net.pictures is not None
    net.train()
    assert net.layers[0].training
    assert not any(m.training for m in net.pictures.pyramid.modules())
    assert not any(p.requires_grad for p in net.pictures.pyramid.parameters())
    assert any(p.requires_grad for p in net.pictures.fpn.parameters())
    learns = model(frozen_backbone=False)
    assert all(p.requires_grad for p in learns.pictures.pyramid.parameters())  # type: ignore[union-attr]


@pytest.mark.parametrize("changes", [{}, {"cameras": 0, "encoder": "voxel", "layers": 4}])
def test_a_folder_by_the_auto_classes(changes: dict[str, Any], tmp_path: Path) -> None:
    net = model(**changes)
    net.save_pretrained(tmp_path / "m")
    again = audiokd.load_model(tmp_path / "m")
    assert type(again) is PointDetr3dModel
    assert again.config.labels == list(NAMES)
    assert not any(p.requires_grad for p in again.parameters())
    before = {k: v.clone() for k, v in again.state_dict().items()}
    for a, b in zip(again.predict([frame(0), frame(1)]), net.predict([frame(0), frame(1)])):
        for x, y in zip(a, b):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    # it labels and does not learn
    assert not again.training
    assert all(torch.equal(v, before[k]) for k, v in again.state_dict().items())


def test_matching_against_all_orders() -> None:
    g = torch.Generator().manual_seed(0)
    logits, wanted = torch.randn(4, 3, generator=g), torch.rand(4, 7, generator=g) * 3 + 0.5
    labels = torch.tensor([0, 2, 1, 1])
    code = to_code(wanted)[[2, 0, 3, 1]] + torch.randn(4, 8, generator=g) * 0.3
    found = hungarian(logits, code, wanted, labels, (2.0, 0.25))
    p = logits.sigmoid()
    kinds = 0.25 * (1 - p) ** 2 * -p.log() - 0.75 * p**2 * -(1 - p).log()

    def cost(order: tuple[int, ...]) -> float:
        pairs = enumerate(order)
        return sum(float(2 * kinds[q, labels[k]] + 0.25 * (code[q] - to_code(wanted)[k]).abs().sum()) for q, k in pairs)

    assert tuple(found.tolist()) == min(itertools.permutations(range(4)), key=cost)


def test_shapes_that_do_not_go() -> None:
    with pytest.raises(ConfigError, match="5 heads of a width of 24"):
        PointDetr3dModel(config(heads=5))
    with pytest.raises(ConfigError, match=r"pictures of \[33, 64\] pixels"):
        PointDetr3dModel(config(camera_size=(33, 64)))
    one = dataclasses.replace(frame(0), images=frame(0).images[:1])  # a set of another car, such as KITTI's
    with pytest.raises(FrameError, match=r"--teacher\.cameras 1"):
        model().predict([one])

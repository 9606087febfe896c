"""CenterPoint and what it is given: targets and back, heads by tasks, batches, frames that cannot be used."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_frames import NAMES, SIZES, frame

import audiokd
from audiokd.data.frame3d import Frame3d
from audiokd.errors import ConfigError, FrameError
from audiokd.methods.point_detr3d.center_point import CenterPointModel, Found, groups_of
from audiokd.methods.point_detr3d.class_sizes import nuscenes_sizes
from audiokd.methods.point_detr3d.config import CenterPointConfig, PointDetr3dConfig
from audiokd.methods.point_detr3d.frames import check_frame, collate_frames, frame_tensors, grid_of, objects_within
from audiokd.methods.point_detr3d.targets import head_targets, map_size, object_map
from audiokd.vision.bev_augment import augmentation
from audiokd.vision.cameras import project
from audiokd.vision.gaussian_heat_maps import whole_radius
from audiokd.vision.rotated_iou import iou_3d

BOX = torch.tensor([[1.3, -2.2, 0.4, 4.5, 2.0, 1.6, 0.7], [-6.0, 5.1, 0.0, 0.6, 0.7, 1.8, -2.0]])


def config(**changes: Any) -> CenterPointConfig:
    shape = {
        "labels": NAMES, "class_sizes": SIZES, "low": (-12.8, -12.8, -3.0), "high": (12.8, 12.8, 3.0), "cell": 0.4,
        "point_channels": 8, "widths": (8, 16), "depths": (1, 1), "strides": (2, 2), "neck_channels": 8, "head_channels": 8,
        "max_boxes": 20, "min_score": 0.0,
    }  # fmt: skip
    return CenterPointConfig(**{**shape, **changes})


def model(**changes: Any) -> CenterPointModel:
    torch.manual_seed(0)
    return CenterPointModel(config(**changes)).eval()


@pytest.mark.parametrize("tasks", [(), ("car", "bus pedestrian")])
def test_what_is_wanted_decodes_to_the_boxes(tasks: tuple[str, ...]) -> None:
    net = model(tasks=tasks, min_score=0.5)
    boxes = torch.cat([BOX, BOX[:1] + torch.tensor([9.0, 0, 0, 0, 0, 0, 0])])
    labels, item = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1])
    heat, code = [], []
    for group in net.groups:
        t = head_targets(boxes, labels, item, group, net.config, 2)
        heat.append(t.heat * 20 - 10)
        at = torch.zeros(2, 8, *map_size(net.config))
        at[t.item, :, t.row, t.column] = t.code
        code.append(at)
    found = Found(torch.zeros(0), heat, code)
    for k in range(2):
        mine = item == k
        b, kinds, scores = net.boxes_of(found, k)
        order = kinds.argsort()
        assert kinds[order].tolist() == labels[mine].tolist()
        assert (iou_3d(b[order], boxes[mine]) > 0.999).all()
        assert (scores > 0.99).all()


def test_heads() -> None:
    assert groups_of(["a", "b", "c"], []) == [[0, 1, 2]]
    assert groups_of(["a", "b", "c"], ["c a", "b"]) == [[2, 0], [1]]
    for tasks in (["a b"], ["a b c", "a"], ["a b d"]):
        with pytest.raises(ConfigError, match="heads of"):
            groups_of(["a", "b", "c"], tasks)
    assert nuscenes_sizes(["bus", "barrier"]) == [[11.19, 2.95, 3.49], [0.5, 2.51, 0.99]]
    with pytest.raises(ConfigError, match="nuScenes has no class tram"):
        nuscenes_sizes(["bus", "tram"])


def test_where_objects_are_is_as_wide_as_their_class() -> None:
    c = config()
    found = object_map(BOX, torch.tensor([2, 1]), torch.tensor([0, 1]), c, 3)
    assert found.shape == (3, 32, 32)
    for k, (label, box) in enumerate(((2, BOX[0]), (1, BOX[1]))):
        radius = int(
            whole_radius(*(torch.tensor([SIZES[label][i] / 0.8]) for i in (0, 1)), c.min_overlap, c.min_radius)
        )
        row, column = (int((box[i] + 12.8) / 0.8) for i in (1, 0))
        assert found[k].argmax() == row * 32 + column
        rows = (found[k].amax(1) > 0).nonzero()[:, 0]
        assert (int(rows.min()), int(rows.max())) == (row - radius, row + radius)
    assert found[2].max() == 0


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"encoder": "voxel", "layers": 4}, {"tasks": ("car bus", "pedestrian")}])
def test_batches_and_folders_change_nothing(changes: dict[str, Any], tmp_path: Path) -> None:
    net = model(**changes)
    frames = [frame(0, 5), dataclasses.replace(frame(1), points=frame(1).points[:0]), frame(2, 2)]
    found = net.predict(frames)
    assert all(len(b) and b.shape[1] == 9 and np.isnan(b[:, 7:]).all() for b, _, _ in found)
    assert all((np.diff(s) <= 0).all() for _, _, s in found)
    net.save_pretrained(tmp_path / "m")
    again = audiokd.load_model(tmp_path / "m")
    assert type(again) is CenterPointModel
    whole = net(collate_frames([frame_tensors(f, net.config) for f in frames]))
    for k, of in enumerate(frames):
        # in another order, with points that are no item's and points that are outside
        one = collate_frames([frame_tensors(of, net.config)])
        order = torch.randperm(len(one["points"]))
        one["points"] = torch.cat([one["points"][order], torch.zeros(4, 5), torch.full((3, 5), 99.0)])
        one["point_item"] = torch.cat([one["point_item"][order], torch.tensor([-1] * 4 + [0] * 3)])
        for single in (net(one), again(one)):
            for a, b in zip((*single.heat, *single.code), (*whole.heat, *whole.code)):
                torch.testing.assert_close(a[0], b[k], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(net.predict([of])[0][2], found[k][2], rtol=1e-3)  # near ties may change places
    assert net.predict([]) == []


def broken(name: str, change: Any) -> Frame3d:
    of = frame(0, 3)
    value = getattr(of, name)
    value = value.copy() if isinstance(value, np.ndarray) else value
    return dataclasses.replace(of, **{name: change(value)})


def put(index: Any, value: float) -> Any:
    def change(x: np.ndarray) -> np.ndarray:
        x[index] = value
        return x

    return change


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("points", put((3, 1), np.nan), "1 of 480 points have a coordinate that is no number"),
        ("points", lambda p: p[:, :4], r"points are \[480, 4\], \[480, 5\] is due"),
        ("boxes", put((1, 0), np.inf), "1 of 3 boxes have a coordinate"),
        ("boxes", put((1, 4), 0.0), "1 of 3 boxes have no size"),
        ("boxes", lambda b: b[:2], r"boxes are \[2, 9\]"),
        ("marks", put((2, 0), np.nan), "1 of 3 marks"),
        ("labels", lambda x: x + 7, r"labels \[8, 9\], there are 3 classes"),
        ("images", lambda i: i[:1], "pictures of 1 cameras, 2 are due"),
        ("images", lambda i: (), "pictures of 0 cameras, 2 are due"),
        ("images", lambda i: (i[0], i[1][:8]), "pictures of shapes"),
        ("intrinsics", lambda k: k[:1], r"intrinsics are \[1, 3, 3\], \[2, 3, 3\] is due"),
        ("to_camera", lambda t: t[:, :3], r"to_camera are \[2, 3, 4\]"),
        ("to_camera", put((0, 0, 0), np.nan), "to_camera have values that are no numbers"),
    ],
)
def test_a_frame_that_cannot_be_used_is_named(name: str, change: Any, what: str) -> None:
    with pytest.raises(FrameError, match=f"scene drive0, frame f000: {what}"):
        check_frame(broken(name, change), 3, cameras=2)
    check_frame(frame(0, 3), 3, cameras=2)
    if name in ("points", "labels"):
        with pytest.raises(FrameError, match="frame f000"):
            model().predict([frame(1), broken(name, change)])


def test_what_may_be_unknown() -> None:
    of = frame(0, 3)
    of.boxes[1], of.boxed[1], of.marks[2] = np.nan, False, np.nan
    check_frame(of, 3, cameras=2)
    bare = dataclasses.replace(of, images=(), intrinsics=of.intrinsics[:0], to_camera=of.to_camera[:0])
    check_frame(bare, 3)


def test_points_outside_are_counted() -> None:
    of = frame(0, 3)
    far = np.abs(of.points[:, :2]).max(1) > 12.8
    assert far.any()
    found = frame_tensors(of, config())
    assert (found["outside"], len(found["points"])) == (far.sum(), (~far).sum())
    assert "images" not in found


def test_pictures_of_another_size_keep_their_places() -> None:
    c = PointDetr3dConfig(NAMES, SIZES, (-12.8, -12.8, -3), (12.8, 12.8, 3), 0.4, cameras=2, camera_size=(32, 64))
    whole, small = frame(0, 8, 2, (96, 128)), frame_tensors(frame(0, 8, 2, (96, 128)), c)
    assert small["images"].shape == (2, 3, 32, 64)
    big = frame_tensors(whole, PointDetr3dConfig(**{**c.to_dict(), "camera_size": (96, 128)}))
    points = torch.from_numpy(whole.marks)
    a = project(points, small["matrices"], (32, 64))
    b = project(points, big["matrices"], (96, 128))
    assert a.visible.any()
    torch.testing.assert_close(
        a.pixels[a.visible] * torch.tensor([2.0, 3.0]), b.pixels[a.visible], rtol=1e-4, atol=1e-3
    )
    assert abs(float(small["images"].float().mean() - big["images"].float().mean())) < 2


def inside(points: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """Which points lie in a box, with a centimetre to spare."""
    c, s = box[6].cos(), box[6].sin()
    d = points[:, :3] - box[:3]
    local = torch.stack([c * d[:, 0] + s * d[:, 1], -s * d[:, 0] + c * d[:, 1], d[:, 2]], 1)
    return (local.abs() <= box[3:6] / 2 + 0.01).all(1)


def test_a_moved_scene_moves_together() -> None:
    of, c = frame(0, 4), config(low=(-25.6, -25.6, -3.0), high=(25.6, 25.6, 3.0))
    move = augmentation(True, False, 0.6, 1.1, (0.3, -0.2, 0.1))
    pairs = []
    for matrix in (None, move):
        points = frame_tensors(of, c, matrix)["points"]
        objects = objects_within(grid_of(c), of.boxes, of.labels, of.marks, matrix)
        assert len(objects["boxes"]) == 4
        pairs.append([int(inside(points, b).sum()) for b in objects["boxes"]])
        assert all(bool(inside(m[None], b)) for m, b in zip(objects["marks"], objects["boxes"]))
    assert pairs[0] == pairs[1]
    assert min(pairs[0]) >= 60  # all of its own
    # what leaves the range is left out, with its class
    away = augmentation(False, False, 0.0, 1.0, (25.6 - float(np.median(of.boxes[:, 0])), 0.0, 0.0))
    kept = objects_within(grid_of(c), of.boxes, of.labels, of.marks, away)
    limit = np.median(of.boxes[:, 0])
    stays = (of.boxes[:, 0] < limit) & (of.marks[:, 0] < limit)
    assert 0 < stays.sum() < 4
    assert kept["labels"].tolist() == of.labels[stays].tolist()

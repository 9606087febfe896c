"""Turned scenes: what has no favourite direction finds the same, a network need not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tiny_frames import NAMES, SIZES, frame, without_boxes

from audiokd.data.frame3d import Frame3d
from audiokd.methods.point_detr3d.center_point import CenterPointModel
from audiokd.methods.point_detr3d.config import CenterPointConfig
from audiokd.methods.point_detr3d.frames import check_frame, frame_tensors
from audiokd.vision.turned_frames import predict_turned, turned


class Knows:
    """Gives the boxes that a frame has."""

    def predict(self, frames: Sequence[Frame3d]) -> list[Any]:
        return [(f.boxes, f.labels, np.ones(len(f.labels), dtype=np.float32)) for f in frames]


@pytest.mark.parametrize("degrees", [0, 15, 45, 90, -120])
def test_boxes_come_back(degrees: float) -> None:
    frames = [frame(0, 4), frame(1, 2)]
    for of, (boxes, labels, _) in zip(frames, predict_turned(Knows(), frames, degrees)):
        np.testing.assert_allclose(boxes[:, :6], of.boxes[:, :6], atol=1e-5)
        np.testing.assert_allclose(np.cos(boxes[:, 6] - of.boxes[:, 6]), 1, atol=1e-6)
        assert np.isnan(boxes[:, 7:]).all()
        assert labels.tolist() == of.labels.tolist()


def test_all_of_a_frame_turns() -> None:
    of, quarter = frame(0, 4), turned(frame(0, 4), 90)
    check_frame(quarter, 3, cameras=2)
    np.testing.assert_allclose(quarter.points[:, :2], np.stack([-of.points[:, 1], of.points[:, 0]], 1), atol=1e-5)
    np.testing.assert_array_equal(quarter.points[:, 2:], of.points[:, 2:])
    np.testing.assert_allclose(quarter.marks[:, 0], -of.marks[:, 1], atol=1e-5)
    points = np.c_[of.marks, np.ones(4)] @ of.to_camera.transpose(0, 2, 1)
    after = np.c_[quarter.marks, np.ones(4)] @ quarter.to_camera.transpose(0, 2, 1)
    np.testing.assert_allclose(after, points, atol=1e-4)
    assert np.isnan(turned(without_boxes(of), 30).boxes).all()


def test_a_network_sees_a_quarter_turn_as_a_turned_map() -> None:
    """Nothing is lost of the points; what the network makes of them may differ."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {"low": (-12.8, -12.8, -3), "high": (12.8, 12.8, 3), "cell": 0.4, "min_score": 0.0}
    shape |= {
        "point_channels": 8,
        "widths": (8,),
        "depths": (1,),
        "strides": (2,),
        "neck_channels": 8,
        "head_channels": 8,
    }
    net, of = CenterPointModel(CenterPointConfig(NAMES, SIZES, **shape)).eval(), frame(0, 4)
    assert frame_tensors(turned(of, 90), net.config)["outside"] == frame_tensors(of, net.config)["outside"]
    plain, still = net.predict([of])[0], predict_turned(net, [of], 0.0)[0]
    np.testing.assert_allclose(still[0], plain[0], atol=1e-5)
    assert abs(predict_turned(net, [of], 90.0)[0][2][0] - plain[2][0]) > 1e-6

"""Stages 7 and 8 of drives with a stand-in for a detector: files, killed runs, bad frames, scores, pictures, the page."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny_drives import NAMES, change, save_drives

from audiokd.data.frame3d import Frame3d
from audiokd.data.frames3d import Frames3d
from audiokd.data.items3d import read_frames
from audiokd.data.point_marks import write_weak_set
from audiokd.data.pseudo_boxes import boxes_sha256, read_about, read_pseudo_boxes
from audiokd.errors import AudiokdError, ConfigError, FrameError
from audiokd.stages import boxes as boxes_stage
from audiokd.stages.boxes import boxes
from audiokd.stages.detect3d import detect3d
from audiokd.stages.report import report


class Nearly(torch.nn.Module):
    """Gives each marked object a car's box around its mark; it refuses a frame by name, and counts those that it was given."""

    def __init__(self, cameras: int = 0, refused: str = "", extra: int = 0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        about = {"labels": [*NAMES], "cameras": cameras, "camera_size": [12, 16]}
        self.config = SimpleNamespace(**about, to_dict=lambda: about)
        self.refused, self.extra = refused, extra
        self.per_mark = not extra
        self.seen: list[list[str]] = []

    def predict(self, frames: Sequence[Frame3d]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        self.seen.append([f.id for f in frames])
        if any(f.id == self.refused for f in frames):
            raise FrameError("it is refused", where=f"scene x, frame {self.refused}")
        found = []
        for f in frames:
            assert [i.shape for i in f.images] == [(12, 16, 3)] * self.config.cameras
            box = np.full((len(f.marks) + self.extra, 9), np.nan, np.float32)
            box[:, :3] = np.concatenate([f.marks, np.full((self.extra, 3), 24, np.float32)])
            box[:, 3:7] = (4.6, 2.0, 1.7, 0.3)
            labels = np.concatenate([f.labels, np.zeros(self.extra, np.int64)])
            found.append((box, labels, np.linspace(0.9, 0.1, len(box), dtype=np.float32)))
        return found


@pytest.fixture
def city(tmp_path: Path) -> Path:
    save_drives(tmp_path / "train", 6)
    write_weak_set(tmp_path / "train", tmp_path / "weak", 0.34)
    return tmp_path


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Nearly:
    found = Nearly()
    monkeypatch.setattr("audiokd.hub.auto.load_for_inference", lambda name, device: found)
    return found


@pytest.fixture(autouse=True)
def upright(monkeypatch: pytest.MonkeyPatch) -> None:
    """IoU of boxes as if they did not turn."""

    def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        low = np.maximum(a[:, :3] - a[:, 3:6] / 2, b[:, :3] - b[:, 3:6] / 2)
        high = np.minimum(a[:, :3] + a[:, 3:6] / 2, b[:, :3] + b[:, 3:6] / 2)
        common = np.clip(high - low, 0, None).prod(-1)
        return common / (a[:, 3:6].prod(-1) + b[:, 3:6].prod(-1) - common)

    monkeypatch.setattr(boxes_stage, "_iou", iou)


def test_boxes_are_written_and_bound(city: Path, model: Nearly) -> None:
    said = detect3d("m", str(city / "weak"), str(city / "out"), batch_size=2, shard_size=4)
    assert said == {"frames": 6, "boxes": 30, "errors": 0}
    assert [len(b) for b in model.seen] == [2, 2, 2]
    weak = Frames3d(city / "weak")
    found = read_pseudo_boxes(city / "out", data_sha256=weak.sha256, classes=NAMES)
    assert [*found] == [*weak.ids]
    for frame in weak:
        assert np.allclose(found[frame.id].boxes[:, :3], frame.marks, atol=1e-3)
        assert np.array_equal(found[frame.id].labels, frame.labels)
    with pytest.raises(AudiokdError, match="another set"):
        read_pseudo_boxes(city / "out", data_sha256=Frames3d(city / "train").sha256)
    whole = boxes_sha256(city / "out")
    other = (city / "out" / "boxes-00001.jsonl").read_text()
    (city / "out" / "boxes-00001.jsonl").write_text(other.replace("0.9", "0.8"))
    assert boxes_sha256(city / "out") != whole
    (city / "out" / "boxes-00001.jsonl").write_text(other)
    assert boxes_sha256(city / "out") == whole
    # all is done: nothing is asked again
    model.seen.clear()
    detect3d("m", str(city / "weak"), str(city / "out"), batch_size=2, shard_size=4)
    assert model.seen == []
    with torch.no_grad():
        model.weight += 1
    with pytest.raises(ConfigError, match="model_sha256"):
        detect3d("m", str(city / "weak"), str(city / "out"), batch_size=2, shard_size=4)


def test_killed_and_resumed_is_never_killed(city: Path, model: Nearly, monkeypatch: pytest.MonkeyPatch) -> None:
    detect3d("m", str(city / "weak"), str(city / "whole"), shard_size=2)
    calls, predict = iter(range(99)), model.predict

    def once(frames: Sequence[Frame3d]) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return predict(frames)

    monkeypatch.setattr(model, "predict", once)
    with pytest.raises(KeyboardInterrupt):
        detect3d("m", str(city / "weak"), str(city / "out"), shard_size=2)
    assert sorted(p.name for p in (city / "out").iterdir()) == ["boxes-00000.jsonl", "boxes.json"]
    model.seen.clear()
    detect3d("m", str(city / "weak"), str(city / "out"), shard_size=2)
    assert [b[0] for b in model.seen] == ["s0-1-0", "s0-1-1", "s0-2-0", "s0-2-1"]
    whole, again = ({p.name: p.read_bytes() for p in (city / n).iterdir()} for n in ("whole", "out"))
    assert whole == again


def test_a_bad_frame_stops_nothing(city: Path, model: Nearly, capsys: pytest.CaptureFixture[str]) -> None:
    """One that cannot be read, one that the model refuses: both are named, the others of their batch are found."""
    model.refused = "s0-1-1"
    change(city / "weak", 1, lambda row: row["objects"][0].update(mark=[0, 0]))
    with pytest.raises(AudiokdError, match=r"2 of 6 frames failed, more than --max_error_rate 0\.1"):
        detect3d("m", str(city / "weak"), str(city / "out"), batch_size=6, max_error_rate=0.1)
    assert [*read_pseudo_boxes(city / "out")] == ["s0-0-0", "s0-1-0", "s0-2-0", "s0-2-1"]
    rows = [json.loads(line) for line in (city / "out" / "errors.jsonl").read_text().splitlines()]
    assert [r["id"] for r in rows] == ["s0-0-1", "s0-1-1"]
    assert rows[0]["where"] == "items.jsonl:2: frame s0-0-1 of scene-0-0"
    assert "mark of object 0" in rows[0]["error"]
    assert rows[1]["error"] == "it is refused"
    assert detect3d("m", str(city / "weak"), str(city / "out"), batch_size=6, max_error_rate=0.4)["errors"] == 2
    assert "failed: items.jsonl:2: frame s0-0-1 of scene-0-0" in capsys.readouterr().out


def test_what_a_detector_is_given(city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of the size that it was trained with; a set of its classes."""
    monkeypatch.setattr("audiokd.hub.auto.load_for_inference", lambda name, device: Nearly(cameras=2))
    detect3d("m", str(city / "weak"), str(city / "out"))
    (city / "weak" / "classes.txt").write_text("traffic_cone\ncar\n")
    with pytest.raises(AudiokdError, match="classes traffic_cone, car; the model has car, traffic_cone"):
        detect3d("m", str(city / "weak"), str(city / "other"))
    monkeypatch.setattr("audiokd.hub.auto.load_for_inference", lambda name, device: torch.nn.Linear(1, 1))
    with pytest.raises(AudiokdError, match="a Linear finds no boxes"):
        detect3d("m", str(city / "weak"), str(city / "other"))
    with pytest.raises(ConfigError, match="1 or more"):
        detect3d("m", str(city / "weak"), str(city / "other"), batch_size=0)


def test_scores_of_pseudo_labels(city: Path, model: Nearly, capsys: pytest.CaptureFixture[str]) -> None:
    detect3d("m", str(city / "weak"), str(city / "out"))
    out = city / "scores" / "x.json"
    result = boxes(
        str(city / "out"), str(city / "train"), str(out), pictures=str(city / "scores" / "x"), num_pictures=2
    )
    assert json.loads(out.read_text()) == json.loads(json.dumps(result))
    assert (result["rows"], result["scenes"], result["system"], result["left_out"]) == (6, 3, "x", 0)
    assert result["quality"]["in_order"]
    assert result["quality"]["all"]["objects"] == 30
    truth = {f.id: f for f in Frames3d(city / "train")}
    gaps = [np.linalg.norm(f.marks - truth[f.id].boxes[:, :3], axis=1) for f in Frames3d(city / "weak")]
    assert result["quality"]["all"]["centre_error_m"] == pytest.approx(np.concatenate(gaps).mean(), rel=1e-3)
    assert result["quality"]["by_class"]["car"]["iou"] > result["quality"]["by_class"]["traffic_cone"]["iou"]
    assert 0.3 < result["scores"]["map"]["mean"] <= 1
    table = out.with_suffix(".md").read_text()
    assert "| 20+ points |" in table
    assert "in order, one for each object" in table
    with Image.open(city / "scores" / "x" / "sheet.png") as sheet:
        assert sheet.width > 600
    assert result["pictures"]["frames"] == ["s0-0-1", "s0-2-0"]
    # the frames alone that pseudo labels were needed for
    part = boxes(str(city / "out"), str(city / "train"), str(city / "part.json"), part=str(city / "weak"))
    assert part["rows"] == 4
    # of the set that has lost its boxes those that kept them can be scored
    few = boxes(str(city / "out"), str(city / "weak"), str(city / "few.json"))
    assert (few["rows"], few["left_out"]) == (2, 4)


def test_turned_scenes_and_what_is_near(city: Path, model: Nearly) -> None:
    """A model that goes by marks finds turned scenes' objects where they are, its boxes' own direction alone is another."""
    detect3d("m", str(city / "weak"), str(city / "plain"))
    detect3d("m", str(city / "weak"), str(city / "turned"), turn_degrees=45)
    plain, turned = (read_pseudo_boxes(city / name) for name in ("plain", "turned"))
    for k, of in plain.items():
        np.testing.assert_allclose(turned[k].boxes[:, :6], of.boxes[:, :6], atol=1e-3)
        np.testing.assert_allclose(np.cos(turned[k].boxes[:, 6] - of.boxes[:, 6] + np.pi / 4), 1, atol=1e-5)
    with pytest.raises(ConfigError, match=r"turn_degrees: 45.* there, 15.* now"):
        detect3d("m", str(city / "weak"), str(city / "turned"), turn_degrees=15)
    far = [np.hypot(*f.boxes[:, :2].T) for f in Frames3d(city / "train")]
    within = float(np.median(np.concatenate(far)))
    near = boxes(str(city / "plain"), str(city / "train"), str(city / "near.json"), within_m=within)
    assert near["quality"]["all"]["objects"] == sum(int((d <= within).sum()) for d in far) < 30
    assert near["settings"]["within_m"] == within
    assert near["quality"]["in_order"]
    assert near["quality"]["all"]["boxes"] == near["quality"]["all"]["objects"]
    counted = sum(of["true"] for of in near["classes"].values())  # those that precision and recall are of
    assert counted == near["quality"]["all"]["objects"]


@pytest.mark.parametrize("degrees", [0.0, 45.0])
def test_objects_outside_the_range_are_counted_apart(city: Path, model: Nearly, degrees: float) -> None:
    model.config.low, model.config.high = (-9.0, -9.0, -3.0), (9.0, 9.0, 3.0)
    detect3d("m", str(city / "weak"), str(city / "out"), turn_degrees=degrees)
    about = read_about(city / "out")
    assert (about["per_mark"], about["range_m"]) == (True, [[-9.0, -9.0], [9.0, 9.0]])
    places = np.concatenate([f.boxes[:, :2] for f in Frames3d(city / "train")])
    if degrees:
        places = np.stack([places[:, 0] - places[:, 1], places[:, 0] + places[:, 1]], 1) * np.sqrt(0.5)
    far = int((np.abs(places) > 9).any(1).sum())
    quality = boxes(str(city / "out"), str(city / "train"), str(city / "x.json"))["quality"]
    assert 0 < far < 30
    assert (quality["all"]["objects"], quality["outside"], quality["in_order"]) == (30 - far, far, True)
    assert f"{far} objects outside the model's range are left out" in (city / "x.md").read_text()
    # a folder of before, which says neither, is gone on with
    (city / "out" / "boxes.json").write_text(
        json.dumps({k: v for k, v in about.items() if k not in ("per_mark", "range_m")})
    )
    detect3d("m", str(city / "weak"), str(city / "out"), turn_degrees=degrees)
    assert read_about(city / "out") == about


def test_a_detectors_boxes_are_paired_by_place(city: Path, model: Nearly) -> None:
    model.extra, model.per_mark = 2, False
    detect3d("m", str(city / "weak"), str(city / "out"))
    result = boxes(str(city / "out"), str(city / "train"), str(city / "x.json"))
    assert not result["quality"]["in_order"]
    assert result["quality"]["all"]["objects"] == 30


def test_what_is_refused(city: Path, model: Nearly) -> None:
    detect3d("m", str(city / "weak"), str(city / "out"), shard_size=3)
    args = (str(city / "out"), str(city / "train"))
    with pytest.raises(ConfigError, match="the table is written beside it"):
        boxes(*args, str(city / "x.md"))
    with pytest.raises(ConfigError, match="bands at 20 and 10 m"):
        boxes(*args, str(city / "x.json"), bands=(20, 10))
    with pytest.raises(AudiokdError, match="all of its frames have boxes"):
        boxes(*args, str(city / "x.json"), part=str(city / "train"))
    save_drives(city / "others", 2, seed=5)
    with pytest.raises(AudiokdError, match="none of 6 frames is there"):
        boxes(args[0], str(city / "others"), str(city / "x.json"))
    (city / "out" / "boxes-00001.jsonl").unlink()
    with pytest.raises(AudiokdError, match="1 of 2 shards are not there"):
        boxes(*args, str(city / "x.json"))


def test_the_page(city: Path, model: Nearly, capsys: pytest.CaptureFixture[str]) -> None:
    detect3d("m", str(city / "weak"), str(city / "out"))
    exp = city / "exp"
    boxes(
        str(city / "out"), str(city / "train"), str(exp / "boxes" / "test.json"), pictures=str(exp / "boxes" / "test")
    )
    config = {
        "method": "point_detr3d", "step": "teacher", "run": {"max_steps": 9, "seed": 2},
        "inputs": {"train": {"frames": 6, "used": 2}, "dev": {"frames": 2, "used": 2}},
    }  # fmt: skip
    (exp / "config.yaml").write_text(yaml.safe_dump(config))
    report(str(exp))
    page = (exp / "report.html").read_text()
    assert "teacher: boxes of 2 of 6 frames; 9 steps, seed 2." in page
    assert all(f"test: {what}" in page for what in ("each class", "object by object", "boxes"))
    assert page.count("data:image/png;base64,") >= 1
    assert "NDS without velocity" in capsys.readouterr().out


def test_iou_is_the_rotated_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage asks audiokd.vision.rotated_iou for pairs, in float64."""
    monkeypatch.undo()
    asked: list[torch.dtype] = []

    def iou_3d(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        asked.append(a.dtype)
        return (a[:, 0] == b[:, 0]).double()

    module = ModuleType("audiokd.vision.rotated_iou")
    module.iou_3d = iou_3d  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "audiokd.vision.rotated_iou", module)
    a = np.zeros((2, 9), np.float32)
    a[1, 7:] = np.nan
    assert boxes_stage._iou(a, a).tolist() == [1.0, 1.0]
    assert asked == [torch.float64]


def test_truth_of_a_frame(city: Path) -> None:
    assert read_frames(city / "weak")[5].objects[0].box is None
    assert boxes_stage._truth(read_frames(city / "weak")[5], NAMES) is None
    counted = boxes_stage._truth(read_frames(city / "train")[0], NAMES)
    assert counted.num_points.tolist() == [o.num_points for o in read_frames(city / "train")[0].objects]

"""Labeller, teacher and student: what each learns from, that it learns, and that a killed run goes on as if it had not been."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_settings import settings_of
from tiny_frames import NAMES, frame, in_memory, without_boxes
from whole_runs import assert_same_run, checkpoint, rows

import audiokd
from audiokd.data.frame3d import Frame3d
from audiokd.errors import AudiokdError, ConfigError, FrameError
from audiokd.losses.point_guided import point_guided
from audiokd.methods.point_detr3d.module import BoxesModule
from audiokd.methods.point_detr3d.run import PointDetr3dRun
from audiokd.stages.export import export
from audiokd.stages.fit import fit

TRAIN = [frame(k) for k in range(6)]
WEAK = [f if k < 3 else without_boxes(f) for k, f in enumerate(TRAIN)]
DEV = [frame(k) for k in range(100, 103)]
STEPS = ("labeller", "teacher", "student")


def settings(step: str, **changes: Any) -> Any:
    flat = {"step": step, "run.accelerator": "cpu", "model.class_sizes": "train"}
    flat |= {"data.pseudo": "boxes"} if step == "student" else {}
    return settings_of("point_detr3d", "debug", flat | {k.replace("__", "."): v for k, v in changes.items()})


def pseudo(frames: list[Frame3d] = TRAIN) -> dict[str, Any]:
    """As a teacher that is nearly right would say of the frames without boxes."""
    return {f.id: (f.boxes + 0.1, f.labels, np.full(len(f.labels), 0.5)) for f in frames[3:]}


@pytest.fixture(autouse=True)
def sets(monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory(monkeypatch, {"train": WEAK, "dev": DEV, "full": TRAIN}, pseudo())


def build(folder: Path, step: str, train: str = "train", **changes: Any) -> Any:
    folder.mkdir(exist_ok=True)
    return PointDetr3dRun(settings(step, **changes), train, "dev").build(folder)


def batches(data: Any, steps: int = 1, size: int = 2) -> Iterator[dict[str, Any]]:
    for k in range(steps):
        yield data.collate([data.train_set[k, (k * size + i) % len(data.train_set)] for i in range(size)])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """labeller, teacher and student, each of the one before, exported."""
    folder = tmp_path_factory.mktemp("det3d")
    with pytest.MonkeyPatch.context() as patch:
        in_memory(patch, {"train": WEAK, "dev": DEV})
        for step in STEPS:
            begins = {"init__model": str(folder / "labeller")} if step == "teacher" else {}
            if step == "student":
                teacher = audiokd.load_model(folder / "teacher")
                found = dict(zip((f.id for f in WEAK[3:]), teacher.predict(WEAK[3:])))
                in_memory(patch, {"train": WEAK, "dev": DEV}, found)
            fit("point_detr3d", settings(step, **begins), "train", "dev", str(folder / f"{step}-run"))
            export(str(folder / f"{step}-run"), str(folder / step), "last")
        yield folder


def test_what_is_exported(models: Path) -> None:
    kinds = {"labeller": "center_point", "teacher": "point_detr3d", "student": "center_point"}
    for step in STEPS:
        config = json.loads((models / step / "config.json").read_text())
        assert (config["model_type"], config["labels"]) == (kinds[step], list(NAMES))
        regime = json.loads((models / step / "regime.json").read_text())["steps"][0]
        assert (regime["name"], regime["labelled"]["count"], regime["selection"]["count"]) == (step, 3, 3)
        assert regime.get("unlabelled", {}).get("count", 0) == (3 if step == "student" else 0)
        # means over the boxes of the three frames
        cars = [b[3:6] for f in TRAIN[:3] for b, k in zip(f.boxes, f.labels) if k == 0]
        assert config["class_sizes"][0] == pytest.approx(np.mean(cars, 0).tolist(), abs=2e-3)
        for boxes, labels, scores in audiokd.load_model(models / step).predict(DEV):
            assert boxes.dtype == scores.dtype == np.float32
            assert labels.dtype == np.int64
            assert len(boxes) == len(labels) == len(scores)
    assert "labeller" not in json.loads((models / "teacher" / "config.json").read_text())


def test_the_teacher_begins_with_the_labeller(models: Path, tmp_path: Path) -> None:
    labeller = audiokd.load_model(models / "labeller")
    module, _ = build(tmp_path / "a", "teacher", init__model=str(models / "labeller"))
    for k, v in module.model.encoder.state_dict().items():
        assert torch.equal(v, labeller.encoder.state_dict()[k]), k
    scales = {g["scale"] for g in module.configure_optimizers().param_groups}
    assert scales == {1.0, 0.1}
    slow = {id(p) for g in module.configure_optimizers().param_groups if g["scale"] < 1 for p in g["params"]}
    assert slow == {id(p) for p in module.model.encoder.parameters()}
    # and so they were moved at the last step
    groups = checkpoint(models / "teacher-run", "last")["optimizer_states"][0]["param_groups"]
    rates = {g["scale"]: g["lr"] for g in groups}
    assert rates[0.1] == pytest.approx(0.1 * rates[1.0])
    student, _ = build(tmp_path / "b", "student", init__model=str(models / "labeller"))
    assert all(torch.equal(v, labeller.state_dict()[k]) for k, v in student.model.state_dict().items())
    with pytest.raises(ConfigError, match=r"cell is 0\.8 there, 0\.4 here"):
        build(tmp_path / "c", "teacher", init__model=str(models / "labeller"), model__cell=0.4)


def test_the_frozen_backbone_is_in_no_optimiser_and_its_maps_are_kept(tmp_path: Path) -> None:
    module, data = build(tmp_path, "teacher")
    pyramid = module.model.pictures.pyramid
    learns = {id(p) for g in module.configure_optimizers().param_groups for p in g["params"]}
    assert not learns & {id(p) for p in pyramid.parameters()}
    batch = next(batches(data))
    module.train()
    asked = []
    pyramid.register_forward_hook(lambda *a: asked.append(1))
    first = module.maps_of(batch["ids"], batch["images"])
    again = module.maps_of(batch["ids"][::-1], batch["images"].flip(0))
    assert len(asked) == 2  # frames, not steps
    for a, b in zip(first, again):
        torch.testing.assert_close(a.view(2, 2, *a.shape[1:]).flip(0).flatten(0, 1), b)
    plain = module.model.eval()(batch)[-1]
    kept = module.model(batch | {"maps": first})[-1]
    torch.testing.assert_close(plain.code, kept.code, rtol=1e-4, atol=1e-5)
    # or made anew each time: the same losses, and no frame is held
    bare, _ = build(tmp_path, "teacher", teacher__keep_maps=False)
    bare.model.load_state_dict(module.model.state_dict())
    for k, v in bare.eval().losses(batch).items():
        torch.testing.assert_close(v, module.eval().losses(batch)[k], rtol=1e-4, atol=1e-5)
    bare.validate_batch(batch)
    assert (len(bare._maps), len(module._maps)) == (0, 2)
    learns, data = build(tmp_path, "teacher", teacher__frozen_backbone=False)
    torch.stack([*learns.losses(next(batches(data))).values()]).sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in learns.model.pictures.pyramid.parameters())


def test_who_learns_from_what(tmp_path: Path) -> None:
    for step, ids in (("labeller", 3), ("teacher", 3), ("student", 6)):
        run = PointDetr3dRun(settings(step), "train", "dev")
        assert run.chosen["train"] == list(range(ids))
        assert run.describe()["train"]["used"] == ids
        _, data = run.build(tmp_path)
        rows = [data.train_set[0, k] for k in range(ids)]
        assert [r["id"] for r in rows] == [f.id for f in TRAIN[:ids]]
        assert bool("weak" in rows[0]) == (step == "student")
    _, data = build(tmp_path, "student", augment__steps=())
    for of, row in zip(TRAIN, (data.train_set[0, k] for k in range(6))):
        shift = 0.1 if of.id in pseudo() else 0.0
        np.testing.assert_allclose(row["boxes"], of.boxes[:, :7] + shift, atol=1e-5)
    _, data = build(tmp_path, "student", data__min_score=0.6)
    assert len(data.train_set[0, 4]["boxes"]) == 0
    assert len(data.train_set[0, 0]["boxes"]) == 3


def test_a_box_outside_the_range_is_not_learnt_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where a moved scene brings it in: the teacher saw nothing of it."""
    found = pseudo()
    boxes, labels, scores = found["f003"]
    far = boxes.copy()
    far[1, :2] = (13.0, 0.0)
    in_memory(monkeypatch, {"train": WEAK, "dev": DEV}, found | {"f003": (far, labels, scores)})
    _, data = build(tmp_path, "student", augment__scale=0.5, augment__shift=3.0)
    drawn = [data.train_set[k, 3] for k in range(8)]
    assert {r["id"] for r in drawn} == {"f003"}
    assert max(len(r["boxes"]) for r in drawn) == 2


def test_true_boxes_stay_beside_a_teachers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames some of whose objects have boxes: the others' are the teacher's, by the order of the marks."""
    boxed, marks = np.array([False, True, False]), TRAIN[3].marks.copy()
    boxes = np.where(boxed[:, None], TRAIN[3].boxes, np.nan).astype(np.float32)
    marks[2] = np.nan  # neither box nor mark: no box is found of it
    mixed = dataclasses.replace(TRAIN[3], boxes=boxes, boxed=boxed, marks=marks)
    of = pseudo()["f003"]
    found = pseudo() | {"f003": tuple(v[:2] for v in of)}
    sets = {"train": [*TRAIN[:3], mixed, *WEAK[4:]], "dev": DEV}
    in_memory(monkeypatch, sets, found)
    _, data = build(tmp_path, "student", augment__steps=())
    row = data.train_set[0, 3]
    want = np.stack([TRAIN[3].boxes[1, :7], TRAIN[3].boxes[0, :7] + 0.1])
    np.testing.assert_allclose(row["boxes"], want, atol=1e-5)
    assert row["labels"].tolist() == TRAIN[3].labels[[1, 0]].tolist()
    # the least score is one of found boxes alone
    _, data = build(tmp_path, "student", augment__steps=(), data__min_score=0.6)
    np.testing.assert_allclose(data.train_set[0, 3]["boxes"], want[:1], atol=1e-5)
    # of a detector, which is told no marks, nobody knows whose its boxes are
    in_memory(monkeypatch, sets, pseudo())
    _, data = build(tmp_path, "student")
    with pytest.raises(FrameError, match=r"drive0, frame f003: 3 found boxes of 2 objects with marks"):
        data.train_set.read(data.train_set.items[3], 0)


def test_a_student_does_not_go_on_with_other_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = PointDetr3dRun(settings("student"), "train", "dev").describe()["pseudo_boxes"]
    assert about == {"boxes": 9, "model_sha256": "of boxes", "sha256": about["sha256"]}
    fit("point_detr3d", settings("student", run__max_steps=1), "train", "dev", str(tmp_path))
    moved = {k: (boxes + 0.2, labels, scores) for k, (boxes, labels, scores) in pseudo().items()}
    in_memory(monkeypatch, {"train": WEAK, "dev": DEV}, moved)  # as many boxes of the same frames
    with pytest.raises(ConfigError, match="pseudo_boxes"):
        fit("point_detr3d", settings("student", run__max_steps=2), "train", "dev", str(tmp_path))


def test_marks_are_drawn_anew_or_the_sets_own(tmp_path: Path) -> None:
    _, data = build(tmp_path, "teacher", augment__steps=())
    a, b, again = (data.train_set[k, 0]["marks"] for k in (0, 1, 0))
    assert torch.equal(a, again)
    assert not torch.equal(a, b)
    np.testing.assert_array_equal(data.dev_set[0, 0]["marks"], DEV[0].marks)
    _, data = build(tmp_path, "teacher", augment__steps=(), data__redraw_marks=False)
    np.testing.assert_array_equal(data.train_set[3, 0]["marks"], TRAIN[0].marks)


def test_two_views_agree_where_nothing_was_moved(tmp_path: Path) -> None:
    module, data = build(tmp_path, "student", augment__steps=())
    still = next(batches(data))
    module.train()
    assert float(module.losses(still)["point_guided"].detach()) == pytest.approx(0, abs=1e-6)
    module, data = build(tmp_path, "student")
    module.train()
    moved = next(batches(data))
    parts = module.losses(moved)
    assert float(parts["point_guided"].detach()) > 1e-3
    parts["point_guided"].backward()
    assert module.model.neck.ups[0][0].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in module.model.heads.parameters())
    # by hand, with a map that is undone
    twice = 2 * float(point_guided(torch.eye(2)[None, :, :, None], torch.zeros(1, 2, 2, 1), torch.ones(1, 2, 1), 1))
    assert twice == pytest.approx(4.0)
    none, data = build(tmp_path, "student", loss__point_guided=0.0)
    batch = next(batches(data))
    assert "weak" not in batch
    assert set(none.losses(batch)) == {"heat", "box"}


@pytest.mark.parametrize("changes", [{}, {"teacher__matching": "hungarian"}])
def test_each_query_learns_its_own_box(tmp_path: Path, changes: dict[str, Any]) -> None:
    from audiokd.methods.point_detr3d.model import Said
    from audiokd.vision.box_code import to_code

    module, data = build(tmp_path, "teacher", **changes)
    batch = next(batches(data))
    right = torch.nn.functional.one_hot(batch["labels"], 3) * 40.0 - 20
    code = to_code(batch["boxes"])
    assert float(module.losses_of([Said(right, code)], batch)["box"]) == pytest.approx(0, abs=1e-5)
    order = torch.cat([(batch["objects"] == k).nonzero()[:, 0].flip(0) for k in range(2)])
    turned = module.losses_of([Said(right[order], code[order])], batch)
    # the identity holds a query to its own object, whatever it says
    assert (float(turned["box"]) < 1e-5) is (changes != {})


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_run_goes_on_as_if_it_had_not_been(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str) -> None:
        fit("point_detr3d", settings(step), "train", "dev", str(tmp_path / name))

    run("whole")
    inner = BoxesModule.training_step

    def stop(self: Any, batch: Any, batch_idx: int) -> None:
        if self.iteration == 3:
            raise RuntimeError("killed")
        inner(self, batch, batch_idx)

    with monkeypatch.context() as m:
        m.setattr(BoxesModule, "training_step", stop)
        with pytest.raises(RuntimeError, match="killed"):
            run("killed")
    run("killed")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("step", STEPS)
def test_it_learns(step: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {
        "run__max_steps": 40,
        "run__val_every": 40,
        "run__ckpt_every": 40,
        "optim__lr": 5e-3,
        "augment__steps": (),
    }
    fit("point_detr3d", settings(step, **changes), "train", "dev", str(tmp_path))
    found = {k: float(v) for k, v in rows(tmp_path).items()}
    losses = [found[k, "train", "loss"] for k in range(1, 41)]
    assert sum(losses[-8:]) < 0.6 * sum(losses[:8])
    assert found[40, "train", "points_outside"] > 10
    assert " ms a step; " in capsys.readouterr().out
    if step == "teacher":
        assert found[40, "val", "iou"] > found[0, "val", "iou"]
        kept = checkpoint(tmp_path, "last")["state_dict"]
        assert any("pictures.pyramid" in k for k in kept)  # the folder needs no hub


def test_a_bad_frame_is_written_down_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = TRAIN[1].points.copy()
    points[7, 2] = np.nan
    bad = dataclasses.replace(TRAIN[1], points=points)
    flat = dataclasses.replace(DEV[1], boxes=DEV[1].boxes * np.float32([1, 1, 1, 1, 0, 1, 1, 1, 1]))
    in_memory(monkeypatch, {"train": [TRAIN[0], bad, *TRAIN[2:]], "dev": [DEV[0], flat, DEV[2]]})
    found = fit("point_detr3d", settings("labeller"), "train", "dev", str(tmp_path / "run"))
    assert np.isfinite(found["loss"])
    log = [json.loads(line) for line in (tmp_path / "run" / "errors.jsonl").read_text().splitlines()]
    assert {(r["set"], r["id"]) for r in log} == {("train", bad.id), ("dev", flat.id)}
    assert {r["error"][:24] for r in log} == {"1 of 480 points have a c", "3 of 3 boxes have no siz"}
    assert "scene drive0, frame f001" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("step", "changes", "what"),
    [
        ("student", {"data__pseudo": ""}, "a teacher's boxes are what the student learns from"),
        ("labeller", {"data__pseudo": "x"}, "a teacher's boxes are what"),
        ("teacher", {"teacher__weights": ""}, "the picture backbone has no weights"),
        ("teacher", {"teacher__image_levels": 4}, "4 maps of pictures"),
        ("teacher", {"teacher__roi_side": 1}, "a grid of 1 places a side"),
        ("labeller", {"augment__steps": ("labeler",)}, "no step labeler"),
        ("labeller", {"model__depths": (1,)}, "as many stages"),
    ],
)
def test_settings_that_do_not_go_together(step: str, changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        PointDetr3dRun(settings(step, **changes), "train", "dev")


def test_sets_that_do_not_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unmarked = [dataclasses.replace(f, marks=np.full_like(f.marks, np.nan)) for f in DEV]
    sets = {"train": WEAK, "dev": DEV, "bare": WEAK[3:], "unmarked": unmarked}
    in_memory(monkeypatch, sets, pseudo() | {"f999": pseudo()["f003"]})
    with pytest.raises(AudiokdError, match="not one frame whose objects all have boxes"):
        PointDetr3dRun(settings("labeller"), "bare", "dev")
    with pytest.raises(AudiokdError, match="are one folder"):
        PointDetr3dRun(settings("labeller"), "dev", "dev")
    with pytest.raises(AudiokdError, match="no object has a mark"):
        PointDetr3dRun(settings("teacher"), "train", "unmarked")
    with pytest.raises(AudiokdError, match="boxes of 1 frames that train has not, f999"):
        PointDetr3dRun(settings("student"), "train", "dev")
    in_memory(monkeypatch, sets, pseudo())
    with pytest.raises(AudiokdError, match=r"labeller saw 3 test items|selects by"):
        PointDetr3dRun(settings("labeller", data__test=("dev",)), "train", "dev").build(tmp_path)

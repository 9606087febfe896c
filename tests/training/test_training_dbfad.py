"""Anomaly detectors: what is trained and what stays, thresholds, alignment of maps, runs that learn and go on after a kill,
exports."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_settings import settings_of
from PIL import Image
from tiny_textures import parts, spotted, write_mvtec
from whole_runs import checkpoint, differences, rows

import audiokd
from audiokd.data.anomaly_sets import mvtec_set
from audiokd.data.image_sets import write_image_set
from audiokd.data.items import Item, read_items, write_items
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.dbfad.model import distances
from audiokd.methods.dbfad.module import DBFADModule, blurred
from audiokd.methods.dbfad.run import DBFADRun, write_model
from audiokd.stages.export import export
from audiokd.stages.fit import fit
from audiokd.training.plateau import Plateau
from audiokd.vision.anomaly_map import AnomalyMap, scores_of
from audiokd.vision.feature_pyramid import FeaturePyramid

KINDS = {"dbfad": {}, "rd4ad": {"model__depths": (1, 1, 1)}, "stfpm": {"model__depths": ()}}


@pytest.fixture(scope="module")
def root(coffee: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/train and data/test of two categories."""
    folder = tmp_path_factory.mktemp("dbfad")
    for category in ("cup", "table"):
        write_mvtec(folder / "set", coffee, category)
    write_image_set(folder / "data", mvtec_set(folder / "set"))
    return folder / "data"


def settings(kind: str = "dbfad", **changes: Any) -> Any:
    flat = {"model.kind": kind, "run.accelerator": "cpu"}
    flat |= {k.replace("__", "."): v for k, v in (KINDS[kind] | changes).items()}
    return settings_of("dbfad", "debug", flat)


def build(root: Path, folder: Path, kind: str = "dbfad", **changes: Any) -> Any:
    folder.mkdir(exist_ok=True)
    return DBFADRun(settings(kind, **changes), str(root / "train"), str(root / "train")).build(folder)


def train(root: Path, exp: Path, kind: str = "dbfad", **changes: Any) -> dict[str, float]:
    return fit("dbfad", settings(kind, **changes), str(root / "train"), str(root / "train"), str(exp))


@pytest.fixture(scope="module", params=list(KINDS))
def trained(request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(root, folder / "exp", request.param, data__test=(str(root / "test"),))
    export(str(folder / "exp"), str(folder / "model"), "last")
    return folder


def pictures(root: Path, count: int) -> torch.Tensor:
    """[count, 3, 64, 64], normal ones and some with defects."""
    found = [np.asarray(Image.open(i.path).convert("RGB")) for i in read_items(root / "test")[-count:]]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_the_teacher_stays_and_is_nobodys(root: Path, trained: Path) -> None:
    kind = json.loads((trained / "model" / "config.json").read_text())["kind"]
    exp = trained / "exp"
    kept = checkpoint(exp, "last")
    assert all(k.startswith("student.") for k in kept["state_dict"])
    module, _ = build(root, exp, kind, data__test=(str(root / "test"),))  # the teacher of the run's folder
    ids = {id(p) for g in module.configure_optimizers().param_groups for p in g["params"]}
    assert ids == {id(p) for p in module.student.parameters()}
    net = module.teacher.net
    assert not any(p.requires_grad for p in net.parameters())
    for mode in (True, False, True):
        module.train(mode)
        assert not any(m.training for m in net.modules())
    model = audiokd.load_model(trained / "model")
    assert differences(net.state_dict(), model.teacher.state_dict()) == []
    model.train()
    assert model.student.training
    assert not model.teacher.training
    assert not model.teacher.net.training
    regime = json.loads((trained / "model" / "regime.json").read_text())
    step = regime["steps"][0]
    assert (regime["test"]["count"], step["labelled"]["labels"]) == (16, {"good": 12})
    assert step["selection"] == step["selection"] | {"count": 4, "labels": {"good": 4}}


def test_the_folder_says_what_the_run_said(root: Path, trained: Path) -> None:
    """Thresholds are the quantile of what the exported model says of the held-out pictures."""
    model = audiokd.load_model(trained / "model")
    _, data = build(root, trained / "exp", model.config.kind, data__test=(str(root / "test"),))
    held = torch.cat([data.dev_set[0, k]["student"]["pixel_values"] for k in range(4)])
    with torch.no_grad():
        scores, maps = model(held)
    assert model.thresholds["score"] == pytest.approx(float(scores.max()), rel=1e-4)  # the 0.99 quantile of four
    assert model.thresholds["pictures"] == 4
    pixels = maps[:, ::4, ::4].flatten().numpy()
    assert model.thresholds["pixel"] == pytest.approx(float(np.quantile(pixels, 0.99, method="higher")), rel=1e-3)
    assert model.preprocess.size == (64, 64)


@torch.no_grad()
def test_a_batch_of_one_and_other_pictures_change_nothing(root: Path, trained: Path) -> None:
    model = audiokd.load_model(trained / "model")
    x = pictures(root, 5)
    scores, maps = model(x)
    for k in range(5):
        one, alone = model(x[k : k + 1])
        torch.testing.assert_close(one, scores[k : k + 1], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(alone, maps[k : k + 1], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(scores_of(maps), scores)
    found, frames = model.extract(x, None, "map")
    assert torch.equal(found, maps)
    assert frames.tolist() == [64] * 5
    assert torch.equal(model.extract(x, None, "score")[0][:, 0, 0], scores)
    with pytest.raises(AudiokdError, match=r"pictures of \[32, 64\] pixels, the detector takes \[64, 64\]"):
        model(x[:, :, :32])


@torch.no_grad()
@pytest.mark.parametrize(("row", "column"), [(8, 8), (7, 4), (3, 11), (12, 5)])
def test_maps_lie_on_the_picture(coffee: Path, row: int, column: int) -> None:
    """A student that says of a defect's picture what its teacher says of the clean one: the peak is within a cell of the defect, or
    within two where the coarse maps count more."""
    torch.manual_seed(0)
    teacher = FeaturePyramid("test_resnet").eval()
    clean = parts(coffee, 6)[-1]
    bad, _ = spotted(clean, 4 * row, 4 * column, 4)  # one cell of the finest map
    x = torch.from_numpy(np.stack([clean, bad])).permute(0, 3, 1, 2).float() / 127.5 - 1
    theirs = teacher(x)
    for weigh, within in (("equal", 4), ("area", 8)):
        maps = AnomalyMap(64, weigh=weigh)(distances([m[:1] for m in theirs], [m[1:] for m in theirs]))  # type: ignore[arg-type]
        peak = np.unravel_index(int(maps[0].argmax()), (64, 64))
        assert abs(peak[0] - (4 * row + 1.5)) <= within
        assert abs(peak[1] - (4 * column + 1.5)) <= within
    assert float(AnomalyMap(64)(distances([m[:1] for m in theirs], [m[:1] for m in theirs])).max()) == 0


def test_it_trains_right_after_validation(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The official bug is a flag: with it batch norm stands still from the first validation on."""
    for quirk in (False, True):
        seen: list[tuple[int, bool]] = []
        distance = DBFADModule.distance

        def look(self: Any, mine: Any, theirs: Any, seen: Any = seen, distance: Any = distance) -> Any:
            if torch.is_grad_enabled():  # a step, no validation
                modes = {m.training for m in self.student.modules()}
                assert len(modes) == 1
                assert not self.teacher.net.training
                seen.append((self.iteration, modes.pop()))
            return distance(self, mine, theirs)

        with monkeypatch.context() as m:
            m.setattr(DBFADModule, "distance", look)
            train(root, tmp_path / str(quirk), quirks__eval_after_val=quirk)
        assert seen == [(0, True), (1, True), (2, not quirk), (3, not quirk)]


def test_the_quirk_goes_on_after_a_kill(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with the official bug that is started again in the middle trains on in eval mode, too."""
    changes = {"quirks__eval_after_val": True, "run__max_steps": 6}
    train(root, tmp_path / "whole", **changes)
    interrupted(root, tmp_path / "killed", 5, monkeypatch, **changes)
    assert rows(tmp_path / "whole") == rows(tmp_path / "killed")
    mine, theirs = (checkpoint(tmp_path / e, "last")["state_dict"] for e in ("whole", "killed"))
    assert differences(mine, theirs) == []
    counts = {int(v) for k, v in mine.items() if k.endswith("num_batches_tracked")}
    assert counts == {2}  # of the steps before the first validation


def interrupted(root: Path, exp: Path, at: int, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    step = DBFADModule.training_step

    def stop(self: Any, batch: Any, batch_idx: int) -> None:
        if self.iteration == at:
            raise RuntimeError("killed")
        step(self, batch, batch_idx)

    with monkeypatch.context() as m:
        m.setattr(DBFADModule, "training_step", stop)
        with pytest.raises(RuntimeError, match="killed"):
            train(root, exp, **changes)
    train(root, exp, **changes)


def test_it_learns_and_goes_on_after_a_kill(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between a validation and a checkpoint, with a rate that falls: the same numbers and weights; and the loss falls."""
    changes = {"run__max_steps": 24, "run__val_every": 6, "run__ckpt_every": 4, "optim__patience": 1, "optim__lr": 2e-3}
    train(root, tmp_path / "whole", **changes)
    interrupted(root, tmp_path / "killed", 15, monkeypatch, **changes)
    assert rows(tmp_path / "whole") == rows(tmp_path / "killed")
    for name in ("last", "best"):
        mine, theirs = (checkpoint(tmp_path / e, name) for e in ("whole", "killed"))
        for part in ("state_dict", "optimizer_states", "iteration", "thresholds", "plateau"):
            assert differences(mine[part], theirs[part], part) == [], name
    found = {k: float(v) for k, v in rows(tmp_path / "whole").items()}
    losses = [found[s, "train", "loss"] for s in range(1, 25)]
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])
    at_four = checkpoint(tmp_path / "whole", "last") | {"iteration": 4}
    with pytest.raises(AudiokdError, match="step 4, between two validations"):
        write_model(tmp_path / "whole", settings(**changes), at_four, tmp_path / "out", "last")
    with pytest.raises(AudiokdError, match="no init checkpoint"):
        export(str(tmp_path / "whole"), str(tmp_path / "out"), "init")


def test_the_rate_falls_once_a_step() -> None:
    p = Plateau(1, 0.1)
    for step, loss in ((10, 1.0), (20, 2.0), (20, 2.0), (10, 0.1)):
        p.judge(loss, step)
    assert p.scale == 1
    p.judge(1.5, 30)
    assert p.scale == pytest.approx(0.1)
    again = Plateau(1, 0.1)
    again.load_state_dict(p.state_dict())
    for step in (40, 50):
        again.judge(0.5 + step, step)
    assert again.scale == pytest.approx(0.01)
    off = Plateau(0, 0.1)
    for step in range(1, 9):
        off.judge(1.0, step)
    assert off.scale == 1


def test_it_ends_where_the_loss_stands_still(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `stop_patience` validations, killed on the way or not; what is started again has nothing to do."""
    changes = {"run__max_steps": 12, "optim__lr": 1e-30, "optim__stop_patience": 2}  # it learns nothing
    train(root, tmp_path / "whole", quirks__eval_after_val=True, **changes)
    interrupted(root, tmp_path / "killed", 5, monkeypatch, quirks__eval_after_val=True, **changes)
    assert rows(tmp_path / "whole") == rows(tmp_path / "killed")
    steps = {s for s, split, name in rows(tmp_path / "whole") if (split, name) == ("val", "loss")}
    assert steps == {0, 2, 4, 6}  # the first one is the best, and two are not better
    last = checkpoint(tmp_path / "whole", "last")
    assert (last["iteration"], last["done"]) == (6, True)
    export(str(tmp_path / "whole"), str(tmp_path / "model"), "last")
    assert train(root, tmp_path / "whole", quirks__eval_after_val=True, **changes) == {}
    goes_on = train(root, tmp_path / "on", **(changes | {"optim__stop_patience": 0}))
    assert goes_on
    assert checkpoint(tmp_path / "on", "last")["iteration"] == 12


def test_one_category_and_all_but_one(root: Path, tmp_path: Path) -> None:
    _, data = build(root, tmp_path / "one", data__category="cup")
    assert {i.domain for i in (*data.train_set.items, *data.dev_set.items)} == {"cup"}
    _, data = build(root, tmp_path / "rest", data__leave_out="cup", model__residual=False)
    assert {i.domain for i in (*data.train_set.items, *data.dev_set.items)} == {"table"}
    assert json.loads((tmp_path / "rest" / "dbfad.json").read_text())["domains"] == ["table"]
    _, data = build(root, tmp_path / "all")
    assert (len(data.train_set), len(data.dev_set)) == (12, 4)  # 6 and 2 of each


def test_the_blur_is_of_three_pixels(root: Path, tmp_path: Path) -> None:
    x = torch.zeros(1, 2, 5, 5)
    x[0, 0, 2, 2] = 1
    y = blurred(x)
    assert float(y[0, 0].sum()) == pytest.approx(1)
    assert int((y[0, 0] > 0).sum()) == 9
    assert not y[0, 1].any()
    module, data = build(root, tmp_path / "run", quirks__blur=True)
    batch = data.collate([data.dev_set[0, 0]])
    module.eval()
    with torch.no_grad():
        module.validate_batch(batch)
        images = batch["student"]["pixel_values"]
        theirs = module.teacher.targets({"pixel_values": images})
        expected = module.to_map(distances(module.student(images, theirs), theirs))
    torch.testing.assert_close(module._scores[0], scores_of(expected))  # thresholds are of what is tested


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__weights": ""}, "the teacher has no weights"),
        ({"model__size": 80}, "--model.size 64 or 96"),
        ({"model__backbone": "test_vit"}, "its maps are at strides"),
        ({"model__weights": "nothing.safetensors"}, "no such file"),
        ({"model__depths": (1, 1)}, "2 depths, the teacher has 4 maps"),
        ({"data__category": "cup", "data__leave_out": "table"}, "one domain alone, and all but one"),
        ({"data__category": "mug"}, "one of cup, table"),
        ({"data__quantile": 1.0}, "a quantile of 1.0"),
        ({"loss__name": "flat", "loss__items": "sum"}, "a mean over the batch"),
        ({"model__kind": "stfpm", "model__depths": (1, 1, 1)}, "as its teacher"),
        ({"model__kind": "rd4ad", "model__residual": False}, "neither residual paths nor gates"),
    ],
)
def test_what_is_refused(root: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AudiokdError, match=said):
        build(root, tmp_path / "run", **changes)


def test_defects_are_not_learnt_from(root: Path, tmp_path: Path) -> None:
    s = settings()
    with pytest.raises(AudiokdError, match="8 of 16 pictures show defects: "):
        DBFADRun(s, str(root / "test"), str(root / "train"))
    with pytest.raises(AudiokdError, match="8 of 16 pictures show defects: "):
        DBFADRun(s, str(root / "train"), str(root / "test"))
    bad = [i for i in read_items(root / "test") if i.label != "good"]
    write_items(tmp_path / "bad", bad)
    with pytest.raises(AudiokdError, match="all 8 pictures show defects"):
        DBFADRun(s, str(tmp_path / "bad"), str(root / "train"))
    write_items(tmp_path / "bare", [Item("a", bad[0].path)])
    with pytest.raises(AudiokdError, match="a has no label"):
        DBFADRun(s, str(tmp_path / "bare"), str(root / "train"))
    leak = dataclasses.replace(s, data=dataclasses.replace(s.data, test=(str(root / "train"),)))
    leaking = DBFADRun(leak, str(root / "train"), str(root / "train"))
    (tmp_path / "run").mkdir()
    with pytest.raises(AudiokdError, match="fit saw 12 test items"):
        leaking.build(tmp_path / "run")
    (tmp_path / "sound").mkdir()
    (tmp_path / "sound" / "wav.scp").write_text("a a.wav\n")
    with pytest.raises(AudiokdError, match="sound, and a detector looks at pictures"):
        DBFADRun(s, str(tmp_path / "sound"), str(root / "train"))
    with pytest.raises(ConfigError, match="no weights"):
        DBFADRun(settings(model__weights=""), str(root / "train"), str(root / "train"))

"""Building extraction: what each step trains and leaves alone, learning, going on after a kill, what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest
import tiny_backbones  # noqa: F401  registers them
import torch
from method_settings import settings_of
from PIL import Image
from tiny_buildings import SIDE, save_tiles
from torch import nn
from whole_runs import checkpoint, differences, rows

import audiokd
from audiokd.data.items import read_items, write_items
from audiokd.errors import AudiokdError, ConfigError
from audiokd.losses.bernoulli_kl import bernoulli_kl
from audiokd.methods.building_sda.module import BuildingModule
from audiokd.methods.building_sda.run import BuildingRun, check_settings
from audiokd.methods.building_sda.settings import Network
from audiokd.nn.batch_norm import statistics_kept
from audiokd.stages.export import export
from audiokd.stages.fit import fit
from audiokd.training.schedules import slanted_triangular
from audiokd.vision.segmenter import NETWORKS

RESNET = "audiokd_tiny_resnet"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles whose masks are off by five pixels, fewer whose masks are right, and others to select by and to test on."""
    folder = tmp_path_factory.mktemp("buildings")
    save_tiles(folder / "noisy", 24, seed=1, shift=5)
    save_tiles(folder / "clean", 8, seed=2)
    save_tiles(folder / "dev", 8, seed=3)
    save_tiles(folder / "test", 8, seed=4)
    return folder


def settings(step: str = "pretrain", **changes: Any) -> Any:
    flat: dict[str, Any] = {"step": step, "run.accelerator": "cpu", "model.encoder": RESNET}
    flat |= {k.replace("__", "."): v for k, v in changes.items()}
    return settings_of("building_sda", "debug", flat)


def train(root: Path, exp: Path, step: str = "pretrain", on: str = "clean", **changes: Any) -> dict[str, float]:
    return fit("building_sda", settings(step, **changes), str(root / on), str(root / "dev"), str(exp))


def build(root: Path, folder: Path, step: str = "pretrain", on: str = "clean", **changes: Any) -> Any:
    folder.mkdir(exist_ok=True)
    return BuildingRun(settings(step, **changes), str(root / on), str(root / "dev")).build(folder)


def batch_of(data: Any, step: int = 0) -> dict[str, Any]:
    return data.collate([data.train_set[step, i] for i in range(4)])


@pytest.fixture(scope="module")
def noisy(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a model that learnt from noisy masks."""
    folder = tmp_path_factory.mktemp("noisy")
    fixed = {"optim__lr": 1e-2, "run__max_steps": 60, "run__val_every": 30, "run__ckpt_every": 60}
    train(root, folder / "exp", on="noisy", **fixed)
    export(str(folder / "exp"), str(folder / "model"), "last")
    return folder / "model"


def test_it_learns(root: Path, noisy: Path, tmp_path: Path) -> None:
    found = {k: float(v) for k, v in rows(noisy.parent / "exp").items()}
    losses = [found[s, "train", "loss"] for s in range(1, 61)]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert found[60, "val", "iou"] > found[0, "val", "iou"]
    about = json.loads((noisy / "regime.json").read_text())
    assert about["steps"][0]["labelled"] == {
        "count": 24, "labels": {"building": 24}, "sha256": about["steps"][0]["labelled"]["sha256"],
    }  # fmt: skip


def test_the_export_is_the_network(root: Path, noisy: Path) -> None:
    model = audiokd.load_model(noisy)
    state = checkpoint(noisy.parent / "exp", "last")["state_dict"]
    assert differences({k.removeprefix("model."): v for k, v in state.items()}, model.state_dict()) == []
    x = torch.randn(3, 3, 41, 50)
    with torch.no_grad():
        logits, n = model.extract(x, None, "logits")
        assert (logits.shape, n.tolist()) == ((3, 41, 50), [41] * 3)
        torch.testing.assert_close(model.extract(x[1:2], None, "logits")[0], logits[1:2], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model.extract(x, None, "probability")[0], logits.sigmoid())
    assert (model.kind, model.labels, model.preprocess.size) == ("image", ["building"], (SIDE, SIDE))


def test_adaptation_is_better_than_noisy_labels_alone(root: Path, noisy: Path, tmp_path: Path) -> None:
    long = {"optim__lr": 1e-2, "run__max_steps": 40, "run__val_every": 20, "run__ckpt_every": 40}
    adapted = train(root, tmp_path / "exp", "adapt", model__encoder="", model__init=str(noisy), **long)
    before = {k: float(v) for k, v in rows(noisy.parent / "exp").items()}[60, "val", "iou"]
    assert adapted["iou"] > before + 0.1
    regime = json.loads((tmp_path / "exp" / "regime.json").read_text())
    assert regime["before"]["model.init"]["steps"][0]["labelled"]["count"] == 24
    begun, _ = build(root, tmp_path / "begun", "adapt", model__encoder="", model__init=str(noisy))
    assert differences(begun.model.state_dict(), audiokd.load_model(noisy).state_dict()) == []


def test_a_teacher_is_frozen_and_nobodys(root: Path, noisy: Path, tmp_path: Path) -> None:
    module, data = build(root, tmp_path / "run", "kd", teacher__model=str(noisy), loss__share=0.25, loss__name="bce")
    before = {k: v.clone() for k, v in module.teacher.state_dict().items()}
    module.train()
    batch = batch_of(data)
    parts = module.losses(batch)
    sum(parts.values()).backward()
    assert not module.teacher.training
    assert not any(m.training for m in module.teacher.modules())
    assert all(p.grad is None and not p.requires_grad for p in module.teacher.parameters())
    assert differences(before, module.teacher.state_dict()) == []
    assert not any("teacher" in k for k in module.state_dict())
    optimised = {id(p) for o in module.configure_optimizers() for g in o.param_groups for p in g["params"]}
    assert optimised == {id(p) for p in module.model.parameters()}
    module.eval()
    with torch.no_grad():
        parts, logits = module.losses(batch), module.model(batch["pixel_values"])
        said = module.teacher(batch["pixel_values"])
    bce = nn.functional.binary_cross_entropy_with_logits(logits, batch["masks"])
    assert float(parts["labels"]) == pytest.approx(0.75 * float(bce), rel=1e-5)
    assert float(parts["teacher"]) == pytest.approx(0.25 * float(bernoulli_kl(logits, said, 2.0)), rel=1e-5)
    found = train(root, tmp_path / "exp", "kd", teacher__model=str(noisy), run__max_steps=3)
    before_it = {k: float(v) for k, v in rows(noisy.parent / "exp").items()}
    assert found["teacher_iou"] == pytest.approx(before_it[60, "val", "iou"], abs=1e-6)  # beside the student's
    assert not any("teacher" in k for k in checkpoint(tmp_path / "exp", "last")["state_dict"])


def test_peers_learn_from_one_another(root: Path, noisy: Path, tmp_path: Path) -> None:
    peer = {"peer__init": str(noisy), "run__max_steps": 4, "run__val_every": 2}
    found = train(root, tmp_path / "exp", "dml", **peer)
    assert {"iou", "loss", "peer_iou", "peer_loss"} <= found.keys()
    logged = rows(tmp_path / "exp")
    assert all(
        math.isfinite(float(logged[s, "train", k])) for s in range(1, 5) for k in ("loss", "mutual", "peer_mutual")
    )
    state = checkpoint(tmp_path / "exp", "last")
    assert len(state["optimizer_states"]) == 2
    moved = {k.removeprefix("peer."): v for k, v in state["state_dict"].items() if k.startswith("peer.")}
    assert differences(moved, dict(audiokd.load_model(noisy).state_dict()))
    export(str(tmp_path / "exp"), str(tmp_path / "model"), "last")
    assert audiokd.load_model(tmp_path / "model").config.encoder == RESNET


def test_a_peer_is_no_part_of_the_others_gradient(root: Path, tmp_path: Path) -> None:
    """Nor is its batch counted twice in the running statistics."""
    module, data = build(root, tmp_path / "run", "dml", peer__encoder=RESNET)
    module.train()
    batch = batch_of(data)
    loss = bernoulli_kl(module.model(batch["pixel_values"]), module.peer(batch["pixel_values"]))
    loss.backward()
    assert all(p.grad is None for p in module.peer.parameters())
    kept = {k: v.clone() for k, v in module.model.state_dict().items()}
    with torch.no_grad(), statistics_kept(module.model):
        module.model(batch["pixel_values"])
    assert differences(kept, module.model.state_dict()) == []
    assert all(m.momentum for m in module.model.modules() if isinstance(m, nn.BatchNorm2d))


def test_unfreezing_goes_from_the_deepest_stage_up(root: Path, noisy: Path, tmp_path: Path) -> None:
    slow = {"unfreeze__phase_steps": 2, "optim__block_decay": 0.5, "optim__schedule": "slanted_triangular"}
    module, _ = build(root, tmp_path / "run", "adapt", model__encoder="", model__init=str(noisy), **slow)
    learning = []
    for step in range(0, 12, 2):
        module.iteration = step
        module._set_phase()
        module.eval()
        module.train()
        names = {
            n.split(".")[3] for n, p in module.model.segmenter.named_parameters() if "encoder" in n and p.requires_grad
        }
        learning.append(names)
        for name, m in module.model.segmenter.named_modules():
            if isinstance(m, nn.BatchNorm2d):  # a frozen one's statistics stay
                assert m.training == m.weight.requires_grad, name
        assert all(p.requires_grad for n, p in module.model.segmenter.named_parameters() if "decoder" in n)
    deep = ["layer4", "layer3", "layer2", "layer1"]
    assert learning == [*({*deep[:k]} for k in range(5)), {*deep, "conv1", "bn1"}]
    (optimizer,) = module.configure_optimizers()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([1e-3 * 0.5**k for k in range(6)])
    train(root, tmp_path / "exp", "adapt", model__encoder="", model__init=str(noisy), run__max_steps=3, **slow)
    state = checkpoint(tmp_path / "exp", "last")["state_dict"]
    before = audiokd.load_model(noisy).state_dict()
    for name, tensor in state.items():
        if ".encoder.model.layer1" in name or ".encoder.model.bn1" in name:
            assert torch.equal(tensor, before[name.removeprefix("model.")]), name


def test_modes_after_validation(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, bool]] = []
    for name in ("losses", "validate_batch"):
        real = getattr(BuildingModule, name)

        def spy(self: Any, batch: Any, real: Any = real, name: str = name) -> Any:
            seen.append((name == "losses", all(m.training for m in self.model.modules())))
            return real(self, batch)

        monkeypatch.setattr(BuildingModule, name, spy)
    train(root, tmp_path / "exp", run__max_steps=4, run__val_every=2)
    assert all(is_training == mode for is_training, mode in seen)
    assert [s for s, _ in seen].count(True) == 4


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", "adagrad", "nadam"])
def test_optimisers(root: Path, tmp_path: Path, optimizer: str) -> None:
    module, data = build(root, tmp_path / "run", optim__name=optimizer, optim__lr=1e-2)
    (found,) = module.configure_optimizers()
    batch = batch_of(data)
    losses = []
    for _ in range(4):
        loss = sum(module.losses(batch).values())
        found.zero_grad()
        loss.backward()
        found.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_the_plateau_lowers_the_rate(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the IoU has not grown for `patience` validations; the one before the first step is not counted."""
    means = BuildingModule.val_means
    monkeypatch.setattr(BuildingModule, "val_means", lambda self: means(self) | {"iou": 0.5})
    train(root, tmp_path / "exp", optim__patience=1, run__max_steps=6, run__val_every=1)
    rates = [float(rows(tmp_path / "exp")[s, "train", "lr"]) for s in range(1, 7)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5])


def test_settings_name_every_network() -> None:
    assert get_args(Network) == ("", *NETWORKS)


def test_slanted_triangular() -> None:
    rates = [slanted_triangular(s, peak=1.0, total_steps=100) for s in range(101)]
    assert (rates[0], rates[10], rates[100]) == pytest.approx((1 / 32, 1.0, 1 / 32))
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_it_goes_on_after_a_kill(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed between two checkpoints and validations equals one that was not: plateaus and both peers."""
    changes = {"peer__encoder": RESNET, "run__max_steps": 9, "run__val_every": 2, "optim__patience": 1}
    train(root, tmp_path / "whole", "dml", **changes)
    step = BuildingModule.training_step

    def stop(self: Any, batch: Any, batch_idx: int) -> None:
        if self.iteration == 5:
            raise RuntimeError("killed")
        step(self, batch, batch_idx)

    with monkeypatch.context() as m:
        m.setattr(BuildingModule, "training_step", stop)
        with pytest.raises(RuntimeError, match="killed"):
            train(root, tmp_path / "killed", "dml", **changes)
    train(root, tmp_path / "killed", "dml", **changes)
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    mine, theirs = (checkpoint(tmp_path / e, "last") for e in ("killed", "whole"))
    for key in ("state_dict", "optimizer_states", "iteration", "callbacks", "plateaus"):
        assert differences(mine[key], theirs[key], key) == []


@pytest.mark.parametrize(
    ("step", "changes", "said"),
    [
        ("pretrain", {"model__encoder": ""}, "one model is due"),
        ("pretrain", {"model__encoder": "", "model__init": "x"}, "is adapt"),
        ("pretrain", {"model__init": "x"}, "one model is due"),
        ("pretrain", {"peer__encoder": RESNET}, "a peer is of dml alone"),
        ("pretrain", {"teacher__model": "x"}, "a teacher is of kd"),
        ("pretrain", {"unfreeze__phase_steps": 2}, "gradual unfreezing is of adapt"),
        ("pretrain", {"data__batch_size": 1}, "a batch of one picture"),
        ("adapt", {}, "adapt goes on from a model's weights"),
        ("adapt", {"model__encoder": "", "model__init": "x", "model__weights": "y"}, "has all weights"),
        ("kd", {}, "kd has one"),
        ("dml", {}, "one peer is due"),
    ],
)
def test_what_is_refused(step: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_settings(settings(step, **changes))


def test_bad_data(root: Path, tmp_path: Path) -> None:
    def of(train: Path, dev: Path = root / "dev", **changes: Any) -> BuildingRun:
        return BuildingRun(settings(**changes), str(train), str(dev))

    with pytest.raises(AudiokdError, match="--train and --dev are one folder"):
        of(root / "dev")
    items = read_items(root / "clean")
    write_items(tmp_path / "bare", [items[0].with_(mask=None), *items[1:]])
    with pytest.raises(AudiokdError, match="1 of 8 items have no mask: tile2-000"):
        of(tmp_path / "bare")
    write_items(tmp_path / "lost", [items[0].with_(mask=str(tmp_path / "gone.png")), *items[1:]])
    with pytest.raises(AudiokdError, match="1 of 8 masks are not there"):
        of(tmp_path / "lost")
    Image.new("L", (SIDE, SIDE)).save(tmp_path / "empty.png")
    write_items(tmp_path / "empty", [i.with_(mask=str(tmp_path / "empty.png")) for i in items])
    with pytest.raises(AudiokdError, match="none of 8 masks has a pixel of the class"):
        of(tmp_path / "empty")
    leaky = of(root / "clean", data__test=(str(root / "clean"),))
    with pytest.raises(AudiokdError, match="pretrain saw 8 test items"):
        leaky.build(tmp_path)
    Image.new("L", (SIDE, SIDE + 1)).save(tmp_path / "tall.png")
    write_items(tmp_path / "tall", [items[0].with_(mask=str(tmp_path / "tall.png")), *items[1:]])
    _, data = of(tmp_path / "tall").build(tmp_path)
    assert data.train_set[0, 0]["id"] == items[1].id  # the next one in its place
    assert "a mask of 32 x 33 pixels, the picture has 32 x 32" in (tmp_path / "errors.jsonl").read_text()
    _, data = of(root / "clean", data__crop=64).build(tmp_path)
    with pytest.raises(AudiokdError, match="32 x 32 pixels are no crop of 64"):
        data.train_set[0, 0]


def test_networks_of_another_kind_are_refused(root: Path, noisy: Path, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="a unet, and fpn is asked for"):
        build(root, tmp_path / "run", "adapt", model__encoder="", model__init=str(noisy), model__network="fpn")
    with pytest.raises(AudiokdError, match="the teacher sees pictures with mean"):
        build(root, tmp_path / "run", "kd", model__encoder="tinynet_e", teacher__model=str(noisy))

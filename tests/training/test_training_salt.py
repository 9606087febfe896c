"""SALT: what the student sees and does not, what is frozen, that it learns, and what a run refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from method_settings import settings_of
from tiny_videos import video_dir
from torch import nn
from transformers import AutoModel, ViTConfig
from whole_runs import checkpoint, differences, rows

from audiokd.data.items import Item, write_items
from audiokd.errors import AudiokdError
from audiokd.methods.salt.model import SALTModel
from audiokd.methods.salt.module import SALTModule
from audiokd.methods.salt.run import SALTRun, check_settings
from audiokd.methods.salt.settings import SALTSettings
from audiokd.stages.export import export
from audiokd.stages.extract import extract
from audiokd.stages.fit import fit
from audiokd.stages.probe import probe
from audiokd.stages.report import report

IDS = ["a", "b", "c", "d"]


def settings(**changes: Any) -> Any:
    return settings_of("salt", "debug", {k.replace("__", "."): v for k, v in changes.items()})


@pytest.fixture(scope="module")
def data(carphone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    video_dir(root / "train", carphone, 0, 10)
    video_dir(root / "dev", carphone, 20, 4)
    return root


def train(data: Path, exp: Path, s: Any) -> dict[str, float]:
    return fit("salt", s, str(data / "train"), str(data / "dev"), str(exp))


@pytest.fixture(scope="module")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained teacher's folder; its run keeps the checkpoint of step 4."""
    exp = tmp_path_factory.mktemp("teacher") / "exp"
    train(data, exp, settings(keep=(4,)))
    export(str(exp), str(exp / "export"))
    return exp


def student(of: Path, **changes: Any) -> Any:
    return settings(step="student", teacher__model=str(of / "export"), model__dim=36, model__depth=3, **changes)


def test_both_steps_learn(data: Path, tmp_path: Path, teacher: Path) -> None:
    """Of a real video's windows."""
    how = {"run__max_steps": 20, "run__val_every": 20, "run__ckpt_every": 20, "optim__lr": 3e-3}
    for name, s in (("teacher", settings(**how)), ("student", student(teacher, **how))):
        train(data, tmp_path / name, s)
        found = rows(tmp_path / name)
        assert float(found[20, "val", "loss"]) < 0.96 * float(found[0, "val", "loss"]), name
    of = rows(tmp_path / "student")
    assert {"std_student", "std_teacher", "rank", "loss0", "loss1", "lr"} <= {k for _, s, k in of if s == "train"}


@pytest.mark.parametrize("step", ["student", "ema"])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    data: Path, tmp_path: Path, teacher: Path, step: str
) -> None:
    def made() -> SALTSettings:
        return student(teacher) if step == "student" else settings(step="ema")

    train(data, tmp_path / "whole", made())
    s = made()
    run = SALTRun(s, str(data / "train"), str(data / "dev"))
    take, calls = SALTModule.training_step, []

    def stopping(self: SALTModule, batch: Any, batch_idx: int) -> None:
        calls.append(self.iteration)
        if len(calls) == 6:
            raise KeyboardInterrupt
        take(self, batch, batch_idx)

    patch = pytest.MonkeyPatch()
    patch.setattr(SALTModule, "training_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "stopped", s)
    patch.undo()
    assert checkpoint(tmp_path / "stopped", "last")["iteration"] == 4
    train(data, tmp_path / "stopped", made())
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")
    for part in ("state_dict", "optimizer_states"):
        a, b = (checkpoint(tmp_path / k, "last")[part] for k in ("stopped", "whole"))
        assert differences(a, b) == []
    assert run.describe()["train"]["items"] == 10


def test_a_branch_is_the_run_that_decays_from_there(data: Path, tmp_path: Path, teacher: Path) -> None:
    branch = settings(branch__run=str(teacher), branch__step=4, optim__decay_steps=3, run__max_steps=7)
    train(data, tmp_path / "branch", branch)
    train(data, tmp_path / "whole", settings(optim__decay_steps=3, run__max_steps=7))
    a, b = (checkpoint(tmp_path / k, "last") for k in ("branch", "whole"))
    assert a["iteration"] == 7
    assert differences(a["state_dict"], b["state_dict"]) == []
    assert differences(a["optimizer_states"][0]["state"], b["optimizer_states"][0]["state"]) == []
    lr = {n: float(v) for (n, s, k), v in rows(tmp_path / "branch").items() if k == "lr"}
    assert min(lr) > 4
    export(str(tmp_path / "branch"), str(tmp_path / "model"))
    flops = json.loads((tmp_path / "model/config.json").read_text())["flops"]
    assert flops["steps"] == 7  # those of the constant stretch and of the decay
    with pytest.raises(AudiokdError, match=r"step5\.ckpt: no such file"):
        train(data, tmp_path / "no", settings(branch__run=str(teacher), branch__step=5, run__max_steps=7))
    with pytest.raises(AudiokdError, match="a branch of step 4 that ends at step 4"):
        train(data, tmp_path / "no", settings(branch__run=str(teacher), branch__step=4, run__max_steps=4))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__dim": 36}, "the run has model.dim 24, here 36"),
        ({"optim__lr": 2e-3, "run__seed": 1}, "optim.lr 0.001, here 0.002; run.seed 0, here 1"),
        ({"step": "ema"}, "the run has step teacher, here ema"),
        ({"optim__decay_steps": 4}, "a branch of step 4, whose decay begins at 3"),
    ],
)
def test_a_branch_that_is_no_run_of_its_length(
    data: Path, tmp_path: Path, teacher: Path, changes: dict[str, Any], said: str
) -> None:
    s = settings(**{"branch__run": str(teacher), "branch__step": 4, "run__max_steps": 7, **changes})
    with pytest.raises(AudiokdError, match=said):
        train(data, tmp_path / "no", s)


def test_a_branch_stays_with_its_training_set(data: Path, tmp_path: Path, teacher: Path) -> None:
    s = settings(branch__run=str(teacher), branch__step=4, run__max_steps=7)
    with pytest.raises(AudiokdError, match="another training set in that place"):
        fit("salt", s, str(data / "dev"), str(data / "dev"), str(tmp_path / "no"))


def test_a_run_does_not_go_on_with_another_teacher(data: Path, tmp_path: Path, teacher: Path) -> None:
    shutil.copytree(teacher / "export", tmp_path / "export")
    how = {"step": "student", "teacher__model": str(tmp_path / "export"), "run__max_steps": 2}
    train(data, tmp_path / "exp", settings(**how))
    net = SALTModel.from_pretrained(tmp_path / "export")
    net.net.embed.weight.data += 1
    net.save_pretrained(tmp_path / "export")
    with pytest.raises(AudiokdError, match=r"inputs\.teacher_sha256"):
        train(data, tmp_path / "exp", settings(**how))


def test_a_run_has_a_report(teacher: Path, data: Path, tmp_path: Path) -> None:
    """With what `audiokd probe` leaves beside it."""
    train(data, tmp_path / "exp", student(teacher, run__max_steps=2))
    for head in ("attentive", "knn"):
        for split in ("train", "dev"):
            layer = "tokens" if head == "attentive" else "clip"
            extract(str(teacher / "export"), str(data / split), str(tmp_path / layer / split), layer)
        stores = {"train": str(tmp_path / layer / "train"), "dev": str(tmp_path / layer / "dev")}
        out = str(tmp_path / f"exp/probes-best/halves-{head}.json")
        probe(**stores, test=stores["dev"], data=[str(data / s) for s in stores], out=out, head=head, epochs=2)  # type: ignore[arg-type]
    page = Path(report(str(tmp_path / "exp"))).read_text()
    assert f"student of {teacher}/export: video, 3 blocks of 36; 2 steps" in page
    assert all(f"halves-{head}" in page for head in ("attentive", "knn"))


def test_a_best_checkpoint_costs_the_whole_run(teacher: Path, tmp_path: Path) -> None:
    shutil.copytree(teacher, tmp_path / "exp")
    early = checkpoint(teacher, "best") | {"iteration": 3}
    torch.save(early, tmp_path / "exp/checkpoints/best.ckpt")
    export(str(tmp_path / "exp"), str(tmp_path / "model"))
    assert json.loads((tmp_path / "model/config.json").read_text())["flops"]["steps"] == 6


def test_a_budget_says_how_many_steps(data: Path, tmp_path: Path, teacher: Path) -> None:
    flops = json.loads((teacher / "export/config.json").read_text())["flops"]
    assert flops["total"] == flops["step"] * 6
    s = student(teacher, max_flops=3 * flops["total"])
    train(data, tmp_path / "s", s)
    export(str(tmp_path / "s"), str(tmp_path / "s/export"), "last")
    mine = json.loads((tmp_path / "s/export/config.json").read_text())["flops"]
    assert mine["teacher"] == flops["total"]
    assert mine["total"] <= 3 * flops["total"] < mine["total"] + mine["step"]
    assert mine["steps"] == s.run.max_steps


def test_an_export_is_an_encoder_of_transformers(teacher: Path, data: Path, tmp_path: Path) -> None:
    model = AutoModel.from_pretrained(teacher / "export").eval()
    x = torch.randn(2, 3, 4, 32, 32)
    tokens, n = model.extract(x, None, "tokens")
    assert tokens.shape == (2, 32, 24)
    assert n.tolist() == [32, 32]
    assert torch.allclose(model(x), tokens, atol=1e-5)
    assert torch.equal(model.extract(x[1:], None, "tokens")[0][0], tokens[1])  # alone as in a batch
    clip, _ = model.extract(x, None, "clip")
    assert clip.shape == (2, 1, 48)
    assert torch.allclose(clip[:, 0, 24:], tokens.mean(1), atol=1e-5)
    last = checkpoint(teacher, "best")["state_dict"]
    assert torch.equal(model.net.embed.weight, last["encoder.net.embed.weight"])
    export(str(teacher), str(tmp_path / "init"), "init")
    init = AutoModel.from_pretrained(tmp_path / "init")
    assert not torch.equal(init.net.blocks[0].attn.qkv.weight, model.net.blocks[0].attn.qkv.weight)
    assert isinstance(init.frontend, nn.Identity)


@pytest.mark.parametrize("step", ["teacher", "ema"])
def test_sound_learns_too(readers: Path, tmp_path: Path, step: str) -> None:
    s = settings(step=step, model__kind="audio", model__patch=16, run__max_steps=8, run__val_every=4)
    fit("salt", s, str(readers / "train"), str(readers / "dev"), str(tmp_path / "exp"))
    found = rows(tmp_path / "exp")
    assert step == "ema" or float(found[8, "val", "loss"]) < float(found[0, "val", "loss"])
    export(str(tmp_path / "exp"), str(tmp_path / "m"))
    model = AutoModel.from_pretrained(tmp_path / "m").eval()
    wav = 0.1 * torch.randn(2, 24_000)
    lengths = torch.tensor([24_000, 9000])
    frames, n = model.extract(wav, lengths, "frames")
    assert n.tolist() == [9, 3]  # of 151 and 57 frames, 16 a patch
    assert frames.shape == (2, 9, 4 * 24)
    alone, _ = model.extract(wav[1:, :9000], None, "frames")
    assert torch.equal(alone[0], frames[1, :3])
    assert model.extract(wav, lengths, "tokens")[1].tolist() == [36, 12]
    assert model.extract(wav[:, :600], None, "clip")[0].shape == (2, 1, 48)  # less than a patch
    assert model.config.chunk == 4
    with pytest.raises(AudiokdError, match="at least 513"):
        model.extract(wav[:, :500], None, "clip")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"step": "student"}, "step student has a frozen teacher"),
        ({"teacher__model": "x"}, "the others have none"),
        ({"model__size": 36}, "no whole patches"),
        ({"model__frames": 3}, "no whole patches"),
        ({"model__heads": 5}, "does not split into 5 heads"),
        ({"model__heads": 6}, "no pair for each of 3 axes"),
        ({"predictor__heads": 5}, "a predictor of width 24 and 5 heads"),
        ({"masks__scales": (0.1,)}, "2 kinds of blocks and 1 scales"),
        ({"masks__kind": "tubes", "masks__tubes": (0.01,)}, "a tube mask that hides 0.01"),
        ({"data__scale": (0.5, 2.0)}, "scale"),
        ({"loss__power": 3}, "power 3"),
        ({"model__kind": "audio", "model__patch": 24, "model__heads": 2}, "do not fill 64"),
        ({"model__kind": "audio", "data__val_crop_s": 3.0}, "masks are of the grid of crop_s"),
        ({"step": "student", "teacher__model": "no/such/folder"}, "no such folder"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AudiokdError, match=said):
        check_settings(settings(**changes))


def test_a_step_to_keep_that_is_not_taken(data: Path) -> None:
    with pytest.raises(AudiokdError, match="step 7 of a run of 6 steps"):
        SALTRun(settings(keep=(4, 7)), str(data / "train"), str(data / "dev"))


def test_folders_that_are_no_teacher(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ViTConfig().save_pretrained(tmp_path / "vit")
    for name, said in (("empty", "cannot read its config"), ("vit", "vit, no encoder of SALT")):
        with pytest.raises(AudiokdError, match=said):
            check_settings(settings(step="student", teacher__model=str(tmp_path / name)))


def test_a_teacher_of_another_grid(teacher: Path) -> None:
    with pytest.raises(AudiokdError, match="patch 8 there, 16 here"):
        check_settings(student(teacher, model__patch=16))
    with pytest.raises(AudiokdError, match="another grid: kind video there, audio here"):
        check_settings(student(teacher, model__kind="audio", model__patch=8))


def test_videos_that_cannot_be_read_are_named_and_left_out(data: Path, tmp_path: Path, carphone: Path) -> None:
    video_dir(tmp_path / "train", carphone, 0, 6)
    short = video_dir(tmp_path / "short", carphone, 30, 1, frames=3)
    (tmp_path / "empty.mp4").write_bytes(b"")
    from audiokd.data.items import read_items

    items = [*read_items(tmp_path / "train"), *read_items(short), Item("empty", str(tmp_path / "empty.mp4"))]
    write_items(tmp_path / "train", items)
    fit(
        "salt",
        settings(run__max_steps=4, run__val_every=4),
        str(tmp_path / "train"),
        str(data / "dev"),
        str(tmp_path / "e"),
    )
    wrong = {r["id"]: r["error"] for r in map(json.loads, (tmp_path / "e/errors.jsonl").read_text().splitlines())}
    assert wrong.keys() == {"w30", "empty"}
    assert "3 frames" in wrong["w30"]
    assert "shorter than the clip" in wrong["w30"]
    assert "0 bytes" in wrong["empty"]


def test_inputs_that_are_no_videos(data: Path, tmp_path: Path, coffee: Path, readers: Path) -> None:
    write_items(tmp_path, [Item("coffee", str(coffee))])
    with pytest.raises(AudiokdError, match=r"coffee\.png is no video's name"):
        SALTRun(settings(), str(tmp_path), str(tmp_path))
    with pytest.raises(AudiokdError, match="no folder of videos"):
        SALTRun(settings(), str(readers / "train"), str(readers / "dev"))

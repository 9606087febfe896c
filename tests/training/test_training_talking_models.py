"""Talking Models on real digits and readers: what is trained and what is not, every way to be taught, and runs that go on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_backbones  # noqa: F401  registers them
import torch
from safetensors.torch import load_file
from talking_runs import METHOD, OF_KINDS, build, fit_twice, learnt, save_talk, sets, settings
from whole_runs import checkpoint, differences, rows

import audiokd
from audiokd.data.items import read_items, write_items
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.talking_models.run import TalkRun
from audiokd.methods.talking_models.students import ConvBlock
from audiokd.nn.split_layers import LayerSplit
from audiokd.stages.export import export
from audiokd.stages.fit import fit
from audiokd.teachers.labeller import load_labeller


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits, and a teacher that this method trained."""
    return save_talk(tmp_path_factory.mktemp("talk"))


def test_the_student_learns_and_the_teacher_stays(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []

    def load(name: str, logits: bool) -> Any:
        kept.append(load_labeller(name, logits))
        return kept[-1]

    monkeypatch.setattr("audiokd.teachers.labeller.load_labeller", load)
    before = load_file(root / "teacher" / "model.safetensors")
    learn = {
        "run__max_steps": 48,
        "run__val_every": 24,
        "model__widths": [8, 16, 16],
        "optim__lr": 1e-2,
        "messages__rounds": 2,
    }
    fit(METHOD, settings(root, **learn), *sets(root), str(tmp_path / "exp"))
    found = {k: float(v) for k, v in rows(tmp_path / "exp").items()}
    losses = [found[s, "train", "task"] for s in range(1, 49)]
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])
    assert found[48, "val", "loss"] < found[0, "val", "loss"]
    (teacher,) = kept
    after = teacher.net.state_dict()  # batch norms' statistics, too
    assert differences(before, {k: after[k] for k in before}) == []
    assert not teacher.net.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.net.parameters())
    # best.ckpt and its export: the student and nothing else; it answers as the student in the run does, alone
    state = checkpoint(tmp_path / "exp", "last")["state_dict"]
    assert {k.split(".")[0] for k in state} == {"model", "interpreters"}
    export(str(tmp_path / "exp"), str(tmp_path / "model"), "last")
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert differences(stored, {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}) == []
    module, _, batch = build(root, tmp_path / "again", **learn)
    module.load_state_dict(state)
    alone = audiokd.load_model(tmp_path / "model")
    with torch.no_grad():
        expected = module.eval().model(**batch["student"])
        assert torch.equal(alone.extract(batch["student"]["pixel_values"], None, "logits")[0][:, 0], expected)
        assert torch.equal(module.split.run(**batch["student"]).output, expected)
    shutil.rmtree(tmp_path / "again")
    assert alone.labels == sorted({i.label for i in read_items(root / "train")})


def test_a_split_that_gives_something_else_is_found_at_the_start(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And looking for it moves nothing: the run is the same to the bit, with the check and without."""
    seen = LayerSplit.check
    checked: list[str] = []

    def noted(self: Any, passed: Any) -> None:
        checked.append(self.where)
        seen(self, passed)

    monkeypatch.setattr(LayerSplit, "check", noted)
    module, _, _ = build(root, tmp_path / "run")
    assert checked == ["the student", str(root / "teacher")]
    after = torch.get_rng_state()
    monkeypatch.setattr(LayerSplit, "check", lambda self, passed: None)
    other, _, _ = build(root, tmp_path / "other")
    assert torch.equal(torch.get_rng_state(), after)
    assert differences(module.state_dict(), other.state_dict()) == []
    monkeypatch.setattr(LayerSplit, "check", seen)
    forward = ConvBlock.forward
    monkeypatch.setattr(ConvBlock, "forward", lambda *args: forward(*args) + torch.randn(()))
    with pytest.raises(AudiokdError, match=r"the student: entered after body\.blocks\.0 with the state that it has"):
        build(root, tmp_path / "noisy")


@pytest.mark.parametrize("form", ["pooled", "tokens"])
def test_all_losses_of_a_talk_fall(root: Path, tmp_path: Path, form: str) -> None:
    """The messages carry what the student needs to be right after them."""
    module, data, _ = build(root, tmp_path / "run", messages__form=form, messages__rounds=2, model__widths=[8, 16, 16])
    seen = learnt(module, data.collate([data.train_set[0, k] for k in range(0, 45, 3)]), 80)
    for name in ("task", "interact_1", "interact_2", "state_1", "state_2"):
        assert seen[-1][name] < 0.8 * seen[0][name], (name, seen[0], seen[-1])


@pytest.mark.parametrize("kind", OF_KINDS)
def test_every_way_to_be_taught(root: Path, tmp_path: Path, kind: str) -> None:
    """All begin with the same student, and train no more than it and what they add."""
    module, _, batch = build(root, tmp_path / "run", kind)
    plain, _, _ = build(root, tmp_path / "plain", "alone")
    assert differences(plain.model.state_dict(), module.model.state_dict()) == []
    parts = module.losses(batch)
    assert parts.keys() == OF_KINDS[kind]
    statistics = module.model.body.blocks[1].norm.running_mean.clone()
    plain.losses(batch)
    torch.testing.assert_close(statistics, plain.model.body.blocks[1].norm.running_mean)  # messages leave them alone
    torch.stack([*parts.values()]).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    (group,) = module.configure_optimizers().param_groups
    assert len(group["params"]) == len(list(module.parameters()))
    added = {n.split(".")[0] for n, _ in module.named_parameters()} - {"model"}
    assert added == {"base": {"interpreters"}, "modules": {"interpreters"}, "hints": {"regressor"}}.get(kind, set())
    if module.teacher is not None:
        assert all(p.grad is None for p in module.teacher.net.parameters())


def test_weights_rounds_and_the_teachers_columns(root: Path, tmp_path: Path) -> None:
    module, _, batch = build(root, tmp_path / "run", messages__rounds=3)
    parts = {k: float(v) for k, v in module.losses(batch).items()}
    assert len(parts) == 1 + 9
    again, _, _ = build(
        root, tmp_path / "run", messages__rounds=3, loss__interact=0.5, loss__message=2.0, loss__state=3.0
    )
    for name, value in again.losses(batch).items():
        times = {"interact": 0.5, "message": 2.0, "state": 3.0, "task": 1.0}[name.partition("_")[0]]
        assert float(value) == pytest.approx(times * parts[name], rel=1e-5), name
    kd, _, _ = build(root, tmp_path / "run", "kd")
    logits = torch.arange(12.0).view(4, 3)
    assert torch.equal(kd._of_columns(logits), logits)
    kd.columns = [2, 0]
    assert torch.equal(kd._of_columns(logits), logits[:, [2, 0]])


def test_stopped_and_started_again_it_is_the_same(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = settings(root, messages__form="tokens", messages__rounds=2)
    fit_twice(how, *sets(root), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("base", {"teacher__model": ""}, "loss: conversation: no teacher is given"),
        ("alone", {"teacher__model": "x/y"}, "a teacher is given, and no loss needs it"),
        ("base", {"messages__way": "one", "messages__rounds": 2}, "one-way talk hears nothing"),
        ("base", {"messages__way": "none"}, "nobody to agree with on a message"),
        ("base", {"messages__rounds": 0}, "rounds and sizes of messages are 1 and more"),
        ("base", {"loss__state": -1.0}, "loss.state: a weight of -1\n  a number of 0 or more"),
        ("base", {"loss__kd": float("nan")}, "loss.kd: a weight of nan"),
        ("kd", {"loss__temperature": 0.0}, "loss.temperature: a temperature of 0"),
        ("dkd", {"loss__dkd_beta": -1.0}, "loss.dkd_beta: a weight of -1"),
        ("base", {"model__encoder": "x/y"}, "model.encoder for data of image"),
        ("base", {"model__weights": "x"}, "weights without a backbone"),
        ("base", {"model__weights": "x", "model__backbone": "x/vit"}, "weights without a backbone"),
        ("base", {"model__low": "body.blocks.0", "model__high": "body.block.1"}, r"no layer 'body.block.1' in this TalkModel"),
        ("base", {"teacher__low": "body.blocks.9", "teacher__high": "body.blocks.1"}, r"teacher.*no layer 'body.blocks.9'"),
        ("base", {"model__low": "body.blocks.1"}, r"--model: body.blocks.1 is both the low and the high layer"),
        ("base", {"model__backbone": "audiokd_tiny_vit", "model__size": 0, "model__low": "body.net.net.blocks.0"}, "--model.low"),
        ("alone", {"model__high": "zzz"}, r"--model: no layer 'zzz' in this TalkModel\n.*near ones: head"),
        ("kd", {"model__low": "body.blocks"}, r"--model: body.blocks is a ModuleList.*name one in it: body.blocks.0"),
        ("kd", {"teacher__high": "body.blocks.3"}, r"--teacher: no layer 'body.blocks.3'.*near ones: body.blocks"),
        ("modules", {"teacher__low": "foo"}, r"--teacher: no layer 'foo'"),
        ("alone", {"teacher__low": "foo"}, r"teacher.low, teacher.high: set, and nothing uses it"),
        ("kd", {"messages__rounds": 5, "messages__dim": 8}, r"messages.dim, messages.rounds: no message is exchanged"),
        ("base", {"messages__count": 2}, r"messages.count: set, and nothing uses it\n  a pooled message is one"),
        ("modules", {"messages__shared": True}, r"messages.shared: set, and nothing uses it"),
        ("base", {"loss__message": 0.0, "loss__message_teacher_learns": True}, r"loss.message_teacher_learns: set, and nothing"),
        ("kd", {"teacher__layout": "last"}, r"teacher.layout: set, and nothing uses it"),
        ("base", {"model__backbone": "no/where", "model__size": 0}, r"no/where: cannot read its config"),
        ("base", {"model__widths": [8]}, "one block, and a low and a high one are due"),
        ("base", {"messages__shared": True}, r"messages.shared: states of 8 and 4 numbers in the student, 16 and 8"),
        ("base", {"model__backbone": "audiokd_tiny_vit", "model__size": 0}, "--model.low and --model.high, dotted names"),
    ],
)  # fmt: skip
def test_what_cannot_be(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, changes: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AudiokdError, match=f"(?s){said}"):
        build(root, tmp_path / "run", kind, **changes)


def test_data_that_do_not_go_together(root: Path, readers: Path, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="the teacher is of image, the data of audio"):
        build(root, tmp_path / "run", data=readers, model__size=0)
    ATSTModel(ATSTConfig(kind="clip", dim=32, depth=2, heads=2)).save_pretrained(tmp_path / "atst")
    with pytest.raises(AudiokdError, match="says neither classes nor ratings"):
        load_labeller(str(tmp_path / "atst"))
    with pytest.raises(AudiokdError, match=r"exp: the folder of a run, and no model\n  audiokd export .*exp FOLDER"):
        build(root, tmp_path / "run", teacher__model=str(root / "exp"))
    write_items(tmp_path / "same", [replace(i, label="1") for i in read_items(root / "train")])
    one = settings(root, "dkd"), str(tmp_path / "same"), str(tmp_path / "same")
    with pytest.raises(ConfigError, match=r"loss.dkd: one class, and nothing to decouple"):
        TalkRun(*one)
    (tmp_path / "rated").mkdir()
    (tmp_path / "rated" / "ratings.tsv").write_text("user\tmovie\trating\n1\t2\t3\n")
    with pytest.raises(AudiokdError, match=r"rated: --train is of pictures or sound, --dev of ratings"):
        TalkRun(settings(root), str(root / "train"), str(tmp_path / "rated"))
    with pytest.raises(AudiokdError, match=r"--train is of ratings, --dev of pictures or sound"):
        TalkRun(settings(root), str(tmp_path / "rated"), str(root / "dev"))
    with pytest.raises(AudiokdError, match=r"student saw \d+ test items"):
        build(root, tmp_path / "run", data__test=(str(root / "train"),))
    regime = json.loads((root / "exp" / "regime.json").read_text())
    assert (regime["setting"], regime["steps"][0]["labelled"]["count"]) == ("inductive", 45)

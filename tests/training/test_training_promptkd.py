"""Prompt distillation: what a teacher says of pictures without labels becomes a smaller student's, whatever it is built on."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pairs import save_pair
from tiny_pictures import NAMES, teach, write_digits
from torch.nn import functional as F
from whole_runs import assert_same_run, finish, kill_at, rows

import audiokd
from audiokd.data.items import Item, read_items, write_items
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.promptkd.run import PromptKDRun
from audiokd.methods.promptkd.settings import PromptKDSettings
from audiokd.stages.export import export
from audiokd.teachers.pair import load_pair
from audiokd.teachers.prompted_pair import PromptedPair, PromptShape
from audiokd.teachers.text_bank import BANK, load_text_bank, make_text_bank


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_digits(tmp_path_factory.mktemp("digits"), {"train": 100, "dev": 40, "test": 20})
    teach(save_pair("clip", root / "teacher"), root / "train", 300)
    teach(save_pair("clip", root / "student", seed=3), root / "train", 300)
    save_pair("clap", root / "clap")
    return root


def settings_of(corpus: Path, **changes: Any) -> PromptKDSettings:
    s = PromptKDSettings()
    s.teacher.pair, s.model.pair, s.model.prompt_depth = str(corpus / "teacher"), str(corpus / "student"), 2
    s.model.projector_hidden, s.run.max_steps, s.data.num_workers = (32,), 40, 0
    for key, value in changes.items():
        group, _, name = key.partition("__")
        setattr(getattr(s, group), name, value)
    return s


def build(corpus: Path, folder: Path, **changes: Any) -> tuple[Any, Any]:
    run = PromptKDRun(settings_of(corpus, **changes), str(corpus / "train"), str(corpus / "dev"))
    folder.mkdir(exist_ok=True)
    return run.build(folder)


def command(corpus: Path) -> list[str]:
    options = f"--config promptkd/debug --train {corpus}/train --dev {corpus}/dev --run.accelerator cpu"
    options += f" --teacher.pair {corpus}/teacher --model.pair {corpus}/student --data.test [{corpus}/test]"
    return [str(Path(sys.executable).with_name("audiokd")), "fit", "promptkd", *options.split()]


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    exp = tmp_path_factory.mktemp("promptkd") / "exp"
    finish(command(corpus), exp)
    return exp


def test_a_student_learns_without_a_label(corpus: Path, trained: Path, tmp_path: Path) -> None:
    found = {k: float(v) for k, v in rows(trained).items()}
    losses = [found[s, "train", "logit_kl"] for s in range(1, 61)]
    assert sum(losses[-10:]) < 0.4 * sum(losses[:10])
    assert found[60, "val", "score"] > 0.5  # of four
    assert found[60, "val", "rank"] > 2.5
    assert found[20, "val", "teacher_score"] == found[60, "val", "teacher_score"] > 0.6
    regime = json.loads((trained / "regime.json").read_text())
    assert regime["setting"] == "transductive"
    assert regime["steps"][0]["unlabelled"]["count"] == 400
    assert "labelled" not in regime["steps"][0]
    export(str(trained), str(tmp_path / "model"), "last")
    student = audiokd.load_model(str(tmp_path / "model"))
    assert student.labels == list(NAMES)
    state = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {k.split(".")[0] for k in state} == {"model"}  # nothing of the teacher


def test_killed_and_resumed_is_never_killed(corpus: Path, trained: Path, tmp_path: Path) -> None:
    come = kill_at(25, command(corpus), tmp_path / "exp")
    assert 25 <= come < 60
    finish(command(corpus), tmp_path / "exp")
    assert_same_run(trained, tmp_path / "exp")


def test_objectives_by_hand(corpus: Path, tmp_path: Path) -> None:
    module, data = build(corpus, tmp_path)
    batch = data.collate([data.train_set[0, i] for i in range(5)])
    with torch.no_grad():
        media, said = module.said(batch)
        z = module.model.embed(batch["student"])
        bank = load_text_bank(tmp_path / "text_bank.safetensors")
        scale = float(module.teacher.scale)
        torch.testing.assert_close(said, scale * media @ bank.vectors.T, atol=1e-5, rtol=1e-4)
        s = float(module.model.config.scale) * z @ bank.vectors.T
        kl = F.kl_div(s.log_softmax(-1), said.softmax(-1), reduction="sum")
        torch.testing.assert_close(module.loss(z, media, said), kl / 20)
        module.settings.objective.reduction = "batchmean"
        torch.testing.assert_close(module.loss(z, media, said), kl / 5)
        for name, expected in (("feature_l1", (z - media).abs().mean()), ("feature_mse", ((z - media) ** 2).mean())):
            module.settings.objective.name = name
            torch.testing.assert_close(module.loss(z, media, said), expected)


@pytest.mark.parametrize("learns", ["prompts", "projector", "all"])
def test_what_learns(corpus: Path, tmp_path: Path, learns: str) -> None:
    module, data = build(corpus, tmp_path, model__learns=learns)
    module.train()
    batch = data.collate([data.train_set[0, i] for i in range(5)])
    module.loss(module.model.embed(batch["student"]), *module.said(batch)).backward()
    moved = {n.split(".")[0] for n, p in module.model.named_parameters() if p.grad is not None}
    assert moved == {"projector"} | {"prompts": {"prompts"}, "all": {"prompts", "body"}, "projector": set()}[learns]
    assert not [p for p in module.teacher.parameters() if p.grad is not None]
    assert module.model.body.training == (learns == "all")


def test_the_bank_is_made_once(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from audiokd.teachers.pair import ContrastivePair

    asked: list[int] = []
    stock = ContrastivePair.embed_texts
    monkeypatch.setattr(
        ContrastivePair, "embed_texts", lambda self, texts: asked.append(len(texts)) or stock(self, texts)
    )
    first, _ = build(corpus, tmp_path)
    assert asked == [4 * 7]
    again, data = build(corpus, tmp_path)
    module = again
    for step in range(2):
        module.said(data.collate([data.train_set[step, i] for i in range(3)]))
    assert asked == [4 * 7]
    assert torch.equal(first.model.class_vectors, again.model.class_vectors)


def test_a_teacher_of_another_set(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-dataset: prompts that were learnt on other classes read those of the student's set, once; all are told apart."""
    prompted = PromptedPair(load_pair(str(corpus / "teacher")), PromptShape(text_depth=2, visual_depth=2))
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    prompted.save(teacher)
    own = {n: [t] for n, t in zip(("dog", "large"), prompted.texts_of(["dog", "large"]))}
    make_text_bank(prompted, own, float(prompted.scale)).save(teacher / BANK)
    asked: list[str] = []
    stock = PromptedPair.embed_texts
    monkeypatch.setattr(PromptedPair, "embed_texts", lambda self, texts: asked.extend(texts) or stock(self, texts))
    module, data = build(corpus, tmp_path / "run", teacher__pair=str(teacher))
    with torch.no_grad():
        expected = stock(prompted, [f"a photo of a {n}." for n in NAMES])
    torch.testing.assert_close(module.model.class_vectors, expected)
    assert module.said(data.collate([data.train_set[0, 0]]))[1].shape == (1, 4)
    again, _ = build(corpus, tmp_path / "run", teacher__pair=str(teacher))
    assert asked == [f"a photo of a {n}." for n in NAMES]
    assert torch.equal(again.model.class_vectors, module.model.class_vectors)
    # of this set the export has the vectors: the same labels under other names are other classes
    make_text_bank(prompted, {n: prompted.texts_of([n]) for n in NAMES}, 1.0).save(teacher / BANK)
    asked.clear()
    build(corpus, tmp_path / "known", teacher__pair=str(teacher))
    assert not (tmp_path / "known" / BANK).exists()
    (tmp_path / "classes.txt").write_text("dog\tlarge dog\ncat\nrain\nclock\n")
    build(corpus, tmp_path / "renamed", teacher__pair=str(teacher), data__classes=str(tmp_path / "classes.txt"))
    assert asked[0] == "a photo of a large dog."


def test_a_cnn_and_an_audio_encoder(corpus: Path, readers: Path, tmp_path: Path) -> None:
    module, data = build(corpus, tmp_path / "cnn", model__pair="", model__backbone="test_resnet", model__prompts=0)
    batch = data.collate([data.train_set[0, i] for i in range(3)])
    assert batch["student"]["pixel_values"].shape[-1] != batch["teacher"]["pixel_values"].shape[-1]
    assert torch.isfinite(module.loss(module.model.embed(batch["student"]), *module.said(batch)))
    torch.manual_seed(0)
    ATSTModel(ATSTConfig(kind="frame", dim=32, depth=2, heads=2)).save_pretrained(tmp_path / "atst")
    s = settings_of(corpus, model__pair="", model__encoder=str(tmp_path / "atst"), teacher__pair=str(corpus / "clap"))
    s.teacher.templates, s.data.crop_s, s.data.val_crop_s = "sound", 0.5, 0.5
    (tmp_path / "sound").mkdir()
    module, data = PromptKDRun(s, str(readers / "train"), str(readers / "dev")).build(tmp_path / "sound")
    batch = data.collate([data.train_set[0, i] for i in (0, 8)])
    loss = module.loss(module.model.embed(batch["student"]), *module.said(batch))
    loss.backward()
    assert module.model.prompts.tokens.grad.abs().sum() > 0


def test_a_backbone_at_another_size(corpus: Path, tmp_path: Path) -> None:
    changes = {"model__pair": "", "model__backbone": "test_resnet", "model__size": 64, "model__prompts": 0}
    module, data = build(corpus, tmp_path, model__learns="projector", **changes)
    batch = data.collate([data.train_set[0, i] for i in (0, 8)])
    assert batch["student"]["pixel_values"].shape == (2, 3, 64, 64)
    assert module.model.preprocess.size == (64, 64)


def test_odd_pictures(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CMYK and 16 bits are read; what is animated or cut off is named once, and another item takes its place."""
    first = read_items(corpus / "train")[0]
    (tmp_path / "train").mkdir()
    with Image.open(first.path) as picture:
        picture.convert("CMYK").save(tmp_path / "cmyk.jpg")
        Image.fromarray(np.asarray(picture).astype(np.uint16) * 257).save(tmp_path / "deep.png")
        picture.save(tmp_path / "moving.gif", save_all=True, append_images=[picture.rotate(90)])
    (tmp_path / "torn.png").write_bytes(Path(first.path).read_bytes()[:80])
    odd = [
        Item(name.partition(".")[0], str(tmp_path / name), "dog")
        for name in ("cmyk.jpg", "deep.png", "moving.gif", "torn.png")
    ]
    write_items(tmp_path / "train", odd)
    shutil.copy(corpus / "train" / "classes.txt", tmp_path / "train")
    (tmp_path / "run").mkdir()
    _, data = PromptKDRun(settings_of(corpus), str(tmp_path / "train"), str(corpus / "dev")).build(tmp_path / "run")
    found = [data.train_set[0, i] for i in range(4)]
    assert [row["id"] for row in found[:2]] == ["cmyk", "deep"]
    assert {row["id"] for row in found[2:]} <= {"cmyk", "deep"}
    errors = [json.loads(line) for line in (tmp_path / "run" / "errors.jsonl").read_text().splitlines()]
    assert sorted(e["id"] for e in errors) == ["moving", "torn"]
    said = capsys.readouterr().err
    assert "moving.gif" in said
    assert "save the frame that is meant as a picture" in said


def test_bfloat16(corpus: Path, tmp_path: Path) -> None:
    finish(
        [*command(corpus), "--run.max_steps", "2", "--run.val_every", "2", "--run.precision", "bf16-mixed"],
        tmp_path / "exp",
    )
    assert all(float(v) == float(v) for v in rows(tmp_path / "exp").values())


def test_what_is_refused(corpus: Path, readers: Path, tmp_path: Path) -> None:
    train, dev = str(corpus / "train"), str(corpus / "dev")
    with pytest.raises(ConfigError, match="no teacher"):
        PromptKDRun(PromptKDSettings(), train, dev)
    with pytest.raises(ConfigError, match="no student, or several"):
        PromptKDRun(settings_of(corpus, model__backbone="test_resnet"), train, dev)
    with pytest.raises(ConfigError, match="a size without a backbone"):
        PromptKDRun(settings_of(corpus, model__size=64), train, dev)
    with pytest.raises(AudiokdError, match=r"teacher takes image, and the set is of audio"):
        PromptKDRun(settings_of(corpus), str(readers / "train"), str(readers / "dev")).build(tmp_path)
    with pytest.raises(AudiokdError, match="a pair model of sound cannot be a student"):
        build(corpus, tmp_path, model__pair=str(corpus / "clap"))
    with pytest.raises(AudiokdError, match="student saw 400 test items"):
        build(corpus, tmp_path, data__test=(train,))
    build(corpus, tmp_path / "made")
    bank = str(tmp_path / "made" / "text_bank.safetensors")
    with pytest.raises(AudiokdError, match="the text bank was made by model"):
        build(corpus, tmp_path, teacher__pair=str(corpus / "student"), teacher__bank=bank)

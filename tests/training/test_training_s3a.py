"""S3A: names by vote and prompt before the first step, a student and its average over time after it; exact resume."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from method_settings import settings_of
from PIL import Image
from tiny_pairs import save_pair
from torch.nn import functional as F
from transformers import AutoModel
from whole_runs import assert_same_run, checkpoint, finish, kill_at, rows

import audiokd
import audiokd.conf
from audiokd.data.items import Item, write_items
from audiokd.data.regime import REGIME
from audiokd.errors import AudiokdError
from audiokd.hub.auto import part
from audiokd.methods.s3a import cvpr as cvpr_file
from audiokd.methods.s3a.answers import answer_questions
from audiokd.methods.s3a.run import BANK, QUESTIONS, STRUCTURE, S3ARun, write_model
from audiokd.methods.s3a.structure import structure
from audiokd.stages.export import export
from audiokd.stages.extract import extract
from audiokd.stages.fit import flatten, read_config
from audiokd.stages.name import name
from audiokd.teachers.pair import ContrastivePair, load_pair
from audiokd.teachers.text_bank import load_text_bank
from audiokd.training.layer_decay import ordered_decay_groups

CONFIGS = sorted(p.stem for p in (Path(audiokd.conf.__file__).parent / "s3a").glob("*.yaml"))
NAMES = ["cat", "clock", "dog", "large dog", "photo", "rain", "sound of rain"]
GLOSSES = {"cat": "a small dog; in the rain", "dog": "a large cat"}


def write_words(path: Path, names: list[str]) -> Path:
    path.write_text("".join("\t".join([n, *([GLOSSES[n]] if n in GLOSSES else [])]) + "\n" for n in names))
    return path


@pytest.fixture(scope="module")
def world(coffee: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts of a photograph, fourteen without labels and four with; a tiny CLIP and SigLIP; a list of seven names."""
    root = tmp_path_factory.mktemp("s3a")
    with Image.open(coffee) as whole:
        for split, first, count in (("train", 0, 14), ("dev", 14, 4)):
            (root / split).mkdir()
            items = []
            for k in range(first, first + count):
                left, top = 60 * (k % 9), 200 * (k // 9)
                whole.crop((left, top, left + 90, top + 100)).save(root / split / f"p{k:02d}.png")
                label = ("cat", "dog", "rain", "clock")[k % 4] if split == "dev" else None
                items.append(Item(f"p{k:02d}", str(root / split / f"p{k:02d}.png"), label))
            write_items(root / split, items)
    for family in ("clip", "siglip", "clap"):
        save_pair(family, root / family)
    write_words(root / "words.txt", NAMES)
    return root


def settings(world: Path, pair: str = "clip", **changes: Any) -> Any:
    flat = {
        "pair": pair and str(world / pair),
        "vocabulary.source": "list",
        "vocabulary.path": str(world / "words.txt"),
    }
    more = {k.replace("__", "."): v for k, v in changes.items()}
    return settings_of("s3a", "debug", {**flat, "run.accelerator": "cpu", **more})


def build(world: Path, folder: Path, data: str = "", **changes: Any) -> tuple[Any, Any]:
    where = Path(data or world)
    folder.mkdir(parents=True, exist_ok=True)
    return S3ARun(settings(world, **changes), str(where / "train"), str(where / "dev")).build(folder)


def command(world: Path, *more: str, data: str = "", pair: str = "clip") -> list[str]:
    where = data or str(world)
    options = f"--config s3a/debug --train {where}/train --dev {where}/dev --run.accelerator cpu --pair {world}/{pair}"
    options += f" --vocabulary.source list --vocabulary.path {world}/words.txt"
    return [str(Path(sys.executable).with_name("audiokd")), "fit", "s3a", *options.split(), *more]


@pytest.fixture(scope="module")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    exp = tmp_path_factory.mktemp("trained") / "exp"
    finish(command(world, "--run.max_steps", "16"), exp)
    return exp


@pytest.mark.parametrize("conf", CONFIGS)
def test_every_key_is_known(conf: str) -> None:
    """The base is what the settings begin with."""
    known = flatten(dataclasses.asdict(part("s3a", "settings")()))
    found = read_config(f"s3a/{conf}")
    assert not found.keys() - known.keys()
    if conf == "base":
        assert {k: known[k] for k in found if k != "data.num_workers"} == {
            k: v for k, v in found.items() if k != "data.num_workers"
        }


def test_a_run(world: Path, trained: Path) -> None:
    """Losses by name; the teacher's decay; monitors; regime.json and names in words; the vectors are never moved."""
    found = {k: float(v) for k, v in rows(trained).items()}
    assert [found[s, "train", "ema"] for s in (1, 5, 9, 16)] == pytest.approx([0.9, 0.945, 0.99, 0.99])
    for step in (1, 9):
        parts = [found[step, "train", k] for k in ("individual", "structural", "confident")]
        assert found[step, "train", "loss"] == pytest.approx(parts[0] + 0.25 * parts[1], rel=1e-5)
    structural = [found[s, "train", "structural"] for s in range(1, 17)]
    assert np.mean(structural[-4:]) < np.mean(structural[:4])
    for step in (0, 4, 16):
        assert 1 <= found[step, "val", "names"] <= 4
        assert 0 <= found[step, "val", "information"] <= found[step, "val", "entropy"] <= np.log(7)
        assert {found[step, "val", k] for k in ("accuracy", "teacher_accuracy")} <= {0, 0.25, 0.5, 0.75, 1}
    regime = json.loads((trained / REGIME).read_text())
    assert (regime["setting"], regime["steps"][0]["unlabelled"]["count"]) == ("inductive", 14)
    about = json.loads((trained / STRUCTURE).read_text())
    assert len(about["items"]) == 14
    assert len({c["name"] for c in about["clusters"]}) == len(about["clusters"]) == 3
    bank, state = load_text_bank(trained / BANK), checkpoint(trained, "last")["state_dict"]
    assert bank.names == tuple(NAMES)
    for who in ("student", "teacher"):
        assert torch.equal(state[f"{who}.class_vectors"], bank.vectors)
    assert not any("text_model" in k for k in state)


def test_the_model_goes_out_and_comes_back(world: Path, trained: Path, tmp_path: Path) -> None:
    """No text model is needed; the untrained model is the pair model with the whole vocabulary."""
    for checkpoint_name in ("last", "init"):
        export(str(trained), str(tmp_path / checkpoint_name), checkpoint_name)
    model = audiokd.load_model(tmp_path / "last")
    assert (model.kind, model.labels, model.preprocess.size) == ("image", NAMES, (32, 32))
    assert AutoModel.from_pretrained(tmp_path / "last").config.scale == model.config.scale
    state = checkpoint(trained, "last")["state_dict"]
    assert all(torch.equal(v, state[f"student.{k}"]) for k, v in model.state_dict().items())
    x = torch.randn(3, 3, 32, 32)
    logits, frames = model.extract(x, None, "logits")
    assert (logits.shape, frames.tolist()) == ((3, 1, 7), [1, 1, 1])
    assert model.extract(x, None, "embedding")[0].shape == (3, 1, 24)
    pair, untrained = load_pair(str(world / "clip")), audiokd.load_model(tmp_path / "init")
    with torch.no_grad():
        media, bank = pair.embed_media({"pixel_values": x}), load_text_bank(trained / BANK)
        torch.testing.assert_close(untrained(x), pair.logits(media, bank.vectors))
    assert not torch.allclose(untrained(x), model(x))


def test_what_learns(world: Path, tmp_path: Path) -> None:
    """The student's tower alone takes gradients; the average stays in eval mode and moves by its decay."""
    module, data = build(world, tmp_path)
    module.train()
    assert not module.student.training
    assert not module.teacher.training
    batch = data.collate([data.train_set[0, i] for i in range(4)])
    again = data.collate([data.train_set[0, i] for i in range(4)])
    for view in ("weak", "strong"):
        assert torch.equal(batch[view]["pixel_values"], again[view]["pixel_values"])
    assert not torch.equal(batch["weak"]["pixel_values"], batch["strong"]["pixel_values"])
    loss, parts = module.losses(
        module.student(batch["strong"]), module.teacher(batch["weak"]), module.labels_of(batch["ids"])
    )
    loss.backward()
    assert set(parts) == {"individual", "structural", "confident"}
    assert all(p.grad is None for p in module.teacher.parameters())
    without = [n for n, p in module.student.named_parameters() if p.grad is None]
    assert without == ["pair.net.logit_scale"]
    assert module.student.class_vectors.grad is None
    optimizer = module.configure_optimizers()
    inside = {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert inside == {id(p) for p in module.student.parameters() if p.requires_grad}
    scale = {id(p): g["scale"] for g in optimizer.param_groups for p in g["params"]}
    net = module.student.pair.net
    assert scale[id(net.visual_projection.weight)] == scale[id(net.vision_model.post_layernorm.weight)] == 1
    blocks = net.vision_model.encoder.layers
    assert scale[id(blocks[1].mlp.fc1.weight)] == 0.65
    assert scale[id(blocks[0].mlp.fc1.bias)] == 0.65**2
    assert scale[id(net.vision_model.embeddings.patch_embedding.weight)] == pytest.approx(0.65**3)


@pytest.mark.parametrize("family", ["siglip", "clap"])
def test_rates_of_other_towers(world: Path, family: str) -> None:
    net: Any = load_pair(str(world / family)).net.requires_grad_(True)
    del net.text_model
    groups = ordered_decay_groups(net, 0.5, 0.05)
    scale = {id(p): g["scale"] for g in groups for p in g["params"]}
    assert len(scale) == len([*net.parameters()])
    assert {g["weight_decay"] for g in groups} == {0.0, 0.05}
    if family == "siglip":
        tower = net.vision_model
        first, blocks, last = tower.embeddings.position_embedding.weight, tower.encoder.layers, tower.head.probe
        ends = [blocks[0].mlp.fc1.weight, blocks[1].mlp.fc1.weight]
    else:
        tower = net.audio_model.audio_encoder
        first, last = tower.patch_embed.proj.weight, net.audio_projection.linear1.weight
        ends = [of.blocks[0].intermediate.dense.weight for of in tower.layers]
    assert [scale[id(p)] for p in (first, *ends, last)] == [0.125, 0.25, 0.5, 1]


def test_ablations(world: Path, tmp_path: Path) -> None:
    """Either loss alone; no prompt; no vote."""
    alone, _ = build(world, tmp_path / "individual", loss__structural=0.0)
    assert not (tmp_path / "individual" / STRUCTURE).exists()
    assert set(alone.losses(torch.randn(2, 7), torch.randn(2, 7), None)[1]) == {"individual", "confident"}
    other, _ = build(world, tmp_path / "structural", loss__individual=0.0)
    loss, parts = other.losses(torch.randn(2, 7), torch.randn(2, 7), torch.tensor([1, -1]))
    assert set(parts) == {"structural", "confident"}
    assert float(loss) == pytest.approx(0.25 * float(parts["structural"]))
    with pytest.raises(AudiokdError, match="both losses weigh nothing"):
        build(world, tmp_path / "none", loss__structural=0.0, loss__individual=0.0)
    build(world, tmp_path / "bare", prompt__source="none", structure__vote=False)
    clusters = json.loads((tmp_path / "bare" / STRUCTURE).read_text())["clusters"]
    assert all(c["name"] == c["voted"] for c in clusters)


def test_structure_is_found_once(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is started again reads it; another vocabulary or K makes it anew, as long as no step is done."""
    calls: list[int] = []
    real = cvpr_file.cvpr

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(cvpr_file, "cvpr", counted)
    first, _ = build(world, tmp_path)
    again, _ = build(world, tmp_path)
    assert len(calls) == 1
    assert torch.equal(first.labels, again.labels)
    assert np.array_equal(first.clusters, again.clusters)
    four, _ = build(world, tmp_path, structure__clusters=4)
    assert (len(calls), len(four.names)) == (2, 4)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    build(world, tmp_path, structure__clusters=3)
    assert len(calls) == 2


def test_names_are_read_once(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the text encoder: each prompt of the vocabulary, and never again in the run's folder or with its bank."""
    asked: list[str] = []
    stock = ContrastivePair.embed_texts
    monkeypatch.setattr(ContrastivePair, "embed_texts", lambda self, texts: asked.extend(texts) or stock(self, texts))
    build(world, tmp_path / "run", prompt__source="none")
    assert len(asked) == len(set(asked)) == len(NAMES) * 7
    build(world, tmp_path / "run", prompt__source="none")
    build(world, tmp_path / "other", prompt__source="none", vocabulary__bank=str(tmp_path / "run" / BANK))
    assert len(asked) == len(NAMES) * 7


def test_answers_from_a_file(world: Path, tmp_path: Path) -> None:
    """Questions are written, anybody answers them, and the run goes on; what cannot be used is said."""
    exp = tmp_path / "exp"
    with pytest.raises(AudiokdError, match=r"clusters without an answer that can be used") as e:
        build(world, exp, prompt__source="answers")
    assert str(exp / QUESTIONS) in str(e.value)
    asked: list[str] = []

    def model(text: str) -> str:
        asked.append(text)
        keys = [line[2:].split(":")[0] for line in text.splitlines() if line.startswith("- ")]
        return "\n".join(f"{k}: large; in the rain" for k in keys)

    answers = tmp_path / "answers.jsonl"
    answer_questions(exp / QUESTIONS, answers, model, repeats=2)
    questions = [json.loads(line) for line in (exp / QUESTIONS).read_text().splitlines()]
    assert asked == [q["question"] for q in questions for _ in range(2)]
    build(world, exp, prompt__source="answers", prompt__answers=str(answers))
    assert json.loads((exp / STRUCTURE).read_text())["questions"] >= len(questions)
    kept = answers.read_text().splitlines()
    answers.write_text("\n".join([json.dumps({"key": questions[0]["key"], "answers": ["I cannot"]}), *kept[1:]]))
    with pytest.raises(AudiokdError, match="1 clusters without an answer"):
        build(world, tmp_path / "other", prompt__source="answers", prompt__answers=str(answers))
    answers.write_text('{"key": "a"}\n')
    with pytest.raises(AudiokdError, match="no answers to a question") as e:
        build(world, exp, prompt__source="answers", prompt__answers=str(answers))
    assert "answers.jsonl:1" in str(e.value)
    with pytest.raises(AudiokdError, match="no answer that can be used, 5 times"):
        answer_questions(exp / QUESTIONS, answers, lambda text: "no")


def test_what_is_refused(world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def refused(match: str, **changes: Any) -> None:
        with pytest.raises(AudiokdError, match=match):
            build(world, tmp_path / "refused", **changes)

    refused("no pair model given", pair="")
    refused("8 clusters, and a vocabulary of 7 names", structure__clusters=8)
    refused("no number of clusters from 50 to 13 for 14 items", structure__clusters=0)
    refused("3 names cannot be had: 4 classes, 7 names", vocabulary__size=3)
    with pytest.raises(AudiokdError, match="no vocabulary given"):
        build(world, tmp_path, vocabulary__path="")
    few = write_words(tmp_path / "few.txt", ["cat", "dog", "photo", "rain", "sound"])
    refused("1 classes are not in the vocabulary", vocabulary__path=str(few), vocabulary__size=4)
    build(world, tmp_path / "few", vocabulary__path=str(few))
    assert "1 of 4 classes are not in the vocabulary: clock" in caplog.text
    save_pair("clip", tmp_path / "other", seed=1)
    bank = str(tmp_path / "few" / BANK)
    with pytest.raises(AudiokdError, match="the text bank was made by model"):
        build(world, tmp_path / "bank", pair=str(tmp_path / "other"), vocabulary__path=str(few), vocabulary__bank=bank)
    build(world, tmp_path / "bank", vocabulary__path=str(few), vocabulary__bank=bank)
    with pytest.raises(AudiokdError, match="a pair model of audios, and images to name"):
        build(world, tmp_path / "sound", pair="clap")
    with pytest.raises(AudiokdError, match="saw 14 test items"):
        build(world, tmp_path / "seen", data__test=str(world / "train"))


def test_a_drawn_vocabulary_holds_the_classes(world: Path, tmp_path: Path) -> None:
    module, _ = build(world, tmp_path, vocabulary__size=5, structure__clusters=2)
    assert set(module.student.labels) > {"cat", "clock", "dog", "rain"}
    assert len(module.student.labels) == 5


def test_names_of_new_items_are_the_clusters(world: Path, tmp_path: Path) -> None:
    """A validation item's structural label, written out."""
    module, data = build(world, tmp_path)
    batch = data.collate([data.dev_set[0, i] for i in range(4)])
    seen: dict[str, Any] = {}
    module.losses = lambda logits, said, named: seen.update(named=named) or (logits.sum(), {})  # type: ignore[method-assign]
    with torch.no_grad():
        module.validate_batch(batch)
        x = F.normalize(module.teacher.embed(batch["plain"]), dim=-1)
    best = [max(module.names.tolist(), key=lambda v: float(row @ module.teacher.class_vectors[v])) for row in x]
    assert seen["named"].tolist() == best


def test_killed_and_started_again_equals_never_killed(world: Path, tmp_path: Path) -> None:
    """Four steps an epoch: killed behind the second refresh, between two checkpoints."""
    whole = command(world, "--run.max_steps", "15", "--run.val_every", "5", "--run.ckpt_every", "3")
    finish(whole, tmp_path / "undisturbed")
    exp = tmp_path / "killed"
    assert 10 <= kill_at(10, whole, exp) < 15
    finish(whole, exp)
    assert_same_run(exp, tmp_path / "undisturbed")


def test_bfloat16(world: Path, trained: Path, tmp_path: Path) -> None:
    """Near the run in float32, and not the same; names' vectors and clusters are its own."""
    finish(command(world, "--run.max_steps", "9", "--run.precision", "bf16-mixed"), tmp_path / "exp")  # past a refresh
    found, whole = rows(tmp_path / "exp"), rows(trained)
    for loss in ("structural", "individual"):
        mine, theirs = (float(of[1, "train", loss]) for of in (found, whole))
        assert mine == pytest.approx(theirs, rel=0.1, abs=0.02)
    assert found[1, "train", "structural"] != whole[1, "train", "structural"]
    assert (tmp_path / "exp" / STRUCTURE).read_bytes() == (trained / STRUCTURE).read_bytes()
    assert all(np.isfinite(float(v)) for v in found.values())


def test_sound(world: Path, readers: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Seconds of two readers by a CLAP: the strong view is a change of the weak one's stretch, and a run goes through."""
    caplog.set_level(logging.ERROR)
    module, data = build(world, tmp_path / "one", data=str(readers), pair="clap", structure__clusters=2)
    batch = data.collate([data.train_set[3, i] for i in range(4)])
    again = data.collate([data.train_set[3, i] for i in range(4)])
    for view in ("weak", "strong"):
        assert torch.equal(batch[view]["input_features"], again[view]["input_features"])
        assert module.student(batch[view]).shape == (4, 7)
    assert not torch.equal(batch["weak"]["input_features"], batch["strong"]["input_features"])
    exp = tmp_path / "exp"
    short = ["--structure.clusters", "2", "--run.max_steps", "4"]
    finish(command(world, *short, data=str(readers), pair="clap"), exp)
    state = checkpoint(exp, "last")["state_dict"]
    for who in ("student", "teacher"):  # the pair model's statistics
        key = f"{who}.pair.net.audio_model.audio_encoder.batch_norm.running_mean"
        assert torch.equal(state[key], load_pair(str(world / "clap")).net.state_dict()[key.split("pair.net.")[1]])
    write_model(exp, settings(world, "clap"), {"state_dict": state, "iteration": 4}, tmp_path / "model", "last")
    model = audiokd.load_model(tmp_path / "model")
    assert (model.kind, model.sample_rate) == ("audio", 16_000)
    assert all(torch.equal(v, state[f"student.{k}"]) for k, v in model.state_dict().items())
    wav = torch.randn(2, 50_000) / 10
    both, frames = model.extract(wav, torch.tensor([50_000, 16_000]), "logits")
    assert (both.shape, frames.tolist()) == ((2, 1, 7), [1, 1])
    alone, _ = model.extract(wav[1:, :16_000], None, "logits")
    torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=1e-4)
    extract(str(tmp_path / "model"), str(readers / "dev"), str(tmp_path / "store"), layer="logits")
    scores = name(str(tmp_path / "store"), str(readers / "dev"), str(tmp_path / "names.json"))
    assert (scores["rows"], scores["vocabulary"], scores["out_of_vocabulary"]) == (4, 7, ["beckett", "two cities"])
    assert scores["scores"]["accuracy"]["mean"] == 0


def test_labels_are_made_anew(world: Path, tmp_path: Path) -> None:
    """By what the teacher makes of the plain items then, from the clusters of k-means; none of one that cannot be read any more."""
    shutil.copytree(world / "train", tmp_path / "train")
    shutil.copytree(world / "dev", tmp_path / "dev")
    for split in ("train", "dev"):
        lines = (world / split / "items.jsonl").read_text().replace(str(world), str(tmp_path))
        (tmp_path / split / "items.jsonl").write_text(lines)
    module, data = build(world, tmp_path / "exp", data=str(tmp_path))
    before = module.names.clone()
    with torch.no_grad():
        g = torch.Generator().manual_seed(0)
        for p in module.teacher.pair.net.visual_projection.parameters():
            p.copy_(torch.randn(p.shape, generator=g))
    (tmp_path / "train" / "p05.png").write_bytes(b"no picture")
    module._trainer = SimpleNamespace(datamodule=data, world_size=1, global_rank=0)
    module.refresh()
    kept = [k for k in range(14) if k != 5]
    with torch.no_grad():
        views = torch.cat([data.plain_set[0, k]["plain"]["pixel_values"] for k in kept])
        items = module.teacher.embed({"pixel_values": views})
    by_hand = structure(items, module.teacher.class_vectors, module.clusters[kept])
    assert module.labels[kept].tolist() == by_hand.labels.tolist()
    assert (int(module.labels[5]), module.names.tolist()) == (-1, by_hand.names.tolist())
    assert module.names.tolist() != before.tolist()
    assert module.epoch_steps == 4

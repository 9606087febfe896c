"""Fine-tuning: two readers told apart, layer-wise rates, and labels learnt from models that were fine-tuned before."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel
from whole_runs import assert_same_run, checkpoint, differences, finish, kill_at, rows, start

import audiokd
from audiokd.data.crops import rng_of
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.losses.label_distillation import label_distillation_loss, probabilities
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.classifier.run import ClassifierRun
from audiokd.methods.classifier.settings import ClassifierSettings
from audiokd.stages.export import export
from audiokd.stages.extract import extract
from audiokd.tokens.store import StoreItem, StoreWriter, open_store
from audiokd.training.layer_decay import layer_decay_groups


@pytest.fixture(scope="module")
def corpus(readers: Path) -> Path:
    """The readers, and encoders of both kinds with random weights."""
    for kind in ("frame", "clip"):
        torch.manual_seed(0)
        ATSTModel(ATSTConfig(kind=kind, dim=32, depth=2, heads=2)).save_pretrained(readers / kind)
    return readers


def command(corpus: Path, kind: str, *more: str) -> list[str]:
    options = f"--config classifier/debug --train {corpus}/train --dev {corpus}/dev --run.accelerator cpu"
    options += f" --data.labels [{corpus}/train,{corpus}/dev] --model.encoder {corpus}/{kind} --run.max_steps 40"
    options += " --run.val_every 20 --data.crop_s 1 --data.val_crop_s 1 --data.batch_size 7"
    return [str(Path(sys.executable).with_name("audiokd")), "fit", "classifier", *options.split(), *more]


@pytest.fixture(scope="module")
def clip_classifier(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clip")
    finish(command(corpus, "clip"), root / "exp")
    export(str(root / "exp"), str(root / "model"))
    return root / "model"


def settings_of(corpus: Path, **changes: Any) -> ClassifierSettings:
    s = ClassifierSettings()
    s.model.encoder, s.data.labels = str(corpus / "frame"), (str(corpus / "train"), str(corpus / "dev"))
    for key, value in changes.items():
        group, _, name = key.partition("__")
        setattr(getattr(s, group), name, value)
    return s


def module_of(corpus: Path, folder: Path, **changes: Any) -> Any:
    run = ClassifierRun(settings_of(corpus, **changes), str(corpus / "train"), str(corpus / "dev"))
    folder.mkdir(exist_ok=True)
    return run.build(folder)


def batch_of(data: Any) -> dict[str, Any]:
    return data.collate([data.train_set[0, i] for i in (0, 1, 7, 8)])


def test_it_tells_two_readers_apart(corpus: Path, clip_classifier: Path) -> None:
    model = audiokd.load_model(clip_classifier)
    assert model.config.labels == ["beckett", "two_cities"]
    found = {k: float(v) for k, v in rows(clip_classifier.parent / "exp").items()}
    assert found[40, "val", "score"] >= 0.75
    losses = [found[s, "train", "loss"] for s in range(1, 41)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    groups = checkpoint(clip_classifier.parent / "exp", "last")["optimizer_states"][0]["param_groups"]
    assert [g["lr"] / groups[0]["lr"] for g in groups] == pytest.approx(
        [1, 0.75, 0.75**2]
    )  # head, top, and what is below
    extract(str(clip_classifier), str(corpus / "dev"), str(clip_classifier.parent / "store"), layer="logits")
    store = open_store(clip_classifier.parent / "store")
    right = [model.config.labels[int(i.array[0].argmax())] == i.id.split("-")[0] for i in store.items()]
    assert sum(right) / len(right) == found[40, "val", "score"]


def test_rates_fall_towards_the_input() -> None:
    model = ATSTModel(ATSTConfig(kind="clip", dim=32, depth=3, heads=2))
    head = torch.nn.Linear(4, 2)
    groups = layer_decay_groups(model, head, 3, 0.5)
    scale = {id(p): g["scale"] for g in groups for p in g["params"]}
    assert len(scale) == len([*model.parameters(), *head.parameters()])
    assert scale[id(head.weight)] == 1
    assert scale[id(model.norm.weight)] == scale[id(model.blocks[2].norm1.weight)] == 0.5
    assert scale[id(model.blocks[0].mlp.fc1.bias)] == scale[id(model.pos_embed)] == scale[id(model.cls_token)] == 0.125


def test_the_mixed_loss() -> None:
    s, t, u, y = (torch.randn(5, 3) for _ in range(4))
    y = y.sigmoid()
    p = (t.sigmoid() + u.sigmoid()) / 2
    bce = F.binary_cross_entropy_with_logits
    loss = label_distillation_loss(s, y, [probabilities(x, "binary") for x in (t, u)], 0.3, "binary")
    torch.testing.assert_close(loss, 0.3 * bce(s, p) + 0.7 * bce(s, y))
    hard = F.one_hot(torch.tensor([0, 2, 1, 1, 0]), 3).float()
    said = [probabilities(t, "softmax")]
    loss = label_distillation_loss(s, hard, said, 1.0, "softmax")
    torch.testing.assert_close(loss, -(t.softmax(-1) * s.log_softmax(-1)).sum(-1).mean())
    torch.testing.assert_close(
        label_distillation_loss(s, hard, said, 0.0, "softmax"), F.cross_entropy(s, hard.argmax(-1))
    )
    with pytest.raises(AudiokdError, match=r"teacher gives probabilities \[5, 2\], the student logits \[5, 3\]"):
        label_distillation_loss(s, y, [t[:, :2]], 0.5, "binary")


def test_clip_teaches_frame(corpus: Path, clip_classifier: Path, tmp_path: Path) -> None:
    """C2F: the teacher sees the student's very batch, stays as it is, and is in no optimiser and no checkpoint."""
    module, data = module_of(corpus, tmp_path / "run", teachers__models=(str(clip_classifier),))
    teacher = module.teachers[0]
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    mel, frames, labels, _ = module._augmented(batch_of(data))
    assert ((labels > 0) & (labels < 1)).any()  # mixed
    said = module._ask(mel, frames)
    assert not said[0].requires_grad
    torch.testing.assert_close(said[0], teacher.eval().logits_of(mel, frames).sigmoid())
    logits = module.model.logits_of(mel, frames)
    label_distillation_loss(logits, labels, said, 0.5, module.kind).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert module.model.head.weight.grad.any()
    module.train()
    module._ask(mel, frames)
    assert not teacher.training
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())
    assert not any("teacher" in k for k in module.state_dict())
    trained = {id(p) for g in module.configure_optimizers().param_groups for p in g["params"]}
    assert not trained & {id(p) for p in teacher.parameters()}


def test_frame_teaches_clip(corpus: Path, tmp_path: Path) -> None:
    """F2C: what a Frame says of the batch is the same each time, in eval mode, and no gradient reaches it."""
    frame, data = module_of(corpus, tmp_path / "run")
    frame.model.save_pretrained(tmp_path / "frame")
    options = {"model__encoder": str(corpus / "clip"), "teachers__models": (str(tmp_path / "frame"),)}
    module, _ = module_of(corpus, tmp_path / "run", **options)
    (teacher,) = module.teachers
    assert (teacher.encoder.config.kind, module.model.encoder.config.kind) == ("frame", "clip")
    module.train()
    mel, frames, labels, _ = module._augmented(batch_of(data))
    (said,) = module._ask(mel, frames)
    assert not teacher.training
    assert module.model.training
    assert torch.equal(said, module._ask(mel, frames)[0])  # nothing is dropped, no statistics move
    torch.testing.assert_close(said, frame.model.eval().logits_of(mel, frames).sigmoid())
    label_distillation_loss(module.model.logits_of(mel, frames), labels, [said], 1.0, module.kind).backward()
    assert module.model.encoder.cls_token.grad.any()
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_the_official_teacher_in_training_mode(corpus: Path, clip_classifier: Path, tmp_path: Path) -> None:
    module, data = module_of(
        corpus, tmp_path / "run", teachers__models=(str(clip_classifier),), teachers__training_mode=True
    )
    teacher = module.teachers[0]
    before = teacher.norm.running_mean.clone()
    mel, frames, _, _ = module._augmented(batch_of(data))
    module._ask(mel, frames)
    assert teacher.training
    assert not torch.equal(teacher.norm.running_mean, before)
    assert all(p.grad is None for p in teacher.parameters())


def test_cached_logits_are_the_teachers(corpus: Path, clip_classifier: Path, tmp_path: Path) -> None:
    extract(str(clip_classifier), str(corpus / "train"), str(tmp_path / "logits"), layer="logits")
    plain = {"augment__mixup": 0.0, "augment__warp": False, "data__crop_s": 1.0}
    module, data = module_of(corpus, tmp_path / "run", teachers__logits=(str(tmp_path / "logits"),), **plain)
    batch = batch_of(data)
    _, _, labels, cached = module._augmented(batch)
    teacher = AutoModel.from_pretrained(clip_classifier).eval()
    torch.testing.assert_close(cached[0], teacher(batch["wav"], batch["lengths"]).softmax(-1), atol=1e-4, rtol=1e-4)
    assert module.kind == "softmax"
    assert labels.argmax(-1).tolist() == [0, 0, 1, 1]
    with pytest.raises(AudiokdError, match=r"no logits of 4 training utterances, beckett-7 first"):
        ClassifierRun(
            settings_of(corpus, teachers__logits=(str(tmp_path / "logits"),)), str(corpus / "dev"), str(corpus / "dev")
        ).build(tmp_path / "run")


def test_logits_of_another_program(corpus: Path, tmp_path: Path) -> None:
    """Written as methods/classifier/README.md says."""
    said = [
        (u.id, np.array([4.0, -1.0], dtype=np.float32), 16000) for u in open_input(str(corpus / "train")).utterances()
    ]
    store = StoreWriter(tmp_path / "logits", "features", {"layer": "logits", "labels": ["beckett", "two_cities"]})
    store.write_shard("00000", [StoreItem(i, array[None], n, 16000) for i, array, n in said])
    store.finish(["00000"])
    options = {"augment__mixup": 0.0, "augment__warp": False, "teachers__logits": (str(tmp_path / "logits"),)}
    module, data = module_of(corpus, tmp_path / "run", **options)
    cached = module._augmented(batch_of(data))[3]
    torch.testing.assert_close(cached[0], torch.tensor([4.0, -1.0]).softmax(-1).expand(4, 2))


def test_cached_teachers_are_mixed_as_probabilities(
    corpus: Path, clip_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a clip that a teacher is sure of and half of one that it denies: 0.524, as their labels are 0.5 and not 0.924."""
    extract(str(clip_classifier), str(corpus / "train"), str(tmp_path / "logits"), layer="logits")
    options = {"augment__mixup": 1e9, "teachers__logits": (str(tmp_path / "logits"),), "teachers__weight": 1.0}
    module, data = module_of(corpus, tmp_path / "run", **options)  # Beta(1e9, 1e9) is a half, to 1e-5
    said = {"beckett": torch.tensor([8.0, -3.0]), "two_cities": torch.tensor([-3.0, 8.0])}
    module.cached = [{i: said[i.split("-")[0]] for i in module.labels}]
    batch = data.collate([data.train_set[0, i] for i in (0, 7)])
    monkeypatch.setattr(module, "logits", lambda model, x, n: torch.ones(2, 2))
    monkeypatch.setattr(module, "step_done", lambda metrics: None)
    losses = []
    monkeypatch.setattr(module, "learn", lambda loss, ids: losses.append(float(loss)))
    module.training_step(batch, 0)
    target = (0.99966465 + 0.04742587) / 2  # sigmoid of 8 and of -3; sigmoid(2.5), of the mixed logits, is 0.924
    assert losses == pytest.approx([1.31326169 - target], abs=1e-4)  # log(1 + e) - target: of a logit 1
    mixed = module._augmented(batch)
    torch.testing.assert_close(mixed[2], torch.full((2, 2), 0.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(mixed[3][0], torch.full((2, 2), 0.5235453), atol=1e-4, rtol=0)


def test_some_clips_are_mixed(corpus: Path, tmp_path: Path) -> None:
    """Half of them with probability a half, and those as if all were; the others stay what they are, labels too."""
    plain = {"augment__warp": False, "data__crop_s": 0.5}
    few, data = module_of(corpus, tmp_path / "run", augment__mixup_prob=0.5, **plain)
    every, _ = module_of(corpus, tmp_path / "run", **plain)
    none, _ = module_of(corpus, tmp_path / "run", augment__mixup_prob=0.0, **plain)
    batch = data.collate([data.train_set[0, i] for i in range(14)])
    mixed = []
    for step in range(8):
        for module in (few, every, none):
            module.iteration = step
        (mel, _, labels, _), (all_mel, _, all_labels, _), (own, _, true, _) = (
            m._augmented(batch) for m in (few, every, none)
        )
        assert set(true.flatten().tolist()) == {0.0, 1.0}
        is_mixed = (mel != own).flatten(1).any(1)
        mixed.append(is_mixed)
        assert torch.equal(mel[is_mixed], all_mel[is_mixed])
        assert torch.equal(labels[is_mixed], all_labels[is_mixed])
        assert torch.equal(labels[~is_mixed], true[~is_mixed])
    assert 0.35 < torch.cat(mixed).double().mean() < 0.65


def test_a_short_clips_view_is_its_own(corpus: Path, tmp_path: Path) -> None:
    """Half a second beside a whole crop, or beside as short a one: warped all the same."""
    module, data = module_of(corpus, tmp_path / "run", augment__mixup=0.0, data__crop_s=1.0)
    batch = batch_of(data)
    batch["wav"][0, 8000:] = 0
    batch["lengths"][0] = 8000
    mel, frames, _, _ = module._augmented(batch)
    few = {k: v[:1] for k, v in batch.items()}
    alone, n, _, _ = module._augmented(few)
    assert frames.tolist() == [51, 101, 101, 101]
    assert n.tolist() == [51]
    assert alone.shape[-1] == 51
    torch.testing.assert_close(mel[:1, :, :51], alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("warp", [False, True])
def test_two_that_are_mixed_are_as_long_as_the_longer(corpus: Path, tmp_path: Path, warp: bool) -> None:
    """A short clip ends in silence as far as its partner goes; two short ones do not count what the crop adds."""
    module, data = module_of(corpus, tmp_path / "run", augment__mixup=0.5, augment__warp=warp, data__crop_s=1.0)
    batch = batch_of(data)
    for i, samples in enumerate([8000, 8000, 4000, 16000]):
        batch["wav"][i, samples:] = 0
        batch["lengths"][i] = samples
    shift = 1 + int(rng_of(module.run.seed, "partner", module.iteration).integers(3))
    own = [51, 51, 26, 101]
    partner = torch.arange(4).roll(shift).tolist()
    mel, frames, _, _ = module._augmented(batch)
    assert frames.tolist() == [max(n, own[p]) for n, p in zip(own, partner)]
    if warp:
        return
    ids = batch["ids"]
    share = [rng_of(module.run.seed, "augment", module.iteration, i).beta(0.5, 0.5) for i in ids]
    frontend = module.model.encoder.frontend
    for i, p in enumerate(partner):
        of = [frontend(batch["wav"][j, : 160 * (int(frames[i]) - 1)][None])[0][0] for j in (i, p)]
        mixed = share[i] * of[0] + (1 - share[i]) * of[1]
        inner = int(frames[i]) - 4  # the last see how the end is mirrored
        torch.testing.assert_close(mel[i, :, :inner], mixed[:, :inner], atol=1e-4, rtol=0)


def test_rare_labels_are_drawn_more_often(corpus: Path, tmp_path: Path) -> None:
    """One of seven readers' seconds is another's: with balance it is half of what is heard."""
    lines = (corpus / "train" / "utt2label").read_text().splitlines()
    few = [line for line in lines if not line.startswith("two_cities") or line.startswith("two_cities-0 ")]
    folder = tmp_path / "few"
    folder.mkdir()
    kept = {line.split()[0] for line in few}
    for name in ("wav.scp", "segments"):
        of = (corpus / "train" / name).read_text().splitlines()
        (folder / name).write_text("".join(f"{x}\n" for x in of if name == "wav.scp" or x.split()[0] in kept))
    (folder / "utt2label").write_text("".join(f"{x}\n" for x in few))
    share = {}
    for balance in (False, True):
        s = settings_of(corpus, data__labels=(str(folder), str(corpus / "dev")), data__balance=balance)
        s.data.crop_s, s.data.num_workers, s.run.max_steps, s.run.val_every = 1.0, 0, 10, 10
        module, data = ClassifierRun(s, str(folder), str(corpus / "dev")).build(tmp_path)
        cpu = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(global_rank=0, world_size=1, lightning_module=module, strategy=cpu)
        ids = [data.train_set.utterances[i].id for batch in data.steps(0, 10).batch_sampler for _, i in batch]
        share[balance] = sum(i.startswith("two_cities") for i in ids) / len(ids)
    assert share[False] == pytest.approx(1 / 8, abs=0.01)
    assert share[True] == pytest.approx(1 / 2, abs=0.05)


def broken_dev(corpus: Path, folder: Path, beckett: Path) -> list[str]:
    """dev with clips that cannot be read: every other one, so that one of two processes has no other, then a whole batch; their
    ids."""
    folder.mkdir()
    (folder / "cut.wav").write_bytes(beckett.read_bytes()[:20_000])
    bad = ["a", "beckett-7x", "c", "two_cities-7x", "z-0", "z-1"]
    scp, segments = ((corpus / "dev" / name).read_text().splitlines() for name in ("wav.scp", "segments"))
    for name, of in (
        ("wav.scp", [*scp, f"cut {folder}/cut.wav"]),
        ("segments", segments + [f"{b} cut 0 1" for b in bad]),
    ):
        (folder / name).write_text("".join(f"{line}\n" for line in sorted(of)))
    labels = (corpus / "dev" / "utt2label").read_text()
    (folder / "utt2label").write_text(labels + "".join(f"{b} beckett\n" for b in bad))
    return bad


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--data.num_workers", "2"), ("--run.devices", "2")])
def test_a_dev_clip_that_cannot_be_read_counts_nothing(
    corpus: Path, beckett: Path, tmp_path: Path, options: tuple[str, str]
) -> None:
    """Loss, score and best checkpoint are those of a dev set without it, also where a process or a batch has no other."""
    bad = broken_dev(corpus, tmp_path / "dev", beckett)
    few = ["--run.max_steps", "4", "--run.val_every", "2", "--data.batch_size", "2", *options]
    finish(command(corpus, "clip", *few), tmp_path / "whole")
    labels = f"[{corpus}/train,{tmp_path}/dev]"
    said = finish(command(corpus, "clip", *few, "--dev", f"{tmp_path}/dev", "--data.labels", labels), tmp_path / "exp")
    assert said.count("left out of validation") == len(bad)
    written = [json.loads(line) for line in (tmp_path / "exp" / "errors.jsonl").read_text().splitlines()]
    assert sorted((r["id"], r["set"]) for r in written) == [(b, "dev") for b in bad]
    assert all("segments:" in r["where"] and "truncated" in r["error"] for r in written)
    mine, theirs = rows(tmp_path / "exp"), rows(tmp_path / "whole")
    assert mine.keys() == theirs.keys()
    for key in mine:
        assert float(mine[key]) == pytest.approx(float(theirs[key]), rel=1e-5), key
    mine, theirs = checkpoint(tmp_path / "exp", "best"), checkpoint(tmp_path / "whole", "best")
    assert mine["iteration"] == theirs["iteration"]
    assert mine["callbacks"] == theirs["callbacks"]
    assert differences(mine["state_dict"], theirs["state_dict"]) == []


def test_a_dev_set_of_which_nothing_can_be_read(corpus: Path, beckett: Path, tmp_path: Path) -> None:
    broken_dev(corpus, tmp_path / "dev", beckett)
    lines = (tmp_path / "dev" / "segments").read_text().splitlines()
    (tmp_path / "dev" / "segments").write_text("".join(f"{x}\n" for x in lines if x.split()[1] == "cut"))
    options = ["--dev", f"{tmp_path}/dev", "--data.labels", f"[{corpus}/train,{tmp_path}/dev]"]
    run = start(command(corpus, "clip", *options), tmp_path / "exp")
    said = run.communicate(timeout=300)[0]
    assert run.returncode == 1, said
    assert "not one utterance of the validation set can be read" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_two_processes_score_the_whole_dev_set(corpus: Path, tmp_path: Path) -> None:
    """mAP of all rows, not the mean of each process' mAP; before the first step, where the weights are the same."""
    options = ["--model.task", "tags", "--run.max_steps", "1", "--run.val_every", "1"]
    finish(command(corpus, "clip", *options), tmp_path / "one")
    finish(command(corpus, "clip", *options, "--run.devices", "2", "--data.batch_size", "2"), tmp_path / "two")
    one, two = (float(rows(tmp_path / name)[0, "val", "score"]) for name in ("one", "two"))
    assert one == pytest.approx(two, abs=1e-6)


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(corpus: Path, tmp_path: Path) -> None:
    """With nothing that depends on a process: a crop is mixed with another of its own process, and drop path is drawn there."""
    options = ["--run.max_steps", "6", "--run.val_every", "3", "--augment.mixup", "0", "--model.drop_path", "0"]
    for name, more in {
        "one": ["--data.batch_size", "4"],
        "two": ["--data.batch_size", "2", "--run.devices", "2"],
        "alone": ["--data.batch_size", "2"],  # what the first process would learn by itself
    }.items():
        finish(command(corpus, "clip", *options, *more), tmp_path / name)
    one, two = (rows(tmp_path / name) for name in ("one", "two"))
    first = [float(r[1, "train", "grad_norm"]) for r in (one, two)]
    assert first[1] == pytest.approx(
        first[0], rel=1e-5
    )  # batch norm's statistics to the last digits: random encoders hear all alike
    for step in (0, 3, 6):
        for metric in ("loss", "score"):
            assert float(two[step, "val", metric]) == pytest.approx(float(one[step, "val", metric]), rel=1e-3)
    weights = {}
    for name in ("one", "two", "alone"):
        state = checkpoint(tmp_path / name, "last")["state_dict"]
        weights[name] = torch.cat([v.flatten().float() for k, v in sorted(state.items()) if "num_batches" not in k])
    far = (weights["alone"] - weights["one"]).norm()
    near = (weights["two"] - weights["one"]).norm()
    assert near < 0.001 * far, (float(near), float(far))


@pytest.mark.slow
def test_killed_and_started_again_equals_never_killed(corpus: Path, clip_classifier: Path, tmp_path: Path) -> None:
    """C2F with mixup, warp and two loader workers, killed between two checkpoints and in mid-epoch."""
    short = "--run.max_steps 13 --run.val_every 6 --run.ckpt_every 4 --data.num_workers 2 --augment.mixup_prob 0.5"
    whole = command(corpus, "frame", *short.split(), "--teachers.models", f"[{clip_classifier}]")
    finish(whole, tmp_path / "undisturbed")
    exp = tmp_path / "killed"
    assert 7 <= kill_at(7, whole, exp) < 13
    finish(whole, exp)
    assert_same_run(exp, tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_whole_run_with_a_teacher(corpus: Path, clip_classifier: Path, tmp_path: Path) -> None:
    finish(command(corpus, "frame", "--teachers.models", f"[{clip_classifier}]"), tmp_path / "exp")
    assert float(rows(tmp_path / "exp")[40, "val", "score"]) >= 0.75
    assert checkpoint(tmp_path / "exp", "best")["iteration"] in (20, 40)


def test_labels_that_cannot_be(corpus: Path, tmp_path: Path) -> None:
    train, dev = str(corpus / "train"), str(corpus / "dev")
    with pytest.raises(AudiokdError, match="an utterance without a label"):
        ClassifierRun(settings_of(corpus, data__labels=(train,)), train, dev)
    with pytest.raises(AudiokdError, match="no labels given"):
        ClassifierRun(settings_of(corpus, data__labels=()), train, dev)
    with pytest.raises(AudiokdError, match="no encoder given"):
        ClassifierRun(settings_of(corpus, model__encoder=""), train, dev)
    other = tmp_path / "other"
    other.write_text("".join(f"{u.id} stranger\n" for u in open_input(dev).utterances()))
    with pytest.raises(AudiokdError, match="no training utterance has: stranger"):
        ClassifierRun(settings_of(corpus, data__labels=(train, str(other))), train, dev)
    twice = tmp_path / "twice"
    twice.write_text("".join(f"{u.id} a b\n" for u in open_input(dev).utterances()))
    with pytest.raises(AudiokdError, match="2 labels where one is due"):
        ClassifierRun(settings_of(corpus, data__labels=(train, str(twice))), train, dev)


def test_a_teacher_of_other_labels(corpus: Path, clip_classifier: Path, tmp_path: Path) -> None:
    renamed = []
    for split in ("train", "dev"):
        renamed.append(str(tmp_path / split))
        lines = (corpus / split / "utt2label").read_text().replace(" beckett\n", " samuel\n")
        (tmp_path / split).write_text(lines)
    run = ClassifierRun(
        settings_of(corpus, data__labels=tuple(renamed), teachers__models=(str(clip_classifier),)),
        str(corpus / "train"), str(corpus / "dev"),
    )  # fmt: skip
    with pytest.raises(AudiokdError, match="a teacher of other labels, such as beckett, samuel"):
        run.build(tmp_path)

"""Sound event detection: what is learnt from frames, clips and neither; the mean teacher; labels that stay where they are."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import method_settings
import pytest
import torch
from soundscapes import event_corpus, read
from torch.nn import functional as F
from transformers import AutoModel
from whole_runs import assert_same_run, checkpoint, finish, kill_at, rows

import audiokd
from audiokd.data.crops import collate
from audiokd.data.events import read_events
from audiokd.data.inputs import open_input
from audiokd.data.kaldi import write_data_dir
from audiokd.errors import AudiokdError
from audiokd.losses.event_detection import frame_loss
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.methods.detector.run import DetectorRun
from audiokd.methods.detector.settings import DetectorSettings
from audiokd.nn.average_precision import mean_average_precision
from audiokd.stages.export import export
from audiokd.stages.extract import extract
from audiokd.stages.fit import flatten, read_config
from audiokd.tokens.store import open_store

STEPS = 40


@pytest.fixture(scope="module")
def corpus(two_cities: Path, beckett: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Soundscapes of two readers, and encoders of both kinds with random weights."""
    root = tmp_path_factory.mktemp("corpus")
    event_corpus(root, {"beckett": read(beckett), "two_cities": read(two_cities)})
    for kind in ("frame", "clip"):
        torch.manual_seed(0)
        ATSTModel(ATSTConfig(kind=kind, dim=32, depth=2, heads=2)).save_pretrained(root / kind)
    return root


def command(corpus: Path, kind: str, *more: str) -> list[str]:
    options = f"--config detector/debug --train {corpus}/train --dev {corpus}/dev --run.accelerator cpu"
    options += f" --data.events [{corpus}/train,{corpus}/dev] --data.labels [{corpus}/train]"
    options += f" --model.encoder {corpus}/{kind} --run.max_steps {STEPS} --run.val_every 20 --data.val_crop_s 3"
    options += " --optim.unfreeze -1 --optim.lr 0.3 --augment.mixup 0"
    return [str(Path(sys.executable).with_name("audiokd")), "fit", "detector", *options.split(), *more]


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run on an ATST-Clip's frames, and its model."""
    root = tmp_path_factory.mktemp("run")
    finish(command(corpus, "clip"), root / "exp")
    export(str(root / "exp"), str(root / "model"))
    return root


def settings_of(corpus: Path, **changes: Any) -> DetectorSettings:
    s = DetectorSettings()
    s.model.encoder = str(corpus / "frame")
    s.data.events, s.data.labels = (str(corpus / "train"), str(corpus / "dev")), (str(corpus / "train"),)
    s.data.crop_s, s.data.batch_strong, s.data.batch_weak, s.data.batch_unlabelled = 2.0, 4, 2, 2
    for key, value in changes.items():
        group, _, name = key.partition("__")
        setattr(getattr(s, group), name, value)
    return s


def built(corpus: Path, folder: Path, **changes: Any) -> tuple[Any, Any]:
    folder.mkdir(exist_ok=True)
    return DetectorRun(settings_of(corpus, **changes), str(corpus / "train"), str(corpus / "dev")).build(folder)


def batch_of(data: Any, step: int = 0) -> dict[str, Any]:
    """Four strongly labelled crops, two weakly labelled ones, two unlabelled."""
    keys = [(step, part, i) for part, n in enumerate(data.batch_sizes) for i in range(n)]
    return collate([data.train_set[k] for k in keys])


def steps(module: Any, data: Any, n: int, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """`n` steps of training without a trainer."""
    optimizer = module.configure_optimizers()
    found: list[dict[str, float]] = []
    monkeypatch.setattr(module, "optimizers", lambda: optimizer)
    monkeypatch.setattr(module, "manual_backward", lambda loss: loss.backward())

    def done(metrics: dict[str, Any]) -> None:
        found.append({k: float(torch.as_tensor(v).detach()) for k, v in metrics.items()})
        module.iteration += 1

    monkeypatch.setattr(module, "step_done", done)
    monkeypatch.setattr(module, "reseed", lambda: torch.manual_seed(module.iteration))
    module.train()
    for _ in range(n):
        module.training_step(batch_of(data, module.iteration), 0)
    return found


def test_it_learns_where_two_readers_speak(run: Path) -> None:
    found = {k: float(v) for k, v in rows(run / "exp").items()}
    losses = [found[s, "train", "strong"] for s in range(1, STEPS + 1)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    scores = [found[s, "val", "score"] for s in (0, 20, 40)]
    assert scores[2] > scores[0] + 0.15, scores
    weights = [found[s, "train", "consistency_weight"] for s in (1, 2, 4, 40)]
    assert weights == sorted(weights)
    assert weights[-1] == 2.0
    assert found[40, "val", "score_mean"] != found[40, "val", "score"]


def test_the_exported_model_detects(run: Path, corpus: Path) -> None:
    model = audiokd.load_model(run / "model")
    assert type(AutoModel.from_pretrained(run / "model")) is type(model)
    assert model.config.labels == ["beckett", "two_cities"]
    extract(str(run / "model"), str(corpus / "dev"), str(run / "events"), layer="events")
    store = open_store(run / "events")
    assert store.meta["labels"] == ["beckett", "two_cities"]
    assert store.meta["frame_rate"] == 25.0
    said, true = [], []
    events = read_events(corpus / "dev")
    for item in store.items():
        assert item.array.shape == (75, 2)
        middles = (torch.arange(75) + 0.5) / 25
        on = [[any(e.label == n and e.start_s <= t < e.end_s for e in events[item.id]) for n in store.meta["labels"]]
              for t in middles.tolist()]  # fmt: skip
        said.append(torch.from_numpy(item.array.copy()))
        true.append(torch.tensor(on))
    score = mean_average_precision(torch.cat(said), torch.cat(true))
    best = checkpoint(run / "exp", "best")["iteration"]
    assert score == pytest.approx(float(rows(run / "exp")[best, "val", "score"]), abs=1e-3)


def test_labels_fall_where_the_sound_does(corpus: Path, tmp_path: Path) -> None:
    """Crops begin anywhere on the grid; where a label says so, and only there, somebody speaks."""
    module, data = built(corpus, tmp_path / "run")
    begins, loud, quiet = set(), [], []
    for step in range(6):
        batch = batch_of(data, step)
        begins |= set(batch["starts_s"][:4])
        targets = module.labels.frames(batch["ids"], batch["starts_s"], 50)
        assert not targets[4:].any()
        on = targets[:4].any(-1)
        power = batch["wav"][:4].unflatten(1, (50, 640)).square().mean(-1)
        near = on.clone()  # an event begins and ends within a frame
        near[:, 1:] |= on[:, :-1]
        near[:, :-1] |= on[:, 1:]
        loud.append(power[on])
        quiet.append(power[~near])
    assert torch.cat(quiet).max() < 3e-6 < torch.cat(loud).median() / 20
    assert len(begins) > 8
    assert all(abs(s * 25 - round(s * 25)) < 1e-9 for s in begins)


def test_a_batch_has_of_each_kind(corpus: Path, tmp_path: Path) -> None:
    module, data = built(corpus, tmp_path / "run")
    batch = batch_of(data)
    assert module.labels.are_strong(batch["ids"]).tolist() == [True] * 4 + [False] * 4
    assert module.labels.are_weak(batch["ids"]).tolist() == [False] * 4 + [True] * 2 + [False] * 2
    assert DetectorRun(settings_of(corpus), f"{corpus}/train", f"{corpus}/dev").averaged
    labelled = DetectorRun(settings_of(corpus, data__batch_unlabelled=0), f"{corpus}/train", f"{corpus}/dev")
    assert [n for _, n in labelled.batches()] == [4, 2]
    assert not labelled.averaged
    asked = settings_of(corpus, data__batch_unlabelled=0, mean_teacher__when="always")
    assert DetectorRun(asked, f"{corpus}/train", f"{corpus}/dev").averaged


def test_mixup_keeps_labels_with_their_sound(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = built(corpus, tmp_path / "run", augment__mixup=0.5, model__drop_path=0.0)
    plain, _ = built(corpus, tmp_path / "run", augment__mixup=0.0)
    batch = batch_of(data)
    mel, frames, mix = module._views(batch)
    whole = {**batch, "lengths": torch.full_like(batch["lengths"], batch["wav"].shape[-1])}
    alone, _, same = plain._views(whole)
    assert sorted(mix.partner[:4].tolist()) == [0, 1, 2, 3]
    assert sorted(mix.partner[4:6].tolist()) == [4, 5]
    assert all(mix.partner[i] != i for i in range(6))
    assert torch.equal(mel[6:], alone[6:])  # unlabelled
    assert torch.equal(same.partner, torch.arange(8))
    labels = module.labels.frames(batch["ids"], batch["starts_s"], 50)
    for i in range(4):
        share, partner = mix.share[i], mix.partner[i]
        torch.testing.assert_close(mel[i], share * alone[i] + (1 - share) * alone[partner])
        torch.testing.assert_close(mix(labels)[i], share * labels[i] + (1 - share) * labels[partner])
    assert ((mix(labels) > 0) & (mix(labels) < 1)).any()
    with torch.no_grad():
        events, _, clips = module.model.logits_of(mel, frames)
    weak = F.binary_cross_entropy_with_logits(clips[4:6], mix(module.labels.clips(batch["ids"]))[4:6])
    strong = F.binary_cross_entropy_with_logits(events[:4], mix(labels)[:4])
    (metrics,) = steps(module, data, 1, monkeypatch)
    assert (metrics["strong"], metrics["weak"]) == pytest.approx((float(strong), float(weak)), rel=1e-5)


def test_warping_moves_no_label(corpus: Path, tmp_path: Path) -> None:
    """The mel axis alone: a frame that is silent stays so, and where it is loud it stays loud."""
    module, data = built(corpus, tmp_path / "run", augment__warp=True, augment__mixup=0.0)
    mel, _, _ = module._views(batch_of(data))
    warped = module._warped(mel, batch_of(data)["ids"])
    assert not torch.equal(warped, mel)
    centred = [x.mean(1) - x.mean((1, 2))[:, None] for x in (mel, warped)]
    assert (torch.cosine_similarity(*centred) > 0.7).all()


def test_the_mean_teacher_is_the_mean(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = built(corpus, tmp_path / "run", optim__unfreeze=-1, mean_teacher__ema=0.7, model__drop_path=0.0)
    mine = [p.clone() for p in module.model.parameters()]
    assert all(torch.equal(p, q) for p, q in zip(mine, module.mean.parameters()))
    for step in range(4):
        (metrics,) = steps(module, data, 1, monkeypatch)
        decay = min(1 - 1 / (step + 2), 0.7)
        mine = [torch.lerp(m, p.detach(), 1 - decay) for m, p in zip(mine, module.model.parameters())]
        assert all(torch.equal(m, p) for m, p in zip(mine, module.mean.parameters()))
        assert (metrics["consistency"] > 0) == (step > 0)  # equal before the first update, and nothing is dropped
        monkeypatch.undo()
    assert all(p.grad is None for p in module.mean.parameters())
    trained = {id(p) for g in module.configure_optimizers().param_groups for p in g["params"]}
    assert not trained & {id(p) for p in module.mean.parameters()}
    assert not module.mean.training


def test_the_last_blocks_alone_are_trained(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = built(corpus, tmp_path / "run", optim__unfreeze=1)
    before = copy.deepcopy(module.model.state_dict())
    steps(module, data, 2, monkeypatch)
    moved = {k for k, v in module.model.state_dict().items() if not torch.equal(v, before[k])}
    assert {k.split(".")[0] for k in moved} == {"head", "encoder"}
    assert all(k.startswith(("head.", "encoder.blocks.1.", "encoder.norm.")) for k in moved)
    assert "encoder.norm.weight" in moved
    assert module.model.encoder.blocks[0].drop_path.p == 0
    with pytest.raises(AudiokdError, match="3 of 2 blocks cannot be trained"):
        built(corpus, tmp_path / "run", optim__unfreeze=3)


def test_weak_labels_reach_the_attention(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = built(corpus, tmp_path / "run", mean_teacher__when="never")
    assert module.mean is None
    batch = batch_of(data)
    assert module.labels.clips(batch["ids"])[4:6].any()
    before = module.model.head.attention.weight.clone()
    (metrics,) = steps(module, data, 1, monkeypatch)
    assert not torch.equal(before, module.model.head.attention.weight)
    assert metrics["loss"] == pytest.approx(metrics["strong"] + metrics["weak"])


def test_a_detector_teaches_another(corpus: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C2F on frames: what is said of the student's own batch, without gradients, and of nothing past a crop's end."""
    options = {"teachers__models": (str(run / "model"),), "mean_teacher__when": "never", "augment__mixup": 0.0}
    module, data = built(corpus, tmp_path / "run", **options)
    (teacher,) = module.teachers
    before = copy.deepcopy(teacher.state_dict())
    batch = batch_of(data)
    mel, frames, mix = module._views(batch)
    events = module.model.logits_of(mel, frames)[0]
    said = module._ask(mel, frames, mix, batch, events)
    torch.testing.assert_close(said, teacher.eval().logits_of(mel, frames)[0].sigmoid())
    frame_loss(events, said, torch.ones(events.shape[:2], dtype=torch.bool)).backward()
    assert all(p.grad is None for p in teacher.parameters())
    (metrics,) = steps(module, data, 1, monkeypatch)
    expected = 0.5 * metrics["taught"] + 0.5 * (metrics["strong"] + metrics["weak"])
    assert metrics["loss"] == pytest.approx(expected)
    assert not teacher.training
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())
    assert not any("teacher" in k for k in module.state_dict())
    module, _ = built(corpus, tmp_path / "run", **options, teachers__training_mode=True)
    module._ask(mel, frames, mix, batch, events)
    assert module.teachers[0].training


def test_cached_logits_fit_the_crop(corpus: Path, run: Path, tmp_path: Path) -> None:
    """The stored frames of the utterance from where the crop begins, mixed as the labels are."""
    extract(str(run / "model"), str(corpus / "train"), str(tmp_path / "events"), layer="events")
    module, data = built(corpus, tmp_path / "run", teachers__logits=(str(tmp_path / "events"),))
    batch = batch_of(data, 1)
    mel, frames, mix = module._views(batch)
    like = torch.zeros(8, 50, 2)
    said = module._ask(mel, frames, mix, batch, like)
    firsts = [round(s * 25) for s in batch["starts_s"]]
    assert any(firsts)
    store = open_store(tmp_path / "events")
    own = [torch.from_numpy(store[i].array[f : f + 50].copy()).sigmoid() for i, f in zip(batch["ids"], firsts)]
    torch.testing.assert_close(said, mix(torch.stack(own)))
    longer = module._ask(mel, frames, mix, batch, torch.zeros(8, 80, 2))
    assert not longer[:, 75:].any()
    extract(str(run / "model"), str(corpus / "train"), str(tmp_path / "clips"), layer="logits")
    with pytest.raises(AudiokdError, match="its layer is logits, not events"):
        built(corpus, tmp_path / "run", teachers__logits=(str(tmp_path / "clips"),))


def test_bf16_trains(corpus: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    finish(command(corpus, "frame", "--run.precision", "bf16-mixed"), exp)
    found = {k: float(v) for k, v in rows(exp).items()}
    losses = [found[s, "train", "strong"] for s in range(1, STEPS + 1)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_killed_and_started_again_equals_never_killed(corpus: Path, tmp_path: Path, num_workers: int) -> None:
    short = "--run.max_steps 13 --run.val_every 6 --run.ckpt_every 4 --augment.mixup 0.5 --augment.warp true"
    whole = command(corpus, "frame", *short.split(), "--data.num_workers", str(num_workers))
    finish(whole, tmp_path / "undisturbed")
    exp = tmp_path / "killed"
    assert 7 <= kill_at(7, whole, exp) < 13
    finish(whole, exp)
    assert_same_run(exp, tmp_path / "undisturbed")


@pytest.mark.slow
def test_two_processes_score_the_whole_dev_set(corpus: Path, tmp_path: Path) -> None:
    options = ["--run.max_steps", "1", "--run.val_every", "1"]
    finish(command(corpus, "clip", *options), tmp_path / "one")
    finish(command(corpus, "clip", *options, "--run.devices", "2"), tmp_path / "two")
    one, two = (float(rows(tmp_path / name)[0, "val", "score"]) for name in ("one", "two"))
    assert one == pytest.approx(two, abs=1e-6)


@pytest.mark.slow
def test_the_mean_can_be_exported(corpus: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    finish(command(corpus, "frame", "--mean_teacher.exported", "mean", "--run.max_steps", "4"), exp)
    export(str(exp), str(tmp_path / "model"), checkpoint="last")
    state = checkpoint(exp, "last")["state_dict"]
    model = AutoModel.from_pretrained(tmp_path / "model")
    assert all(torch.equal(v, state[f"mean.{k}"]) for k, v in model.state_dict().items())
    assert not torch.equal(state["mean.head.events.weight"], state["model.head.events.weight"])
    with pytest.raises(AudiokdError, match="a detector has no init checkpoint"):
        export(str(exp), str(tmp_path / "init"), checkpoint="init")


def test_labels_that_cannot_be(corpus: Path, tmp_path: Path) -> None:
    train, dev = str(corpus / "train"), str(corpus / "dev")

    def refused(what: str, **changes: Any) -> None:
        with pytest.raises(AudiokdError, match=what):
            DetectorRun(settings_of(corpus, **changes), train, dev)

    def table(name: str, *lines: str) -> str:
        head = "" if name.startswith("weak") else "filename\tonset\toffset\tevent_label\n"
        (tmp_path / name).write_text(head + "".join(f"{line}\n" for line in lines))
        return str(tmp_path / name)

    refused("no encoder given", model__encoder="")
    refused("no training utterance has events", data__events=(dev,))
    refused("a validation utterance without events", data__events=(train,))
    refused("data.batch_strong 0: one at least is needed", data__batch_strong=0)
    late = table("late", "train-01.wav\t2.0\t3.2\tbeckett")
    refused(r"beckett from 2 to 3.2 s in an utterance of 3.00 s", data__events=(train, dev, late))
    nearly = table("nearly", "train-01.wav\t2.0\t3.05\tbeckett")
    DetectorRun(settings_of(corpus, data__events=(train, dev, nearly)), train, dev)
    strange = table("strange", "dev-01.wav\t1.0\t2.0\tdog")
    refused("a label that no training event has: dog", data__events=(train, dev, strange))
    refused("a label that no training event has: dog", data__labels=(table("weak", "train-13 beckett dog"),))
    silent = table("silent", *(f"train-{i:02d}.wav\t\t\t" for i in range(20)))
    refused("not one event in the training set", data__events=(train, dev, silent))


def test_it_says_what_was_seen_and_sees_no_test_clip(corpus: Path, tmp_path: Path) -> None:
    taught, dev, test, folder = (tmp_path / name for name in ("taught", "dev", "test", "exp"))
    shutil.copytree(corpus / "train", taught)
    (taught / "regime.json").write_text(json.dumps({"steps": [{"name": "intervals"}]}))
    of = open_input(str(corpus / "dev")).utterances()
    write_data_dir(dev, of[::2])
    write_data_dir(test, of[1::2])
    folder.mkdir()
    run = DetectorRun(settings_of(corpus, data__test=(str(test),)), str(taught), str(dev))
    run.build(folder)
    about = json.loads((folder / "regime.json").read_text())
    step, parts = about["steps"][0], {k: len(of) for k, of in run.parts.items()}
    assert min(parts.values()) > 0
    assert step["labelled"]["labels"] == {"events": parts["strong"], "labels": parts["weak"]}
    assert step["unlabelled"]["count"] == parts["unlabelled"]
    assert step["selection"]["count"] + about["test"]["count"] == len(of)
    assert about["before"] == {"train": {"steps": [{"name": "intervals"}]}}

    lines = [line.split(maxsplit=1) for line in (test / "wav.scp").read_text().splitlines()]
    (test / "wav.scp").write_text("".join(f"{i} cat {path} |\n" for i, path in lines))
    piped = DetectorRun(settings_of(corpus, data__test=(str(test),)), str(taught), str(dev), allow_pipes=True)
    assert len(piped.regime.test) == about["test"]["count"]

    tested = settings_of(corpus, data__test=(str(corpus / "dev"),))
    with pytest.raises(AudiokdError, match=r"detector saw .* test items \(selection\)"):
        DetectorRun(tested, str(taught), str(dev)).build(folder)


def test_teachers_that_cannot_be(corpus: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="a ATSTModel is no detector"):
        built(corpus, tmp_path / "run", teachers__models=(str(corpus / "clip"),))
    events = read_events(corpus / "train") | read_events(corpus / "dev")
    lines = [f"{i}\t{e.start_s}\t{e.end_s}\t{e.label.replace('beckett', 'samuel')}" for i in events for e in events[i]]
    lines += [f"{i}\t\t\t" for i in events]
    (tmp_path / "other").write_text("\n".join(["filename\tonset\toffset\tevent_label", *lines]) + "\n")
    options = {"data__events": (str(tmp_path / "other"),), "data__labels": ()}
    with pytest.raises(AudiokdError, match="a teacher of other labels, such as beckett, samuel"):
        built(corpus, tmp_path / "run", **options, teachers__models=(str(run / "model"),))
    extract(str(run / "model"), str(corpus / "dev"), str(tmp_path / "few"), layer="events")
    with pytest.raises(AudiokdError, match="no logits of 20 training utterances, train-00 first"):
        built(corpus, tmp_path / "run", teachers__logits=(str(tmp_path / "few"),))


def test_every_packaged_config_is_read() -> None:
    for name in ("debug", "desed", "audioset_strong"):
        flat = read_config(f"detector/{name}")
        settings = flatten(dataclasses.asdict(method_settings.settings_of("detector", name)))
        assert {k: settings[k] for k in flat} == flat

"""recipes/finetune.sh from labelled data dirs to the table: taught by another model, and fold by fold."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
import torch
from recipe_copies import ENV, REPO, bash, copy_recipe

from audiokd.data.event_points import EventPoint, read_points, write_points
from audiokd.data.events import Event, read_events, write_events
from audiokd.data.inputs import open_input
from audiokd.data.kaldi import check_data_dir
from audiokd.data.labels import read_labels
from audiokd.hub.auto import part
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.stages.fit import flatten, read_config

SOURCE = REPO / "egs" / "esc50" / "clip1"
FIT = "--run.max_steps 4 --run.val_every 2 --run.ckpt_every 2 --run.log_every 1 --run.accelerator cpu"
FIT += " --data.batch_size 4 --data.num_workers 0 --data.crop_s 1 --data.val_crop_s 1"


@pytest.fixture
def task(readers: Path, tmp_path: Path) -> Path:
    """A copy of the recipe beside encoders of both kinds and a data dir of the readers, in three folds."""
    folder = copy_recipe(SOURCE, tmp_path)
    torch.manual_seed(0)
    for kind in ("clip", "frame"):
        ATSTModel(ATSTConfig(kind=kind, dim=24, depth=2, heads=2)).save_pretrained(folder / kind)
    data = folder / "data" / "readers"
    data.mkdir(parents=True)
    for name in ("wav.scp", "segments", "utt2label"):
        (data / name).write_text((readers / "train" / name).read_text())
    ids = sorted(read_labels(data))
    (data / "utt2fold").write_text("".join(f"{u} {k % 3 + 1}\n" for k, u in enumerate(ids)))
    return folder


def run(task: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = ["../../../recipes/finetune.sh", "--stage", "fit", "--task", "readers", "--fit_args", FIT, *more]
    return subprocess.run(command, cwd=task, env=ENV, capture_output=True, text=True)


@pytest.mark.slow
def test_folds_with_a_teacher_each(task: Path) -> None:
    folds = ("--folds", "true", "--config", "classifier/debug")
    clip = run(task, *folds, "--encoder", "clip", "--exp", "exp/clip")
    assert clip.returncode == 0, clip.stderr[-3000:]
    c2f = run(task, *folds, "--encoder", "frame", "--exp", "exp/c2f", "--teachers", "exp/clip/fold-%fold/export")
    assert c2f.returncode == 0, c2f.stderr[-3000:]
    found = json.loads((task / "exp/c2f/classified/readers.json").read_text())
    assert found["rows"] == 14
    assert [f["rows"] for f in found["folds"]] == [5, 5, 4]
    assert "| readers | 14 | accuracy |" in c2f.stdout
    for k in (1, 2, 3):
        said = (task / f"exp/c2f/fold-{k}/config.yaml").read_text()
        assert f"exp/clip/fold-{k}/export" in said
        parts = {p: set(read_labels(task / f"data/readers-fold-{k}/{p}")) for p in ("train", "dev", "test")}
        assert sorted(u for ids in parts.values() for u in ids) == sorted(read_labels(task / "data/readers"))
        fold = read_labels(task / "data/readers/utt2fold")
        assert {fold[u][0] for u in parts["test"]} == {str(k)}
        assert {fold[u][0] for u in parts["dev"]} == {str(k % 3 + 1)}
        assert {u.id for u in open_input(task / f"data/readers-fold-{k}/train").utterances()} == parts["train"]


@pytest.mark.slow
def test_splits_and_the_report(task: Path) -> None:
    data = task / "data" / "readers"
    ids = sorted(read_labels(data))
    for split, chosen in (("train", ids[::2]), ("dev", ids[1::4]), ("test", ids[3::4])):
        made = bash('. ./lib.sh; subset_data "$1" "$2" <<<"$3"', str(data), str(data / split), "\n".join(chosen))
        assert made.returncode == 0, made.stderr
        assert [u.id for u in open_input(data / split).utterances()] == chosen
    done = run(task, "--encoder", "clip", "--exp", "exp/clip")
    assert done.returncode == 0, done.stderr[-3000:]
    page = (task / "exp/clip/report.html").read_text()
    assert "each label" in page
    assert "class on clip; 4 steps" in page
    assert "readers" in done.stdout


def test_a_part_of_a_data_dir_is_one(task: Path, tmp_path: Path) -> None:
    """Speakers, events and points go along."""
    data = task / "data" / "readers"
    ids = sorted(read_labels(data))
    (data / "utt2spk").write_text("".join(f"{u} {u.split('-')[0]}\n" for u in ids))
    (data / "spk2utt").write_text(
        "".join(f"{s} {' '.join(u for u in ids if u.startswith(s))}\n" for s in ("beckett", "two_cities"))
    )
    write_events(
        data / "events.tsv", {ids[0]: [Event(0.1, 0.5, "word")], ids[1]: [], ids[-1]: [Event(0.2, 0.4, "word")]}
    )
    write_points(data / "points.tsv", {i: [EventPoint(0.3, "word")] for i in ids})
    wanted = [ids[0], ids[-1]]
    made = bash('. ./lib.sh; subset_data "$1" "$2" <<<"$3"', str(data), str(tmp_path / "part"), "\n".join(wanted))
    assert made.returncode == 0, made.stderr
    assert [f for f in check_data_dir(tmp_path / "part") if f.fatal] == []
    found = open_input(tmp_path / "part").utterances()
    assert [(u.id, u.speaker) for u in found] == [(ids[0], "beckett"), (ids[-1], "two_cities")]
    assert sorted(read_events(tmp_path / "part")) == sorted(read_points(tmp_path / "part")) == wanted


def test_what_is_missing(task: Path) -> None:
    for options, said in (
        (("--encoder", ""), "--encoder is needed"),
        (("--encoder", "clip", "--task", ""), "--task is needed"),
    ):
        done = run(task, *options)
        assert done.returncode == 2
        assert said in done.stderr


@pytest.mark.parametrize(("method", "pattern"), [
    ("classifier", "finetune.yaml"), ("classifier", "c2f.yaml"), ("classifier", "as2m.yaml"), ("detector", "mean_teacher.yaml"),
])  # fmt: skip
def test_the_recipes_configs_are_known(method: str, pattern: str) -> None:
    known = flatten(dataclasses.asdict(part(method, "settings")()))
    files = sorted((REPO / "egs").glob(f"*/*/conf/{pattern}"))
    assert files
    for path in files:
        assert not read_config(str(path)).keys() - known.keys(), path


@pytest.mark.parametrize(("path", "clips", "epochs", "warmup", "rate", "mixup"), [
    ("speechcommands/clip1/conf/finetune", 84_843, 50, 5, 1.0, 10), ("speechcommands/clip1/conf/c2f", 84_843, 50, 5, 2.0, 0.5),
    ("fsd50k/clip1/conf/finetune", 36_796, 100, 5, 0.5, 10), ("fsd50k/clip1/conf/c2f", 36_796, 100, 5, 2.0, 10),
    ("audioset/ssl1/conf/finetune", 20_000, 200, 5, 1.0, 0.5), ("audioset/ssl1/conf/c2f", 20_000, 200, 5, 3.0, 0.5),
    ("audioset/ssl1/conf/as2m", 2_000_000, 11, 2, 0.5, 10),
])  # fmt: skip
def test_the_published_settings(path: str, clips: int, epochs: int, warmup: int, rate: float, mixup: float) -> None:
    """As ATST's scripts have them: its steps an epoch, and the rate that its code makes of batch and rate."""
    found = flatten(dataclasses.asdict(part("classifier", "settings")())) | read_config(
        str(REPO / "egs" / f"{path}.yaml")
    )
    batch, an_epoch = found["data.batch_size"], clips // found["data.batch_size"] + 1
    assert batch == 512
    assert (found["run.max_steps"], found["optim.warmup_steps"]) == (epochs * an_epoch, warmup * an_epoch)
    assert found["optim.lr"] == rate * batch / 256
    assert found["augment.mixup"] == mixup
    assert (found["augment.mixup_prob"], found["data.balance"]) == ((0.5, True) if "as2m" in path else (1.0, False))
    sgd = [found[f"optim.{k}"] for k in ("momentum", "grad_clip", "layer_decay", "min_lr")]
    assert sgd == [0.9, 3.0, 0.75, 1e-6]

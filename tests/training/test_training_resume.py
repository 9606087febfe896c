"""Killed in mid-epoch and started again equals never killed: weights, optimisers, best checkpoint, every logged number."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from debug_runs import data_dir, debug_settings
from safetensors.torch import load_file, save_file
from whole_runs import assert_same_run, checkpoint, differences, finish, kill_at, reached, rows, start

from audiokd.errors import AudiokdError
from audiokd.methods.lm_spt.module import LMSPTModule
from audiokd.stages.fit import fit

STEPS = 13


@pytest.fixture(scope="module")
def command(two_cities: Path, whisper_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """`audiokd fit` without --exp_dir. Neither the validations nor the rows fall on the steps of checkpoints alone."""
    root = tmp_path_factory.mktemp("corpus")
    train, dev = data_dir(root / "train", two_cities, 0, 9), data_dir(root / "dev", two_cities, 9, 2)
    options = f"--config lm_spt/debug --teacher.name {whisper_dir} --train {train} --dev {dev} --run.accelerator cpu"
    options += f" --run.max_steps {STEPS} --run.val_every 6 --run.ckpt_every 4 --run.log_every 3 --optim.revive_after 2"
    return [str(Path(sys.executable).with_name("audiokd")), "fit", "lm_spt", *options.split()]


@pytest.fixture(scope="module")
def undisturbed(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    exp = tmp_path_factory.mktemp("run") / "undisturbed"
    finish(command, exp)
    return exp


def test_the_undisturbed_run_is_whole(undisturbed: Path) -> None:
    found = rows(undisturbed)
    assert {s for s, split, _ in found if split == "val"} == {0, 6, 12, 13}
    assert {s for s, split, _ in found if split == "train"} == {1, 3, 6, 9, 12}
    last = checkpoint(undisturbed, "last")
    assert last["iteration"] == STEPS
    assert len(last["optimizer_states"]) == 2
    assert {k.split(".")[0] for k in last["state_dict"]} >= {"generator", "discriminator"}
    losses = {s: float(found[s, "val", "loss"]) for s in (6, 12, 13)}
    assert checkpoint(undisturbed, "best")["iteration"] == min(losses, key=lambda s: losses[s])


def test_a_run_that_is_done_is_left_alone(command: list[str], undisturbed: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*") if p.is_file()}
    assert "steps are done already" in finish(command, undisturbed)
    assert {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*") if p.is_file()} == before


@pytest.mark.slow
@pytest.mark.parametrize(("num_workers", "step"), [(0, 7), (2, 6)])
def test_killed_and_started_again_equals_never_killed(
    command: list[str], undisturbed: Path, tmp_path: Path, num_workers: int, step: int
) -> None:
    exp, workers = tmp_path / "killed", ("--data.num_workers", str(num_workers))
    got = kill_at(step, command, exp, *workers)
    if step % 3:
        # log_every 3 shows step 9 next: it is between the checkpoints of 8 and 12, three steps into an epoch of six
        assert got == 9
    held = checkpoint(exp, "last")["iteration"]
    assert held in (4, 8)
    assert held % 6  # in mid-epoch

    out = finish(command, exp, *workers)
    assert f"{STEPS} steps" in out
    assert_same_run(exp, undisturbed)


@pytest.mark.slow
def test_ctrl_c_is_answered_and_gone_on_from(command: list[str], undisturbed: Path, tmp_path: Path) -> None:
    exp = tmp_path / "interrupted"
    run = start(command, exp)
    deadline = time.monotonic() + 120
    while reached(exp) < 3 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(run.pid, signal.SIGINT)
    out = run.communicate(timeout=60)[0]
    assert run.returncode == 130, out
    assert "interrupted" in out
    assert "Traceback" not in out
    assert not list(exp.rglob(".*.tmp*"))
    finish(command, exp)
    assert rows(exp) == rows(undisturbed)
    assert differences(checkpoint(exp, "last")["state_dict"], checkpoint(undisturbed, "last")["state_dict"]) == []


def test_a_run_does_not_go_on_with_another_teacher_in_that_folder(
    two_cities: Path, whisper_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = shutil.copytree(whisper_dir, tmp_path / "teacher")
    train, dev = data_dir(tmp_path / "train", two_cities, 0, 4), data_dir(tmp_path / "dev", two_cities, 4, 1)

    def run() -> dict[str, float]:
        settings = debug_settings(teacher, run__max_steps=4, run__ckpt_every=2, run__val_every=4)
        return fit("lm_spt", settings, str(train), str(dev), str(tmp_path / "exp"))

    step = LMSPTModule.training_step

    def stopping(self: LMSPTModule, batch: Any, batch_idx: int) -> None:
        if self.iteration == 3:
            raise KeyboardInterrupt
        step(self, batch, batch_idx)

    monkeypatch.setattr(LMSPTModule, "training_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.undo()
    assert list(checkpoint(tmp_path / "exp", "last")["frozen_sha256"]) == ["teacher.net"]
    weights = load_file(teacher / "model.safetensors")
    moved = {k: v * 1.01 if k.endswith("layers.0.fc1.weight") else v for k, v in weights.items()}
    save_file(moved, teacher / "model.safetensors", {"format": "pt"})
    with pytest.raises(AudiokdError, match=r"teacher.net has other weights than when the run began"):
        run()
    save_file(weights, teacher / "model.safetensors", {"format": "pt"})
    run()
    assert checkpoint(tmp_path / "exp", "last")["iteration"] == 4

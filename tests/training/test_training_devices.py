"""By config: two processes train as one with twice the batch; bf16 and a full teacher window train."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from debug_runs import data_dir

# nothing random in a step, so that how the batch is shared is all that differs
OPTIONS = "--config lm_spt/debug --run.accelerator cpu --run.max_steps 4 --run.val_every 2 --model.quantizer_dropout 0"


@pytest.fixture(scope="module")
def command(two_cities: Path, whisper_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("corpus")
    train, dev = data_dir(root / "train", two_cities, 0, 8), data_dir(root / "dev", two_cities, 8, 2)
    options = f"{OPTIONS} --teacher.name {whisper_dir} --train {train} --dev {dev} --optim.revive_after 0"
    return [str(Path(sys.executable).with_name("audiokd")), "fit", "lm_spt", *options.split()]


def val(command: list[str], exp: Path, *more: str) -> dict[tuple[int, str], float]:
    """Validation metrics of a run by (step, name)."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([*command, "--exp_dir", str(exp), *more], env=env, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    with open(exp / "metrics.csv") as f:
        rows = [r for r in csv.DictReader(f) if r["split"] == "val"]
    return {(int(r["step"]), r["name"]): float(r["value"]) for r in rows}


def generator(exp: Path) -> torch.Tensor:
    """All weights of the generator in the last checkpoint, one after another."""
    state = torch.load(exp / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return torch.cat([v.flatten() for k, v in sorted(state.items()) if k.startswith("generator.")])


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(command: list[str], tmp_path: Path) -> None:
    one = val(command, tmp_path / "one", "--data.batch_size", "2")
    two = val(command, tmp_path / "two", "--data.batch_size", "1", "--run.devices", "2")
    val(command, tmp_path / "alone", "--data.batch_size", "1")  # what rank 0 alone would learn
    for step in (0, 2, 4):
        for name in ("mel", "distill", "loss"):
            assert two[step, name] == pytest.approx(one[step, name], rel=2e-3), (step, name)
    weights = {name: generator(tmp_path / name) for name in ("one", "two", "alone")}
    far = (weights["alone"] - weights["one"]).norm()
    near = (weights["two"] - weights["one"]).norm()
    assert near < 0.1 * far, (float(near), float(far))


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--run.precision", "bf16-mixed"), ("--teacher.window", "full")])
def test_it_trains_by_config(command: list[str], tmp_path: Path, options: tuple[str, str]) -> None:
    metrics = val(command, tmp_path / "exp", *options)
    assert all(math.isfinite(v) for v in metrics.values())
    assert metrics[4, "mel"] < metrics[0, "mel"]

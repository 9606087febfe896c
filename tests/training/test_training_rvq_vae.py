"""RVQ-VAE training, and what it is for: MERT's teacher."""

from __future__ import annotations

import sys
from pathlib import Path

from debug_runs import data_dir
from whole_runs import assert_same_run, checkpoint, finish, kill_at, rows

import audiokd
from audiokd.stages.export import export
from audiokd.teachers.codes import load_code_teacher


def test_it_trains_and_teaches_mert(two_cities: Path, tmp_path: Path) -> None:
    """The mel distance falls, a killed run goes on as if never killed, the export is a tokenizer, and MERT takes it."""
    train, dev = data_dir(tmp_path / "train", two_cities, 0, 8), data_dir(tmp_path / "dev", two_cities, 9, 2)
    audiokd_ = str(Path(sys.executable).with_name("audiokd"))
    sets = ["--train", str(train), "--dev", str(dev), "--run.accelerator", "cpu"]
    command = [audiokd_, "fit", "rvq_vae", "--config", "rvq_vae/debug", *sets]
    command += ["--run.max_steps", "24", "--run.val_every", "12", "--run.ckpt_every", "4"]
    finish(command, tmp_path / "whole")
    kill_at(6, command, tmp_path / "killed")
    assert checkpoint(tmp_path / "killed", "last")["iteration"] < 24
    finish(command, tmp_path / "killed")
    assert_same_run(tmp_path / "killed", tmp_path / "whole")
    found = {k: float(v) for k, v in rows(tmp_path / "whole").items()}
    assert found[24, "val", "mel"] < 0.9 * found[0, "val", "mel"]
    assert any(name.startswith("codebook/") for _, _, name in found)
    export(str(tmp_path / "whole"), str(tmp_path / "codec"), "best")
    tokenizer = audiokd.load_tokenizer(tmp_path / "codec")
    teacher = load_code_teacher(str(tmp_path / "codec"))
    assert (teacher.frame_rate, teacher.cardinality) == (75.0, tokenizer.cardinality)
    mert = [audiokd_, "fit", "mert", "--config", "mert/debug", *sets, "--teacher.codes", str(tmp_path / "codec")]
    finish([*mert, "--run.max_steps", "3"], tmp_path / "mert")
    assert "accuracy/codebook1" in {name for _, _, name in rows(tmp_path / "mert")}

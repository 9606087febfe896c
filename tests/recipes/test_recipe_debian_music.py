"""Which task, split and label debian_music gives the sounds of its packages, on a few files in their layout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from recipe_copies import ENV, REPO

from audiokd.data.inputs import open_input
from audiokd.data.labels import read_labels

SCRIPT = REPO / "egs" / "debian_music" / "mert1" / "local" / "make_data.py"
ROOTS = {
    "drums": "hydrogen-drumkits/usr/share/hydrogen/data/drumkits",
    "sonic": "sonic-pi-samples/usr/share/sonic-pi/samples",
    "music": "wesnoth-1.16-music/usr/share/games/wesnoth/1.16/data/core/music",
    "hold": "asterisk-moh-opsound-wav/usr/share/asterisk/moh",
}
BASSES = [f"bass_{k}.flac" for k in range(10)]


@pytest.fixture(scope="module")
def downloads(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real speech under the names of drums, samples and music: names and lengths are all that counts."""
    x = sf.read(two_cities, dtype="float32")[0][::6]  # 8 kHz
    root = tmp_path_factory.mktemp("downloads")
    files = {
        "drums": {"VariBreaks/VP Hat 1 Cl.flac": 0.5, "HardElectro1/PowR_BD_1.flac": 0.5, "ElectricEmpireKit/EE_Snare_1.flac": 0.5},
        "sonic": {**dict.fromkeys(BASSES, 0.5), "ambi_choir.flac": 2.0, "loop_amen.flac": 0.05},
        "music": {"battle.ogg": 131.0},
        "hold": {"cold day.wav": 35.0},
    }  # fmt: skip
    for source, of in files.items():
        for name, seconds in of.items():
            path = root / ROOTS[source] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            sf.write(path, np.resize(x, int(seconds * 8000)), 8000)
    return root


def test_tasks_splits_and_labels(downloads: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(downloads), "data"], cwd=tmp_path, env=ENV, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr

    def found(task: str) -> dict[str, dict[str, str]]:
        of = {}
        for split in ("train", "dev", "test"):
            folder = tmp_path / "data" / task / split
            text = (folder / "utt2label").read_text()
            of[split] = {i: label[0] for i, label in read_labels(folder).items()} if text else {}
        return of

    assert found("drums") == {
        "train": {"drums-HardElectro1-PowR_BD_1": "kick"},
        "dev": {"drums-ElectricEmpireKit-EE_Snare_1": "snare"},
        "test": {"drums-VariBreaks-VP_Hat_1_Cl": "hihat"},
    }
    samples = found("samples")  # ambi has one sound, amen is too short
    assert {k: len(v) for k, v in samples.items()} == {"train": 6, "dev": 2, "test": 2}
    assert {label for of in samples.values() for label in of.values()} == {"bass"}
    assert len({i for of in samples.values() for i in of}) == 10
    tracks = found("tracks")
    assert {k: [int(i.split("-")[-1]) for i in v] for k, v in tracks.items()} == {
        "train": [*range(8)], "dev": [9], "test": [11, 12],
    }  # fmt: skip
    stretch = {u.id: (u.start_s, u.end_s) for u in open_input(tmp_path / "data/tracks/test").utterances()}
    assert stretch["music-battle-11"] == (110.0, 120.0)

    sets = [tmp_path / "data" / s for s in ("train", "dev")]  # so few that dev may have none
    heard = {u.id for s in sets if (s / "wav.scp").read_text() for u in open_input(s).utterances()}
    assert {f"music-battle-{k:02d}" for k in range(8)} == {i for i in heard if i.startswith("music")}
    assert not heard & {i for of in (samples, found("drums")) for s in ("dev", "test") for i in of[s]}
    assert {"drums-HardElectro1-PowR_BD_1", "sonic-ambi_choir"} <= heard
    assert sum(i.startswith("hold-cold_day") for i in heard) == 2
    assert "pieces without labels" in run.stdout


def test_a_package_that_is_missing(downloads: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "data"], cwd=tmp_path, env=ENV, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "error: no " in run.stderr
    assert "hydrogen-drumkits" in run.stderr

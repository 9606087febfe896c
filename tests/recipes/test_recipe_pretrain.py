"""recipes/pretrain.sh from data dirs to the probes' tables, and the labels that debian_sounds takes from its packages."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from recipe_copies import BIN, ENV, REPO, copy_recipe

from audiokd.data.beats import write_beats
from audiokd.data.inputs import open_input
from audiokd.data.kaldi import check_data_dir, read_data_dir, write_data_dir
from audiokd.data.labels import read_labels, write_labels
from audiokd.data.stems import write_stems
from audiokd.data.utterance import Utterance

SOURCE = REPO / "egs" / "debian_sounds" / "ssl1"
FIT = (
    "--run.max_steps 4 --run.val_every 2 --run.ckpt_every 2 --run.log_every 1 --run.accelerator cpu --data.batch_size 2"
)
FIT += " --data.num_workers 0 --data.crop_s 1 --data.val_crop_s 1 --model.dim 24 --model.depth 2 --heads.hidden 16"


def speech(two_cities: Path) -> np.ndarray:
    return sf.read(two_cities, dtype="float32")[0][::3]


@pytest.mark.slow
def test_from_data_to_probes(two_cities: Path, beckett: Path, tmp_path: Path) -> None:
    task = copy_recipe(SOURCE, tmp_path)
    wavs, rate = {"two": speech(two_cities), "beckett": sf.read(beckett, dtype="float32")[0]}, 16_000
    (task / "sound").mkdir()
    utterances = {}
    for name, x in wavs.items():
        for i in range(12):
            path = task / "sound" / f"{name}-{i}.wav"
            sf.write(path, x[i * 12_000 : (i + 1) * 12_000], rate)
            utterances[name, i] = Utterance(path.stem, str(path))
    for split, rows in (("train", range(8)), ("dev", range(8, 10)), ("test", range(10, 12))):
        chosen = {k: u for k, u in utterances.items() if k[1] in rows}
        write_data_dir(task / "data" / "voices" / split, chosen.values())
        write_labels(task / "data" / "voices" / split / "utt2label", {u.id: (name,) for (name, _), u in chosen.items()})
        if split != "test":
            write_data_dir(task / "data" / split, chosen.values())

    options = ["--class_tasks", "voices", "--frame_tasks", "", "--exp", "exp/frame", "--score_args", "--epochs 30"]
    options += ["--shard_args", "--sample_rate 16000"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["./run.sh", "--stage", "validate", "--fit_args", FIT, *options, *more],
            cwd=task, env=ENV, capture_output=True, text=True,
        )  # fmt: skip

    first = run()
    assert first.returncode == 0, first.stderr[-3000:]
    assert json.loads((task / "dump/train/cuts.info/shards.json").read_text())["sample_rate"] == 16_000
    found = json.loads((task / "exp/frame/probes-best/voices.json").read_text())
    assert found["rows"] == {"train": 16, "dev": 4, "test": 4}
    assert "| voices | 4 | accuracy |" in first.stdout
    page = (task / "exp/frame/report.html").read_text()
    assert "std_student" in page
    assert "voices" in page
    again = run("--stage", "export", "--checkpoint", "init")
    assert again.returncode == 0, again.stderr[-3000:]
    assert (task / "exp/frame/probes-init/voices.json").exists()
    none = subprocess.run(
        ["./run.sh", "--class_tasks", "", "--frame_tasks", ""], cwd=task, env=ENV, capture_output=True, text=True
    )
    assert none.returncode == 2
    assert "no task to probe" in none.stderr


@pytest.mark.slow
def test_beats_and_sources(two_cities: Path, beckett: Path, tmp_path: Path) -> None:
    """Stages 7 and 8 of an encoder that is there: beats of one data dir, two sources of another."""
    task = copy_recipe(SOURCE, tmp_path)
    a, b = (sf.read(p, dtype="float32")[0][: 8 * 16_000] for p in (two_cities, beckett))
    (task / "sound").mkdir()
    for split in ("train", "dev", "test"):
        folder = task / "data" / "mixes" / split
        for name, wav in {"mix": a[: len(b)] + b, "voice": a[: len(b)], "other": b}.items():
            sf.write(task / "sound" / f"{name}.wav", wav / 2, 16_000)
        write_data_dir(folder, [Utterance(f"mix-{split}", "sound/mix.wav")])
        write_data_dir(task / "data" / "beats" / split, [Utterance(f"mix-{split}", "sound/mix.wav")])
        for source in ("voice", "other"):
            write_stems(folder, source, {f"mix-{split}": f"sound/{source}.wav"})
        write_beats(task / "data" / "beats" / split / "utt2beats", {f"mix-{split}": np.arange(0.5, 7.5, 0.5).tolist()})
    options = ["--class_tasks", "", "--frame_tasks", "", "--beat_tasks", "beats", "--separation_tasks", "mixes"]
    options += ["--sources", "voice other", "--model", "log_mel", "--exp", "exp/log_mel", "--stage", "extract"]
    run = subprocess.run(
        ["./run.sh", *options, "--score_args", "--head mlp --epochs 1"],
        cwd=task,
        env=ENV,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    folder = task / "exp/log_mel/probes-best"
    found = {p.stem: json.loads(p.read_text()) for p in folder.glob("*.json")}
    assert {k: (v["metric"], v["layer"]) for k, v in found.items()} == {
        "beats": ("beat F1", "layers"), "mixes-voice": ("SDR", "layers"), "mixes-other": ("SDR", "layers"),
    }  # fmt: skip
    assert {k: v["settings"].get("source") for k, v in found.items()} == {
        "beats": None, "mixes-voice": "voice", "mixes-other": "other",
    }  # fmt: skip


def test_labels_of_debian_sounds(two_cities: Path, tmp_path: Path) -> None:
    """A few files in each package's layout, cut from real speech: which task, split and label each gets."""
    task = copy_recipe(SOURCE, tmp_path)
    x = speech(two_cities)
    roots = {
        "asterisk": "asterisk-core-sounds-en-wav/usr/share/asterisk/sounds/en_US_f_Allison",
        "french": "asterisk-core-sounds-fr-wav/usr/share/asterisk/sounds/fr_CA_f_June",
        "klettres": "klettres-data/usr/share/klettres",
        "drums": "hydrogen-drumkits/usr/share/hydrogen/data/drumkits",
        "sonic": "sonic-pi-samples/usr/share/sonic-pi/samples",
        "stamps": "tuxpaint-stamps-default/usr/share/tuxpaint/stamps",
        "music": "wesnoth-1.16-music/usr/share/games/wesnoth/1.16/data/core/music",
    }
    files = {
        "asterisk": ["digits/one.wav", "letters/a.wav", "silence/1.wav"],
        "french": ["digits/one.wav", "letters/b.wav"],
        "klettres": ["en/alpha/C.ogg", "fr/alpha/a-3.ogg", "en_GB/alpha/e.ogg", "de/alpha/f.ogg", "de/alpha/sz.ogg",
            "nl/syllab/ab.ogg"],
        "drums": ["VariBreaks/VP Hat 1 Cl.flac", "HardElectro1/PowR_BD_1.flac",
            "ElectricEmpireKit/EE_Snare_1.flac", "HardElectro1/FX.flac"],
        "sonic": ["loop_amen.flac"],
        "stamps": ["animals/birds/owl.ogg", "animals/mammals/cats/cat.ogg",
            "household/clock.ogg", "animals/birds/owl_desc_fr.ogg", "symbols/math/7_ko.ogg"],
        "music": ["battle.ogg"],
    }  # fmt: skip
    for source, names in files.items():
        for k, name in enumerate(names):
            path = tmp_path / "debs" / roots[source] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            seconds = 40 if source == "music" else 1.5
            sf.write(path, x[k * 1000 : k * 1000 + int(seconds * 16_000)], 16_000)
    write_data_dir(tmp_path / "festvox" / "train", [Utterance("ru_0001", str(two_cities))])
    made = [BIN / "python", "local/make_data.py", str(tmp_path / "debs"), str(tmp_path / "festvox"), "data"]
    run = subprocess.run(made, cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr

    def labels(name: str) -> dict[str, str]:
        found = {}
        for split in ("train", "dev", "test"):
            folder = task / "data" / name / split
            assert [f for f in check_data_dir(folder) if f.fatal] == [] or not (folder / "wav.scp").read_text()
            if (folder / "utt2label").read_text():
                found |= {i: f"{split} {label[0]}" for i, label in read_labels(folder).items()}
        return found

    assert labels("drums") == {
        "drums-VariBreaks-VP_Hat_1_Cl": "test hihat",
        "drums-HardElectro1-PowR_BD_1": "train kick",
        "drums-ElectricEmpireKit-EE_Snare_1": "dev snare",
    }
    assert labels("letters") == {
        "asterisk-en_US_f_Allison-letters-a": "train a",
        "asterisk-fr_CA_f_June-letters-b": "test b",
        "klettres-en-alpha-C": "train c",
        "klettres-fr-alpha-a-3": "train d",
        "klettres-en_GB-alpha-e": "test e",
        "klettres-de-alpha-f": "dev f",
    }
    prompts = labels("language")
    assert {i: v.split()[1] for i, v in prompts.items()} == {
        "asterisk-en_US_f_Allison-digits-one": "en",
        "asterisk-fr_CA_f_June-digits-one": "fr",
    }
    assert len({v.split()[0] for v in prompts.values()}) == 1  # one prompt, one split
    kinds = {i.split("-")[-1]: v.split()[1] for i, v in labels("sounds").items()}
    assert kinds == {"owl": "bird", "cat": "mammal", "clock": "thing"}
    whole = [f for f in (task / "data" / s for s in ("train", "dev")) if (f / "wav.scp").read_text()]
    unlabelled = {u.id for folder in whole for u in open_input(folder).utterances()}
    held_out = {
        i for t in ("drums", "letters", "language", "sounds") for i, v in labels(t).items() if v.split()[0] != "train"
    }
    assert not unlabelled & held_out
    assert {
        "music-battle-00",
        "music-battle-01",
        "ru_0001",
        "stamps-animals-birds-owl_desc_fr",
        "klettres-de-alpha-sz",
    } <= unlabelled
    assert not any("silence" in i for i in unlabelled)


@pytest.mark.slow
def test_mert_learns_codes_of_both_kinds(readers: Path, tmp_path: Path) -> None:
    """Stage 4 makes the teacher: clusters, or an RVQ-VAE whose codes are stored; a second run makes nothing anew."""
    task = copy_recipe(REPO / "egs" / "debian_music" / "mert1", tmp_path)
    seconds = read_data_dir(readers / "train")
    for split, rows in (("train", slice(0, None, 2)), ("dev", slice(1, None, 4)), ("test", slice(3, None, 4))):
        chosen = seconds[rows]
        labels = {u.id: (u.id.split("-")[0],) for u in chosen}
        for name, of in (
            ("voices", labels),
            ("keys", {i: ("C:major" if "b" in v[0] else "A:minor",) for i, v in labels.items()}),
        ):
            write_data_dir(task / "data" / name / split, chosen)
            write_labels(task / "data" / name / split / "utt2label", of)
        write_data_dir(task / "data" / split, chosen)
    tasks = ["--class_tasks", "voices", "--key_tasks", "keys", "--score_args", "--head mlp --epochs 5"]
    small = ["--fit_args", "--run.max_steps 2 --run.val_every 2 --run.accelerator cpu", "--config", "mert/debug"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        words = ["./run.sh", "--stage", "validate", *tasks, *small, *more]
        return subprocess.run(words, cwd=task, env=ENV, capture_output=True, text=True)

    def written(folder: Path) -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}

    for teacher, exp in (
        (["--codec", "", "--kmeans", "8,4"], "exp/kmeans"),
        (["--codec", "rvq_vae/debug"], "exp/codec"),
    ):
        done = run(*teacher, "--exp", exp)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "| keys |" in done.stdout
        assert json.loads((task / exp / "probes-best" / "keys.json").read_text())["metric"] == "key score"
        made = written(task / "exp" / "targets")
        again = run(*teacher, "--exp", exp, "--stop_stage", "fit")
        assert again.returncode == 0, again.stderr[-3000:]
        assert made == written(task / "exp" / "targets")
    assert (task / "exp/targets/codes/all/complete.json").exists()
    both = run("--kmeans", "8,4")
    assert both.returncode == 2
    assert "one teacher of codes" in both.stderr

"""What each local/data.sh makes of its corpus' published layout, on real speech, and the shards behind it."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from recipe_copies import BIN, ENV, FIT, RECIPES, REPO, bash, copy_recipe

from audiokd.data.audio import load, resample
from audiokd.data.ctm import read_ctm
from audiokd.data.inputs import open_input
from audiokd.data.kaldi import check_data_dir
from audiokd.stages.export import export
from audiokd.stages.tokenize import tokenize
from audiokd.tokens.store import open_store


def words(n: int) -> str:
    return f"IT WAS THE BEST OF TIMES {n}"


def test_librispeech_data(two_cities: Path, tmp_path: Path) -> None:
    task, corpus = copy_recipe(REPO / "egs" / "librispeech" / "tok1", tmp_path), tmp_path / "corpus" / "LibriSpeech"
    x, rate = sf.read(two_cities, dtype="float32")
    x = x[:: rate // 16000]
    expected: dict[str, dict[str, str]] = {}
    for part, chapters in {"train-clean-100": ["19/198", "103/1240"], "dev-clean": ["84/121123"]}.items():
        for c, chapter in enumerate(chapters):
            folder, stem = corpus / part / chapter, chapter.replace("/", "-")
            folder.mkdir(parents=True)
            lines = []
            for i in range(3):
                utt = f"{stem}-{i:04d}"
                sf.write(folder / f"{utt}.flac", x[(c * 3 + i) * 16000 :][:16000], 16000)
                lines.append(f"{utt} {words(i)}\n")
                expected.setdefault(part, {})[utt] = words(i)
            if part == "dev-clean":
                lines.append(f"{stem}-0003 ITS AUDIO IS NOT THERE\n")
            (folder / f"{stem}.trans.txt").write_text("".join(lines))
    args = ["--corpus", str(tmp_path / "corpus"), "--download", "false", "--parts", "train-clean-100,dev-clean"]
    run = subprocess.run(["local/data.sh", *args], cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "left out" in run.stderr
    assert "84-121123-0003" in run.stderr
    assert sorted(p.name for p in (task / "data").iterdir()) == ["dev_clean", "train"]
    for name, part in (("train", "train-clean-100"), ("dev_clean", "dev-clean")):
        assert [f for f in check_data_dir(task / "data" / name) if f.fatal] == []
        utterances = open_input(task / "data" / name).utterances()
        assert {u.id: u.text for u in utterances} == expected[part]
        assert all(u.speaker == u.id.split("-")[0] for u in utterances)
        assert all(sf.info(u.path).frames == 16000 for u in utterances)

    run = subprocess.run(
        ["local/data.sh", *args, "--parts", "test-clean"], cwd=task, env=ENV, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert "give --corpus the folder above LibriSpeech/" in run.stderr


def run_stages(task: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["./run.sh", *args], cwd=task, env=ENV, capture_output=True, text=True)


def seconds_of(two_cities: Path, rate: int) -> list[np.ndarray]:
    """Twelve pieces of real speech, a second each, at a corpus' own sample rate."""
    x, recorded = sf.read(two_cities, dtype="float32", frames=48_000 * 13)
    x = resample(x, recorded, rate)
    return [x[i * rate : (i + 1) * rate] for i in range(12)]


def check_packed(task: Path, expected: dict[str, dict[str, str]], rate: int) -> None:
    """Shards of each set that hold these utterances and texts, at this rate."""
    assert {p.name for p in (task / "dump").iterdir()} == set(expected)
    for name, texts in expected.items():
        utterances = open_input(task / "dump" / name).utterances()
        assert {u.id: u.text for u in utterances} == texts
        assert {len(load(u)[0]) for u in utterances} == {rate}


def test_libritts_to_shards(two_cities: Path, tmp_path: Path) -> None:
    task, corpus = copy_recipe(REPO / "egs" / "libritts" / "tok1", tmp_path), tmp_path / "corpus" / "LibriTTS"
    pieces = iter(seconds_of(two_cities, 24_000))
    expected: dict[str, dict[str, str]] = {"train": {}, "dev_clean": {}, "test_clean": {}}
    parts = {"train-clean-100": ["19/198", "103/1240"], "dev-clean": ["84/121123"], "test-clean": ["61/70968"]}
    for (part, chapters), texts in zip(parts.items(), expected.values()):
        for chapter in chapters:
            (corpus / part / chapter).mkdir(parents=True)
            for i in range(2):
                utt = f"{chapter.replace('/', '_')}_{i:06d}_000000"
                sf.write(corpus / part / chapter / f"{utt}.wav", next(pieces), 24_000)
                (corpus / part / chapter / f"{utt}.original.txt").write_text("It was 1 of the best.")
                (corpus / part / chapter / f"{utt}.normalized.txt").write_text(f"{words(i)}\n")
                texts[utt] = words(i)
    sf.write(corpus / "dev-clean" / "84/121123" / "84_121123_000009_000000.wav", next(pieces), 24_000)  # without text
    data = f"--corpus {tmp_path / 'corpus'} --download false --parts train-clean-100,dev-clean,test-clean"
    sets = ["--train_set", "train", "--test_sets", "test_clean"]
    run = run_stages(task, "--stop_stage", "shard", "--data_args", data, *sets)
    assert run.returncode == 0, run.stderr
    assert "84_121123_000009_000000.wav: no" in run.stderr
    check_packed(task, expected, 24_000)
    assert {u.speaker for u in open_input(task / "data" / "train").utterances()} == {"19", "103"}
    run = run_stages(task, "--stop_stage", "1", "--data_args", data.replace("test-clean", "test-other"))
    assert run.returncode == 2
    assert "give --corpus the folder above LibriTTS/" in run.stderr


def test_ljspeech_to_shards(two_cities: Path, tmp_path: Path) -> None:
    task, corpus = copy_recipe(REPO / "egs" / "ljspeech" / "tok1", tmp_path), tmp_path / "LJSpeech-1.1"
    (corpus / "wavs").mkdir(parents=True)
    ids = [f"LJ{chapter:03d}-{i:04d}" for chapter in (1, 2, 3, 4) for i in (1, 2)]
    for utt, x in zip(ids, seconds_of(two_cities, 22_050)):
        sf.write(corpus / "wavs" / f"{utt}.wav", x, 22_050)
    rows = [f'{utt}|He said "{i}".|He said "{words(i)}".\n' for i, utt in enumerate([*ids, "LJ004-0003"])]
    (corpus / "metadata.csv").write_text("".join(rows))
    run = run_stages(task, "--stop_stage", "shard", "--data_args", f"--corpus {tmp_path} --download false")
    assert run.returncode == 0, run.stderr
    assert "metadata.csv:9: no wavs/LJ004-0003.wav" in run.stderr
    texts = {utt: f'He said "{words(i)}".' for i, utt in enumerate(ids)}
    split = {"train": ("LJ001", "LJ002"), "dev": ("LJ003",), "test": ("LJ004",)}
    check_packed(task, {s: {u: t for u, t in texts.items() if u[:5] in c} for s, c in split.items()}, 22_050)
    run = run_stages(task, "--stop_stage", "1", "--data_args", f"--corpus {tmp_path / 'wrong'} --download false")
    assert run.returncode == 2
    assert "give --corpus the folder above LJSpeech-1.1/" in run.stderr


@pytest.mark.slow
def test_emilia_from_its_tars_to_tokens(two_cities: Path, whisper_dir: Path, tmp_path: Path) -> None:
    """Nothing is unpacked but what is held out; training, export and tokens come from the tars as they lie."""
    task, corpus = copy_recipe(REPO / "egs" / "emilia" / "tok1", tmp_path), tmp_path / "Emilia" / "EN"
    corpus.mkdir(parents=True)
    pieces = iter(seconds_of(two_cities, 24_000))
    for t in range(3):
        with tarfile.open(corpus / f"EN-B00000{t}.tar", "w") as tar:
            for speaker in ("S00000", "S00001"):
                key, out = f"EN_B0000{t}_{speaker}_W000000", io.BytesIO()
                sf.write(out, next(pieces), 24_000, format="MP3")
                fields = {"id": key, "text": f" It was {t}.", "duration": 1.0, "speaker": key[:16], "language": "en"}
                for name, content in ((f"{key}.json", json.dumps(fields).encode()), (f"{key}.mp3", out.getvalue())):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    args = ["--data_args", f"--corpus {tmp_path} --held_out 1", "--baseline", "false", "--config", "lm_spt/debug"]
    fit = FIT.replace("max_steps 4", "max_steps 2")
    run = run_stages(task, *args, "--stop_stage", "fit", "--fit_args", fit, "--teacher", str(whisper_dir))
    assert run.returncode == 0, run.stderr[-3000:]
    assert not (task / "dump").exists()
    links = sorted((task / "data" / "train").glob("*.tar"))
    assert [p.name for p in links if p.is_symlink()] == ["EN-B000000.tar", "EN-B000001.tar"]
    model = str(tmp_path / "export")
    export(str(task / "exp" / "base_12hz"), model)
    for name, expected in (
        ("train", {f"EN_B0000{t}_{s}_W000000": f"It was {t}." for t in (0, 1) for s in ("S00000", "S00001")}),
        ("dev", {"EN_B00002_S00000_W000000": "It was 2."}),
        ("test", {"EN_B00002_S00001_W000000": "It was 2."}),
    ):
        tokenize(model, str(task / "data" / name), str(tmp_path / name))
        items = list(open_store(tmp_path / name).items())
        assert {x.id: x.text for x in items} == expected
        assert {x.codes.shape for x in items} == {(8, 13)}  # a second at 12.5 Hz
    run = run_stages(task, "--stop_stage", "1", "--data_args", f"--corpus {tmp_path} --languages DE,EN")
    assert run.returncode == 1
    assert "fewer than two tars Emilia/DE/DE-B*.tar" in run.stderr


def test_fetch_tar(two_cities: Path, tmp_path: Path) -> None:
    """Downloaded, checked and unpacked whole, or not there at all; what is there is not fetched."""
    (tmp_path / "src" / "Corpus" / "part").mkdir(parents=True)
    shutil.copy(two_cities, tmp_path / "src" / "Corpus" / "part" / "a.wav")
    archive = tmp_path / "part.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", tmp_path / "src", "Corpus"], check=True)
    good, out = hashlib.sha256(archive.read_bytes()).hexdigest(), tmp_path / "out"
    script = 'set -euo pipefail; . ./lib.sh; fetch_tar "$@"'
    bad = bash(script, archive.as_uri(), "0" * 64, str(out), "Corpus/part")
    assert bad.returncode == 2
    assert "is not the published file" in bad.stderr
    assert not (out / "Corpus").exists()
    shutil.rmtree(out)
    run = bash(script, archive.as_uri(), good, str(out), "Corpus/part")
    assert run.returncode == 0, run.stderr
    assert {p.name for p in out.iterdir()} == {"Corpus"}
    assert (out / "Corpus" / "part" / "a.wav").read_bytes() == two_cities.read_bytes()
    archive.unlink()
    assert bash(script, archive.as_uri(), good, str(out), "Corpus/part").returncode == 0
    gone = bash(script, archive.as_uri(), good, str(out), "Corpus/other")
    assert gone.returncode == 2
    assert "put the unpacked corpus at" in gone.stderr


def test_template_data(two_cities: Path, tmp_path: Path) -> None:
    task, corpus = copy_recipe(RECIPES / "TEMPLATE" / "tok1", tmp_path), tmp_path / "corpus"
    x, rate = sf.read(two_cities, dtype="float32", frames=48000)
    names = ["a.wav", "a-b.flac", "sub/x.wav", "sub/deep.er/y.ogg", "z.mp3"]
    for s in ("train", "dev", "test"):
        for name in names:
            (corpus / s / name).parent.mkdir(parents=True, exist_ok=True)
            sf.write(corpus / s / name, x, rate)
        (corpus / s / "notes.txt").write_text("no audio\n")
    run = subprocess.run(["local/data.sh", "--corpus", str(corpus)], cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for s in ("train", "dev", "test"):
        assert [str(f) for f in check_data_dir(task / "data" / s) if f.fatal] == []
        utterances = open_input(task / "data" / s).utterances()
        assert {u.id: u.path for u in utterances} == {str(Path(n).with_suffix("")): str(corpus / s / n) for n in names}
    run = subprocess.run(["local/data.sh"], cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 2
    assert "--corpus DIR" in run.stderr


def test_asterisk_data(two_cities: Path, tmp_path: Path) -> None:
    """25 prompts of 3 s, one too short, and silence, in the packages' layout: 20 of each voice are taken."""
    task = copy_recipe(REPO / "egs" / "asterisk" / "tok_eval1", tmp_path)
    x, rate = sf.read(two_cities, dtype="float32", frames=3 * 48000)
    for package, voice in (("en", "en_US_f_Allison"), ("es", "es_MX_f_Allison"), ("it", "it_IT_m_Carlo")):
        folder = tmp_path / "debs" / f"asterisk-core-sounds-{package}-wav" / "usr/share/asterisk/sounds" / voice
        (folder / "digits").mkdir(parents=True)
        (folder / "silence").mkdir()
        for i in range(25):
            sf.write(folder / ("digits" if i % 2 else "") / f"p{i:02d}.wav", x[:: rate // 8000], 8000)
        sf.write(folder / "short.wav", x[:4000], 8000)
        sf.write(folder / "silence" / "3.wav", 0 * x[:24000], 8000)
    made = [BIN / "python", "local/make_data.py", str(tmp_path / "debs"), "data/voices"]
    run = subprocess.run(made, cwd=task, env=ENV, capture_output=True, text=True)
    assert run.stdout == "data/voices: 60 utterances of 2 speakers\n", run.stderr
    assert [f for f in check_data_dir(task / "data" / "voices") if f.fatal] == []
    utterances = open_input(task / "data" / "voices").utterances()
    assert {u.speaker for u in utterances} == {"Allison", "Carlo"}
    assert {"Allison-en-digits-p01", "Allison-es-p24", "Carlo-it-p24"} <= {u.id for u in utterances}
    assert not any("short" in u.id or "silence" in u.id for u in utterances)
    run = subprocess.run([*made[:2], str(tmp_path), "data/voices"], cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 1
    assert "<language>_<COUNTRY>_<sex>_<Speaker>" in run.stderr


def test_letters_of_nine_voices(two_cities: Path, tmp_path: Path) -> None:
    """Every voice says every letter from 1.0 s to 1.4 s of a quiet second and a half; in the packages' layout."""
    task = copy_recipe(REPO / "egs" / "asterisk" / "tok_eval1", tmp_path)
    prompts, alphabets = "a/usr/share/asterisk/sounds", "k/usr/share/klettres"
    speech, rate = sf.read(two_cities, dtype="float32", frames=48000)
    wav = np.concatenate([np.zeros(rate), speech[: rate * 4 // 10 : 1], np.zeros(rate // 10)]).astype(np.float32)
    names = [
        *(f"{prompts}/{v}/letters/{{0}}.wav" for v in ("en_US_f_Allison", "es_MX_f_Allison", "fr_CA_f_June", "it_IT_m_Carlo")),
        *(f"{alphabets}/{v}/alpha/{{0}}.ogg" for v in ("en_GB", "es", "it")),
        f"{alphabets}/en/alpha/{{1}}.ogg",
        f"{alphabets}/fr/alpha/a-{{2}}.ogg",
    ]  # fmt: skip
    for name in names:
        for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
            path = tmp_path / "debs" / name.format(letter, letter.upper(), number)
            path.parent.mkdir(parents=True, exist_ok=True)
            sf.write(path, wav, rate)
    made = [BIN / "python", "local/make_letters.py", str(tmp_path / "debs"), "data/letters"]
    run = subprocess.run(made, cwd=task, env=ENV, capture_output=True, text=True)
    assert run.stdout == "data/letters: 225 letters of 9 voices\n", run.stderr
    assert [f for f in check_data_dir(task / "data" / "letters") if f.fatal] == []
    utterances = {u.id: u for u in open_input(task / "data" / "letters").utterances()}
    assert {u.speaker for u in utterances.values()} >= {"en-Allison", "en-klettresGB", "fr-klettres", "it-Carlo"}
    assert not {"en-Allison-z", "es-klettres-v", "es-Allison-w", "it-Carlo-v"} & utterances.keys()
    phones = read_ctm(task / "data" / "letters")
    assert {i: p[0].label for i, p in phones.items()} == {i: f"{i[:2]}-{i[-1]}" for i in utterances}
    for word in (phones["en-klettres-q"][0], phones["it-Carlo-b"][0]):  # an ogg and a wav
        assert 0.95 < word.start_s < 1.25
        assert 1.3 < word.end_s < 1.45
    (tmp_path / "debs" / f"{prompts}/en_US_f_Allison/letters/q.wav").unlink()
    run = subprocess.run(made, cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 1
    assert "no */usr/share/asterisk/sounds/en_US_f_Allison/letters/q.wav" in run.stderr

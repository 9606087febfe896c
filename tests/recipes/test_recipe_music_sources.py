"""Corpora of notes, of voices and of stems in their published layouts: what the probes' data scripts make of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from music_trees import check, made, refused, write
from recipe_copies import REPO

from audiokd.data.inputs import open_input
from audiokd.data.kaldi import check_data_dir
from audiokd.data.labelled import share
from audiokd.data.labels import read_labels


def test_nsynth(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    notes = {
        "train": {"guitar_acoustic_001-082-050": (82, "guitar"), "bass_synthetic_068-049-025": (49, "bass")},
        "valid": {"bass_electronic_018-049-100": (49, "bass")},
        "test": {"synth_lead_synthetic_000-009-127": (9, "synth_lead")},
    }
    for split, of in notes.items():
        for k, name in enumerate(of):
            write(root / f"nsynth-{split}" / "audio" / f"{name}.wav", wav[k * 1000 :][:8000])
        examples = {n: {"pitch": p, "instrument_family_str": f, "velocity": 50} for n, (p, f) in of.items()}
        (root / f"nsynth-{split}" / "examples.json").write_text(json.dumps(examples))
    data, said, _ = made("nsynth/probe1", tmp_path, "--corpus", str(root))
    assert "data/pitch: train 2, dev 1, test 1; 3 labels" in said
    assert "data/instrument: train 2, dev 1, test 1; 3 labels" in said
    for split, name in (("train", "train"), ("dev", "valid"), ("test", "test")):
        check(data / "pitch" / split, {n: (str(p),) for n, (p, _) in notes[name].items()})
        check(data / "instrument" / split, {n: (f,) for n, (_, f) in notes[name].items()})

    options = ("nsynth/probe1", tmp_path, "--corpus", str(root))
    path = root / "nsynth-valid/examples.json"
    good = path.read_text()
    path.write_text(good.replace('"pitch"', '"note"'))
    assert "nsynth-valid/examples.json: bass_electronic_018-049-100: no pitch" in refused(*options)
    path.write_text(good[:-1])
    assert "nsynth-valid/examples.json:1: not JSON" in refused(*options)
    path.write_text(good)
    (root / "nsynth-valid/audio/bass_electronic_018-049-100.wav").unlink()
    assert "nsynth-valid/examples.json: bass_electronic_018-049-100: no " in refused(*options)


def test_vocalset(wav: np.ndarray, tmp_path: Path) -> None:
    """Two recordings of each technique of three training and one test singer, and what is left out."""
    root = tmp_path / "corpus" / "FULL"
    seven = np.resize(wav, 7 * 8000)
    for folder, singer in (("female1", "f1"), ("female2", "f2"), ("male4", "m4"), ("male11", "m11")):
        for context in ("scales", "arpeggios"):
            for technique in ("belt", "lip_trill", "forte"):
                write(root / folder / context / technique / f"{singer}_{context}_{technique}_a.wav", seven, 8000)
    write(root / "female2/scales/vibrato/f2_scales_vibrato_a(1).wav", seven, 8000)
    write(root / "male4/excerpts/vibrato/row_vibrato.wav", seven, 8000)
    write(root / "male4/excerpts/straight/row straight.wav", seven, 8000)  # of whom, the folder says
    write(root / "male4/excerpts/straight/m8_row_straight.wav", seven, 8000)  # of another, its name says
    write(root / "male4/excerpts/straight/m4_short.wav", seven[:20_000], 8000)
    write(root / "male4/excerpts/humming/m4_hum.wav", seven, 8000)
    data, said, warned = made("vocalset/probe1", tmp_path, "--corpus", str(root.parent))
    assert "left out: 1 recordings in folders of other names (humming)" in warned
    assert "left out: 2 recordings that MARBLE leaves out" in warned
    assert "left out: 1 recordings shorter than 3 s" in warned
    assert "m8_row_straight.wav: taken for m8's, as its name says, not m4's" in warned
    assert "data/technique: train 18, dev 10, test 8; 3 labels" in said  # the hash must not change
    assert "data/singer: train 26, dev 14, test 12; 5 labels" in said
    found: dict[str, dict[str, dict[str, tuple[str, ...]]]] = {}
    for task in ("technique", "singer"):
        found[task] = {s: read_labels(data / task / s) for s in ("train", "dev", "test")}
        sets = [{i[:-3] for i in of} for of in found[task].values()]
        assert not sets[0] & sets[1] | sets[0] & sets[2] | sets[1] & sets[2]
        for split in found[task]:
            assert [f for f in check_data_dir(data / task / split) if f.fatal] == []
    test = {
        f"female2-{c}-{t}-f2_{c}_{t}_a-{k}": (t,)
        for c in ("scales", "arpeggios") for t in ("belt", "lip_trill") for k in ("00", "01")
    }  # fmt: skip
    assert found["technique"]["test"] == test
    rest = found["technique"]["train"] | found["technique"]["dev"]
    assert len(rest) == 2 * (3 * 2 * 2 + 2)
    assert {label for (label,) in rest.values()} == {"belt", "lip_trill", "straight"}
    drawn = {i[:-3] for i in found["singer"]["dev"]}
    tested = {i[:-3] for i in found["singer"]["test"]}
    recordings = {i[:-3] for of in found["singer"].values() for i in of}
    assert tested == {r for r in recordings if share(f"test {r}") < 0.2}
    assert drawn == {r for r in recordings - tested if share(f"singer {r}") < 0.4}
    singers = {i: of for split in found["singer"].values() for i, of in split.items()}
    assert len(singers) == 2 * (4 * 2 * 3 + 2)
    assert singers["male11-scales-forte-m11_scales_forte_a-01"] == ("m11",)
    assert singers["male4-excerpts-straight-row_straight-00"] == ("m4",)
    assert singers["male4-excerpts-straight-m8_row_straight-00"] == ("m8",)
    utterances = [u for s in ("train", "dev", "test") for u in open_input(data / "singer" / s).utterances()]
    assert {(u.start_s, u.end_s) for u in utterances} == {(0, 3), (3, 6)}
    assert {u.id: (u.speaker,) for u in utterances} == singers
    (root / "male4/scales/belt/m4_broken.wav").write_bytes(b"RIFF")
    assert "m4_broken.wav: cannot be read as audio" in refused(
        "vocalset/probe1", tmp_path, "--corpus", str(root.parent)
    )
    (root / "male4/scales/belt/m4_broken.wav").unlink()
    write(root / "soprano/scales/belt/s_a.wav", seven, 8000)
    assert "'soprano' is no singer" in refused("vocalset/probe1", tmp_path, "--corpus", str(root.parent))


def musdb(root: Path, wav: np.ndarray) -> None:
    dev = (REPO / "egs/musdb18/probe1/local/make_data.py").read_text().split("DEV = {\n")[1].split("}")[0]
    names = [line.strip().strip(",").strip('"') for line in dev.splitlines() if line.strip()]
    assert len(names) == 14
    tracks = [("train", n) for n in (*names, "A Classic Education - NightOwl")] + [
        ("test", "Al James - Schoolboy Facination")
    ]
    for split, name in tracks:
        for k, part in enumerate(("mixture", "vocals", "drums", "bass", "other")):
            write(root / split / name / f"{part}.wav", wav[k * 100 :][:1000], 44_100)


def test_musdb18(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    musdb(root, wav)
    data, said, _ = made("musdb18/probe1", tmp_path, "--corpus", str(root))
    assert "data/separation: train 1, dev 14, test 1 tracks" in said
    for split in ("train", "dev", "test"):
        folder = data / "separation" / split
        assert [f for f in check_data_dir(folder) if f.fatal] == []
        mixtures = {u.id: Path(u.path) for u in open_input(folder).utterances()}
        assert all(p.name == "mixture.wav" and p.is_file() for p in mixtures.values())
        for stem in ("vocals", "drums", "bass", "other"):
            lines = [line.split(" ", 1) for line in (folder / f"{stem}.scp").read_text().splitlines()]
            assert [i for i, _ in lines] == sorted(mixtures)
            assert {i: Path(p) for i, p in lines} == {i: p.with_name(f"{stem}.wav") for i, p in mixtures.items()}
    assert (data / "separation/train/wav.scp").read_text().startswith("A_Classic_Education_-_NightOwl ")
    ids = {u.id for u in open_input(data / "separation/dev").utterances()}
    assert {"Johnny_Lokke_-_Promises_Lies", "ANiMAL_-_Rockshow", "Young_Griffo_-_Pennies"} <= ids
    assert [u.id for u in open_input(data / "separation/test").utterances()] == ["Al_James_-_Schoolboy_Facination"]


def test_musdb18_that_is_not_whole(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    musdb(root, wav)
    options = ("musdb18/probe1", tmp_path, "--corpus", str(root))
    (root / "train/Leaf - Summerghost/bass.wav").unlink()
    said = refused(*options)
    assert "Leaf - Summerghost: no " in said
    assert "bass.wav" in said
    (root / "train/Leaf - Summerghost").rename(root / "Leaf - Summerghost")
    assert "train: no Leaf - Summerghost" in refused(*options)
    (root / "train/Leaf - Summerghost.stem.mp4").write_bytes(b"\0")
    said = refused(*options)
    assert "1 tracks as .stem.mp4" in said
    assert "musdbconvert" in said

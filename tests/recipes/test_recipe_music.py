"""Corpora of music in their published layouts, of a real recording: what the probes' data scripts make of them."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from music_trees import check, data_stage, made, refused, write
from recipe_copies import ENV, REPO, copy_recipe

from audiokd.data.beats import read_beats
from audiokd.data.inputs import open_input
from audiokd.data.labels import read_labels
from audiokd.eval.key_score import read_key

PROBES = ["gtzan", "magnatagatune", "giantsteps", "emomusic", "nsynth", "vocalset", "musdb18"]


def gtzan(root: Path, wav: np.ndarray) -> None:
    for k, name in enumerate(("blues.00029", "blues.00000", "jazz.00001", "jazz.00054", "rock.00085")):
        write(root / "genres_original" / name.split(".")[0] / f"{name}.wav", wav[k * 1000 :][:8000], 22_050)
    write(root / "genres_original" / "rock" / "rock.00086.au", wav[:8000], 22_050)
    for name, of in (
        ("train", ["blues.00029", "jazz.00054", "rock.00086"]),
        ("valid", ["blues.00000", "rock.00085"]),
        ("test", ["jazz.00001"]),
    ):
        (root / f"{name}_filtered.txt").write_text("".join(f"{n.split('.')[0]}/{n}.wav\n" for n in of))
    for path in (root / "genres_original").glob("*/*"):
        beats = root / "gtzan_tempo_beat" / "beats" / f"gtzan_{path.stem.replace('.', '_')}.beats"
        beats.parent.mkdir(parents=True, exist_ok=True)
        beats.write_text("0.217\t3\n0.695\t4\n1.173\t1\n" if path.stem != "jazz.00001" else "0.29\n1.08\n10.5\n")


def test_gtzan(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    gtzan(root, wav)
    data, said, warned = made("gtzan/probe1", tmp_path, "--corpus", str(root))
    assert "data/genre: train 3, dev 2, test 1; 3 labels" in said
    assert "data/beats: train 3 (9 beats), dev 2 (6 beats), test 1 (3 beats)" in said
    assert warned == ""
    check(data / "genre/train", {"blues.00029": ("blues",), "jazz.00054": ("jazz",), "rock.00086": ("rock",)})
    check(data / "genre/dev", {"blues.00000": ("blues",), "rock.00085": ("rock",)})
    check(data / "genre/test", {"jazz.00001": ("jazz",)})
    three = ("0.217", "0.695", "1.173")
    check(data / "beats/train", {"blues.00029": three, "jazz.00054": three, "rock.00086": three}, "utt2beats")
    check(data / "beats/test", {"jazz.00001": ("0.29", "1.08", "10.5")}, "utt2beats")
    assert read_beats(data / "beats/test")["jazz.00001"].tolist() == [0.29, 1.08, 10.5]
    assert (
        sf.info(next(u.path for u in open_input(data / "genre/train").utterances() if u.id == "rock.00086")).format
        == "AU"
    )


def test_gtzan_without_the_broken_clip_and_without_beats(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    gtzan(root, wav)
    (root / "genres_original/jazz/jazz.00054.wav").write_bytes(b"\0" * 200)
    (root / "lists").mkdir()
    for path in root.glob("*_filtered.txt"):
        path.rename(root / "lists" / path.name)
    options = ("--corpus", str(root), "--lists", str(root / "lists"))
    data, said, warned = made("gtzan/probe1", tmp_path, *options, "--beats", "none")
    assert "train 2, dev 2, test 1" in said
    assert "train_filtered.txt:2" in warned
    assert "jazz.00054.wav cannot be read" in warned
    check(data / "genre/train", {"blues.00029": ("blues",), "rock.00086": ("rock",)})
    assert not (data / "beats").exists()
    made("gtzan/probe1", tmp_path, *options)
    assert read_labels(data / "beats/train/utt2beats").keys() == {"blues.00029", "rock.00086"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("0.2\t1\n0.7\t2\n0.5\t3\n", "gtzan_blues_00029.beats:3: a beat at 0.5 s after 0.7"),
        ("0.2\n0.2\n", "gtzan_blues_00029.beats:2: a beat at 0.2 s after 0.2"),
        ("-0.2\n", "gtzan_blues_00029.beats:1: a beat at -0.2 s after 0"),
        ("0.2\t1\nbeat\n", "gtzan_blues_00029.beats:2: the time is 'beat', not a number"),
        ("0.2\t1\t1\n", "gtzan_blues_00029.beats:1: 3 fields"),
        ("\n", "gtzan_blues_00029.beats: no beat in it"),
    ],
)
def test_gtzan_beats_that_are_none(text: str, error: str, wav: np.ndarray, tmp_path: Path) -> None:
    gtzan(tmp_path / "corpus", wav)
    (tmp_path / "corpus/gtzan_tempo_beat/beats/gtzan_blues_00029.beats").write_text(text)
    assert error in refused("gtzan/probe1", tmp_path, "--corpus", str(tmp_path / "corpus"))


def test_gtzan_lists_that_are_wrong(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    gtzan(root, wav)
    options = ("gtzan/probe1", tmp_path, "--corpus", str(root))
    valid = root / "valid_filtered.txt"
    good = valid.read_text()
    valid.write_text(good + "rock/rock.00099.wav\n")
    assert "valid_filtered.txt:3: no " in refused(*options)
    valid.write_text(good + "rock/blues.00000.wav\n")
    assert "valid_filtered.txt:3: 'rock/blues.00000.wav', not" in refused(*options)
    valid.write_text(good + "jazz/jazz.00001.wav\n")
    assert "jazz.00001: in dev and test" in refused(*options)
    valid.write_text(good)
    (root / "gtzan_tempo_beat/beats/gtzan_rock_00085.beats").unlink()
    assert "gtzan_rock_00085.beats: no such file" in refused(*options)
    (root / "test_filtered.txt").unlink()
    assert "test_filtered.txt: no such file" in refused(*options)


def test_magnatagatune(wav: np.ndarray, tmp_path: Path) -> None:
    """52 tags, of which the fifty commonest are kept; one mp3 that is published empty, and one that is not there."""
    root = tmp_path / "corpus"
    tags = ["no vocals", "guitar", *(f"tag {k:02d}" for k in range(50))]
    empty = "6/norine_braun-now_and_zen-08-gently-117-146.mp3"
    rows = {
        "0/a-one-0-29.mp3": {"guitar", "no vocals"},
        "b/b-two-0-29.mp3": {"guitar", "tag 49"},
        empty: {"tag 48", "guitar"},
        "c/c-three-0-29.mp3": set(tags) - {"tag 48", "tag 49"},
        "d/d-four-0-29.mp3": set(),
        "f/f-five-0-29.mp3": set(tags) - {"tag 47", "tag 48"},
    }
    lines = ["\t".join(f'"{c}"' for c in ("clip_id", *tags, "mp3_path"))]
    for k, (name, has) in enumerate(rows.items()):
        lines.append("\t".join(f'"{v}"' for v in (k, *(int(t in has) for t in tags), name)))
        write(root / "mp3" / name, wav[k * 1000 :][:16_000])
    (root / "mp3" / empty).write_bytes(b"")
    table = root / "annotations_final.csv"
    table.write_text("\n".join(lines) + "\n")
    data, said, warned = made("magnatagatune/probe1", tmp_path, "--corpus", str(root))
    assert "left out: 1 clips that are published empty" in warned
    assert "data/tags: train 2, dev 1, test 2; 50 labels" in said
    # tag 00 to 46 and tag 49 stand twice, guitar five times, no vocals three times; tag 47 and 48 once
    check(data / "tags/train", {"0-a-one-0-29": ("guitar", "no_vocals"), "b-b-two-0-29": ("guitar", "tag_49")})
    test = read_labels(data / "tags/test")
    assert test["d-d-four-0-29"] == ()
    assert set(test["f-f-five-0-29"]) == {"guitar", "no_vocals", "tag_49", *(f"tag_{k:02d}" for k in range(47))}
    assert read_labels(data / "tags/dev").keys() == {"c-c-three-0-29"}

    options = ("magnatagatune/probe1", tmp_path, "--corpus", str(root))
    (root / "mp3/d/d-four-0-29.mp3").unlink()
    assert "annotations_final.csv:6: no " in refused(*options)
    table.write_text("\n".join([lines[0], lines[1].replace('"1"', '"yes"', 1)]) + "\n")
    assert "annotations_final.csv:2: 'no vocals' is 'yes', not 0 or 1" in refused(*options)
    table.write_text("\n".join([lines[0], lines[1].replace("0/a", "g/a")]) + "\n")
    assert "annotations_final.csv:2: 'g/a-one-0-29.mp3' is in none of the folders" in refused(*options)


def giantsteps(root: Path, wav: np.ndarray, seconds: dict[str, int]) -> None:
    """Tracks of one second, or of so many, by artists of whom some by their hash are dev's."""
    place = {f"DJ {k}": int(hashlib.sha1(f"dj {k}".encode()).hexdigest(), 16) % 116 for k in range(2000)}
    dev = next(name for name, of in place.items() if of == 100)
    train = [name for name, of in place.items() if of == 99][:4]
    mtg, key = root / "giantsteps-mtg-key-dataset", root / "giantsteps-key-dataset-c8cb8aa"
    for folder in (mtg / "annotations", key / "annotations" / "key"):
        folder.mkdir(parents=True)
    of = {
        "5061": train[0],
        "5881": dev,
        "8500": train[2],
        "8000": f"{train[1]},{train[2]}",
        "7217": f"{train[1]}, {dev}",
    }
    of["9000"] = train[3]
    keys = {
        "5061": "D# minor",
        "5881": "A major ",
        "7217": "F minor",
        "8000": "G# minor",
        "8500": "C major",
        "9000": "B major",
    }
    head = "ID\tARTIST\tSONG TITLE\tMIX\tLABEL\tBP GENRE\tBP BPM\tBP KEY\n"
    beatport = "".join(f'{i}\t{a}\t"Quoted\tMix\tLabel\tTrance\t132\tC major\n' for i, a in of.items())
    (mtg / "annotations" / "beatport_metadata.txt").write_text(head + beatport)
    rows = [f"{i}\t{k}\t2\n" for i, k in keys.items()] + [
        "10981\t-\t0\n",
        "10990\tA major\t1\n",
        "11000\tF / F# minor\t2\n",
    ]
    (mtg / "annotations" / "annotations.txt").write_text("ID\tMANUAL KEY\tC\n" + "".join(rows))
    for folder, track in [*((mtg, t) for t in of), (key, "1004923")]:
        write(folder / "audio" / f"{track}.LOFI.mp3", np.resize(wav, seconds.get(track, 1) * 16_000))
    (key / "annotations" / "key" / "1004923.LOFI.key").write_text("Bb minor\n")


def test_giantsteps(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    giantsteps(root, wav, seconds={"5061": 61, "5881": 31, "1004923": 40})
    data, said, warned = made("giantsteps/probe1", tmp_path, "--corpus", str(root))
    assert "left out: 2 tracks of a confidence under 2, 1 of several keys" in warned
    assert "data/key: train 3, dev 4, test 1; 7 labels" in said
    eb = ("Eb:minor",)
    check(data / "key/train", {"0005061-0": eb, "0005061-1": eb, "0009000-0": ("B:major",)})
    # a dev artist's, that artist's with another, that other's with a third, and the third's
    dev = {"0005881-0": "A:major", "0007217-0": "F:minor", "0008000-0": "Ab:minor", "0008500-0": "C:major"}
    check(data / "key/dev", {i: (key,) for i, key in dev.items()})
    check(data / "key/test", {"1004923-0": ("Bb:minor",)})
    assert read_key("Eb:minor") == (3, False)
    cuts = {u.id: (u.start_s, u.end_s) for u in open_input(data / "key/train").utterances()}
    assert cuts == {"0005061-0": (0, 30), "0005061-1": (30, 60), "0009000-0": (0, None)}


def test_giantsteps_with_lines_that_are_wrong(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    giantsteps(root, wav, seconds={})
    options = ("giantsteps/probe1", tmp_path, "--corpus", str(root))
    table = root / "giantsteps-mtg-key-dataset/annotations/annotations.txt"
    good = table.read_text()
    for new, error in (
        ("5061\tD# dorian\t2", "annotations.txt:2: 'D# dorian' is no key"),
        ("5061\tD# minor\t3", "annotations.txt:2: a confidence of '3', not 0, 1 or 2"),
        ("5061\tD# minor", "annotations.txt:2: 2 fields, the header has 3"),
        ("5062\tD# minor\t2", "annotations.txt:2: 5062 has no artist"),
    ):
        table.write_text(good.replace("5061\tD# minor\t2", new))
        assert error in refused(*options)
    table.write_text(good)
    (root / "giantsteps-key-dataset-c8cb8aa/audio/1004923.LOFI.mp3").unlink()
    said = refused(*options)
    assert "1004923.LOFI.key:1: no " in said
    assert "audio_dl.sh" in said


def emomusic(root: Path, wav: np.ndarray) -> list[str]:
    """Six songs: of the development set's artists three train and one chooses, by MARBLE's hash."""
    by_split: dict[bool, list[str]] = {True: [], False: []}
    for name in (f"Artist {c}" for c in "abcdefghijklmnopqrstuvwxyz"):
        by_split[int(hashlib.sha1(name.lower().encode()).hexdigest(), 16) % 10 < 8].append(name)
    artists = [*by_split[True][:2], by_split[True][0].upper() + "!? \t", by_split[False][0], "Tester", "Tester"]
    ids = [2, 3, 4, 5, 7, 1000]
    (root / "annotations").mkdir(parents=True)
    times = "start of the segment (min.sec),end of the segment (min.sec)"
    head = f"song_id,file_name,Artist,Song title,{times},Genre,Mediaeval 2013 set\n"
    songs = [
        f'{i},{i}.mp3,{a},"Song, {i}\t",0.05,0.5,Blues,{"evaluation" if a == "Tester" else "development"}\n'
        for i, a in zip(ids, artists)
    ]
    (root / "annotations/songs_info.csv").write_text(head + "".join(songs))
    values = [(3.0, 1.0), (5.0, 2.0), (3.0, 3.0), (5.0, 4.0), (4.0, 2.5), (6.0, 2.5)]  # arousal, valence
    rows = [f"{i},{a},1.0,{v},2.0\n" for i, (a, v) in zip(ids, values)]
    table = root / "annotations/static_annotations.csv"
    table.write_text("song_id,mean_arousal,std_arousal,mean_valence,std_valence\n" + "".join(rows))
    for k, i in enumerate(ids):
        write(root / "clips_45seconds" / f"{i}.mp3", wav[k * 1000 :][:16_000])
    return artists


def test_emomusic(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    emomusic(root, wav)
    data, said, _ = made("emomusic/probe1", tmp_path, "--corpus", str(root))
    assert "data/emotion: train 3, dev 1, test 2" in said
    # over the development set valence is 2.5 +- sqrt(1.25), arousal 4 +- 1
    check(
        data / "emotion/train",
        {"0002": ("-1.341641", "-1.000000"), "0003": ("-0.447214", "1.000000"), "0004": ("0.447214", "-1.000000")},
    )
    check(data / "emotion/dev", {"0005": ("1.341641", "1.000000")})
    check(data / "emotion/test", {"0007": ("0.000000", "0.000000"), "1000": ("0.000000", "2.000000")})


def test_emomusic_with_lines_that_are_wrong(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    emomusic(root, wav)
    options = ("emomusic/probe1", tmp_path, "--corpus", str(root))
    table = root / "annotations/static_annotations.csv"
    good = table.read_text()
    table.write_text(good.replace("3,5.0,1.0,2.0", "3,high,1.0,2.0"))
    assert "static_annotations.csv:3: mean_arousal is 'high', not a number" in refused(*options)
    table.write_text(good.replace("3,5.0,1.0,2.0", "33,5.0,1.0,2.0"))
    assert "songs_info.csv:3: song 3 is not in static_annotations.csv" in refused(*options)
    table.write_text(good)
    (root / "clips_45seconds/4.mp3").unlink()
    assert "songs_info.csv:4: no " in refused(*options)


@pytest.mark.parametrize("corpus", PROBES)
def test_a_corpus_that_is_not_there(corpus: str, tmp_path: Path) -> None:
    _, run = data_stage(f"{corpus}/probe1", tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith("error: no downloads/")
    assert "--corpus FOLDER" in run.stderr
    assert any(host in run.stderr for host in (".com/", ".org/", ".uk/", ".ch/"))


@pytest.mark.parametrize("corpus", PROBES)
def test_run_sh_makes_the_data(corpus: str, tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / corpus / "probe1", tmp_path)
    run = subprocess.run(["./run.sh", "--stop_stage", "data"], cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 2
    assert "stage 1: data" in run.stderr
    assert "error: no downloads/" in run.stderr

"""Corpora of music to pretrain on, in their published layouts: what their data scripts make of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from music_trees import check, data_stage, made, refused, write
from recipe_copies import ENV, REPO, copy_recipe

from audiokd.data.inputs import open_input
from audiokd.data.kaldi import check_data_dir
from audiokd.data.labelled import share
from audiokd.data.labels import read_labels

RECIPES = ["mtg_jamendo", "music4all"]
HEAD = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\r\n"
#: id, seconds, tags, split
TRACKS = (
    (241, 75.4, ["genre---rock", "instrument---guitar", "mood/theme---happy"], "train"),
    (1242, 29.9, ["genre---pop", "instrument---piano", "mood/theme---calm"], "train"),
    (5, 30.0, ["genre---pop", "genre---rock", "instrument---piano", "mood/theme---calm"], "validation"),
    (99, 40.0, ["genre---rock", "instrument---guitar", "mood/theme---happy"], "test"),
)


def jamendo(root: Path, wav: np.ndarray) -> Path:
    """The repository, audio of low quality; its lists' folder."""
    lists = root / "mtg-jamendo-dataset/data/splits/split-0"
    lists.mkdir(parents=True)
    kinds = {"": "", "_genre": "genre", "_instrument": "instrument", "_moodtheme": "mood", "_top50tags": "genre"}
    for suffix, kind in kinds.items():
        for split in ("train", "validation", "test"):
            lines = [
                "\t".join((f"track_{i:07d}", "artist_1", "album_1", f"{i % 100:02d}/{i}.mp3", str(s), *of)) + "\r\n"
                for i, s, tags, where in TRACKS
                if where == split and (of := [t for t in tags if t.startswith(kind)])
            ]
            (lists / f"autotagging{suffix}-{split}.tsv").write_text(HEAD + "".join(lines), newline="")
    for k, (i, *_) in enumerate(TRACKS):
        write(root / "audio-low" / f"{i % 100:02d}" / f"{i}.low.mp3", wav[k * 1000 :][:16_000])
    return lists


def test_mtg_jamendo(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    jamendo(root, wav)
    data, said, _ = made("mtg_jamendo/mert1", tmp_path, "--corpus", str(root))
    assert "data/genre: train 2, dev 1, test 1; 2 labels" in said
    assert "data/train: 2 tracks without labels, 0.03 h" in said
    check(data / "genre/train", {"track_0000241": ("genre---rock",), "track_0001242": ("genre---pop",)})
    check(data / "genre/dev", {"track_0000005": ("genre---pop", "genre---rock")})
    check(data / "moodtheme/test", {"track_0000099": ("mood/theme---happy",)})
    check(
        data / "instrument/train", {"track_0000241": ("instrument---guitar",), "track_0001242": ("instrument---piano",)}
    )
    check(data / "top50tags/test", {"track_0000099": ("genre---rock",)})
    assert [f for f in check_data_dir(data / "train") if f.fatal] == []
    pieces = {u.id: (u.recording_id, u.start_s, u.end_s) for u in open_input(data / "train").utterances()}
    assert pieces == {
        "track_0000241-000": ("track_0000241", 0.0, 25.133),
        "track_0000241-001": ("track_0000241", 25.133, 50.267),
        "track_0000241-002": ("track_0000241", 50.267, None),
        "track_0001242-000": ("track_0001242", 0.0, None),
    }
    assert [u.id for u in open_input(data / "dev").utterances()] == ["track_0000005-000"]
    assert not (data / "train/utt2label").exists()


def test_mtg_jamendo_of_full_quality(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    jamendo(root, wav)
    for path in (root / "audio-low").glob("*/*.low.mp3"):
        new = tmp_path / "full" / path.parent.name / path.name.replace(".low", "")
        new.parent.mkdir(parents=True, exist_ok=True)
        path.rename(new)
    data, _, _ = made("mtg_jamendo/mert1", tmp_path, "--corpus", str(root), "--audio", str(tmp_path / "full"))
    paths = {u.path for u in open_input(data / "genre/train").utterances()}
    assert paths == {str(tmp_path / "full/41/241.mp3"), str(tmp_path / "full/42/1242.mp3")}


def test_mtg_jamendo_with_lists_that_are_wrong(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    lists = jamendo(root, wav)
    options = ("mtg_jamendo/mert1", tmp_path, "--corpus", str(root))
    test = lists / "autotagging_genre-test.tsv"
    good = test.read_text()
    test.write_text(good + "track_0000241\tartist_1\talbum_1\t41/241.mp3\t75.4\tgenre---rock\n")
    assert "track_0000241 is in test of genre, too" in refused(*options)
    test.write_text(good + "track_0000007\tartist_1\talbum_1\t07/7.mp3\t75.4\tgenre---rock\n")
    said = refused(*options)
    assert "autotagging_genre-test.tsv:3: no " in said
    assert "download.py" in said
    test.write_text(good + "track_0000007\tartist_1\talbum_1\t07/7.mp3\t75.4\n")
    assert "autotagging_genre-test.tsv:3: 5 fields, a track with a tag has 6 or more" in refused(*options)
    test.write_text(good.replace("40.0", "long"))
    assert "autotagging_genre-test.tsv:2: the duration is 'long', not a number" in refused(*options)
    test.write_text(good.replace("TAGS", "TAG"))
    assert "autotagging_genre-test.tsv:1: its columns are not TRACK_ID" in refused(*options)
    test.write_text("")
    assert "autotagging_genre-test.tsv:1: its columns are not TRACK_ID" in refused(*options)


def music4all(root: Path, wav: np.ndarray) -> dict[str, str]:
    """Two clips by each of sixty artists, with the name in two ways; a clip without a genre. Artist to split."""
    artists = {}
    for k in range(60):
        place = share(f"music4all artist {k}")
        artists[f"Artist {k}"] = "train" if place < 0.9 else "dev" if place < 0.95 else "test"
    mp3 = write(root / "one.mp3", wav[:16_000]).read_bytes()
    (root / "audios").mkdir()
    info, genres = ["id\tartist\tsong\talbum_name\n"], ["id\tgenres\n"]
    for k, artist in enumerate(artists):
        for n in range(2):
            clip = f"{k:04d}abcdefghijk{n}"
            (root / "audios" / f"{clip}.mp3").write_bytes(mp3)
            name = artist if n == 0 else f"{artist.upper().replace(' ', '  ')} "
            info.append(f'{clip}\t{name}\t"Song\tAlbum\n')
            genres.append(f"{clip}\t{'' if (k, n) == (0, 1) else f'pop,indie rock, rare {k}' if n else 'pop'}\n")
    (root / "id_information.csv").write_text("".join(info))
    (root / "id_genres.csv").write_text("".join(genres))
    return artists


def test_music4all(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    artists = music4all(root, wav)
    data, said, warned = made("music4all/mert1", tmp_path, "--corpus", str(root))
    expected = {s: {f"{k:04d}abcdefghijk{n}" for k, a in enumerate(artists) if artists[a] == s for n in range(2)}
                for s in ("train", "dev", "test")}  # fmt: skip
    assert {s: len(of) for s, of in expected.items()} == {
        "train": 106,
        "dev": 10,
        "test": 4,
    }  # the hash must not change
    assert "data: train 106, dev 10, test 4 clips" in said
    assert "left out of the task: 1 clips with none of its 50 genres" in warned
    for split in ("train", "dev"):
        assert [f for f in check_data_dir(data / split) if f.fatal] == []
        assert {u.id for u in open_input(data / split).utterances()} == expected[split]
        assert not (data / split / "utt2label").exists()
    without = {f"{0:04d}abcdefghijk1"}
    for split in ("train", "dev", "test"):
        labels = read_labels(data / "genre" / split)
        check(data / "genre" / split, labels)
        assert labels.keys() == expected[split] - without
        for clip, of in labels.items():
            assert of[:2] == (("pop", "indie_rock") if clip.endswith("1") else ("pop",))
            assert split == "train" or not any(g.startswith("rare") for g in of)  # what train does not have
    kept = {g for of in read_labels(data / "genre/train").values() for g in of}
    assert len(kept) == 50


def test_music4all_with_lines_that_are_wrong(wav: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    music4all(root, wav)
    options = ("music4all/mert1", tmp_path, "--corpus", str(root))
    info, genres = root / "id_information.csv", root / "id_genres.csv"
    good = info.read_text()
    info.write_text(good + "0001abcdefghijk0\tArtist 7\tSong\tAlbum\n")
    assert "id_information.csv:122: 0001abcdefghijk0 stands there before" in refused(*options)
    info.write_text(good.replace("0000abcdefghijk0\tArtist 0\t", "0000abcdefghijk0\t"))
    assert "id_information.csv:2: 3 fields, the header has 4" in refused(*options)
    info.write_text(good)
    (root / "audios/0000abcdefghijk1.mp3").unlink()
    assert "id_information.csv:3: no " in refused(*options)
    genres.write_text(genres.read_text().replace("0000abcdefghijk0\tpop\n", ""))
    assert "id_information.csv:2: 0000abcdefghijk0 is not in id_genres.csv" in refused(*options)
    genres.write_text("pop\n")
    assert "id_genres.csv:1: no column id, genres" in refused(*options)


@pytest.mark.parametrize("corpus", RECIPES)
def test_a_corpus_that_is_not_there(corpus: str, tmp_path: Path) -> None:
    _, run = data_stage(f"{corpus}/mert1", tmp_path)
    assert run.returncode == 2
    assert run.stderr.startswith("error: no downloads/")
    assert "--corpus FOLDER" in run.stderr
    assert any(host in run.stderr for host in ("github.com/MTG/mtg-jamendo-dataset", "sites.google.com/"))


@pytest.mark.parametrize("corpus", RECIPES)
def test_run_sh_makes_the_data(corpus: str, tmp_path: Path) -> None:
    source = REPO / "egs" / corpus / "mert1"
    task = copy_recipe(source, tmp_path)
    run = subprocess.run(["./run.sh", "--stop_stage", "data"], cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 2
    assert "stage 1: data" in run.stderr
    assert "error: no downloads/" in run.stderr
    text = (source / "run.sh").read_text()
    assert "--config mert/base" in text
    assert yaml.safe_load((REPO / "audiokd/conf/mert/base.yaml").read_text())["teacher"] == {
        "codes": "facebook/encodec_24khz"
    }

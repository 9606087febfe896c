"""Orchestral music: what EnCodec's two packages say of it; and notes of a sound font, whose labels are heard. `make test-corpus`
fetches both (153 MB and 5 MB)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile as sf
import torch
from tiny_encodec import published_size
from torch import Tensor

from audiokd.data.audio import load_crop
from audiokd.data.fetch import downloads_dir, fetch_deb
from audiokd.data.inputs import open_input
from audiokd.data.labels import read_labels
from audiokd.data.utterance import Utterance
from audiokd.teachers.encodec import EncodecTokenizer

pytestmark = pytest.mark.corpus

WESNOTH = "f9bc3cde92b4ab30db5d7b85f89b4bcc3d788dd92602956d0347250850bf59bb"
FONT = "034abdfb296d9353433513dad5dbdcab46425ee6008fc02fe7039b46e75edc54"
RENDER = Path(__file__).parents[2] / "egs" / "debian_music" / "mert1" / "local" / "render.py"
ROOTS = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
PIECES = ("battle", "elf-land", "knolls")
NEAR_TIE = 1e-5  # of the distance


@pytest.fixture(scope="module")
def music() -> Tensor:
    """12 s of three pieces, [3, T] at 24 kHz."""
    package = fetch_deb("wesnoth-1.16-music", WESNOTH, downloads_dir() / "tests")
    root = package / "usr/share/games/wesnoth/1.16/data/core/music"
    wavs = [load_crop(Utterance(p, str(root / f"{p}.ogg")), 24_000, 20.0, 12.0) for p in PIECES]
    return torch.stack([torch.from_numpy(w) for w in wavs])


@torch.no_grad()
def test_encodecs_packages_agree_on_music(music: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Codes of the same random weights: every book says a hundred things at least, and where the packages differ they had two codes
    as near as each other."""
    folder, file = published_size(torch.cat([m[6 * 24_000 :] for m in music]), tmp_path)
    a, b = EncodecTokenizer.from_pretrained(str(folder)), EncodecTokenizer.from_pretrained(str(file))
    wav = music[:, : 6 * 24_000]
    mine, other = a.encode(wav).codes, b.encode(wav).codes
    distinct = [len(mine[:, q].unique()) for q in range(8)]
    assert mine.shape == (3, 8, 450)
    assert min(distinct) >= 100, distinct
    ties = 0
    for item, (x, y) in enumerate(zip(mine, other)):
        frames = (x != y).any(0).nonzero()[:, 0].tolist()
        if not frames:
            continue
        left = a.net.encoder(wav[item][None, None])[0].t()
        for t in frames:
            rest = left[t].clone()
            for q, layer in enumerate(a.layers[:8]):
                book = layer.codebook.embed
                if x[q, t] != y[q, t]:  # levels below quantize something else
                    one, two = (float((rest - book[code[q, t]]).norm()) for code in (x, y))
                    assert abs(one - two) < NEAR_TIE * one, (item, t, q, one, two)
                    ties += 1
                    break
                rest = rest - book[x[q, t]]
    with capsys.disabled():
        print(f"\n{mine.numel()} codes, distinct in each book {distinct}, {ties} frames decided by a near tie")
    assert ties < 0.01 * 3 * 450


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What debian_music's recipe renders of two families of instruments."""
    root = tmp_path_factory.mktemp("notes")
    font = fetch_deb("timgm6mb-soundfont", FONT, downloads_dir() / "tests") / "usr/share/sounds/sf2/TimGM6mb.sf2"
    # without what it wants for loudspeakers, which needs a compiler
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(root / "python")]
    subprocess.run([*pip, "tinysoundfont==0.3.7"], check=True)
    code = f"import sys; sys.path.insert(0, {str(RENDER.parent)!r}); import render; render.PROGRAMS = range(16); "
    code += f"render.main({str(font)!r}, {str(root / 'data')!r})"
    paths = os.pathsep.join([str(root / "python"), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, check=True)
    return root / "data"


def split_of(notes: Path, task: str) -> dict[str, tuple[str, str, str]]:
    """Split, label and file of each sound."""
    found = {}
    for split in ("train", "dev", "test"):
        labels = read_labels(notes / task / split)
        files = {u.id: u.path for u in open_input(notes / task / split).utterances()}
        found |= {i: (split, labels[i][0], files[i]) for i in labels}
    return found


def test_labels_are_what_is_heard(notes: Path) -> None:
    """Pitches by pYIN, which did not choose them; a triad's notes lead its chroma; a key's scale has most of its; and no
    instrument is in two splits."""
    pitches = split_of(notes, "pitch")
    near = []
    for _, pitch, path in list(pitches.values())[::7]:
        wav, rate = sf.read(path, dtype="float32")
        f0, _, _ = librosa.pyin(wav, fmin=60, fmax=700, sr=rate)
        near.append(abs(np.nanmedian(librosa.hz_to_midi(f0)) - int(pitch)) < 0.5)
    assert len(near) > 15
    assert np.mean(near) > 0.9

    def chroma(path: str) -> np.ndarray:
        wav, rate = sf.read(path, dtype="float32")
        return librosa.feature.chroma_cqt(y=wav, sr=rate, hop_length=512).mean(1)

    def share(rows: dict[str, tuple[str, str, str]], of: dict[str, list[int]]) -> float:
        """Of the sounds whose chroma is loudest, on the mean, in the notes of their own root."""
        right = []
        for _, name, path in list(rows.values())[::4]:
            root, mode = name.split(":")
            c = chroma(path)
            said = [np.mean([c[(k + i) % 12] for i in of[mode]]) for k in range(12)]
            right.append(int(np.argmax(said)) == ROOTS.index(root))
        return float(np.mean(right))

    assert share(split_of(notes, "chord"), {"maj": [0, 4, 7], "min": [0, 3, 7]}) > 0.8
    assert share(split_of(notes, "key"), {"major": [0, 2, 4, 5, 7, 9, 11], "minor": [0, 2, 3, 5, 7, 8, 11]}) > 0.6
    for task in ("pitch", "family", "chord", "key"):
        heard: dict[str, set[str]] = {}
        for name, (split, _, _) in split_of(notes, task).items():
            heard.setdefault(name.split("-")[1], set()).add(split)
        assert all(len(s) == 1 for s in heard.values())
        assert {"train", "dev", "test"} == set().union(*heard.values())
    assert {label for _, label, _ in split_of(notes, "family").values()} == {"piano", "bell"}

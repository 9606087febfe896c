"""Orchestral music: what EnCodec's two packages say of it. `make test-corpus` fetches it (153 MB)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_encodec import published_size
from torch import Tensor

from audiokd.data.audio import load_crop
from audiokd.data.fetch import downloads_dir, fetch_deb
from audiokd.data.utterance import Utterance
from audiokd.teachers.encodec import EncodecTokenizer

pytestmark = pytest.mark.corpus

WESNOTH = "f9bc3cde92b4ab30db5d7b85f89b4bcc3d788dd92602956d0347250850bf59bb"
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

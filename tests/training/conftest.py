"""Two readers to tell apart."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def readers(two_cities: Path, beckett: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data dirs train and dev of seconds of two readers, labelled by reader."""
    root = tmp_path_factory.mktemp("readers")
    for split, places in (("train", range(7)), ("dev", range(7, 9))):
        folder = root / split
        folder.mkdir()
        (folder / "wav.scp").write_text(f"beckett {beckett}\ntwo_cities {two_cities}\n")
        ids = [(f"{r}-{i}", r, i) for r in ("beckett", "two_cities") for i in places]
        (folder / "segments").write_text("".join(f"{u} {r} {i} {i + 1}\n" for u, r, i in ids))
        (folder / "utt2label").write_text("".join(f"{u} {r}\n" for u, r, _ in ids))
    return root

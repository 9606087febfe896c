"""Pictures that several models made of the same items, side by side."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audiokd.data.items import Item, write_items
from audiokd.report.generated import TEXT

ROOT = Path(__file__).parents[2]


def made(folder: Path, greys: dict[str, int]) -> Path:
    """As `audiokd generate` writes it: pictures 8 x 8 of one grey each."""
    folder.mkdir(parents=True)
    for name, grey in greys.items():
        Image.new("L", (8, 8), grey).save(folder / f"{name}.png")
    write_items(folder, [Item(name, str(folder / f"{name}.png"), "a") for name in greys])
    return folder


def test_a_row_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(ROOT / "recipes")
    script = importlib.import_module("generated_grid")
    one = made(tmp_path / "one", {"x": 10, "y": 20, "z": 30, "w": 40})
    two = made(tmp_path / "two", {"z": 130, "x": 110, "y": 120})  # w failed; another order
    words = [str(tmp_path / "out.png"), f"one={one}", f"two={two}"]
    monkeypatch.setattr(sys, "argv", ["generated_grid.py", *words, "--columns", "2"])
    script.main()
    assert "2 rows of 2" in capsys.readouterr().out
    grid = np.asarray(Image.open(words[0]).convert("L"))
    shown = [[int(grid[32 + 66 * y, TEXT + 32 + 66 * x]) for x in range(2)] for y in range(2)]
    assert shown == [[10, 20], [110, 120]]  # of the three that both have
    three = made(tmp_path / "three", {"v": 1})
    monkeypatch.setattr(sys, "argv", ["generated_grid.py", *words, f"three={three}"])
    with pytest.raises(SystemExit, match="no item in common"):
        script.main()
    monkeypatch.setattr(sys, "argv", ["generated_grid.py", words[0], str(one)])
    with pytest.raises(SystemExit):
        script.main()
    assert "is not NAME=FOLDER" in capsys.readouterr().err

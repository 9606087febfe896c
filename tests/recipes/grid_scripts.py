"""Grid scripts of recipes/ as modules whose commands run in this process: a start of Python takes longer than a debug step."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from audiokd.cli import main

RECIPES = Path(__file__).parents[2] / "recipes"


def load_grid(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script `name`; `said` of it holds the words of each command."""
    monkeypatch.syspath_prepend(RECIPES)
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    module.said = []

    def command(words: Sequence[str], log: Path) -> int:
        module.said.append(list(words))
        try:
            main(list(words))
        except SystemExit as e:
            return int(e.code or 0)
        return 0

    monkeypatch.setattr(sys.modules["cells"], "command", command)
    return module

"""The house's import direction (DESIGN.md), an import of audiokd that costs nothing, and a quick --help."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import audiokd
from audiokd.cli import COMMANDS

PACKAGE = Path(audiokd.__file__).parent
#: from the top of the house down; a room may import rooms of later groups only
ORDER: list[set[str]] = [
    {"cli"},
    {"stages"},
    {"launch", "report"},
    {"eval"},
    {"hub"},
    {"methods"},
    {"training"},
    {"teachers", "losses"},
    {"vision"},
    {"nn", "frontends"},
    {"data"},
]
LEVEL = {room: i for i, rooms in enumerate(ORDER) for room in rooms}
GROUND = {"errors", "files", "objects", "progress"}
NO_LIGHTNING = {"nn", "losses", "frontends"}
ROOT_MAY = {"errors", "hub", "stages", "tokens"}
IN_STRING = re.compile(r"audiokd(\.\w+)+(:\w+)?")


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported anywhere in a module, lazy tables of module names included."""
    parts = module.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) + is_package - node.level] if node.level else []
            where = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{where}.{a.name}") for a in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and IN_STRING.fullmatch(node.value):
            yield node.lineno, node.value.split(":")[0]


def room_of(name: str) -> str:
    """`audiokd.nn.codec.dac` -> nn; a name of audiokd/__init__.py itself (as `__version__`) -> "" (the front door)."""
    part = name.split(".")[1] if "." in name else ""
    return part if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file() else ""


def faults(source: str, path: Path) -> list[str]:
    """What a file at `path` (below the package) imports against the rules."""
    is_package = path.name == "__init__.py"
    module = ".".join(["audiokd", *path.with_suffix("").parts]).removesuffix(".__init__")
    room = room_of(module)
    out = []
    for line, name in imports(ast.parse(source), module, is_package):
        why = _why_not(room, module, name)
        if why:
            out.append(f"{path}:{line}: {name}: {why}")
    return out


def _why_not(room: str, module: str, name: str) -> str:
    top = name.split(".")[0]
    if room in NO_LIGHTNING and top in ("lightning", "pytorch_lightning"):
        return f"{room} never imports lightning"
    if top != "audiokd":
        return ""
    other = room_of(name)
    if other == "cli":
        return "nothing imports cli"
    if room == "":
        return "" if other in ROOT_MAY else f"audiokd/__init__.py may import {sorted(ROOT_MAY)}"
    if other == "":
        return "" if room == "cli" else "only cli looks at the package itself"
    if other in GROUND:
        return ""
    if room in GROUND:
        return "the ground floor stands on itself"
    if other == room:
        mine, theirs = module.split("."), name.split(".")
        if room == "methods" and len(mine) > 2 and mine[2] != (theirs[2] if len(theirs) > 2 else ""):
            return "no method imports another"
        return ""
    if room == "tokens":
        return "" if other == "data" else "tokens imports data only"
    if other == "tokens":
        return "data is below tokens" if room == "data" else ""
    if other not in LEVEL or room not in LEVEL:
        return f"{other if other not in LEVEL else room} has no place in DESIGN.md"
    return "" if LEVEL[other] > LEVEL[room] else f"{room} stands below or beside {other}"


def test_import_direction() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 50
    found = [f for p in files for f in faults(p.read_text(), p.relative_to(PACKAGE))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("nn/x.py", "def f():\n    from audiokd.training.base import RunModule"),
        ("nn/x.py", "import audiokd.frontends.log_mel"),
        ("nn/codec/x.py", "from ... import losses"),
        ("nn/x.py", "from audiokd.vision import backbones"),
        ("nn/x.py", "import lightning as L"),
        ("losses/x.py", "from lightning.pytorch import loggers"),
        ("losses/x.py", "from audiokd.teachers import base"),
        ("teachers/x.py", "from audiokd.hub.auto import part"),
        ("tokens/x.py", "from audiokd.hub import auto"),
        ("data/x.py", "from audiokd import tokens"),
        ("files.py", "from audiokd.data import audio"),
        ("stages/x.py", "from audiokd.cli import main"),
        ("launch/x.py", "from audiokd.stages import fit"),
        ("eval/x.py", "from audiokd.launch import local"),
        ("methods/atst/model.py", "from audiokd.methods.lm_spt.model import LMSPTModel"),
        ("methods/atst/model.py", "from ..lm_spt import model"),
        ("training/x.py", 'T = {"settings": "audiokd.methods.lm_spt.settings:LMSPTSettings"}'),
        ("nn/x.py", "from audiokd import __version__"),
        ("__init__.py", "from audiokd.nn import lengths"),
    ],
)
def test_the_rules_catch(path: str, source: str) -> None:
    assert len(faults(source, Path(path))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("stages/x.py", "from audiokd.report.page import Report\nfrom audiokd.data.audio import load"),
        ("methods/atst/module.py", "from .model import A\nfrom audiokd.methods.atst.model import A"),
        ("tokens/x.py", "from audiokd.data.audio import load\nfrom audiokd.files import jsonl"),
        ("report/x.py", "from audiokd.tokens.stats import store_stats"),
        ("cli.py", "from audiokd import __version__"),
        ("training/x.py", "import lightning as L"),
        ("vision/x.py", "from audiokd.nn.weights import check_weights"),
    ],
)
def test_the_rules_allow(path: str, source: str) -> None:
    assert faults(source, Path(path)) == []


def test_every_room_has_a_place() -> None:
    rooms = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()}
    assert rooms - {"conf", "tokens"} <= LEVEL.keys()


def test_importing_audiokd_imports_nothing_heavy() -> None:
    code = (
        "import sys, audiokd; assert audiokd.load_tokenizer and audiokd.AudiokdError; "
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "audiokd" in loaded
    assert not {"torch", "transformers", "lightning", "numpy", "lhotse", "jsonargparse"} & set(loaded)


def test_help_is_quick_and_true() -> None:
    audiokd_bin = Path(sys.executable).with_name("audiokd")
    times = []
    for _ in range(3):
        started = time.monotonic()
        run = subprocess.run([audiokd_bin, "--help"], capture_output=True, text=True, check=True, env={**os.environ})
        times.append(time.monotonic() - started)
    assert min(times) < 0.5  # 0.3 on a machine that has nothing else to do
    listed = [line.strip() for line in run.stdout.splitlines()[2:]]
    assert len(listed) == len(COMMANDS)
    for name, (where, positional, what) in COMMANDS.items():
        assert any(line.startswith(f"{name} ") or line.split("  ")[0] == name for line in listed)
        assert any(line.endswith(what) for line in listed)
        module, function = where.split(":")
        f = getattr(importlib.import_module(f"audiokd.stages.{module}"), function)
        assert set(positional) <= inspect.signature(f).parameters.keys()

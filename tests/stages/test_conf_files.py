"""Every packaged config holds keys of its method alone, with values of their types."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import audiokd
from audiokd.hub.auto import METHODS, part
from audiokd.stages.fit import flatten, read_config

CONF = Path(audiokd.__file__).parent / "conf"
FILES = sorted(f"{p.parent.name}/{p.stem}" for p in CONF.glob("*/*.yaml"))


def test_there_is_one_for_every_method() -> None:
    assert {f.split("/")[0] for f in FILES} == {name for name, parts in METHODS.items() if "settings" in parts}


@pytest.mark.parametrize("name", FILES)
def test_a_file(name: str) -> None:
    known = flatten(dataclasses.asdict(part(name.split("/")[0], "settings")()))
    for key, value in read_config(name).items():
        assert key in known, key
        wanted = float if isinstance(known[key], float) else type(known[key])
        assert known[key] is None or isinstance(value, (wanted, int) if wanted is float else wanted), (key, value)

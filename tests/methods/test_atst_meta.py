"""Every packaged config of ATST is whole, and the published sizes are the published sizes: on the meta device, without weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from method_settings import settings_of

import audiokd.conf
from audiokd.hub.auto import part
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.stages.fit import flatten, read_config

CONFIGS = sorted(p.stem for p in (Path(audiokd.conf.__file__).parent / "atst").glob("*.yaml"))
RECIPE = Path(__file__).parents[2] / "egs" / "debian_sounds" / "ssl1" / "conf"


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_is_known_and_the_model_builds(name: str) -> None:
    known = flatten(dataclasses.asdict(part("atst", "settings")()))
    assert not read_config(f"atst/{name}").keys() - known.keys()
    settings = settings_of("atst", name)
    with torch.device("meta"):
        model = ATSTModel(ATSTConfig(**dataclasses.asdict(settings.model)))
        tokens, _ = model(torch.zeros(2, 64, 1001), torch.tensor([1001, 1001], device="cpu"))
    assert tokens.shape == (2, 250 + (settings.model.kind == "clip"), settings.model.dim)


def test_the_recipes_configs_too() -> None:
    known = flatten(dataclasses.asdict(part("atst", "settings")()))
    for path in (RECIPE / f"{kind}.yaml" for kind in ("frame", "clip")):
        flat = read_config(str(path))
        assert not flat.keys() - known.keys(), path
        assert flat["model.kind"] == path.stem


@pytest.mark.parametrize(("name", "millions"), [("frame_small", 21.5), ("frame_base", 85.5), ("clip_small", 21.5)])
def test_published_sizes(name: str, millions: float) -> None:
    """The encoders of 21.5 M and 85.5 M parameters; as many tensors as the official encoders' state dicts have, 138 and 139."""
    settings = settings_of("atst", name)
    with torch.device("meta"):
        model = ATSTModel(ATSTConfig(**dataclasses.asdict(settings.model)))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)
    assert len(model.state_dict()) == (139 if settings.model.kind == "clip" else 138)


def test_the_published_schedules() -> None:
    """Peak rates are the published ones times the batch over 256 (train_base.sh, train_small.sh, the README of atstframe)."""
    for name, per_256 in (("frame_base", 8e-5), ("frame_small", 4e-4), ("clip_base", 2e-4), ("clip_small", 5e-4)):
        s = settings_of("atst", name)
        assert s.optim.lr == pytest.approx(per_256 * s.data.batch_size * s.run.devices / 256, rel=1e-6), name

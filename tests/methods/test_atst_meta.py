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
from audiokd.methods.atst.module import trained_frames
from audiokd.stages.fit import build_module, flatten, read_config

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


#: rate for 256 clips, clips a step, steps, warm-up, first EMA, crop in s, window: train_{base,small}.sh, atstframe/README.md
PUBLISHED = {
    "frame_base": (8e-5, 864, 398_000, 19_900, 0.9996, 10.0, 1024),
    "frame_small": (4e-4, 1024, 58_500, 1950, 0.997, 10.0, 640),
    "clip_base": (2e-4, 1536, 318_000, 15_860, 0.9995, 6.0, 1024),
    "clip_small": (5e-4, 1536, 39_100, 1300, 0.99, 9.0, 1024),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_pretrainings(name: str) -> None:
    """What differs between the four, and what they share."""
    per_256, batch, steps, warmup, ema, crop_s, window = PUBLISHED[name]
    s = settings_of("atst", name)
    clip = name.startswith("clip")
    assert s.data.batch_size * s.run.devices == batch
    assert s.optim.lr == pytest.approx(per_256 * batch / 256, rel=1e-6)
    assert (s.run.max_steps, s.optim.warmup_steps, s.teacher.ema) == (steps, warmup, ema)
    assert (s.data.crop_s, s.model.win_length, s.model.kind) == (crop_s, window, "clip" if clip else "frame")
    o, v, m = s.optim, s.views, s.model
    assert (o.min_lr, o.weight_decay, o.last_weight_decay, o.grad_clip) == (1e-6, 0.04, 0.4, 0.0)
    assert (o.beta1, o.beta2, o.eps) == (0.9, 0.999, 1e-6)
    assert (v.mixup, v.mixup_memory, v.warp) == (0.4, 2000, True)
    assert (v.mask, v.mask_share, v.mask_length) == ("block", 0.65, 5)
    assert (m.drop_path, m.mlp_ratio, m.qkv_bias, m.depth, m.max_frames) == (0.1, 4.0, False, 12, 1001)
    assert (s.heads.hidden, s.heads.out, s.teacher.average_blocks) == (4096, 256, 0)


@pytest.mark.parametrize("kind", ["frame", "clip"])
def test_a_kind_says_what_it_needs(kind: str) -> None:
    """--model.kind clip alone is ATST-Clip: both views changed; and what is trained on 3 s is exported to hear 3 s at once."""
    module = build_module("atst", settings_of("atst", "debug", {"model.kind": kind, "data.crop_s": 3.0}))
    assert module.views.both is (kind == "clip")
    assert module.teacher.encoder.config.chunk_frames == module.student.encoder.config.chunk_frames == 301
    longer = settings_of("atst", "debug", {"model.kind": kind, "data.crop_s": 30.0})
    assert trained_frames(longer) == 1001
    said = settings_of("atst", "debug", {"model.kind": kind, "model.chunk_frames": 601})
    assert trained_frames(said) == 601

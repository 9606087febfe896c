"""MERT's published files, as Hugging Face and fairseq have them, to model folders."""

from __future__ import annotations

import json
import re
import sys
import types
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import audiokd
from audiokd.errors import AudiokdError
from audiokd.methods.mert.config import MERTConfig
from audiokd.methods.mert.convert import FAIRSEQ, convert_mert, write_folder
from audiokd.methods.mert.model import MERTModel
from audiokd.stages.convert import convert

SMALL = {"dim": 64, "depth": 2, "heads": 4, "hidden": 128, "channels": 32}


def small(**changes: object) -> MERTModel:
    torch.manual_seed(0)
    return MERTModel(MERTConfig(**(SMALL | changes))).eval()


def old_spelling(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight norm as torch named it before 2.0, and MERT's files do."""
    return {
        re.sub(r"parametrizations\.weight\.original([01])", lambda m: "weight_" + "gv"[int(m[1])], k): v
        for k, v in weights.items()
    }


def published(folder: Path, model: MERTModel, **more: Any) -> Path:
    """A folder as m-a-p/MERT-v1-95M has it: no conv_pos_batch_norm, a model type of its own, a pickle of weights."""
    folder.mkdir()
    c = model.config.to_dict()
    config = {
        k: v
        for k, v in c.items()
        if k not in ("conv_pos_batch_norm", *SMALL, "pre_norm", "relax", "deepnorm", "sample_rate")
    }
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mert_model", "sample_rate": 24_000} | more))
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 24_000, "do_normalize": True}))
    torch.save(old_spelling(model.state_dict()), folder / "pytorch_model.bin")
    return folder


def as_fairseq(model: MERTModel) -> dict[str, Tensor]:
    """The weights under fairseq's names, which are the other way round of what the conversion replaces."""
    names = {
        "feature_projection.projection.": "post_extract_proj.",
        "feature_projection.layer_norm.": "layer_norm.",
        "masked_spec_embed": "mask_emb",
        "encoder.pos_conv_embed.conv.": "encoder.pos_conv.0.",
        ".attention.": ".self_attn.",
        ".feed_forward.intermediate_dense.": ".fc1.",
        ".feed_forward.output_dense.": ".fc2.",
    }
    found = {}
    for key, value in old_spelling(model.state_dict()).items():
        key = re.sub(r"(encoder\.layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm", key)
        key = re.sub(r"(conv_layers\.\d+)\.conv\.", r"\1.0.", key)
        key = key.replace("conv_layers.0.layer_norm.", "conv_layers.0.2.")
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        found[key] = value
    return found


def assert_same(folder: Path, model: MERTModel, two_cities: Path, atol: float = 1e-5) -> None:
    from audiokd.data.audio import load_at
    from audiokd.data.utterance import Utterance

    wav = torch.from_numpy(load_at(Utterance("a", str(two_cities)), 24_000)[:48_000])[None]
    with torch.no_grad():
        expected, found = model.extract_features(wav), audiokd.load_model(folder).extract_features(wav)
    for a, b in zip(expected.hidden_states, found.hidden_states):
        torch.testing.assert_close(a, b, atol=atol, rtol=0)


@pytest.mark.parametrize("changes", [{}, {"pre_norm": True, "relax": 32.0}], ids=["95M", "330M"])
def test_a_hugging_face_folder(changes: dict[str, Any], two_cities: Path, tmp_path: Path) -> None:
    model = small(normalize=True, **changes)
    src = published(tmp_path / "src", model, attention_relax=changes.get("relax", -1.0))
    convert("mert", str(src), str(tmp_path / "out"))
    assert_same(tmp_path / "out", model, two_cities)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["conv_pos_batch_norm"] is False
    assert config["relax"] == changes.get("relax", 1.0)
    assert not (tmp_path / "out" / "heads.safetensors").exists()


def test_a_hugging_face_folder_with_deepnorm(two_cities: Path, tmp_path: Path) -> None:
    """No published one has it, but MERT's config.json has the key: left out, all layers would be others."""
    model = small(deepnorm=True, normalize=True)
    convert_mert(published(tmp_path / "src", model, deepnorm=True), tmp_path / "out")
    assert_same(tmp_path / "out", model, two_cities, atol=1e-4)  # folded, the norms' epsilon weighs more


def test_a_folder_of_ours(two_cities: Path, tmp_path: Path) -> None:
    model = small(pre_norm=True, relax=32.0)
    write_folder(model, {}, tmp_path / "a", "test")
    convert_mert(tmp_path / "a", tmp_path / "b")
    assert_same(tmp_path / "b", model, two_cities)
    assert json.loads((tmp_path / "b" / "config.json").read_text())["relax"] == 32.0


class Dictionary:
    """What fairseq keeps in a checkpoint; reading it would run fairseq's code."""

    def __init__(self) -> None:
        self.symbols = ["<s>", "1"]

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("a class of the file was run")


@pytest.fixture
def fairseq(monkeypatch: pytest.MonkeyPatch) -> type:
    module = types.ModuleType("fairseq.data.dictionary")
    Dictionary.__module__, module.Dictionary = module.__name__, Dictionary  # type: ignore[attr-defined]
    for name in ("fairseq", "fairseq.data"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return Dictionary


@pytest.mark.parametrize("kept_as", [dict, Namespace])
def test_a_fairseq_checkpoint(fairseq: type, kept_as: Any, two_cities: Path, tmp_path: Path) -> None:
    """Names, sizes and heads; what else is pickled in it is not run."""
    model = small(pre_norm=True)
    heads = {"final_proj.weight": torch.randn(8, 64), "label_embs_concat": torch.randn(20, 4)}
    state = {
        "model": {**as_fairseq(model), **heads},
        "cfg": {
            "model": kept_as(encoder_attention_heads=4, layer_norm_first=True, attention_relax=32.0),
            "task": {"sample_rate": 24_000, "normalize": False},
        },
        "task_state": {"dictionaries": [fairseq()]},
    }
    torch.save(state, tmp_path / "checkpoint.pt")
    convert_mert(tmp_path / "checkpoint.pt", tmp_path / "out")
    assert_same(tmp_path / "out", model, two_cities)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["relax"], config["pre_norm"], config["heads"]) == (32.0, True, 4)
    side = load_file(tmp_path / "out" / "heads.safetensors")
    assert {k: v.shape for k, v in side.items()} == {k: v.shape for k, v in heads.items()}
    assert len(FAIRSEQ) == 10


def test_what_is_refused(tmp_path: Path) -> None:
    model = small()
    src = published(tmp_path / "src", model)
    weights = torch.load(src / "pytorch_model.bin")
    del weights["encoder.layers.1.attention.q_proj.bias"]
    weights["encoder.layers.0.attention.q_proj.bias"] = torch.zeros(3)
    torch.save({**weights, "stranger": torch.zeros(1)}, src / "pytorch_model.bin")
    with pytest.raises(AudiokdError) as e:
        convert_mert(src, tmp_path / "out")
    for part in ("missing: encoder.layers.1.attention.q_proj.bias", "unknown: stranger", "[3] there, [64] expected"):
        assert part in str(e.value)
    assert not (tmp_path / "out").exists()
    (src / "pytorch_model.bin").write_bytes(b"no pickle")
    with pytest.raises(AudiokdError, match=r"cannot be read.*|.*pytorch_model.bin"):
        convert_mert(src, tmp_path / "out")
    (src / "pytorch_model.bin").unlink()
    with pytest.raises(AudiokdError, match=r"no pytorch_model\.bin"):
        convert_mert(src, tmp_path / "out")
    config = json.loads((src / "config.json").read_text())
    for name, value in (("hidden_act", "relu"), ("layer_norm_eps", 1e-12)):
        (src / "config.json").write_text(json.dumps(config | {name: value}))
        with pytest.raises(AudiokdError, match=f"its {name} is {value}, MERT's "):
            convert_mert(src, tmp_path / "out")
    (src / "config.json").write_text(json.dumps(config | {"model_type": "encodec"}))
    with pytest.raises(AudiokdError, match="a encodec model is no MERT"):
        convert_mert(src, tmp_path / "out")
    (src / "config.json").write_text(json.dumps(config | {"conv_stride": [5, 2, 2, 2, 2, 2, 4]}))
    with pytest.raises(AudiokdError, match=r"conv_stride is \[5, 2, 2, 2, 2, 2, 4\]"):
        convert_mert(src, tmp_path / "out")
    (src / "config.json").unlink()
    with pytest.raises(AudiokdError, match=r"no config\.json"):
        convert_mert(src, tmp_path / "out")
    with pytest.raises(AudiokdError, match="no such file or folder"):
        convert_mert(tmp_path / "nothing", tmp_path / "out")
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(AudiokdError, match="not fairseq's checkpoint of a MERT"):
        convert_mert(tmp_path / "other.pt", tmp_path / "out")

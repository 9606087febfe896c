"""CTranslate2's Whisper becomes transformers': bit for bit, quantised or not, and it still hears."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from ct2_file import Variables, quantise, read, write
from safetensors.torch import load_file
from torch import Tensor
from transformers import pipeline

from audiokd.errors import AudiokdError
from audiokd.teachers.whisper_ct2 import convert_whisper_ct2, read_ct2

TEXT = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."
ALIASES = {"decoder/projection/weight": "decoder/embeddings/weight"}


@pytest.fixture(scope="module")
def stored(whisper_ct2_dir: Path) -> Variables:
    return read(whisper_ct2_dir / "model.bin")[0]


def _folder(src: Path, dst: Path) -> Path:
    """`src` without its binary."""
    dst.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(src / name, dst)
    return dst


def _hear(folder: Path, wav: Path) -> str:
    x, rate = sf.read(wav, dtype="float32")
    asr = pipeline("automatic-speech-recognition", model=str(folder))
    return asr({"raw": x, "sampling_rate": rate})["text"].strip()


def _fused(state: dict[str, Tensor], name: str) -> np.ndarray:
    """The CTranslate2 variable `name`, put together again from a transformers state dict."""
    side, *path, leaf = name.split("/")
    leaf = {"gamma": "weight", "beta": "bias"}.get(leaf, leaf)
    key = f"model.{side}."
    if path[0].startswith("layer_") and path[0] != "layer_norm":
        key += f"layers.{path[0][6:]}."
        path = path[1:]
    cross = path[0] == "attention"
    attention = key + ("encoder_attn" if cross else "self_attn")
    if path[-1] == "layer_norm":
        norms = {
            "self_attention": "self_attn_layer_norm",
            "attention": "encoder_attn_layer_norm",
            "ffn": "final_layer_norm",
        }
        return state[f"{key}{norms.get(path[0], 'layer_norm')}.{leaf}"].numpy()
    if path[0] == "ffn":
        return state[f"{key}fc{int(path[1][-1]) + 1}.{leaf}"].numpy()
    if path[0] in ("attention", "self_attention"):
        parts = {"linear_0": "q", "linear_1": "kv"} if cross else {"linear_0": "qkv"}
        if path[1] not in parts:
            return state[f"{attention}.out_proj.{leaf}"].numpy()
        each = []
        for p in parts[path[1]]:
            width = len(state[f"{attention}.{p}_proj.weight"])
            each.append(torch.zeros(width) if (p, leaf) == ("k", "bias") else state[f"{attention}.{p}_proj.{leaf}"])
        return torch.cat(each).numpy()
    plain = {"embeddings": "embed_tokens.weight", "position_encodings": "embed_positions.weight"}
    return state[key + plain.get(path[0], f"{path[0]}.{leaf}")].numpy()


def test_every_tensor_lands_bit_equal(whisper_dir: Path, stored: Variables) -> None:
    state = load_file(whisper_dir / "model.safetensors")
    tensors = {k: v for k, v in stored.items() if v.ndim}
    assert len(tensors) > 130
    for name, a in tensors.items():
        got = _fused(state, name)
        assert got.dtype == np.float32
        assert np.array_equal(got, a.astype(np.float32)), name
    filled = sum(v.size for v in tensors.values())
    keys = sum(len(b) for n, b in state.items() if n.endswith("q_proj.bias"))  # the fused zeros
    assert sum(v.numel() for v in state.values()) == filled - keys


def test_transcribes(whisper_dir: Path, beckett: Path) -> None:
    assert _hear(whisper_dir, beckett) == TEXT


def test_sizes_and_tokens(whisper_dir: Path, whisper_ct2_dir: Path) -> None:
    config = json.loads((whisper_dir / "config.json").read_text())
    got = [
        config[k] for k in ("d_model", "encoder_layers", "decoder_layers", "encoder_attention_heads", "num_mel_bins")
    ]
    assert got == [384, 4, 4, 6, 80]
    generation = json.loads((whisper_dir / "generation_config.json").read_text())
    ct2 = json.loads((whisper_ct2_dir / "config.json").read_text())
    assert generation["suppress_tokens"] == ct2["suppress_ids"]
    assert generation["begin_suppress_tokens"] == ct2["suppress_ids_begin"]


@pytest.mark.parametrize(("dtype", "steps"), [("int8", 127), ("int16", 1024)])
def test_quantised(
    dtype: str, steps: int, stored: Variables, whisper_ct2_dir: Path, beckett: Path, tmp_path: Path
) -> None:
    src = _folder(whisper_ct2_dir, tmp_path / "src")
    small = quantise(stored, dtype)
    aliases = dict(ALIASES, **{f"{k}_scale": f"{v}_scale" for k, v in ALIASES.items()})
    write(src / "model.bin", small, aliases)
    got = read_ct2(src / "model.bin")
    assert not [k for k in got if k.endswith("_scale")]
    for name, a in stored.items():
        w = a.astype(np.float32)
        if f"{name}_scale" not in small:
            assert np.array_equal(got[name], a)
            continue
        axes = tuple(range(1, w.ndim)) if dtype == "int8" else None
        half_a_step = np.abs(w).max(axes, keepdims=True) / steps / 2
        error = np.abs(got[name] - w)
        assert (error <= half_a_step * 1.001 + 1e-7).all(), name
        assert error.max() > half_a_step.max() / 4  # it was quantised indeed
    assert np.array_equal(got["decoder/projection/weight"], got["decoder/embeddings/weight"])
    convert_whisper_ct2(src, tmp_path / "dst")
    assert _hear(tmp_path / "dst", beckett) == TEXT


def test_bfloat16(tmp_path: Path) -> None:
    w = np.array([[1.5, -2.0], [0.0, 3.140625]], np.float32)
    bits = (w.view(np.uint32) >> 16).astype(np.uint16)
    write(tmp_path / "model.bin", {"w": bits.view(np.float16)}, {"again": "w"}, kind=5)
    got = read_ct2(tmp_path / "model.bin")
    assert np.array_equal(got["w"], w)
    assert np.array_equal(got["again"], w)


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json"])
def test_missing_file(name: str, whisper_ct2_dir: Path, tmp_path: Path) -> None:
    src = _folder(whisper_ct2_dir, tmp_path / "src")
    (src / "model.bin").touch()
    (src / name).unlink()
    with pytest.raises(AudiokdError, match=f"src: no {name}"):
        convert_whisper_ct2(src, tmp_path / "dst")
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("keep", [0, 3, 12, 40, 5000, -2])
def test_truncated(keep: int, whisper_ct2_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes((whisper_ct2_dir / "model.bin").read_bytes()[:keep])
    with pytest.raises(AudiokdError, match=r"model\.bin: .*ends in the middle") as e:
        read_ct2(path)
    assert "download it again" in str(e.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path, one = tmp_path / "model.bin", {"w": np.ones(3, np.float32)}
    write(path, one, {}, spec="TransformerSpec")
    with pytest.raises(AudiokdError, match=r"model\.bin: holds a 'TransformerSpec'"):
        read_ct2(path)
    write(path, one, {}, kind=77)
    with pytest.raises(AudiokdError, match=r"model\.bin: w has the unknown data type 77"):
        read_ct2(path)
    write(path, one, {"x": "y"})
    with pytest.raises(AudiokdError, match=r"model\.bin: x stands for y, which is not there"):
        read_ct2(path)
    write(path, one, {}, kind=4)  # 12 bytes are six halves, not three
    with pytest.raises(AudiokdError, match=r"model\.bin: w holds 6 values for shape \[3\]"):
        read_ct2(path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(AudiokdError, match=r"model\.bin: not a CTranslate2 binary"):
        read_ct2(path)


@pytest.mark.parametrize(
    "gone", ["decoder/embeddings/weight", "encoder/layer_1/ffn/linear_0/bias", "encoder/num_heads"]
)
def test_incomplete_model(gone: str, stored: Variables, whisper_ct2_dir: Path, tmp_path: Path) -> None:
    src = _folder(whisper_ct2_dir, tmp_path / "src")
    write(src / "model.bin", {k: v for k, v in stored.items() if k != gone}, {})
    with pytest.raises(AudiokdError, match=f"has no variable {gone}"):
        convert_whisper_ct2(src, tmp_path / "dst")


def test_extra_and_odd_variables(stored: Variables, whisper_ct2_dir: Path, tmp_path: Path) -> None:
    src = _folder(whisper_ct2_dir, tmp_path / "src")
    write(src / "model.bin", {**stored, "encoder/adapter/weight": np.ones((2, 2), np.float32)}, {})
    with pytest.raises(AudiokdError, match="no place in a Whisper model: encoder/adapter/weight"):
        convert_whisper_ct2(src, tmp_path / "dst")
    name = "encoder/layer_0/self_attention/linear_0/bias"
    write(src / "model.bin", {**stored, name: np.ones_like(stored[name])}, {})
    with pytest.raises(AudiokdError, match="key bias"):
        convert_whisper_ct2(src, tmp_path / "dst")
    (src / "tokenizer.json").write_text("{}")
    with pytest.raises(AudiokdError, match=r"has no token <\|startoftranscript\|>"):
        convert_whisper_ct2(src, tmp_path / "dst")
    (src / "config.json").write_text("{")
    with pytest.raises(AudiokdError, match="not JSON"):
        convert_whisper_ct2(src, tmp_path / "dst")

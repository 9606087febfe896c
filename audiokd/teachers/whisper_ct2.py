"""A CTranslate2 Whisper folder (what faster-whisper users have on disk) as a transformers folder.

The binary: u32 version, spec name, u32 revision, u32 number of variables; each variable: name, u8 rank, u32 dims, u8
dtype, u32 bytes, data; then aliases. Strings carry a u16 length and a final NUL. Attention projections are fused.
Read from files of binary version 6, spec WhisperSpec revision 3; int8 and int16 variables come with a `_scale`.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.files import atomic_folder

if TYPE_CHECKING:
    import torch

DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
BFLOAT16 = 5


def convert_whisper_ct2(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Write `dst` so that transformers' `WhisperForConditionalGeneration.from_pretrained(dst)` and its pipelines work.

    Args:
        src: folder with model.bin, config.json, tokenizer.json.
        dst: folder to write: config, generation_config, preprocessor_config, tokenizer, model.safetensors (float32).

    Raises:
        AudiokdError: a file is missing, is not a Whisper model, or holds a tensor that has no place in one.
    """
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()
    src = Path(src)
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if not (src / name).exists():
            raise AudiokdError(f"no {name}", where=str(src), fix="give the folder that faster-whisper or ct2 wrote")
    variables = read_ct2(src / "model.bin")
    try:
        ct2_config = json.loads((src / "config.json").read_text())
        vocab = json.loads((src / "tokenizer.json").read_text())
    except json.JSONDecodeError as e:
        raise AudiokdError(f"not JSON: {e}", where=str(src)) from e
    tokens = {t["content"]: t["id"] for t in vocab.get("added_tokens", [])}
    try:
        config = _config(variables, tokens)
    except KeyError as e:
        kind = "token" if str(e.args[0]).startswith("<|") else "variable"
        raise AudiokdError(f"has no {kind} {e.args[0]}", where=str(src), fix="it is not a whole Whisper model") from e
    import torch

    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    model.load_state_dict(_state_dict(variables, config, str(src)), strict=True, assign=True)
    model.tie_weights()
    model.generation_config = _generation_config(config, ct2_config, tokens)
    with atomic_folder(dst) as folder:
        model.save_pretrained(folder)
        WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
        _tokenizer(src / "tokenizer.json", tokens).save_pretrained(folder)


def read_ct2(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All variables of a CTranslate2 model.bin by name, dequantised; aliases resolved.

    int8 is scaled per row (`w = q / scale[row]`), int16 by one number.

    Raises:
        AudiokdError: the file is cut off, or of a version or type that is not known.
    """
    data = Path(path).read_bytes()
    at = 0

    def take(fmt: str) -> tuple[Any, ...]:
        nonlocal at
        size = struct.calcsize(fmt)
        if at + size > len(data):
            raise AudiokdError("the file ends in the middle of a variable", where=str(path), fix="download it again")
        at += size
        return struct.unpack_from(fmt, data, at - size)

    def string() -> str:
        (n,) = take("<H")
        return take(f"<{n}s")[0].rstrip(b"\0").decode("utf-8", "replace")

    (version,) = take("<I")
    if not 1 <= version <= 100:
        raise AudiokdError("not a CTranslate2 binary", where=str(path))
    spec = string()
    _, count = take("<II")
    if spec != "WhisperSpec" or version < 4:
        raise AudiokdError(f"holds a {spec!r} of binary version {version}, not a Whisper model", where=str(path))
    raw: dict[str, np.ndarray] = {}
    for _ in range(count):
        name = string()
        (rank,) = take("<B")
        shape = take(f"<{rank}I")
        kind, size = take("<BI")
        if at + size > len(data):
            raise AudiokdError(f"ends in the middle of {name}", where=str(path), fix="download it again")
        if kind == BFLOAT16:
            bits = np.frombuffer(data, np.uint16, size // 2, at).astype(np.uint32) << 16
            array = bits.view(np.float32)
        elif kind in DTYPES:
            array = np.frombuffer(data, DTYPES[kind], size // np.dtype(DTYPES[kind]).itemsize, at)
        else:
            raise AudiokdError(f"{name} has the unknown data type {kind}", where=str(path))
        at += size
        if array.size != np.prod(shape, dtype=np.int64):
            raise AudiokdError(f"{name} holds {array.size} values for shape {list(shape)}", where=str(path))
        raw[name] = array.reshape(shape)
    (aliases,) = take("<I")
    for _ in range(aliases):
        alias, name = string(), string()
        if name not in raw:
            raise AudiokdError(f"{alias} stands for {name}, which is not there", where=str(path))
        raw[alias] = raw[name]
    return _dequantise(raw)


def _dequantise(raw: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    out = {}
    for name, array in raw.items():
        scale = raw.get(f"{name}_scale")
        if scale is not None and array.dtype in (np.int8, np.int16):
            s = scale.astype(np.float32)
            array = array.astype(np.float32) / (s.reshape(-1, *[1] * (array.ndim - 1)) if s.size > 1 else s.reshape(()))
        if not name.endswith("_scale"):
            out[name] = array
    return out


def _config(v: dict[str, np.ndarray], tokens: dict[str, int]):
    from transformers import WhisperConfig

    def layers(side: str) -> int:
        numbers = [k.split("/")[1][6:] for k in v if k.startswith(f"{side}/layer_")]
        return 1 + max((int(n) for n in numbers if n.isdigit()), default=-1)

    vocab_size, d_model = v["decoder/embeddings/weight"].shape
    return WhisperConfig(
        vocab_size=vocab_size,
        num_mel_bins=v["encoder/conv1/weight"].shape[1],
        d_model=d_model,
        encoder_layers=layers("encoder"),
        decoder_layers=layers("decoder"),
        encoder_attention_heads=int(v["encoder/num_heads"]),
        decoder_attention_heads=int(v["decoder/num_heads"]),
        encoder_ffn_dim=v["encoder/layer_0/ffn/linear_0/weight"].shape[0],
        decoder_ffn_dim=v["decoder/layer_0/ffn/linear_0/weight"].shape[0],
        max_source_positions=v["encoder/position_encodings/encodings"].shape[0],
        max_target_positions=v["decoder/position_encodings/encodings"].shape[0],
        decoder_start_token_id=tokens["<|startoftranscript|>"],
        bos_token_id=tokens["<|endoftext|>"],
        eos_token_id=tokens["<|endoftext|>"],
        pad_token_id=tokens["<|endoftext|>"],
    )


def _state_dict(v: dict[str, np.ndarray], config: Any, where: str) -> dict[str, torch.Tensor]:
    import torch

    left = dict(v)
    out: dict[str, torch.Tensor] = {}

    def take(src: str) -> np.ndarray:
        try:
            return left.pop(src)
        except KeyError as e:
            raise AudiokdError(f"has no variable {src}", where=where, fix="it is not a whole Whisper model") from e

    def put(dst: str, array: np.ndarray) -> None:
        out[f"model.{dst}"] = torch.from_numpy(np.array(array, dtype=np.float32))

    def pair(src: str, dst: str, names: tuple[str, str] = ("weight", "bias")) -> None:
        put(f"{dst}.weight", take(f"{src}/{names[0]}"))
        put(f"{dst}.bias", take(f"{src}/{names[1]}"))

    def norm(src: str, dst: str) -> None:
        pair(src, dst, ("gamma", "beta"))

    def split(src: str, dst: str, parts: str) -> None:
        weights = np.split(take(f"{src}/weight"), len(parts))
        biases = np.split(take(f"{src}/bias"), len(parts))
        for part, w, b in zip(parts, weights, biases):
            put(f"{dst}.{part}_proj.weight", w)
            if part != "k":  # Whisper's key projection has no bias: the fused one holds zeros there
                put(f"{dst}.{part}_proj.bias", b)
            elif np.abs(b).max() > 0:
                raise AudiokdError(f"{src} has a key bias, which Whisper has not", where=where)

    for conv in ("conv1", "conv2"):
        pair(f"encoder/{conv}", f"encoder.{conv}")
    put("decoder.embed_tokens.weight", take("decoder/embeddings/weight"))
    out["proj_out.weight"] = out["model.decoder.embed_tokens.weight"]
    left.pop("decoder/projection/weight", None)
    for side, n in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        put(f"{side}.embed_positions.weight", take(f"{side}/position_encodings/encodings"))
        norm(f"{side}/layer_norm", f"{side}.layer_norm")
        for i in range(n):
            src, dst = f"{side}/layer_{i}", f"{side}.layers.{i}"
            norm(f"{src}/self_attention/layer_norm", f"{dst}.self_attn_layer_norm")
            split(f"{src}/self_attention/linear_0", f"{dst}.self_attn", "qkv")
            pair(f"{src}/self_attention/linear_1", f"{dst}.self_attn.out_proj")
            if side == "decoder":
                norm(f"{src}/attention/layer_norm", f"{dst}.encoder_attn_layer_norm")
                split(f"{src}/attention/linear_0", f"{dst}.encoder_attn", "q")
                split(f"{src}/attention/linear_1", f"{dst}.encoder_attn", "kv")
                pair(f"{src}/attention/linear_2", f"{dst}.encoder_attn.out_proj")
            norm(f"{src}/ffn/layer_norm", f"{dst}.final_layer_norm")
            pair(f"{src}/ffn/linear_0", f"{dst}.fc1")
            pair(f"{src}/ffn/linear_1", f"{dst}.fc2")
    unused = sorted(k for k, a in left.items() if a.ndim > 1 or a.size > 64)  # what is left are flags and head counts
    if unused:
        raise AudiokdError(f"variables with no place in a Whisper model: {', '.join(unused[:5])}", where=where)
    return out


def _generation_config(config: Any, ct2: dict[str, Any], tokens: dict[str, int]):
    from transformers import GenerationConfig

    multilingual = config.vocab_size >= 51865
    no_timestamps = tokens["<|notimestamps|>"]
    extra: dict[str, Any] = {}
    if multilingual:
        langs = {t: i for t, i in tokens.items() if i in set(ct2.get("lang_ids", []))}
        extra = {
            "lang_to_id": langs,
            "task_to_id": {"transcribe": tokens["<|transcribe|>"], "translate": tokens["<|translate|>"]},
        }
    else:
        extra = {"forced_decoder_ids": [[1, no_timestamps]]}
    return GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        suppress_tokens=ct2.get("suppress_ids"),
        begin_suppress_tokens=ct2.get("suppress_ids_begin"),
        alignment_heads=ct2.get("alignment_heads"),
        no_timestamps_token_id=no_timestamps,
        prev_sot_token_id=tokens.get("<|startofprev|>"),
        is_multilingual=multilingual,
        max_length=config.max_target_positions,
        max_initial_timestamp_index=50,
        return_timestamps=False,
        **extra,
    )


def _tokenizer(path: Path, tokens: dict[str, int]):
    from transformers import WhisperTokenizer

    state = json.loads(path.read_text())
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in state["model"]["merges"]]
    end = "<|endoftext|>"
    tokenizer = WhisperTokenizer(
        vocab=state["model"]["vocab"], merges=merges, bos_token=end, eos_token=end, unk_token=end, pad_token=end
    )
    from transformers import AddedToken

    added = sorted(state["added_tokens"], key=lambda t: t["id"])
    tokenizer.add_tokens([AddedToken(t["content"], special=t["special"], normalized=t["normalized"]) for t in added])
    for t in added:
        if tokenizer.convert_tokens_to_ids(t["content"]) != t["id"]:
            raise AudiokdError(f"token {t['content']!r} cannot keep its id {t['id']}", where=str(path))
    return tokenizer

"""Official LM-SPT checkpoints (github.com/kakao/lmspt, read at b6e52d58) to our folders and back, tensor for tensor.

The official form is a folder with one weights file and one yaml (methods/lm_spt/official.py). The networks name their
tensors as ours do; quantisers, causal convolutions and a shared encoder do not (`_official_name`).
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.files import atomic_folder
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel
from audiokd.methods.lm_spt.official import MODEL_ARGS, block_of_config, config_of_block
from audiokd.nn.weights import read_checkpoint

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin")
YAML = (".yaml", ".yml")
RELEASED = "lmspt/infer/conf/model/lmspt_12d5hz_16384_4096_8vq.yaml of github.com/kakao/lmspt"
#: where training programs put a state dict
NESTS = ("model", "state_dict", "model_state_dict", "generator")
#: torch's new spelling of weight norm -> the old one, which the official code and ours use
SPELLINGS = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
#: how often each code was used lately in training: known, and of no use to a trained model
COUNTERS = {"semantic": "quantizer.semantic_vocab_usage", "acoustic": "quantizer.acoustic_vocab_usage"}


def convert_lm_spt(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Write an official checkpoint as a model folder that `audiokd.load_tokenizer` loads; codes and sound stay the same.

    Args:
        src: folder with one weights file (.safetensors, or a .pt, .pth, .bin of tensors alone) and one yaml.
        dst: folder to write: config.json, model.safetensors (float32), preprocessor_config.json.

    Raises:
        AudiokdError: files are missing or too many, the yaml is another model's or a model that ours cannot be, or a key
            of the weights is missing, unknown or of another shape (all are named). Nothing is written then.
    """
    from transformers import EncodecFeatureExtractor
    from transformers.utils import logging

    src, dst = _folders(src, dst)
    weights, settings = _one(src, WEIGHTS, "weights file"), _one(src, YAML, "yaml")
    config = config_of_block(_read_block(settings), str(settings))
    with torch.device("meta"):
        model = LMSPTModel(config)
    empty = model.state_dict()
    names = {_official_name(k, config): k for k in empty}
    found = _canonical(_read_weights(weights), config, str(weights))
    _match(found, {theirs: empty[ours].shape for theirs, ours in names.items()}, str(weights), str(settings))
    state = {ours: found[theirs].float().clone() for theirs, ours in names.items()}
    model.load_state_dict(state, strict=True, assign=True)
    logging.disable_progress_bar()
    with atomic_folder(dst) as folder:
        model.save_pretrained(folder)
        EncodecFeatureExtractor(feature_size=1, sampling_rate=config.sample_rate).save_pretrained(folder)


def convert_lm_spt_official(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Write a model folder as an official checkpoint that the official code loads strictly.

    Args:
        src: folder that `audiokd export` or `audiokd convert lm_spt` wrote.
        dst: folder to write: model.safetensors and model.yaml.

    Raises:
        AudiokdError: no LM-SPT model there, or one with parts that the official code does not have (all are named).
            Nothing is written then.
    """
    import yaml
    from safetensors.torch import save_file

    src, dst = _folders(src, dst)
    path, weights = src / "config.json", src / "model.safetensors"
    fix = "give a folder that 'audiokd export' or 'audiokd convert lm_spt' wrote"
    for file in (path, weights):
        if not file.exists():
            raise AudiokdError(f"no {file.name}", where=str(src), fix=fix)
    try:
        tree = json.loads(path.read_text())
    except json.JSONDecodeError as e:
        raise AudiokdError(f"not JSON: {e}", where=str(path), fix=fix) from e
    if tree.get("model_type") != LMSPTConfig.model_type:
        what = f"a {tree.get('model_type')} model, not {LMSPTConfig.model_type}"
        raise AudiokdError(what, where=str(path), fix=fix)
    config = LMSPTConfig.from_dict(tree)
    block = block_of_config(config, str(path))
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in LMSPTModel(config).state_dict().items()}
    found = _read_weights(weights)
    _match(found, shapes, str(weights), str(path))
    out = {_official_name(name, config): tensor.contiguous() for name, tensor in found.items()}
    fsq = config.semantic_quantizer == "fsq"
    size = math.prod(config.fsq_levels) if fsq else config.semantic_codebook_size
    out[COUNTERS["semantic"]] = torch.zeros(1, size)
    out[COUNTERS["acoustic"]] = torch.zeros(config.n_codebooks - 1, config.acoustic_codebook_size)
    with atomic_folder(dst, last="model.yaml") as folder:
        save_file(out, folder / "model.safetensors", {"format": "pt"})
        text = yaml.safe_dump({"model": block}, sort_keys=False, default_flow_style=None)
        (folder / "model.yaml").write_text(text)


def _folders(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> tuple[Path, Path]:
    src, dst = Path(src), Path(dst)
    if not src.is_dir():
        raise AudiokdError("no such folder", where=str(src), fix="give a folder with weights and their settings")
    if src.resolve() == dst.resolve():
        raise AudiokdError("the result would lie among its sources", where=str(dst), fix="give another folder")
    return src, dst


def _one(folder: Path, suffixes: tuple[str, ...], what: str) -> Path:
    found = sorted(p for p in folder.iterdir() if p.suffix in suffixes and p.is_file())
    if len(found) == 1:
        return found[0]
    if found:
        raise AudiokdError(
            f"{len(found)} {what}s: {', '.join(p.name for p in found)}", where=str(folder), fix="leave one"
        )
    fix = f"add the model's; the released one's is {RELEASED}" if what == "yaml" else f"one of {', '.join(suffixes)}"
    raise AudiokdError(f"no {what}", where=str(folder), fix=fix)


def _read_block(path: Path) -> dict[str, Any]:
    """The innermost `model:` block of a yaml, or the whole of it where it is that block."""
    import yaml

    try:
        tree = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise AudiokdError(f"not YAML: {e}", where=str(path), fix=f"see {RELEASED}") from e
    while isinstance(tree, dict) and isinstance(tree.get("model"), dict):
        tree = tree["model"]
    if not isinstance(tree, dict) or not tree.keys() & MODEL_ARGS.keys():
        raise AudiokdError("no model: block of LM-SPT", where=str(path), fix=f"one is in {RELEASED}")
    return tree


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name. Nothing but tensors is ever unpickled."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as e:
            raise AudiokdError(f"not a safetensors file: {e}", where=str(path), fix="fetch or save it again") from e
    tree = read_checkpoint(path, "save its state dict alone, best as safetensors")
    while isinstance(tree, dict) and not all(isinstance(v, Tensor) for v in tree.values()):
        nests = [k for k in NESTS if isinstance(tree.get(k), dict)]
        if len(nests) != 1:
            holds = ", ".join(map(str, tree))
            raise AudiokdError(f"no state dict, or more than one, in {holds}", where=str(path), fix="save it alone")
        tree = tree[nests[0]]
    if not isinstance(tree, dict) or not tree:
        raise AudiokdError(
            f"a {type(tree).__name__}, not a state dict", where=str(path), fix="save the state dict alone"
        )
    return {str(k): v for k, v in tree.items()}


def _canonical(state: dict[str, Tensor], config: LMSPTConfig, where: str) -> dict[str, Tensor]:
    """A checkpoint's tensors under the names that the official code saves them by, without its counters."""
    prefix = "module." if all(k.startswith("module.") for k in state) else ""
    out: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for key, tensor in state.items():
        name = key.removeprefix(prefix)
        for new, old in SPELLINGS.items():
            if name.endswith(f".{new}"):
                name = name.removesuffix(new) + old
        if config.shared_encoder and name.startswith("semantic_encoder."):
            name = name.replace("semantic_encoder.", "acoustic_encoder.", 1)
        if name in COUNTERS.values():
            continue
        if name in out and not torch.equal(out[name], tensor):
            raise AudiokdError(f"{origin[name]} and {key} are one tensor, and differ", where=where)
        out[name], origin[name] = tensor, key
    return out


def _official_name(name: str, config: LMSPTConfig) -> str:
    """The official name of a tensor of ours."""
    part, _, rest = name.partition(".")
    if part == "quantizer":
        for ours, theirs in (
            ("semantic.quantizers.0." if config.semantic_quantizer == "fsq" else "semantic.", "rvq_first."),
            ("acoustic.", "rvq_rest."),
        ):
            if rest.startswith(ours):
                return f"quantizer.{theirs}{rest.removeprefix(ours)}"
    if config.shared_encoder and part == "semantic_encoder":
        part = "acoustic_encoder"  # of a shared tensor's two names safetensors keeps this one
    if config.causal and not rest.endswith(".alpha"):  # a causal convolution is a module around a convolution there
        stem, _, leaf = rest.rpartition(".")
        rest = f"{stem}.conv.{leaf}"
    return f"{part}.{rest}"


def _match(found: dict[str, Tensor], shapes: dict[str, torch.Size], where: str, settings: str) -> None:
    """Fail on every name that is on one side only, and on every shape that differs."""
    missing, unknown = sorted(shapes.keys() - found.keys()), sorted(found.keys() - shapes.keys())
    differ = [
        f"{k} is {list(found[k].shape)}, by {Path(settings).name} {list(shapes[k])}"
        for k in sorted(shapes.keys() & found.keys())
        if found[k].shape != shapes[k]
    ]
    problems = [f"{len(missing)} keys not found: {', '.join(missing)}"] if missing else []
    problems += [f"{len(unknown)} keys not used: {', '.join(unknown)}"] if unknown else []
    problems += differ
    if problems:
        whose = "another architecture's weights" if len(missing) == len(shapes) else f"does not fit {settings}"
        fix = "weights and settings must be of one model; nothing is written"
        raise AudiokdError(f"{whose}: {'; '.join(problems)}", where=where, fix=fix)

"""The official code's yaml (github.com/kakao/lmspt, read at b6e52d58) and our config: what each key means on the other side.

A `model:` block names arguments of the official classes; what it leaves out has the default of their signatures.
"""

from __future__ import annotations

from typing import Any

from audiokd.errors import AudiokdError
from audiokd.methods.lm_spt.config import LMSPTConfig

MODEL = "lmspt.model_codec.lmspt_model.LMSPT"
DECODER = "lmspt.model_codec.dac_model.Decoder"
#: the official code gives its model under two names
TARGETS = {MODEL: (MODEL, "lmspt.model_codec.LMSPT"), DECODER: (DECODER,)}
HYDRA = ("_target_", "_partial_", "_convert_", "_recursive_")
#: semantic quantiser of ours -> theirs
QUANTIZERS = {"vq": "rvq", "fsq": "fsq"}
DIM, NUMBER = (int, list), (int, float)

#: argument -> its types and default; None may stand for every default that is None
MODEL_ARGS: dict[str, tuple[Any, Any]] = {
    "encoder_dim": (int, 64),
    "semantic_encoder_dim": (int, None),
    "acoustic_encoder_dim": (int, None),
    "encoder_rates": (list, [2, 4, 8, 8]),
    "latent_dim": (int, None),
    "decoder_dim": (int, 1536),
    "decoder_rates": (list, [8, 8, 4, 2]),
    "n_codebooks": (int, 8),
    "n_semantic_codebooks": (int, 1),
    "codebook_size": (int, 2048),
    "codebook_dim": (DIM, 8),
    "acoustic_codebook_size": (int, None),
    "semantic_codebook_size": (int, None),
    "acoustic_codebook_dim": (DIM, None),
    "semantic_codebook_dim": (DIM, None),
    "quantizer_dropout": (NUMBER, 1.0),
    "semantic_quantizer": (str, "rvq"),
    "semantic_quantizer_kwargs": (dict, None),
    "sample_rate": (int, 44100),
    "output_sample_rate": (int, None),
    "aux_decoder": (dict, None),
    "use_shared_encoder": (bool, False),
    "semantic_subtraction": (bool, True),
    "dilation": (list, [1, 3, 9]),
    "residual_kernel_size": (int, 7),
    "is_causal": (bool, False),
}
DECODER_ARGS: dict[str, tuple[Any, Any]] = {
    "input_channel": (int, ...),
    "channels": (int, ...),
    "rates": (list, ...),
    "d_out": (int, 1),
    "sample_rate": (int, ...),  # null officially, which no use of it survives
    "dilation": (list, [1, 3, 9]),
    "residual_kernel_size": (int, 7),
    "is_causal": (bool, False),
}


def config_of_block(block: dict[str, Any], where: str) -> LMSPTConfig:
    """Our config of an official `model:` block. Frames are the official floor: `pad_to_frame` is false.

    Args:
        block: as read from the yaml.
        where: the file, for messages.

    Raises:
        AudiokdError: a key that the official code does not know, a value of another kind, another class, or a model that
            ours cannot be. What is wrong is named.
    """
    a = _arguments(block, MODEL, MODEL_ARGS, where)
    latent_dim = a["latent_dim"] or a["encoder_dim"] * 2 ** len(a["encoder_rates"])
    aux = _aux(a, latent_dim, where)
    encoder_dim = a["semantic_encoder_dim"] or a["encoder_dim"]
    acoustic_dim = encoder_dim if a["use_shared_encoder"] else a["acoustic_encoder_dim"] or a["encoder_dim"]
    semantic_dims = _dims(_first(a["semantic_codebook_dim"], a["codebook_dim"]), 1)
    acoustic_dims = _dims(_first(a["acoustic_codebook_dim"], a["codebook_dim"]), a["n_codebooks"] - 1)
    odd = {
        f"encoders of {encoder_dim} and {acoustic_dim} channels": encoder_dim != acoustic_dim,
        f"output_sample_rate {a['output_sample_rate']} beside sample_rate {a['sample_rate']}": (
            a["output_sample_rate"] not in (None, a["sample_rate"])
        ),
        f"n_semantic_codebooks {a['n_semantic_codebooks']} (the official code builds one level all the same)": (
            a["n_semantic_codebooks"] != 1
        ),
        f"dilation {a['dilation']} (the official code reads three)": len(a["dilation"]) != 3,
        f"acoustic codebook dims {sorted(acoustic_dims)}, not the same everywhere": len(acoustic_dims) > 1,
        f"semantic_quantizer {a['semantic_quantizer']}": a["semantic_quantizer"] not in QUANTIZERS.values(),
    }
    levels = _fsq_levels(a, latent_dim, where) if a["semantic_quantizer"] == "fsq" else None
    _refuse([name for name, is_odd in odd.items() if is_odd], where)
    try:
        return LMSPTConfig(
            **({"semantic_quantizer": "fsq", "fsq_levels": levels} if levels else {}),
            sample_rate=a["sample_rate"],
            encoder_dim=encoder_dim,
            encoder_rates=a["encoder_rates"],
            latent_dim=latent_dim,
            decoder_dim=a["decoder_dim"],
            decoder_rates=a["decoder_rates"],
            aux_dim=aux["channels"],
            aux_rates=aux["rates"],
            aux_sample_rate=aux["sample_rate"],
            causal=a["is_causal"],
            n_codebooks=a["n_codebooks"],
            n_semantic_codebooks=1,
            semantic_codebook_size=_first(a["semantic_codebook_size"], a["codebook_size"]),
            semantic_codebook_dim=semantic_dims.pop(),
            acoustic_codebook_size=_first(a["acoustic_codebook_size"], a["codebook_size"]),
            acoustic_codebook_dim=acoustic_dims.pop(),
            quantizer_dropout=a["quantizer_dropout"],
            semantic_subtraction=a["semantic_subtraction"],
            shared_encoder=a["use_shared_encoder"],
            residual_kernel_size=a["residual_kernel_size"],
            dilations=a["dilation"],
            pad_to_frame=False,
        )
    except AudiokdError as e:  # it names no file
        raise AudiokdError(e.what, where=where, fix="our model needs these to agree") from e


def block_of_config(config: LMSPTConfig, where: str) -> dict[str, Any]:
    """The official `model:` block of our config; `pad_to_frame` and `quantizer_bypass` have no word there.

    Raises:
        AudiokdError: the model has parts that the official code does not.
    """
    c = config
    odd = {
        f"n_semantic_codebooks {c.n_semantic_codebooks}": c.n_semantic_codebooks != 1,
        f"bottleneck_layers {c.bottleneck_layers}": c.bottleneck_layers > 0,
        f"decoder_type {c.decoder_type}": c.decoder_type != "dac",
        f"aux_type {c.aux_type}": c.aux_type != "dac",
    }
    _refuse([name for name, is_odd in odd.items() if is_odd], where)
    fsq = {"semantic_quantizer_kwargs": {"levels": list(c.fsq_levels)}} if c.semantic_quantizer == "fsq" else {}
    return {
        "_target_": MODEL,
        "sample_rate": c.sample_rate,
        "encoder_rates": list(c.encoder_rates),
        "decoder_rates": list(c.decoder_rates),
        "encoder_dim": c.encoder_dim,
        "latent_dim": c.latent_dim,
        "decoder_dim": c.decoder_dim,
        "n_codebooks": c.n_codebooks,
        "n_semantic_codebooks": c.n_semantic_codebooks,
        "quantizer_dropout": c.quantizer_dropout,
        "semantic_codebook_size": c.semantic_codebook_size,
        "acoustic_codebook_size": c.acoustic_codebook_size,
        "semantic_codebook_dim": c.semantic_codebook_dim,
        "acoustic_codebook_dim": c.acoustic_codebook_dim,
        "semantic_quantizer": QUANTIZERS[c.semantic_quantizer],
        **fsq,
        "use_shared_encoder": c.shared_encoder,
        "semantic_subtraction": c.semantic_subtraction,
        "dilation": list(c.dilations),
        "residual_kernel_size": c.residual_kernel_size,
        "is_causal": c.causal,
        "aux_decoder": {
            "_target_": DECODER,
            "input_channel": c.latent_dim,
            "channels": c.aux_dim,
            "rates": list(c.aux_rates),
            "sample_rate": c.aux_sample_rate,
            "is_causal": c.causal,
        },
    }


def _arguments(block: dict[str, Any], target: str, args: dict[str, tuple[Any, Any]], where: str) -> dict[str, Any]:
    """Every argument of an official class, from its block or its default."""
    given = block.get("_target_", target)
    if given not in TARGETS[target]:
        raise AudiokdError(f"_target_ is {given}, not {target}", where=where, fix="this is another model's yaml")
    problems = []
    out = {name: default for name, (_, default) in args.items()}
    for name, value in block.items():
        if name in HYDRA:
            continue
        if name not in args:
            problems.append(f"no argument {name}")
            continue
        types, default = args[name]
        out[name] = value
        if isinstance(value, str) and "${" in value:
            problems.append(f"{name} is {value}: write its value")
        elif not _is(value, types) and not (value is None and default is None):
            problems.append(f"{name} cannot be {value!r}")
    problems += [f"{name} is missing" for name, value in out.items() if value is ...]
    if problems:
        short = target.rsplit(".", 1)[1]
        raise AudiokdError(f"{short}: {'; '.join(problems)}", where=where, fix=f"it must fit {target}")
    return out


def _is(value: Any, types: Any) -> bool:
    if isinstance(value, bool) or types is bool:
        return isinstance(value, bool) and types is bool
    if isinstance(value, list):
        return isinstance([], types) and bool(value) and all(_is(v, int) for v in value)
    return isinstance(value, types) and (types is NUMBER or not isinstance(value, int) or value > 0)


def _aux(a: dict[str, Any], latent_dim: int, where: str) -> dict[str, Any]:
    """Arguments of the auxiliary decoder; without a block the official code builds a second main decoder."""
    if a["aux_decoder"] is None:
        return {"channels": a["decoder_dim"], "rates": a["decoder_rates"], "sample_rate": a["sample_rate"]}
    aux = _arguments(a["aux_decoder"], DECODER, DECODER_ARGS, where)
    want = {
        "input_channel": latent_dim,
        "d_out": 1,
        "dilation": [1, 3, 9],
        "residual_kernel_size": 7,
        "is_causal": a["is_causal"],
    }
    _refuse([f"aux_decoder.{k} {aux[k]} where ours has {v}" for k, v in want.items() if aux[k] != v], where)
    return aux


def _fsq_levels(a: dict[str, Any], latent_dim: int, where: str) -> list[int]:
    """The levels of a finite scalar quantiser; what else its arguments may say must be the default."""
    given = dict(a["semantic_quantizer_kwargs"] or {})
    levels = given.pop("levels", None)
    if not (_is(levels, list) and min(levels) > 1):
        raise AudiokdError(
            f"semantic_quantizer fsq with levels {levels}", where=where, fix="give its levels, above 1 each"
        )
    same = {"input_dim": latent_dim, "num_codebooks": 1}
    _refuse([f"semantic_quantizer_kwargs.{k} {v}" for k, v in given.items() if same.get(k) != v], where)
    # the official index is truncated, not rounded: 26 levels are the first of which it takes one for its neighbour
    _refuse([f"{n} levels (the official code mixes up codes above 25)" for n in levels if n > 25], where)
    return levels


def _refuse(odd: list[str], where: str) -> None:
    if odd:
        raise AudiokdError(
            f"not supported: {'; '.join(odd)}", where=where, fix="no conversion keeps such a model's sound"
        )


def _first(*values: Any) -> Any:
    return next(v for v in values if v is not None)


def _dims(dim: int | list[int], n: int) -> set[int]:
    """The different neighbour-search dimensions of `n` levels."""
    return set(dim[: max(n, 1)]) if isinstance(dim, list) else {dim}

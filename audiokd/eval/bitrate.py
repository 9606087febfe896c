"""What a codec costs: bits and codes a second as they are sent (`audiokd.tokens.stats` has entropy coding), parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError, ConfigError
from audiokd.tokens.stats import store_stats
from audiokd.tokens.store import open_store


def bitrate(frame_rate: float, cardinality: Sequence[int]) -> float:
    r"""Bits a second of fixed-length codes. Lower is cheaper.

    .. math:: f \sum_q \log_2 N_q

    Args:
        frame_rate: frames a second (Hz).
        cardinality: entries of each codebook, one number a codebook.

    Returns:
        bits per second (12.5 Hz with 16384 and seven times 4096 entries is 1225).
    """
    return frame_rate * sum(math.log2(n) for n in cardinality)


def tokens_per_second(frame_rate: float, num_codebooks: int) -> float:
    """Codes a second over all codebooks: what a language model has to predict. Lower is cheaper."""
    return frame_rate * num_codebooks


def stated_cost(frame_rate: float, cardinality: Sequence[int]) -> dict[str, float]:
    """`store_cost` of a codec whose codes are in no store, as far as its frame rate (Hz) and codebook sizes tell.

    Raises:
        ConfigError: one of the two is missing, or is not positive.
    """
    if frame_rate <= 0 or not cardinality or min(cardinality) < 1:
        fix = "give both, such as --frame_rate 75 --cardinality [1024,1024], or neither"
        raise ConfigError(
            f"--frame_rate {frame_rate:g} and --cardinality {list(cardinality)} state no bit rate", fix=fix
        )
    return {
        "frame_rate": frame_rate,
        "bits_per_second": bitrate(frame_rate, cardinality),
        "tokens_per_second": tokens_per_second(frame_rate, len(cardinality)),
    }


def count_parameters(model_dir: str | Path) -> int:
    """Numbers in the safetensors files of a model folder: parameters, and buffers that are saved, codebooks among them.

    Raises:
        AudiokdError: it holds no safetensors file.
    """
    from safetensors import safe_open

    total, files = 0, sorted(Path(model_dir).glob("*.safetensors"))
    if not files:
        raise AudiokdError(
            "holds no weights (*.safetensors)", where=str(model_dir), fix="give an exported model folder"
        )
    for path in files:
        with safe_open(path, "pt") as f:
            total += sum(math.prod(f.get_slice(k).get_shape()) for k in f.keys())  # noqa: SIM118
    return total


def store_cost(path: str, streams: Sequence[int] | None = None) -> dict[str, Any]:
    """What the tokens of a store cost: rates in Hz and bits a second, as they are and after entropy coding.

    Args:
        path: the store.
        streams: those that are sent, numbered from 0; all if left out.

    Raises:
        AudiokdError: it is no store of codes, or has no such stream.
    """
    store = open_store(path)
    frame_rate, cardinality = store.meta.get("frame_rate"), store.meta.get("cardinality")
    if not frame_rate or not cardinality:
        raise AudiokdError("has no frame_rate or no cardinality", where=path, fix="give a store of codes")
    sent = list(range(len(cardinality))) if streams is None else list(streams)
    check_streams(sent, len(cardinality), path)
    books = [store_stats(store)["codebooks"][q] for q in sent]
    sizes = [cardinality[q] for q in sent]
    known = all(b["entropy"] is not None for b in books)
    return {
        "path": path,
        "frame_rate": frame_rate,
        "cardinality": sizes,
        "bits_per_second": bitrate(frame_rate, sizes),
        "entropy_bits_per_second": frame_rate * math.fsum(b["entropy"] for b in books) if known else None,
        "tokens_per_second": tokens_per_second(frame_rate, len(sizes)),
        "codebooks": books,
    }


def check_streams(streams: Sequence[int], num_codebooks: int, path: str) -> None:
    """Whether a store has all of `streams`.

    Raises:
        ConfigError: it has not, or none is named.
    """
    if not streams or not all(0 <= q < num_codebooks for q in streams):
        fix = f"it has {num_codebooks}, numbered from 0"
        raise ConfigError(f"streams {', '.join(map(str, streams))} are not all there", where=path, fix=fix)

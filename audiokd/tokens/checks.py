"""What a token store takes in: checks of meta, plan and utterances, made before anything is written."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.tokens import layout
from audiokd.tokens.layout import ARRAY

_CHUNK = 1 << 22  # numbers
_PRIVATE = {"time", "date", "created", "host", "hostname", "worker", "rank", "pid", "user", "path", "cwd"}


def check_codes(utt_id: str, array: np.ndarray, cards: list[int]) -> np.ndarray:
    """[Q, T'] ids -> [T', Q] in the store's dtype, or an AudiokdError."""
    if array.ndim != 2 or array.shape[0] != len(cards):
        what = f"codes of shape {list(array.shape)}, [{len(cards)}, T'] expected"
        raise AudiokdError(what, where=utt_id, fix="give [Q, T'], the Q axis kept at 1")
    if array.dtype.kind not in "iu":
        raise AudiokdError(f"codes of dtype {array.dtype}, integers expected", where=utt_id)
    bad = (array < 0) | (array >= np.array(cards)[:, None])
    if bad.any():
        q, t = (int(x) for x in np.argwhere(bad)[0])
        what = f"code {array[q, t]} in codebook {q}, frame {t}: this codebook has ids 0..{cards[q] - 1}"
        raise AudiokdError(what, where=utt_id, fix="check `cardinality`, and that ids are not offset by codebook")
    return np.ascontiguousarray(array.T, dtype=layout.code_dtype(cards))


def check_features(utt_id: str, array: np.ndarray, dim: int | None, dtype: str | None = None) -> np.ndarray:
    """[T', D] floats -> float32 or float16, finite, or an AudiokdError. Those of a store of bfloat16 come as their bits."""
    if array.ndim != 2 or (dim is not None and array.shape[1] != dim):
        raise AudiokdError(f"features of shape {list(array.shape)}, [T', {dim or 'D'}] expected", where=utt_id)
    if array.dtype != np.dtype("<u2") if dtype == layout.BFLOAT16 else array.dtype.kind != "f":
        expected = "bfloat16's bits as uint16" if dtype == layout.BFLOAT16 else "float32 or float16"
        raise AudiokdError(f"features of dtype {array.dtype}, {expected} expected", where=utt_id)
    if dtype != layout.BFLOAT16:
        array = np.ascontiguousarray(array, dtype="<f2" if array.dtype.itemsize == 2 else "<f4")
    if not is_finite(array, dtype):
        raise AudiokdError("features hold NaN or infinity", where=utt_id, fix="look at this recording")
    return array


def is_finite(array: np.ndarray, dtype: str | None) -> bool:
    """Whether all of `array` [T', D] is a number; a bounded part of it is looked at in one go."""
    step = max(1, _CHUNK // max(1, array.shape[1]))
    parts = (layout.as_floats(array[i : i + step], dtype) for i in range(0, len(array), step))
    return all(np.isfinite(part).all() for part in parts)


def checked_meta(kind: str, meta: dict[str, Any]) -> dict[str, Any]:
    """`meta` as it goes into store.json, with `cardinality` as a list and `num_codebooks`; or an AudiokdError."""
    if kind not in ARRAY:
        raise AudiokdError(f"kind {kind!r} is not known", fix="use " + " or ".join(ARRAY))
    meta = plain(meta, "meta")
    refuse_private(meta, "meta")
    if kind == "codes":
        cards, n = meta.get("cardinality"), meta.get("num_codebooks")
        if isinstance(cards, int) and isinstance(n, int):
            cards = [cards] * n
        if not isinstance(cards, list) or not cards or not all(type(c) is int and c > 0 for c in cards):
            raise AudiokdError(f"cardinality is {cards!r}", fix="give a list, the size of each codebook")
        if n is not None and n != len(cards):
            raise AudiokdError(f"num_codebooks is {n}, but cardinality lists {len(cards)}", fix="make them agree")
        layout.code_dtype(cards)
        meta |= {"cardinality": cards, "num_codebooks": len(cards)}
    return meta


def plain(obj: dict[str, Any], name: str) -> dict[str, Any]:
    """`obj` as JSON gives it back: tuples are lists, keys strings; what JSON cannot hold is refused."""
    try:
        return json.loads(json.dumps(obj, allow_nan=False, default=_numpy_scalar))
    except (TypeError, ValueError) as e:
        raise AudiokdError(f"{name} cannot be written as JSON ({e})", fix="use numbers, strings, lists, dicts") from e


def _numpy_scalar(x: Any) -> Any:
    if isinstance(x, np.generic):
        return x.item()
    raise TypeError(f"{type(x).__name__} is not JSON")


def refuse_private(obj: Any, where: str) -> None:
    """A store that names a time, host, worker or path would not have the same bytes twice."""
    if isinstance(obj, dict):
        for k, v in obj.items():
            if k.lower() in _PRIVATE:
                raise AudiokdError(f"a store holds no {k}", where=f"{where}.{k}", fix="leave it out")
            refuse_private(v, f"{where}.{k}")
    elif isinstance(obj, list):
        for v in obj:
            refuse_private(v, where)
    elif isinstance(obj, str) and os.path.isabs(obj):
        raise AudiokdError(f"a store holds no path, {obj} is one", where=where, fix="leave it out, or give its sha256")


def is_utf8(text: str) -> bool:
    """Whether `text` can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate: from a file name that is not UTF-8
        return False
    return True

"""lhotse: cuts with a field of codes (or features), a Shar folder or a manifest: cuts.jsonl, cuts.jsonl.gz."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.data.ids import legal_id
from audiokd.errors import AudiokdError
from audiokd.tokens.exports.lhotse import FIELD
from audiokd.tokens.imports.source import Source, whole_codes
from audiokd.tokens.writer import StoreItem


def read_lhotse(path: Path, kind: str, sample_rate: int, field: str = "", num_codebooks: int = 0) -> Source:
    """The utterances of `path`.

    Args:
        path: Shar folder, or a file that `lhotse.CutSet.from_file` reads.
        kind: "codes" or "features".
        sample_rate: Hz, for cuts without a recording; 0 is none.
        field: of the cuts, such as "codes"; "features" is lhotse's own manifest, in which some keep codes. Empty is what
            `audiokd store export --to lhotse` writes.
        num_codebooks: Q, where known: tells [Q, T'] from [T', Q] where the field does not say which axis is time.

    Raises:
        AudiokdError: no cuts there, the first has no such field, or nothing says its sample rate.
    """
    from lhotse import CutSet

    field = field or FIELD[kind]
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.name.startswith(("cuts.", f"{field}.")) and p.is_file())
    else:
        files = [path]
    if not files or not all(f.is_file() for f in files):
        raise AudiokdError("no cuts here", where=str(path), fix="give a Shar folder, or a cuts.jsonl.gz")
    try:
        cuts = iter(CutSet.from_shar(in_dir=path) if path.is_dir() else CutSet.from_file(path))
        first = next(cuts, None)
    except Exception as e:  # lhotse raises what its readers do: assertions, values, zlib, ...
        raise AudiokdError(f"lhotse cannot read the cuts: {e}", where=str(path), fix="look at the file") from e
    if first is None:
        return Source(iter(()), files, sample_rate or None)
    if field != "features" and not hasattr(first, field):
        has = ", ".join(sorted(first.custom or {})) or "none"
        raise AudiokdError(f"its cuts have no field {field!r}", where=str(path), fix=f"give --field: they have {has}")
    rate = _rate(first, sample_rate)
    if rate is None:
        raise AudiokdError("the cuts do not say the sample rate", where=str(path), fix="give --sample_rate")
    all_cuts = itertools.chain([first], _named(cuts, path))
    return Source(_items(all_cuts, path, kind, sample_rate, field, num_codebooks), files, rate)


def _named(cuts: Iterator[Any], path: Path) -> Iterator[Any]:
    """The same cuts; a file that breaks off is an AudiokdError."""
    count = 1
    while True:
        try:
            cut = next(cuts)
        except StopIteration:
            return
        except Exception as e:
            raise AudiokdError(f"lhotse cannot read on after {count} cuts: {e}", where=str(path)) from e
        yield cut
        count += 1


def _items(
    cuts: Iterator[Any], path: Path, kind: str, sample_rate: int, field: str, num_codebooks: int
) -> Iterator[StoreItem | dict[str, Any]]:
    for cut in cuts:
        try:
            array = _load(cut, field)
            rate = _rate(cut, sample_rate)
            if rate is None:
                raise AudiokdError("the cut does not say its sample rate")
            if kind == "codes":
                array = whole_codes(_books_first(cut, field, array, num_codebooks))
        except Exception as e:  # as above, and one bad array stops no corpus
            yield {"id": legal_id(cut.id), "where": path.name, "error": str(e) or type(e).__name__}
            continue
        said = cut.supervisions[0] if cut.supervisions else None
        text, speaker = (said.text, said.speaker) if said else (None, None)
        yield StoreItem(legal_id(cut.id), array, round(cut.duration * rate), rate, text, speaker)


def _load(cut: Any, field: str) -> np.ndarray:
    if field == "features":
        if cut.features is None:
            raise AudiokdError("the cut has no features")
        return cut.load_features()
    manifest = getattr(cut, field)
    frame_shift = getattr(manifest, "frame_shift", None)
    if frame_shift is None:
        return np.asarray(cut.load_custom(field))
    whole = abs(manifest.start - cut.start) < frame_shift / 2 and abs(manifest.duration - cut.duration) <= frame_shift
    # not load_custom of a whole array: it would cut the frame that a model adds when it rounds up
    return np.asarray(manifest.array.load() if whole else cut.load_custom(field))


def _books_first(cut: Any, field: str, array: np.ndarray, num_codebooks: int) -> np.ndarray:
    """[Q, T'] of one codebook [T'], or of two axes of which time is the one that the field says; else the first."""
    if array.ndim == 1:
        return array[None]
    axis = getattr(getattr(cut, field), "temporal_dim", None)
    if axis is None:
        axis = 1 if array.shape[0] == num_codebooks != array.shape[1] else 0
    return array if axis == 1 else array.T


def _rate(cut: Any, sample_rate: int) -> int | None:
    recording = getattr(cut, "recording", None)
    return recording.sampling_rate if recording is not None else (sample_rate or None)

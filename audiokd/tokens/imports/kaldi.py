"""kaldi: archives of int vectors, a codebook each, or of matrices; text or binary, or an scp. Needs kaldi_native_io.

A folder as `audiokd store export --to kaldi` or `kaldi_ark` writes it: tokens.0.ark (or .scp, or .txt), tokens.1.ark ..., or
feats.ark; or one such file by any name. Beside it, where they are there: utt2num_samples (or utt2dur, in seconds), text,
utt2spk, and utt2num_frames, which says what must be there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from audiokd.data.ids import unescape_id
from audiokd.data.text import read_utf8
from audiokd.errors import AudiokdError
from audiokd.tokens.exports.kaldi_ark import need_kaldi_native_io
from audiokd.tokens.imports.source import Source, whole_codes
from audiokd.tokens.writer import StoreItem

_SUFFIXES = (".ark", ".scp", ".txt")
_REDO = "write the archive again"


def read_kaldi(path: Path, kind: str, sample_rate: int, frame_rate: float) -> Source:
    """The utterances of `path`.

    Args:
        path: folder, or a file that ends in .ark, .scp or .txt.
        kind: "codes" (int vectors, or matrices [T', Q] of whole numbers) or "features" (matrices [T', D]).
        sample_rate: Hz, of all recordings.
        frame_rate: Hz: gives the length of a recording that no table tells.

    Raises:
        AudiokdError: there is no such archive, a rate is missing, or (while reading) an archive is damaged or two disagree.
    """
    if sample_rate <= 0:
        raise AudiokdError("Kaldi archives do not say the sample rate", where=str(path), fix="give --sample_rate")
    files = _archives(path, kind)
    folder = path if path.is_dir() else path.parent
    tables = {
        name: _table(folder / name) for name in ("utt2num_samples", "utt2dur", "utt2num_frames", "text", "utt2spk")
    }
    if frame_rate <= 0 and not (tables["utt2num_samples"] or tables["utt2dur"]):
        what = "nothing says how long the recordings are"
        raise AudiokdError(
            what, where=str(folder), fix="give --frame_rate, or a table utt2num_samples or utt2dur there"
        )
    read = [f.with_suffix(".ark") for f in files if f.suffix == ".scp" and f.with_suffix(".ark").is_file()]
    return Source(
        _items(files, kind, tables, sample_rate, frame_rate),
        [*files, *read],
        sample_rate,
        len(tables["utt2num_frames"]) or math.inf,
    )


def _archives(path: Path, kind: str) -> list[Path]:
    """The files to read, a codebook each."""
    need_kaldi_native_io("an import from kaldi")
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise AudiokdError("not a Kaldi archive", where=str(path), fix="its name must end in .ark, .scp or .txt")
        return [path.absolute()]
    stems, found = ["feats"] if kind == "features" else [f"tokens.{q}" for q in range(1024)], []
    for stem in stems:
        here = [path.absolute() / f"{stem}{s}" for s in _SUFFIXES if (path / f"{stem}{s}").is_file()]
        if not here:
            break
        found.append(here[0])
    if not found:
        fix = f"a folder with {stems[0]}.ark, .scp or .txt is wanted, or the path of one archive"
        raise AudiokdError("no Kaldi archive here", where=str(path), fix=fix)
    return found


def _items(
    files: list[Path], kind: str, tables: dict[str, dict[str, str]], sample_rate: int, frame_rate: float
) -> Iterator[StoreItem | dict[str, Any]]:
    missing = dict(tables["utt2num_frames"])
    for entries in zip_longest(*map(_entries, files)):
        keys = sorted({"nothing" if e is None else e[0] for e in entries})
        if len(keys) > 1:
            what = f"the codebooks have different utterances: {keys[0]} and {keys[1]} in one place"
            raise AudiokdError(what, where=str(files[0].parent), fix="sort them alike, and leave none out")
        key, missing_frames = keys[0], missing.pop(keys[0], None)
        try:
            array = _array(key, [e[1] for e in entries], kind)
            frames = array.shape[1] if kind == "codes" else len(array)
            if missing_frames not in (None, str(frames)):
                raise AudiokdError(f"{frames} frames, utt2num_frames says {missing_frames}", where=key)
            samples = _samples(key, frames, tables, sample_rate, frame_rate)
        except AudiokdError as e:
            yield {"id": key, "where": files[0].name, "error": e.what}
            continue
        speaker = tables["utt2spk"].get(key)
        text = tables["text"].get(key)
        yield StoreItem(key, array, samples, sample_rate, text, None if speaker is None else unescape_id(speaker))
    for key in missing:
        yield {"id": key, "where": files[0].name, "error": "in utt2num_frames, and not in the archive"}


def _array(key: str, parts: list[np.ndarray | AudiokdError], kind: str) -> np.ndarray:
    """[Q, T'] or [T', D] from what the archives hold of an utterance."""
    for part in parts:
        if isinstance(part, AudiokdError):
            raise part
    arrays = [p for p in parts if isinstance(p, np.ndarray)]
    if kind == "features":
        return arrays[0]
    if len({a.shape for a in arrays}) > 1:
        raise AudiokdError(f"codebooks of different lengths: {[len(a) for a in arrays]}", where=key)
    if arrays[0].ndim == 2:
        return whole_codes(arrays[0].T)
    return np.stack(arrays)


def _samples(key: str, frames: int, tables: dict[str, dict[str, str]], sample_rate: int, frame_rate: float) -> int:
    said, seconds = tables["utt2num_samples"].get(key), tables["utt2dur"].get(key)
    try:
        if said is not None:
            return int(said)
        if seconds is not None:
            return round(float(seconds) * sample_rate)
    except (ValueError, OverflowError) as e:
        raise AudiokdError(f"no number of samples or seconds: {said or seconds}", where=key) from e
    if frame_rate <= 0:
        raise AudiokdError("no table says how long it is", where=key)
    return round(frames * sample_rate / frame_rate)


def _entries(file: Path) -> Iterator[tuple[str, np.ndarray | AudiokdError]]:
    return _scp(file) if file.suffix == ".scp" else _ark(file)


def _ark(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    """All of an archive, from its start to its end."""
    import kaldi_native_io

    matrix, count = _starts_a_matrix(file, 0, keyed=True), 0
    if matrix is None:
        return  # empty: no utterance at all
    reader = kaldi_native_io.SequentialFloatMatrixReader if matrix else kaldi_native_io.SequentialInt32VectorReader
    try:
        with closing(reader(f"ark:{file}")) as entries:
            for key, value in entries:
                yield key, np.array(value, dtype=np.float32 if matrix else np.int64)
                count += 1
            if not entries._impl.close():  # it ends at what it cannot read, and only its C++ part says so
                what = f"the archive is damaged after {count} utterances"
                raise AudiokdError(what, where=str(file), fix=_REDO)
    except RuntimeError as e:
        raise AudiokdError(f"the archive is damaged after {count} utterances: {e}", where=str(file), fix=_REDO) from e


def _scp(file: Path) -> Iterator[tuple[str, np.ndarray | AudiokdError]]:
    """Each entry of an scp; a relative path is taken from the scp's folder, else from the working directory, as Kaldi does."""
    import kaldi_native_io

    with open(file, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{file}:{number}"
            if len(parts := line.split(maxsplit=1)) != 2:
                raise AudiokdError("not a line of an scp", where=where, fix="`utterance-id archive.ark:offset` is one")
            key, target = parts[0], parts[1].strip()
            found = re.fullmatch(r"(.+?)(?::(\d+))?", target)
            assert found is not None
            name, offset = found[1], int(found[2] or 0)
            if target.startswith("|") or target.endswith(("|", "]")):
                what = "a command" if "|" in target else "a range of rows"
                fix = "write the archive with copy-feats or copy-int-vector first"
                raise AudiokdError(f"the entry is {what}, which is not read", where=where, fix=fix)
            ark = next((p for p in (file.parent / name, Path(name).absolute()) if p.is_file()), None)
            if ark is None:
                yield key, AudiokdError(f"no such archive: {name}", where=where)
                continue
            at = f"{ark}:{offset}"
            try:
                if _starts_a_matrix(ark, offset, keyed=False):
                    value = np.array(kaldi_native_io.FloatMatrix.read(at).numpy(), dtype=np.float32)
                else:
                    value = np.array(kaldi_native_io.read_int32_vector(at), dtype=np.int64)
            except RuntimeError as e:
                yield key, AudiokdError(f"cannot be read: {e}", where=where)
                continue
            yield key, value


def _starts_a_matrix(file: Path, offset: int, keyed: bool) -> bool | None:
    """Whether the entry at `offset` is a matrix, not a vector; None of an empty file. `keyed`: its id comes first."""
    with open(file, "rb") as f:
        f.seek(offset)
        head = f.read(1 << 14)
    if keyed:
        _, space, rest = head.partition(b" ")
        if not head:
            return None
        if not space or b"\n" in head.split(b" ")[0]:  # text: an id alone on its line is an empty vector
            return False
        head = rest
    if head.startswith(b"\0B"):
        return head[2:3] != b"\4"  # FM, DM, CM; a vector of ints begins with the size of one
    return head.lstrip(b" ").startswith(b"[")


def _table(file: Path) -> dict[str, str]:
    """`key value` lines; an empty dict where there is no such file."""
    if not file.is_file():
        return {}
    lines = (line.split(maxsplit=1) for line in read_utf8(file, "`utterance-id value` a line").splitlines())
    return {parts[0]: parts[1].strip() if len(parts) > 1 else "" for parts in lines if parts}

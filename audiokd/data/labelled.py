"""Published corpora of labelled clips to data dirs: what the readers in egs/<corpus>/<task>/local share."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from audiokd.data.kaldi import write_data_dir
from audiokd.data.labels import LABELS, write_labels
from audiokd.data.text import read_utf8
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError

SPLITS = ("train", "dev", "test")


class Clip(NamedTuple):
    """An utterance and its labels."""

    utterance: Utterance
    labels: tuple[str, ...]


def share(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48


def one_word(name: str) -> str:
    """`name` as an id or a label, which have no white space in them.

    Raises:
        AudiokdError: nothing else is in it.
    """
    if not name.strip():
        raise AudiokdError(f"{name!r} cannot be an id or a label: it is empty")
    return re.sub(r"\s+", "_", name.strip())


def listed_file(path: Path, where: str, fix: str) -> Path:
    """`path`, which is a file.

    Raises:
        AudiokdError: it is not; `where` is the line that names it.
    """
    if not path.is_file():
        raise AudiokdError(f"no {path}", where=where, fix=fix)
    return path


def seconds_of(path: Path) -> float:
    """How long a recording is.

    Raises:
        AudiokdError: it cannot be read.
    """
    import soundfile as sf

    try:
        return float(sf.info(path).duration)
    except sf.LibsndfileError as e:
        raise AudiokdError(f"cannot be read as audio: {e}", where=str(path), fix="is it whole? fetch it again") from e


def table_rows(
    path: Path, columns: Sequence[str], delimiter: str = "\t", quoted: bool = True
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a table with a header: `file:line` and its fields by column.

    Args:
        path: of the table.
        columns: that it must have; it may have more.
        delimiter: between fields.
        quoted: whether a field may stand in double quotes.

    Raises:
        AudiokdError: no such file, a column that is missing, a row with fewer or more fields than the header.
    """
    text = read_utf8(path, f"a table with the columns {', '.join(columns)}").lstrip("\ufeff")
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    header: list[str] = next(reader, [])
    missing = [c for c in columns if c not in header]
    if missing:
        raise AudiokdError(
            f"no column {', '.join(missing)}",
            where=f"{path}:1",
            fix=f"it has {', '.join(header[:8])}; is it the published file?",
        )
    while True:
        try:
            row = next(reader, None)
        except csv.Error as e:
            raise AudiokdError(str(e), where=f"{path}:{reader.line_num}", fix="a quote that does not end?") from e
        if row is None:
            return
        if not row:
            continue
        where = f"{path}:{reader.line_num}"
        if len(row) != len(header):
            raise AudiokdError(f"{len(row)} fields, the header has {len(header)}", where=where)
        yield where, dict(zip(header, row))


def number(text: str, what: str, where: str) -> float:
    """`text` as a finite number.

    Raises:
        AudiokdError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise AudiokdError(f"{what} is {text!r}, not a number", where=where)
    return value


def write_task(folder: Path, splits: Mapping[str, Sequence[Clip]]) -> None:
    """Write a task as `folder`/{train,dev,test} with utt2label, and say how many clips and labels there are.

    Raises:
        AudiokdError: a split without a clip, two clips of one id, in one split or in two.
    """
    seen: dict[str, str] = {}
    for split, clips in splits.items():
        if not clips:
            raise AudiokdError("no clip", where=f"{folder}/{split}", fix="is the corpus whole?")
        for clip in clips:
            if seen.setdefault(clip.utterance.id, split) != split:
                both = f"{seen[clip.utterance.id]} and {split}"
                raise AudiokdError(f"in {both}", where=f"{folder}: {clip.utterance.id}", fix="is it listed twice?")
    for split, clips in splits.items():
        write_data_dir(folder / split, [c.utterance for c in clips])
        write_labels(folder / split / LABELS, {c.utterance.id: c.labels for c in clips})
    kinds = {name for clips in splits.values() for c in clips for name in c.labels}
    print(f"{folder}: {', '.join(f'{s} {len(c)}' for s, c in splits.items())}; {len(kinds)} labels")


def run(main: Callable[..., None]) -> None:
    """`main` with the arguments of the command line; an AudiokdError is a message and exit status 1."""
    try:
        main(*sys.argv[1:])
    except AudiokdError as e:
        sys.exit(f"error: {e}")

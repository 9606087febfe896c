"""Prompts: what a diffusion model is asked for, from a text file, items, tables, or a data set of Hugging Face."""

from __future__ import annotations

import json
import os
import sys
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiokd.data.item_inputs import holds_items
from audiokd.data.items import read_items
from audiokd.data.kaldi import read_texts
from audiokd.data.labels import LABELS, read_labels
from audiokd.errors import AudiokdError

#: where a table has its texts unless told otherwise; the first that is there
COLUMNS = ("caption", "prompt", "text", "label")
_FIX = "a text file with a prompt a line, a folder with items.jsonl, .jsonl or .parquet with a column of texts, or a data set"


@dataclass(frozen=True)
class Prompt:
    """One of them.

    Attributes:
        id: unique; of a line its number.
        label, caption: one of them at least.
    """

    id: str
    label: str | None = None
    caption: str | None = None

    def text(self, by_label: bool) -> str:
        """What a model is told: of labels the label first, of texts the caption first."""
        words = (self.label, self.caption) if by_label else (self.caption, self.label)
        return next(w for w in words if w is not None)


def read_prompts(path: str | os.PathLike[str], column: str = "", split: str = "train") -> list[Prompt]:
    """Prompts in the order of the file; lines that hold none are counted on stderr, with the first of them by file:line.

    Args:
        path: a text file (a prompt a line); a folder with items.jsonl, or such a file (each item's caption or label); a data dir
            of sound (captions in text, labels in utt2label); .jsonl or .parquet, or a folder of the latter; a folder that
            `datasets` saved, or a hub id.
        column: of a table; the first of caption, prompt, text, label that is there unless given.
        split: of a data set.

    Raises:
        AudiokdError: nothing there, not one prompt in it, no such column, an item without caption and label.
    """
    place = Path(path)
    if holds_items(place):
        found = [Prompt(i.id, i.label, i.caption) for i in read_items(place)]
        if bare := [p.id for p in found if p.label is None and p.caption is None]:
            what = f"{len(bare)} of {len(found)} items have neither label nor caption: {', '.join(bare[:5])}"
            raise AudiokdError(what, where=str(path), fix="a model is told one of them")
        return found
    if place.is_dir() and ((place / LABELS).is_file() or (place / "wav.scp").is_file()):
        return _of_sound(place)
    if place.suffix == ".jsonl" or place.suffix == ".parquet" or place.is_dir() or not place.exists():
        rows: Iterable[tuple[str, str | None, str]] = _rows(place, str(path), column, split)
    else:
        rows = _lines(place)
    prompts: list[Prompt] = []
    without: list[str] = []
    for number, (name, text, why) in enumerate(rows, 1):
        if text is None:
            without.append(f"{name}: {why}")
        else:
            prompts.append(Prompt(f"{number:07d}", caption=text))
    if without:
        print(f"{path}: {len(without)} lines without a prompt are left out: {without[0]}", file=sys.stderr)
    if not prompts:
        raise AudiokdError("holds no prompt", where=str(path), fix=_FIX)
    return prompts


def _of_sound(folder: Path) -> list[Prompt]:
    """Of a data dir of sound, in the order of utt2label, then of text."""
    labels, texts = (folder / name for name in (LABELS, "text"))
    of = {i: words[0] for i, words in read_labels(labels).items() if words} if labels.is_file() else {}
    said = {i: words for i, words in read_texts(folder).items() if words} if texts.is_file() else {}
    if not of and not said:
        fix = f"captions in {texts.name}, lines `utterance-id words`, or labels in {LABELS}"
        raise AudiokdError("the sounds have neither labels nor captions", where=str(folder), fix=fix)
    return [Prompt(i, of.get(i), said.get(i)) for i in {**of, **said}]


def _lines(file: Path) -> Iterator[tuple[str, str | None, str]]:
    data = file.read_bytes().removeprefix(BOM_UTF8)
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
        where = f"{file}:{number}"
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError as e:
            yield where, None, f"not UTF-8: byte 0x{line[e.start]:02x}"
            continue
        yield where, *_prompt(text)


def _prompt(text: str) -> tuple[str | None, str]:
    """It, or None and why it is none."""
    if "\0" in text:  # lines of UTF-16 are UTF-8, too
        return None, "not text: a NUL byte (UTF-8 is read, UTF-16 is not)"
    return text or None, "empty"


def _rows(place: Path, name: str, column: str, split: str) -> Iterator[tuple[str, str | None, str]]:
    chosen = column
    for number, row in enumerate(_table(place, name, split), 1):
        where = f"{name}:{number}"
        if row is None:
            yield where, None, "empty"
            continue
        if not chosen:
            chosen = next((c for c in COLUMNS if c in row), "")
        if chosen not in row:
            fix = f"--data.column, one of {', '.join(map(str, row))}"
            raise AudiokdError(f"no column {chosen or ' or '.join(COLUMNS)}", where=where, fix=fix)
        value = row[chosen]
        text = value.strip() if isinstance(value, str) else "" if value is None else str(value)
        yield where, *_prompt(text)


def _table(place: Path, name: str, split: str) -> Iterator[dict[str, Any] | None]:
    """Its rows; None is a blank line."""
    if place.suffix == ".jsonl" and place.is_file():
        for number, line in enumerate(place.read_bytes().removeprefix(BOM_UTF8).splitlines(), 1):
            if not line.strip():
                yield None
                continue
            try:
                row = json.loads(line.decode("utf-8"))
            except ValueError as e:
                raise AudiokdError(f"not JSON: {e}", where=f"{name}:{number}", fix="an object a line") from e
            yield row if isinstance(row, dict) else {"text": row}
        return
    files = [place] if place.is_file() else sorted(place.glob("*.parquet")) if place.is_dir() else []
    if files:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for file in files:
            try:
                for batch in pq.ParquetFile(file).iter_batches():
                    yield from batch.to_pylist()
            except (pa.ArrowException, OSError) as e:
                raise AudiokdError(f"not read as parquet: {str(e).splitlines()[0]}", where=str(file), fix=_FIX) from e
        return
    yield from _data_set(place, name, split)


def _data_set(place: Path, name: str, split: str) -> Iterable[dict[str, Any]]:
    is_saved = (place / "dataset_info.json").is_file() or (place / "dataset_dict.json").is_file()
    if not is_saved and (place.exists() or name.count("/") != 1 or name.startswith((".", "/"))):
        raise AudiokdError("no prompts there", where=name, fix=_FIX)
    import datasets

    try:
        found = datasets.load_from_disk(str(place)) if is_saved else datasets.load_dataset(name, split=split)
    except Exception as e:  # no network, no such name, no such split: each release has its own errors for them
        raise AudiokdError(
            f"cannot load the data set: {(str(e) or type(e).__name__).splitlines()[0]}", where=name, fix=_FIX
        ) from e
    if isinstance(found, dict):
        if split not in found:
            raise AudiokdError(f"no split {split}", where=name, fix=f"--data.split, one of {', '.join(found)}")
        found = found[split]
    return found

"""Vocabularies: names that a picture or a sound may have, each with its senses and their glosses (S3A, arXiv 2308.12960).

Read from WordNet's nouns, from an ontology as AudioSet's, or from a list that somebody wrote:

    data.noun   WordNet 3.0 (Debian's wordnet-base, usr/share/wordnet; man 5 wndb). The synset at byte 1440764 is n01440764, as
                ImageNet has it
    *.json      [{"id": "/m/09x0r", "name": "Speech", "description": "..."}, ...]: one sense each; a name may have several
    others      one name a line, then glosses after tabs, one for each sense

data.noun is read here and not by nltk, whose reader wants lexnames and index.sense, which Debian's package does not have.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from audiokd.data.crops import rng_of
from audiokd.data.text import read_utf8
from audiokd.errors import AudiokdError
from audiokd.files import write_json

WORDNET = "data.noun"  # its name in WordNet's folder
LIST = "a vocabulary is data.noun of WordNet, a .json file of objects with id, name and description, or one name a line"


@dataclass(frozen=True)
class Vocabulary:
    """Names, sorted, each once.

    Attributes:
        names: the classes.
        synsets: ids of each name's senses.
        glosses: of each of these senses; empty where there is none.

    Raises:
        AudiokdError: no name, names that are not sorted or not unique, one without a sense, or senses without glosses.
    """

    names: tuple[str, ...]
    synsets: tuple[tuple[str, ...], ...]
    glosses: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise AudiokdError("a vocabulary without a name")
        if list(self.names) != sorted(set(self.names)):
            raise AudiokdError("names of a vocabulary are sorted, each once")
        if not len(self.names) == len(self.synsets) == len(self.glosses):
            raise AudiokdError("a vocabulary has synsets and glosses of each name")
        for name, ids, glosses in zip(self.names, self.synsets, self.glosses):
            if not ids or len(ids) != len(glosses):
                raise AudiokdError(f"{len(ids)} senses and {len(glosses)} glosses", where=name)

    def __len__(self) -> int:
        return len(self.names)


def read_vocabulary(
    path: str | os.PathLike[str], source: Literal["", "wordnet", "ontology", "list"] = ""
) -> Vocabulary:
    """A vocabulary from a file of any of the three kinds; data.noun as `read_wordnet` reads it by default.

    A list's k-th sense of a name has the id "name#k", from 1 on.

    Args:
        path: the file; for WordNet its folder will do.
        source: which kind it is; "" goes by its name.

    Raises:
        AudiokdError: no such file, not UTF-8, no name in it, a name (of an ontology one with the same id) that stands twice, or
            an entry that is none (file:line, or the entry's number).
    """
    file = Path(path)
    if (file / WORDNET).is_file():
        file = file / WORDNET
    if source == "wordnet" or (not source and file.name == WORDNET):
        return read_wordnet(file)
    return _read_ontology(file) if source == "ontology" or file.suffix == ".json" else _read_list(file)


def read_wordnet(
    path: str | os.PathLike[str], synsets: Collection[str] | None = None, synonyms: bool = False
) -> Vocabulary:
    """Nouns of WordNet, with a space for each underscore.

    Args:
        path: data.noun.
        synsets: ids of those that are meant, such as ImageNet's ("n01440764"); all 82,115 by default.
        synonyms: every word of a synset is a name. By default its first one alone: no picture tells synonyms apart, and
            votes would be split between them.

    Raises:
        AudiokdError: no such file, not UTF-8, a line that is no noun synset (file:line), or an id that is not there.
    """
    file = Path(path)
    senses: list[tuple[str, str, str]] = []
    wanted = None if synsets is None else set(synsets)
    for number, line in enumerate(read_utf8(file, LIST).split("\n"), 1):
        if not line.strip() or line.startswith("  "):  # the licence at the head
            continue
        id, words, gloss = _synset(line, f"{file}:{number}")
        if wanted is None or id in wanted:
            senses += [(w, id, gloss) for w in (words if synonyms else words[:1])]
    if wanted and (lost := sorted(wanted - {id for _, id, _ in senses})):
        fix = "ids are those of WordNet 3.0, as ImageNet has them"
        raise AudiokdError(f"{len(lost)} synsets are not there, {lost[0]} first", where=str(file), fix=fix)
    return _vocabulary(senses, str(file))


def reduce_vocabulary(vocabulary: Vocabulary, size: int, keep: Sequence[str], seed: int) -> Vocabulary:
    """`size` names: those of `keep` and others drawn at random. Of one seed and `keep`, a smaller one is a part of a larger one.

    Args:
        vocabulary: to draw from.
        size: names of the result.
        keep: names that must be in it: the classes.
        seed: of the draw.

    Raises:
        AudiokdError: a class is not in the vocabulary (the near names are named) or stands twice, or `size` cannot be had.
    """
    if twice := sorted({k for k in keep if keep.count(k) > 1}):
        raise AudiokdError("a class stands twice", where=twice[0], fix="name each class once")
    at = {name: i for i, name in enumerate(vocabulary.names)}
    if missing := [k for k in keep if k not in at]:
        near = difflib.get_close_matches(missing[0], vocabulary.names, 3, 0.6)
        fix = f"near names: {', '.join(near)}" if near else "rename it, or add it to the vocabulary"
        raise AudiokdError(f"{len(missing)} classes are not in the vocabulary", where=missing[0], fix=fix)
    if not len(keep) <= size <= len(vocabulary) or size < 1:
        what = f"{size} names cannot be had: {len(keep)} classes, {len(vocabulary)} names in the vocabulary"
        raise AudiokdError(what, fix="give a size between the two")
    kept = set(keep)
    others = [i for i, name in enumerate(vocabulary.names) if name not in kept]
    order = rng_of(seed, "vocabulary").permutation(len(others))[: size - len(keep)]
    chosen = sorted([*(at[k] for k in keep), *(others[i] for i in order)])
    parts = (vocabulary.names, vocabulary.synsets, vocabulary.glosses)
    return Vocabulary(*(tuple(part[i] for i in chosen) for part in parts))  # type: ignore[arg-type]


def write_vocabulary(path: str | os.PathLike[str], vocabulary: Vocabulary) -> None:
    """Write a vocabulary as an ontology, which `read_vocabulary` reads back as it is.

    An id that several names share, as synonyms do, stands once for each of them.

    Raises:
        AudiokdError: `path` does not end in .json.
    """
    if Path(path).suffix != ".json":
        raise AudiokdError("a vocabulary is written as JSON", where=str(path), fix="end its name in .json")
    rows = zip(vocabulary.names, vocabulary.synsets, vocabulary.glosses)
    entries = [{"id": i, "name": name, "description": g} for name, ids, glosses in rows for i, g in zip(ids, glosses)]
    write_json(path, entries)


def _synset(line: str, where: str) -> tuple[str, list[str], str]:
    """Id, words and definition; the examples after it, in quotation marks, are left out."""
    data, bar, gloss = line.partition(" | ")
    fields = data.split(" ")
    try:
        number, kind, count = fields[0], fields[2], int(fields[3], 16)
    except (IndexError, ValueError):
        number, kind, count = "", "", 0
    words = fields[4 : 4 + 2 * count : 2]
    if not bar or kind != "n" or not re.fullmatch(r"\d{8}", number) or not words or len(words) != count:
        raise AudiokdError("no line of WordNet's data.noun", where=where, fix=LIST)
    definition = re.split(r'[;:] "', gloss.strip(), maxsplit=1)[0]
    return f"n{number}", [w.replace("_", " ") for w in words], definition


def _read_ontology(file: Path) -> Vocabulary:
    try:
        entries = json.loads(read_utf8(file, LIST).removeprefix("\ufeff"))
    except json.JSONDecodeError as e:
        raise AudiokdError(f"no JSON: {e.msg}", where=f"{file}:{e.lineno}", fix=LIST) from e
    if not isinstance(entries, list):
        raise AudiokdError("no list of objects", where=str(file), fix=LIST)
    senses: list[tuple[str, str, str]] = []
    seen: set[tuple[str, str]] = set()
    for number, entry in enumerate(entries, 1):
        where = f"{file}: entry {number}"
        name, id, gloss = (_text(entry, key, where) for key in ("name", "id", "description"))
        if (name, id) in seen:
            raise AudiokdError(f"{id} ({name}) stands there before", where=where, fix="leave one of them out")
        seen.add((name, id))
        senses.append((name, id, gloss))
    return _vocabulary(senses, str(file))


def _text(entry: Any, key: str, where: str) -> str:
    found = entry.get(key) if isinstance(entry, dict) else None
    text = found.strip() if isinstance(found, str) else ""
    if not text and (key != "description" or not isinstance(found, str)):
        raise AudiokdError(f"no {key}", where=where, fix=LIST)
    return text


def _read_list(file: Path) -> Vocabulary:
    senses: list[tuple[str, str, str]] = []
    first: dict[str, int] = {}
    for number, line in enumerate(read_utf8(file, LIST).removeprefix("\ufeff").splitlines(), 1):
        if not line.strip():
            continue
        name, *glosses = (part.strip() for part in line.split("\t"))
        where = f"{file}:{number}"
        if not name:
            raise AudiokdError("a gloss without a name", where=where, fix=LIST)
        if name in first:
            fix = "name it once, with a gloss after a tab for each sense"
            raise AudiokdError(f"{name} stands in line {first[name]} before", where=where, fix=fix)
        first[name] = number
        senses += [(name, f"{name}#{k}", g) for k, g in enumerate(glosses or [""], 1)]
    return _vocabulary(senses, str(file))


def _vocabulary(senses: Iterable[tuple[str, str, str]], where: str) -> Vocabulary:
    """Senses (name, id, gloss) by name, those of one name in their order."""
    by_name: dict[str, list[tuple[str, str]]] = {}
    for name, id, gloss in senses:
        by_name.setdefault(name, []).append((id, gloss))
    if not by_name:
        raise AudiokdError("holds no name", where=where, fix=LIST)
    names = tuple(sorted(by_name))
    ids, glosses = (tuple(tuple(sense[k] for sense in by_name[n]) for n in names) for k in (0, 1))
    return Vocabulary(names, ids, glosses)

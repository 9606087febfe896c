"""Labels of whole utterances: `utterance-id label [label ...]` a line, in the file utt2label of a data dir."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from audiokd.data.text import read_utf8
from audiokd.errors import AudiokdError
from audiokd.files import write_text

LABELS = "utt2label"  # its name in a data dir


def read_labels(path: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """Labels by utterance id, in the order of the file; an id alone has none.

    Args:
        path: such a file, or a data dir that holds one.

    Raises:
        AudiokdError: no such file, not UTF-8, or an utterance that stands twice (file:line).
    """
    file = Path(path) / LABELS if Path(path).is_dir() else Path(path)
    lines = read_utf8(file, "labels are lines `utterance-id label [label ...]`").splitlines()
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        utt_id, *labels = line.split()
        if utt_id in found:
            raise AudiokdError(
                f"{utt_id} stands there before", where=f"{file}:{number}", fix="give all its labels at once"
            )
        found[utt_id] = tuple(labels)
    if not found:
        raise AudiokdError("holds no label", where=str(file))
    return found


def write_labels(path: str | os.PathLike[str], labels: Mapping[str, Sequence[str]]) -> None:
    """Write labels by utterance id, sorted by id, as `read_labels` reads them.

    Raises:
        AudiokdError: an id or a label that is empty or has white space in it.
    """
    for utt_id, of in labels.items():
        for word in (utt_id, *of):
            if word.split() != [word]:
                raise AudiokdError(
                    f"{word!r} is no word", where=f"{path}: {utt_id}", fix="ids and labels are single words"
                )
    write_text(path, "".join(f"{' '.join((i, *labels[i]))}\n" for i in sorted(labels)))

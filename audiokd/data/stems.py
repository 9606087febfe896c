"""Sources that a mixture was made of: `utterance-id path` a line, in a file such as vocals.scp beside the mixtures' wav.scp."""

from __future__ import annotations

import os
from pathlib import Path

from audiokd.data.text import read_utf8
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.files import write_text


def read_stems(data_dir: str | os.PathLike[str], source: str) -> dict[str, Utterance]:
    """A source, such as vocals, by its mixture's id.

    Raises:
        AudiokdError: no such file, a line that is no id and path, or an id that stands twice (file:line).
    """
    file = Path(data_dir) / f"{source}.scp"
    found: dict[str, Utterance] = {}
    for number, line in enumerate(read_utf8(file, "sources are lines `utterance-id path`").splitlines(), 1):
        if not line.strip():
            continue
        utt_id, *rest = line.split(maxsplit=1)
        where = f"{file}:{number}"
        if not rest:
            raise AudiokdError("only an id on the line", where=where, fix="lines `utterance-id path`")
        if utt_id in found:
            raise AudiokdError(f"{utt_id} stands there before", where=where, fix="one recording a source")
        path = rest[0].strip()
        # as in wav.scp: from the working directory, else from the data dir
        inside = not os.path.isabs(path) and not os.path.exists(path) and (file.parent / path).exists()
        found[utt_id] = Utterance(utt_id, str(file.parent / path) if inside else path, where=where)
    if not found:
        raise AudiokdError("holds no source", where=str(file))
    return found


def write_stems(data_dir: str | os.PathLike[str], source: str, paths: dict[str, str]) -> None:
    """Write the recordings of a source by id, sorted by id, as `read_stems` reads them."""
    write_text(Path(data_dir) / f"{source}.scp", "".join(f"{i} {paths[i]}\n" for i in sorted(paths)))

"""kaldi: text files of one line an utterance, sorted as `LC_ALL=C sort` does, that need no Kaldi to read."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np

from audiokd.data.ids import escape_id
from audiokd.files import atomic_write
from audiokd.progress import progress
from audiokd.tokens.reader import StoredCodes, StoredFeatures, TokenStore

#: what both Kaldi exports write beside the archives
TABLES = "utt2num_frames|utt2num_samples|text|utt2spk"


def export_kaldi(store: TokenStore, out: Path) -> None:
    """Write tokens.<q>.txt (`utt-id c1 c2 ...`) for each codebook, and the tables of `Tables`.

    tokens.<q>.txt is what `copy-int-vector ark:tokens.0.txt ...` reads. A store of features gives feats.txt, a text
    archive of matrices (`utt-id  [ ... ]`, as `copy-feats ark:feats.txt ...` reads). Speakers are escaped
    (`escape_id`), as Kaldi ends them at the first space; ids have none.
    """
    names = [f"tokens.{q}.txt" for q in range(store.meta["num_codebooks"])] if store.kind == "codes" else ["feats.txt"]
    with progress("export kaldi", len(store), "utt") as bar, ExitStack() as stack:
        files = [stack.enter_context(atomic_write(out / n)) for n in names]
        tables = stack.enter_context(Tables(out))
        for utt_id in sorted(store, key=str.encode):
            u = store[utt_id]
            if store.kind == "codes":
                for f, row in zip(files, u.array):
                    f.write(" ".join([utt_id, *map(str, row.tolist())]).encode() + b"\n")
            else:
                files[0].write(f"{utt_id}  [{_matrix(u.array)} ]\n".encode())
            tables.add(u)
            bar.advance()


class Tables:
    """utt2num_frames, utt2num_samples, and text and utt2spk where an utterance has them: `utt-id value` a line.

    The count of samples is what ESPnet calls utt2num_samples; Kaldi's own archives have no place for it.
    """

    def __init__(self, out: Path):
        self._out, self._stack = out, ExitStack()
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> Tables:
        self._stack.__enter__()
        for name in ("utt2num_frames", "utt2num_samples"):
            self._file(name)
        return self

    def __exit__(self, *error) -> bool | None:
        return self._stack.__exit__(*error)

    def add(self, u: StoredCodes | StoredFeatures) -> None:
        """Write the utterance's line of each table."""
        frames = u.codes.shape[1] if isinstance(u, StoredCodes) else len(u.features)
        values: dict[str, str | int] = {"utt2num_frames": frames, "utt2num_samples": u.num_samples}
        if u.text is not None:
            values["text"] = " ".join(u.text.split())
        if u.speaker is not None:
            values["utt2spk"] = escape_id(u.speaker)
        for name, value in values.items():
            self._file(name).write(f"{u.id} {value}".rstrip().encode() + b"\n")

    def _file(self, name: str) -> BinaryIO:
        if name not in self._files:
            self._files[name] = self._stack.enter_context(atomic_write(self._out / name))
        return self._files[name]


def _matrix(array: np.ndarray) -> str:
    """Rows of a text archive; 9 digits give float32 back exactly. Shape: [T', D]."""
    return "".join("\n  " + " ".join(f"{x:.9g}" for x in row) for row in array.tolist())

"""kaldi: text files of one line an utterance, sorted as `LC_ALL=C sort` does, that need no Kaldi to read."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.files import atomic_write
from audiokd.progress import progress
from audiokd.tokens.reader import TokenStore


def export_kaldi(store: TokenStore, out: Path) -> None:
    """Write tokens.<q>.txt (`utt-id c1 c2 ...`) for each codebook, utt2num_frames, and text and utt2spk where known.

    tokens.<q>.txt is what `copy-int-vector ark:tokens.0.txt ...` reads. A store of features gives feats.txt, a text
    archive of matrices (`utt-id  [ ... ]`, as `copy-feats ark:feats.txt ...` reads).

    Raises:
        AudiokdError: an id or a speaker has whitespace, which these files cannot hold.
    """
    ids = sorted(store, key=str.encode)
    names = [f"tokens.{q}.txt" for q in range(store.meta["num_codebooks"])] if store.kind == "codes" else ["feats.txt"]
    texts, speakers = [], []
    with progress("export kaldi", len(ids), "utt") as bar, ExitStack() as stack:
        files = [stack.enter_context(atomic_write(out / n)) for n in names]
        lengths = stack.enter_context(atomic_write(out / "utt2num_frames"))
        for utt_id in ids:
            _refuse_space(utt_id, "the id", utt_id)
            u = store[utt_id]
            if store.kind == "codes":
                for f, row in zip(files, u.array):
                    f.write(" ".join([utt_id, *map(str, row.tolist())]).encode() + b"\n")
            else:
                files[0].write(f"{utt_id}  [{_matrix(u.array)} ]\n".encode())
            frames = u.array.shape[1] if store.kind == "codes" else len(u.array)
            lengths.write(f"{utt_id} {frames}\n".encode())
            if u.text is not None:
                texts.append(" ".join([utt_id, *u.text.split()]) + "\n")
            if u.speaker is not None:
                _refuse_space(u.speaker, "the speaker", utt_id)
                speakers.append(f"{utt_id} {u.speaker}\n")
            bar.advance()
    for name, lines in (("text", texts), ("utt2spk", speakers)):
        if lines:
            with atomic_write(out / name) as f:
                f.write("".join(lines).encode())


def _matrix(array: np.ndarray) -> str:
    """Rows of a text archive; 9 digits give float32 back exactly. Shape: [T', D]."""
    return "".join("\n  " + " ".join(f"{x:.9g}" for x in row) for row in array.tolist())


def _refuse_space(name: str, what: str, utt_id: str) -> None:
    if name.split() != [name]:
        fix = "export to jsonl, parquet or webdataset, or rename it"
        raise AudiokdError(f"{what} {name!r} has whitespace, which kaldi files cannot hold", where=utt_id, fix=fix)

"""mert: what fairseq's MERT trains on: a tsv of audio files, and a text file of codes for each codebook.

    train.tsv          the audio's root folder, then `path<TAB>samples` a line
    train.codec_0 ...  the codes of one codebook, `12 7 7 903` a line, a line for each of train.tsv in its order
    dict.codec_0.txt   fairseq's dictionary, `0 1` to `1023 1`: code i is the dictionary's i-th word

Read by https://github.com/yizhilll/MERT: mert_fairseq/data/mert_dataset.py (load_audio, load_label) and
mert_fairseq/tasks/mert_pretraining.py (load_dictionaries, load_dataset); scripts/prepare_codecs_from_manifest.py writes the
same. Its run_training.sh calls the labels encodec_0 ...: give task.labels='["codec_0",...]' instead, model.label_rate the
store's frame_rate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from audiokd.data.ids import unescape_id
from audiokd.errors import AudiokdError
from audiokd.files import atomic_write, write_text
from audiokd.progress import progress
from audiokd.tokens.exports.splits import need_codes_of_one_model
from audiokd.tokens.reader import TokenStore


def export_mert(stores: Mapping[str, TokenStore], out: Path, audio_root: str = "", audio_suffix: str = ".wav") -> None:
    """Write the files above for each split, in the order of the store.

    Args:
        stores: split name -> store of codes.
        out: folder to write.
        audio_root: folder of the recordings, the tsv's first line; empty is ".", the folder that training starts in.
        audio_suffix: an utterance's recording is its id, unescaped, with this behind it.

    Raises:
        AudiokdError: a store of features, stores of different models, or a recording's name that a line of the tsv cannot hold.
    """
    need_codes_of_one_model(stores)
    meta = next(iter(stores.values())).meta
    for q, size in enumerate(meta["cardinality"]):
        write_text(out / f"dict.codec_{q}.txt", "".join(f"{i} 1\n" for i in range(size)))
    with progress("export mert", sum(map(len, stores.values())), "utt") as bar:
        for split, store in stores.items():
            with ExitStack() as stack:
                manifest = stack.enter_context(atomic_write(out / f"{split}.tsv"))
                names = [f"{split}.codec_{q}" for q in range(meta["num_codebooks"])]
                files = [stack.enter_context(atomic_write(out / n)) for n in names]
                manifest.write(f"{audio_root or '.'}\n".encode())
                for u in store.items():
                    path = unescape_id(u.id) + audio_suffix
                    if re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", path) or path != path.strip():
                        what = f"{path!r} cannot be a line of a tsv"
                        raise AudiokdError(
                            what, where=u.id, fix="rename the recording: no tab, newline or space at an end"
                        )
                    manifest.write(f"{path}\t{u.num_samples}\n".encode())
                    for f, row in zip(files, u.array):
                        f.write(" ".join(map(str, row.tolist())).encode() + b"\n")
                    bar.advance()

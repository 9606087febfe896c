"""Emilia's tars to data sets: `make_data.py CORPUS_DIR DATA_DIR HELD_OUT LANGUAGE...`.

data/train gets a link to every tar of a language but its last. That one is held out: its first speakers with HELD_OUT
utterances or more become dev, the next test; each of their mp3 files is copied out, since scores need files.
"""

import sys
from itertools import groupby
from pathlib import Path

from audiokd.data.audio import read_bytes
from audiokd.data.kaldi import write_data_dir
from audiokd.data.utterance import Utterance
from audiokd.data.webdataset import read_tar
from audiokd.files import write_bytes


def find_tars(corpus: Path, language: str) -> list[Path]:
    """`Emilia/EN/EN-B000000.tar` below the corpus, or below it without the first folder."""
    for folder in (corpus / "Emilia" / language, corpus / language):
        tars = sorted(folder.glob(f"{language}-B*.tar"))
        if len(tars) >= 2:
            return tars
    sys.exit(f"error: {corpus}: fewer than two tars Emilia/{language}/{language}-B*.tar; one of them is held out")


def hold_out(tar: Path, count: int) -> tuple[list[Utterance], list[Utterance]]:
    """The first speakers of a tar with `count` utterances or more, and the next ones."""
    parts: tuple[list[Utterance], list[Utterance]] = [], []
    for _, utterances in groupby(sorted(read_tar(tar), key=lambda u: u.id), key=lambda u: u.speaker):
        part = parts[0] if len(parts[0]) < count else parts[1]
        if len(part) < count:
            part.extend(utterances)
    if not parts[1]:
        sys.exit(f"error: {tar}: its speakers do not make two sets of {count}; give a smaller --held_out")
    return parts


def main(corpus: str, data: str, held_out: str, *languages: str) -> None:
    train, sets = Path(data) / "train", {"dev": [], "test": []}
    train.mkdir(parents=True, exist_ok=True)
    for link in train.glob("*.tar"):  # of other languages, asked for before
        link.unlink()
    for language in languages:
        *tars, last = find_tars(Path(corpus), language)
        for tar in tars:
            (train / tar.name).symlink_to(tar.resolve())
        for name, part in zip(sets, hold_out(last, int(held_out))):
            for utt in part:
                path = Path(data) / name / "audio" / f"{utt.id}{Path(utt.where).suffix}"
                write_bytes(path, read_bytes(utt))
                sets[name].append(Utterance(utt.id, str(path.resolve()), text=utt.text, speaker=utt.speaker))
        print(f"{train}: {len(tars)} tars of {language}")
    for name, utterances in sets.items():
        write_data_dir(f"{data}/{name}", utterances)
        print(f"{data}/{name}: {len(utterances)} utterances")


if __name__ == "__main__":
    main(*sys.argv[1:])

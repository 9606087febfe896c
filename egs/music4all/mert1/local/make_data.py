"""Music4All to Kaldi data dirs: `make_data.py CORPUS DATA`, with CORPUS/audios/<id>.mp3, clips of 30 s.

CORPUS/id_information.csv (id, artist, song, ...) and id_genres.csv (id, genres: `pop,indie rock`) have tabs between
fields. There is no published split: artists are split by a hash of the name, nine tenths train, a twentieth each dev
and test. DATA/train and DATA/dev are for pretraining and have no labels. Task genre: the fifty genres that most
training clips have.
"""

import sys
from collections import Counter
from pathlib import Path

from audiokd.data.kaldi import write_data_dir
from audiokd.data.labelled import Clip, listed_file, one_word, run, share, table_rows, write_task
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError

GENRES = 50


def main(corpus: str, data: str) -> None:
    root = Path(corpus)
    genres = {row["id"]: row["genres"] for _, row in table_rows(root / "id_genres.csv", ("id", "genres"), quoted=False)}
    sets: dict[str, dict[str, Path]] = {"train": {}, "dev": {}, "test": {}}
    for where, row in table_rows(root / "id_information.csv", ("id", "artist"), quoted=False):
        clip, artist = row["id"], row["artist"]
        if clip not in genres:
            raise AudiokdError(f"{clip} is not in id_genres.csv", where=where)
        if any(clip in of for of in sets.values()):
            raise AudiokdError(f"{clip} stands there before", where=where)
        path = listed_file(root / "audios" / f"{clip}.mp3", where, "unpack the audio whole")
        sets[split_of(artist)][clip] = path
    names = {i: tuple(dict.fromkeys(one_word(g) for g in text.split(",") if g.strip())) for i, text in genres.items()}
    counts = Counter(g for i in sets["train"] for g in names[i])
    kept = set(sorted(counts, key=lambda g: (-counts[g], g))[:GENRES])
    labels = {i: tuple(g for g in names[i] if g in kept) for of in sets.values() for i in of}
    without = sum(not of for of in labels.values())
    print(f"left out of the task: {without} clips with none of its {len(kept)} genres", file=sys.stderr)
    clips = {s: [Clip(Utterance(i, str(p)), labels[i]) for i, p in of.items() if labels[i]] for s, of in sets.items()}
    write_task(Path(data) / "genre", clips)
    for split in ("train", "dev"):
        write_data_dir(Path(data) / split, [Utterance(i, str(p)) for i, p in sets[split].items()])
    print(f"{data}: {', '.join(f'{s} {len(of)}' for s, of in sets.items())} clips")


def split_of(artist: str) -> str:
    where = share(f"music4all {' '.join(artist.lower().split())}")
    return "train" if where < 0.9 else "dev" if where < 0.95 else "test"


if __name__ == "__main__":
    run(main)

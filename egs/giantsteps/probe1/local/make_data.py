"""GiantSteps' keys to Kaldi data dirs: `make_data.py MTG KEY DATA`.

MTG, giantsteps-mtg-key-dataset, trains and chooses: annotations/annotations.txt has ID, MANUAL KEY and C, the
confidence; beatport_metadata.txt the artists. KEY, giantsteps-key-dataset, tests: annotations/key/<ID>.LOFI.key. Both
have audio/<ID>.LOFI.mp3. As in MARBLE, of MTG only what has one key of confidence 2 is kept, artists are split by a
hash, and a track is heard in clips of 30 s, whose last, shorter one is left out.
"""

import hashlib
import re
import sys
from collections.abc import Collection
from pathlib import Path

from audiokd.data.labelled import Clip, listed_file, run, seconds_of, table_rows, write_task
from audiokd.data.text import read_utf8
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError

FLATS = {"C#": "Db", "D#": "Eb", "F#": "Gb", "G#": "Ab", "A#": "Bb"}
CLIP_S = 30.0
FETCH = "the repository's audio_dl.sh fetches the audio"


def main(mtg: str, key: str, data: str) -> None:
    splits: dict[str, list[Clip]] = {"train": [], "dev": [], "test": []}
    artists = artists_of(Path(mtg) / "annotations" / "beatport_metadata.txt")
    held_out = dev_artists(artists.values())
    unsure = several = 0
    table = Path(mtg) / "annotations" / "annotations.txt"
    for where, row in table_rows(table, ("ID", "MANUAL KEY", "C"), quoted=False):
        if row["C"].strip() not in ("0", "1", "2"):
            raise AudiokdError(f"a confidence of {row['C']!r}, not 0, 1 or 2", where=where)
        if row["C"].strip() != "2":
            unsure += 1
        elif "/" in row["MANUAL KEY"]:
            several += 1
        else:
            if row["ID"] not in artists:
                raise AudiokdError(f"{row['ID']} has no artist", where=where, fix="see beatport_metadata.txt")
            split = "dev" if held_out & set(artists[row["ID"]]) else "train"
            splits[split] += clips_of(Path(mtg), row["ID"], row["MANUAL KEY"], where)
    print(f"left out: {unsure} tracks of a confidence under 2, {several} of several keys", file=sys.stderr)
    for path in sorted((Path(key) / "annotations" / "key").glob("*.LOFI.key")):
        splits["test"] += clips_of(Path(key), path.name.split(".")[0], read_utf8(path, "a key"), f"{path}:1")
    write_task(Path(data) / "key", splits)


def artists_of(path: Path) -> dict[str, list[str]]:
    """The artists of each track."""
    rows = table_rows(path, ("ID", "ARTIST"), quoted=False)
    return {row["ID"]: [a.strip() for a in row["ARTIST"].split(",")] for _, row in rows}


def dev_artists(tracks: Collection[list[str]]) -> set[str]:
    """Artists by whom dev is: 16 of 116 by the hash of the name, who recorded with them, and who with those."""
    found = {a for of in tracks for a in of if int(hashlib.sha1(a.lower().encode()).hexdigest(), 16) % 116 >= 100}
    for _ in range(2):
        for of in tracks:  # in the order of the table, as MARBLE does: a pass may go several steps
            if found & set(of):
                found |= set(of)
    return found


def clips_of(root: Path, track: str, key: str, where: str) -> list[Clip]:
    """A track's whole clips of 30 s, or the track where it is shorter, with its key, such as Eb:minor."""
    match = re.fullmatch(r"([A-G][#b]?)\s+(major|minor)", key.strip())
    if not match:
        raise AudiokdError(f"{key.strip()!r} is no key", where=where, fix="keys such as D# minor")
    path = listed_file(root / "audio" / f"{track}.LOFI.mp3", where, FETCH)
    labels = (f"{FLATS.get(match[1], match[1])}:{match[2]}",)
    name = f"{int(track):07d}"
    n = int(seconds_of(path) // CLIP_S)
    if n == 0:
        return [Clip(Utterance(f"{name}-0", str(path), recording_id=name, speaker=name), labels)]
    cuts = [(k * CLIP_S, (k + 1) * CLIP_S) for k in range(n)]
    return [
        Clip(Utterance(f"{name}-{k}", str(path), start_s=a, end_s=b, recording_id=name, speaker=name), labels)
        for k, (a, b) in enumerate(cuts)
    ]


if __name__ == "__main__":
    run(main)

"""GTZAN to Kaldi data dirs: `make_data.py GENRES LISTS BEATS DATA`, with GENRES/<genre>/<genre>.<number>.wav or .au.

LISTS holds the fault-filtered split: train_filtered.txt, valid_filtered.txt, test_filtered.txt, of lines
`blues/blues.00029.wav`. BEATS holds gtzan_blues_00029.beats and so on, a beat a line: seconds, and after a tab its
number in the bar where the annotators heard bars; `none` is no BEATS, and no beat task.
"""

import re
import sys
from pathlib import Path

from audiokd.data.kaldi import write_data_dir
from audiokd.data.labelled import Clip, listed_file, number, run, seconds_of, write_task
from audiokd.data.labels import write_labels
from audiokd.data.text import read_utf8
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError

LISTS = {"train": "train_filtered.txt", "dev": "valid_filtered.txt", "test": "test_filtered.txt"}
#: no audio in the copy that is on Kaggle, which is the one that most people have
BROKEN = "jazz.00054"


def main(genres: str, lists: str, beats: str, data: str) -> None:
    splits = {split: clips_of(Path(lists) / name, Path(genres)) for split, name in LISTS.items()}
    write_task(Path(data) / "genre", splits)
    if beats == "none":
        return
    counts = []
    for split, clips in splits.items():
        out = Path(data) / "beats" / split
        times = {c.utterance.id: beat_times(Path(beats), c.utterance.id) for c in clips}
        write_data_dir(out, [c.utterance for c in clips])
        write_labels(out / "utt2beats", times)
        counts.append(f"{split} {len(clips)} ({sum(map(len, times.values()))} beats)")
    print(f"{data}/beats: {', '.join(counts)}")


def clips_of(path: Path, genres: Path) -> list[Clip]:
    """The clips of a list."""
    clips = []
    for line, name in enumerate(read_utf8(path, "lines `blues/blues.00029.wav`").split("\n"), 1):
        if not name.strip():
            continue
        where = f"{path}:{line}"
        match = re.fullmatch(r"((\w+)/(\2\.\d+))\.(wav|au)", name.strip())
        if not match:
            raise AudiokdError(f"{name.strip()!r}, not `blues/blues.00029.wav`", where=where)
        found = [genres / f"{match[1]}.{suffix}" for suffix in ("wav", "au")]
        file = next((f for f in found if f.is_file()), found[0])
        if match[3] == BROKEN and file.is_file() and not is_audio(file):
            print(f"left out: {where}: {file} cannot be read, as in the copy on Kaggle", file=sys.stderr)
            continue
        listed_file(file, where, "the lists want 930 of GTZAN's 1,000 clips: is the corpus whole?")
        clips.append(Clip(Utterance(match[3], str(file)), (match[2],)))
    return clips


def is_audio(path: Path) -> bool:
    try:
        return seconds_of(path) > 0
    except AudiokdError:
        return False


def beat_times(folder: Path, utt_id: str) -> list[str]:
    """Seconds of a clip's beats, as they are written."""
    path = folder / f"gtzan_{utt_id.replace('.', '_')}.beats"
    times: list[str] = []
    for line, text in enumerate(read_utf8(path, f"the beats of {utt_id}, a beat a line").splitlines(), 1):
        if not text.strip():
            continue
        where = f"{path}:{line}"
        fields = text.split()
        if len(fields) > 2:
            raise AudiokdError(f"{len(fields)} fields, not `seconds [number of the beat]`", where=where)
        now = number(fields[0], "the time", where)
        if now < 0 or (times and now <= float(times[-1])):
            raise AudiokdError(f"a beat at {fields[0]} s after {times[-1] if times else 0} s", where=where)
        times.append(fields[0])
    if not times:
        raise AudiokdError("no beat in it", where=str(path))
    return times


if __name__ == "__main__":
    run(main)

"""NSynth to Kaldi data dirs: `make_data.py CORPUS DATA`, with CORPUS/nsynth-{train,valid,test}/{examples.json,audio/}.

examples.json maps a note's name, which its wav has, to what is known of it: here its pitch, a MIDI number, and the
family of its instrument.
"""

import json
from pathlib import Path

from audiokd.data.labelled import Clip, listed_file, run, write_task
from audiokd.data.text import read_utf8
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError

FOLDERS = {"train": "nsynth-train", "dev": "nsynth-valid", "test": "nsynth-test"}
#: task -> the key of its label
TASKS = {"pitch": "pitch", "instrument": "instrument_family_str"}


def main(corpus: str, data: str) -> None:
    notes = {split: notes_of(Path(corpus) / name) for split, name in FOLDERS.items()}
    for k, task in enumerate(TASKS):
        write_task(Path(data) / task, {s: [Clip(u, (of[k],)) for u, of in found] for s, found in notes.items()})


def notes_of(folder: Path) -> list[tuple[Utterance, list[str]]]:
    """The notes of a set and, for each task, its label."""
    path = folder / "examples.json"
    try:
        examples = json.loads(read_utf8(path, "NSynth's table of notes"))
    except json.JSONDecodeError as e:
        raise AudiokdError(f"not JSON: {e.msg}", where=f"{path}:{e.lineno}", fix="is it whole?") from e
    found = []
    for name, of in examples.items():
        where = f"{path}: {name}"
        missing = [key for key in TASKS.values() if key not in of]
        if missing:
            raise AudiokdError(f"no {', '.join(missing)}", where=where)
        wav = listed_file(folder / "audio" / f"{name}.wav", where, f"unpack {folder.name}.jsonwav.tar.gz whole")
        found.append((Utterance(name, str(wav)), [str(of[key]) for key in TASKS.values()]))
    return found


if __name__ == "__main__":
    run(main)

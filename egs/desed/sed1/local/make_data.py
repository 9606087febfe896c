"""DESED to Kaldi data dirs: `make_data.py DATASET DATA`.

DATASET holds audio/ and metadata/ as the DCASE task 4 baselines have them (2021: synthetic clips among the others; 2022 and
2023: below dcase_synth/). Training takes synthetic and real clips with event times (events.tsv), weakly labelled ones
(utt2label) and unlabelled ones; the synthetic validation set is dev, the real one test, the public evaluation set eval. Ids
are the file names behind the name of their set.
"""

import csv
import sys
from pathlib import Path

import soundfile as sf

from audiokd.data.events import EVENTS, Event, read_events, write_events
from audiokd.data.kaldi import write_data_dir
from audiokd.data.labels import LABELS, write_labels
from audiokd.data.utterance import Utterance

FORMATS = (".wav", ".flac")
DEV = "validation/synthetic21_validation/soundscapes"
#: set -> where its audio and its table may be; a 16 kHz copy, as the baselines make one, is called <audio>_16k
SETS = {
    "synthetic": ("audio/train/synthetic21_train/soundscapes", "metadata/train/synthetic21_train/soundscapes.tsv"),
    "strong": ("audio/train/strong_label_real", "metadata/train/audioset_strong.tsv"),
    "weak": ("audio/train/weak", "metadata/train/weak.tsv"),
    "unlabelled": ("audio/train/unlabel_in_domain", ""),
    "dev": (f"audio/{DEV}", f"metadata/{DEV}.tsv"),
    "test": ("audio/validation/validation", "metadata/validation/validation.tsv"),
    "eval": ("audio/eval/public", "metadata/eval/public.tsv"),
}


def first_that_is(root: Path, name: str) -> Path | None:
    """The folder or table of that name, below `root` or its dcase_synth/, resampled before as it is."""
    places = [top / f"{name}{tail}" for top in (root, root / "dcase_synth") for tail in ("_16k", "")]
    return next((p for p in places if p.exists()), None)


def weak_labels(path: Path) -> dict[str, tuple[str, ...]]:
    """`filename event_labels` with commas between labels, a header on top."""
    with open(path, encoding="utf-8", newline="") as f:
        rows = csv.reader(f, delimiter="\t")
        if next(rows, None) != ["filename", "event_labels"]:
            sys.exit(f"error: {path}:1: its columns are not filename and event_labels")
        return {Path(row[0]).stem: tuple(row[1].split(",")) for row in rows if row}


def in_time(events: list[Event], seconds: float) -> list[Event]:
    """Without what lies past the end: tables say 10 s of clips that are a little shorter."""
    return [Event(e.start_s, min(e.end_s, seconds), e.label) for e in events if e.start_s < seconds]


def main(dataset: str, data: str) -> None:
    root, out = Path(dataset), Path(data)
    utterances: dict[str, list[Utterance]] = {}
    events: dict[str, dict[str, list[Event]]] = {}
    labels: dict[str, tuple[str, ...]] = {}
    for name, (audio, table) in SETS.items():
        folder = first_that_is(root, audio)
        listed = first_that_is(root, table) if table else None
        if folder is None or (table and listed is None):
            print(f"{name}: not there")
            continue
        files = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix in FORMATS}
        known: dict[str, object] = {}
        if name == "weak" and listed:
            known = dict(weak_labels(listed))
        elif listed:
            known = dict(read_events(listed))
        kept = sorted(files.keys() & known.keys() if table else files)
        split = name if name in ("dev", "test", "eval") else "train"
        utterances.setdefault(split, []).extend(Utterance(f"{name}-{i}", str(files[i].resolve())) for i in kept)
        if name == "weak":
            labels |= {f"{name}-{i}": known[i] for i in kept}  # type: ignore[misc]
        elif table:
            timed = {f"{name}-{i}": in_time(known[i], sf.info(files[i]).duration) for i in kept}  # type: ignore[arg-type]
            events.setdefault(split, {}).update(timed)
        print(f"{name}: {len(kept)} clips, {len(known.keys() - files.keys())} of the table without audio")
    for split in ("train", "dev", "test"):
        if not events.get(split):
            sys.exit(f"error: {root}: no clip with event times for {split}")
    for split, of in utterances.items():
        write_data_dir(out / split, of)
        write_events(out / split / EVENTS, events[split])
    if labels:
        write_labels(out / "train" / LABELS, labels)


if __name__ == "__main__":
    main(*sys.argv[1:])

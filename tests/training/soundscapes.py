"""Soundscapes with known times: stretches of two readers in faint noise, as DESED's are made of single sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audiokd.data.audio import load_at, write_wav
from audiokd.data.events import Event, write_events
from audiokd.data.inputs import open_input
from audiokd.data.labels import write_labels

RATE = 16_000
SECONDS = 3.0


def read(path: Path) -> np.ndarray:
    return load_at(open_input(path).utterances()[0], RATE)


def soundscapes(folder: Path, readers: dict[str, np.ndarray], count: int, seed: int) -> dict[str, list[Event]]:
    """`count` clips of 3 s, a second of each reader in most of them, written as a data dir; no labels are."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    lines, events = [], {}
    for n in range(count):
        utt_id = f"{folder.name}-{n:02d}"
        wav = (1e-3 * rng.standard_normal(int(SECONDS * RATE))).astype(np.float32)
        events[utt_id] = []
        for k, (name, voice) in enumerate(readers.items()):
            if n % 4 == 2 + k:  # this one says nothing
                continue
            start_s = round(float(rng.uniform(0, SECONDS - 1)), 3)
            at = int(rng.integers(0, len(voice) - RATE))
            first = round(start_s * RATE)
            wav[first : first + RATE] += voice[at : at + RATE]
            events[utt_id].append(Event(start_s, start_s + 1.0, name))
        write_wav(folder / f"{utt_id}.wav", wav, RATE)
        lines.append(f"{utt_id} {folder / utt_id}.wav\n")
    (folder / "wav.scp").write_text("".join(lines))
    return events


def event_corpus(root: Path, readers: dict[str, np.ndarray]) -> None:
    """train: 12 strongly labelled clips, 4 weakly, 4 not at all. dev: 6 strongly labelled ones."""
    events = soundscapes(root / "train", readers, 20, 0)
    ids = sorted(events)
    write_events(root / "train" / "events.tsv", {i: events[i] for i in ids[:12]})
    weak = {i: tuple(sorted({e.label for e in events[i]})) for i in ids[12:16]}
    write_labels(root / "train" / "utt2label", weak)
    write_events(root / "dev" / "events.tsv", soundscapes(root / "dev", readers, 6, 1))

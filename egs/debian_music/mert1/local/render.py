"""Notes, chords and keys played by a sound font: `render.py FONT.sf2 DATA`.

Writes DATA/<task>/{train,dev,test} with utt2label for the tasks pitch (a note's MIDI number), family (its General MIDI family),
chord (root and mode of a triad) and key (of a cadence and a melody), as 24 kHz wav. Instruments are split, two of each family's
eight to test and one to dev, so that no instrument is heard in two splits. A note is kept where librosa's yin hears the pitch that
was asked for: some presets of a font play an octave off, or noise.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import librosa
import numpy as np
import soundfile as sf
import tinysoundfont

from audiokd.data.crops import rng_of
from audiokd.data.kaldi import write_data_dir
from audiokd.data.labels import LABELS, write_labels
from audiokd.data.utterance import Utterance

RATE = 24_000
PROGRAMS = range(104)  # thirteen families of eight; what comes then is percussion and effects
LOWEST, HIGHEST = 40, 76
NOTE_S, CHORD_S, BAR_S = 1.0, 1.5, 1.2
NOTES, CHORDS, KEYS = 14, 10, 6  # of each instrument
FAMILIES = [
    "piano",
    "bell",
    "organ",
    "guitar",
    "bass",
    "strings",
    "ensemble",
    "brass",
    "reed",
    "pipe",
    "lead",
    "pad",
    "fx",
]
ROOTS = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]
TRIADS = {"maj": (0, 4, 7), "min": (0, 3, 7)}
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 11)}
OFF = 0.4  # semitones


class Font:
    """Plays notes of one sound font."""

    def __init__(self, path: str):
        self.synth = tinysoundfont.Synth(samplerate=RATE, gain=-6)
        self.id = self.synth.sfload(path)

    def play(self, program: int, events: list[tuple[float, float, int]], seconds: float) -> np.ndarray:
        """Mono float32 of (start, end, pitch), seconds."""
        self.synth.sounds_off()
        self.synth.program_select(0, self.id, 0, program)
        marks = sorted([(s, 1, p) for s, _, p in events] + [(e, 0, p) for _, e, p in events])
        out, at = [], 0
        for time_s, on, pitch in [*marks, (seconds, 0, 0)]:
            n = round(min(time_s, seconds) * RATE) - at
            if n > 0:
                out.append(np.frombuffer(bytes(self.synth.generate(n)), np.float32).reshape(-1, 2).mean(1))
                at += n
            if pitch and on:
                self.synth.noteon(0, pitch, 100)
            elif pitch:
                self.synth.noteoff(0, pitch)
        wav = np.concatenate(out)
        return wav / max(1.0, 1.01 * float(np.abs(wav).max()))

    @cache  # noqa: B019 (one font)
    def plays(self, program: int, pitch: int) -> bool:
        """Whether the note that is asked for is heard."""
        wav = self.play(program, [(0.0, 0.8, pitch)], NOTE_S)
        if np.abs(wav).max() < 0.01:
            return False
        f0 = librosa.yin(wav[: int(0.8 * RATE)], fmin=50, fmax=1200, sr=RATE, frame_length=2048)
        heard = librosa.hz_to_midi(np.median(f0[2:]))
        return bool(abs(heard - pitch) < OFF)


def split_of(program: int) -> str:
    """Of a family's eight instruments the third and the seventh test, the fifth chooses."""
    return {2: "test", 6: "test", 4: "dev"}.get(program % 8, "train")


def notes(font: Font, program: int) -> Iterator[tuple[str, np.ndarray, dict[str, str]]]:
    good = [p for p in range(LOWEST, HIGHEST) if font.plays(program, p)]
    rng = rng_of("notes", program)
    for pitch in sorted(rng.permutation(good)[:NOTES].tolist()):
        wav = font.play(program, [(0.0, 0.8, pitch)], NOTE_S)
        yield f"note-{program:03d}-{pitch}", wav, {"pitch": str(pitch), "family": FAMILIES[program // 8]}


def chords(font: Font, program: int) -> Iterator[tuple[str, np.ndarray, dict[str, str]]]:
    rng = rng_of("chords", program)
    for k in range(CHORDS):
        root, mode = int(rng.integers(12)), str(rng.choice(list(TRIADS)))
        pitches = []
        for interval in TRIADS[mode]:  # each in an octave of its own: inversions
            pitches.append(48 + (root + interval) % 12 + 12 * int(rng.integers(2)))
        if all(font.plays(program, p) for p in pitches):
            wav = font.play(program, [(0.0, 1.3, p) for p in pitches], CHORD_S)
            yield f"chord-{program:03d}-{k}", wav, {"chord": f"{ROOTS[root]}:{mode}"}


def keys(font: Font, program: int) -> Iterator[tuple[str, np.ndarray, dict[str, str]]]:
    """Four bars, I IV V I, and a melody of the scale above them."""
    rng = rng_of("keys", program)
    for k in range(KEYS):
        root, mode = int(rng.integers(12)), str(rng.choice(list(SCALES)))
        scale, events = SCALES[mode], []
        for bar, degree in enumerate((0, 3, 4, 0)):
            start = bar * BAR_S
            for step in (0, 2, 4):
                pitch = 48 + root + scale[(degree + step) % 7] + 12 * ((degree + step) // 7)
                events.append((start, start + BAR_S, pitch))
            for beat in range(4):
                pitch = 60 + root + scale[int(rng.integers(7))]
                events.append((start + beat * BAR_S / 4, start + (beat + 1) * BAR_S / 4, pitch))
        if font.plays(program, 60) and font.plays(program, 52):
            wav = font.play(program, events, 4 * BAR_S)
            yield f"key-{program:03d}-{k}", wav, {"key": f"{ROOTS[root]}:{mode}"}


def main(font_path: str, data: str) -> None:
    font, rows = Font(font_path), []
    for program in PROGRAMS:
        for make in (notes, chords, keys):
            for name, wav, labels in make(font, program):
                path = Path(data) / "wav" / f"{name}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                sf.write(path, wav, RATE)
                rows.append((split_of(program), name, path, labels))
    for task in ("pitch", "family", "chord", "key"):
        counts = Counter()
        for split in ("train", "dev", "test"):
            mine = [(name, path, labels[task]) for s, name, path, labels in rows if s == split and task in labels]
            folder = Path(data) / task / split
            write_data_dir(folder, [Utterance(n, str(p.resolve())) for n, p, _ in sorted(mine)])
            write_labels(folder / LABELS, {n: (label,) for n, _, label in mine})
            counts[split] = len(mine)
        print(f"{data}/{task}: {counts['train']}, {counts['dev']}, {counts['test']}")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Recordings of single sounds over real backgrounds, at known times: `make_data.py DOWNLOADS DATA [TRAIN DEV TEST]` (clips).

Clips are of CLIP_S seconds, mono at 16 kHz. An event lasts from where its recording comes within RISE_DB of its loudest 10 ms to
where it has decayed DECAY_DB below for good; what follows is faded out over FADE_S. Its level is SNR_DB above the background's,
mean power over its extent. Two of one class are GAP_S apart. No recording and no background is in two splits; a drum's takes and
layers are in one, and a language's letters.
"""

import importlib.util
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from audiokd.data.audio import load_at, write_wav
from audiokd.data.crops import rng_of
from audiokd.data.event_points import POINTS, point_of, write_points
from audiokd.data.events import EVENTS, Event, write_events
from audiokd.data.kaldi import write_data_dir
from audiokd.data.utterance import Utterance

RATE, CLIP_S, HOP_S = 16_000, 10.0, 0.01
RISE_DB, DECAY_DB, FADE_S, GAP_S = 30.0, 25.0, 0.03, 0.3
SHORTEST_S, LONGEST_S = 0.1, 3.0
SNR_DB, BACKGROUND_DB, EVENTS_A_CLIP, POLYPHONY = (10.0, 25.0), -40.0, (2, 7), 2
SPLITS = ("train", "dev", "test")
LETTERS = {"dev": ("de", "it"), "test": ("en_GB", "es", "nl")}  # languages of klettres, the others are train's
#: backgrounds of Sonic Pi; the others that fit are train's
BACKGROUND = r"ambi_|vinyl_(hiss|rewind)|loop_(3d_printer|drone)|guit_(e_slide|harmonics)"
BACKGROUNDS = {
    "dev": ("ambi_glass_rub", "ambi_lunar_land", "vinyl_rewind"),
    "test": ("ambi_sauna", "loop_3d_printer", "ambi_drone"),
}


def neighbour(task: str) -> object:
    """Another recipe's local/make_data.py."""
    path = Path(__file__).resolve().parents[3] / task / "local" / "make_data.py"
    spec = importlib.util.spec_from_file_location(f"make_data_of_{task.replace('/', '_')}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


drums = neighbour("drums/tiue1")
FORMATS, ROOTS, share = drums.FORMATS, drums.ROOTS, drums.share


def split_of(key: str) -> str:
    return SPLITS[int(share(key) >= 0.6) + int(share(key) >= 0.7)]


def named_split(name: str, table: dict[str, tuple[str, ...]]) -> str:
    return next((s for s, names in table.items() if name in names), "train")


def sources(root: Path) -> list[tuple[Path, str, str]]:
    """File, class and split of every recording of one sound."""
    found = []
    for source in ("drums", "sonic"):
        for path in sorted(p for p in (root / ROOTS[source]).rglob("*") if p.suffix in FORMATS):
            stem = path.stem.lower()
            drum = None if stem.startswith("loop") else drums.drum_of(stem)
            if drum:
                key = f"{source}/{path.parent.name}/{re.sub(drums.LOUDNESS, '', stem)}"
                found.append((path, drum, split_of(key)))
    for path in sorted((root / ROOTS["klettres"]).glob("*/alpha/*.ogg")):
        found.append((path, "speech", named_split(path.parent.parent.name, LETTERS)))
    return found


def one_sound(path: Path) -> np.ndarray | None:
    """The event of a recording, from its onset to its offset and the fade; None of one that is too short, too long or silent."""
    x = load_at(Utterance(path.stem, str(path)), RATE)
    hop = round(HOP_S * RATE)
    if len(x) < 2 * hop:
        return None
    power = np.square(x[: len(x) // hop * hop]).reshape(-1, hop).mean(1)
    level = 10 * np.log10(np.maximum(power, 1e-12))
    top = level.max()
    first, last = np.argmax(level > top - RISE_DB), len(level) - np.argmax(level[::-1] > top - DECAY_DB)
    if top < -60 or not SHORTEST_S <= (last - first) * HOP_S <= LONGEST_S:
        return None
    fade = round(FADE_S * RATE)
    out = x[first * hop : last * hop + fade].copy()
    out = np.pad(out, (0, (last - first) * hop + fade - len(out)))
    out[len(out) - fade :] *= np.linspace(1, 0, fade)
    return out


def background(x: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """So much of a recording that goes round, its end crossfaded with its beginning, at BACKGROUND_DB."""
    fade = round(0.05 * RATE)
    ramp = np.linspace(0, 1, fade)
    ring = x[: len(x) - fade].copy()
    ring[:fade] = ring[:fade] * ramp + x[len(x) - fade :] * (1 - ramp)
    ring = np.roll(ring, int(rng.integers(len(ring))))
    out = np.tile(ring, -(-samples // len(ring)))[:samples]
    return out * 10 ** (BACKGROUND_DB / 20) / np.sqrt(np.mean(np.square(out)) + 1e-12)


def clip(
    sounds: dict[str, list[np.ndarray]], grounds: list[np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, list[Event]]:
    """A mixture and its events."""
    samples, fade = round(CLIP_S * RATE), round(FADE_S * RATE)
    wav = background(grounds[int(rng.integers(len(grounds)))], samples, rng)
    events: list[Event] = []
    names = sorted(sounds)
    for _ in range(int(rng.integers(*EVENTS_A_CLIP))):
        label = names[int(rng.integers(len(names)))]
        x = sounds[label][int(rng.integers(len(sounds[label])))]
        first = int(rng.integers(0, samples - len(x)))
        event = Event(first / RATE, (first + len(x) - fade) / RATE, label)
        near = [e for e in events if e.start_s < event.end_s + GAP_S and event.start_s < e.end_s + GAP_S]
        snr = rng.uniform(*SNR_DB)
        if len(near) >= POLYPHONY or any(e.label == label for e in near):
            continue
        power = np.mean(np.square(x[: len(x) - fade]))
        wav[first : first + len(x)] += x * 10 ** ((BACKGROUND_DB + snr) / 20) / np.sqrt(power)
        events.append(event)
    return (wav * min(1.0, 0.9 / np.abs(wav).max())).astype(np.float32), sorted(events)


def main(downloads: str, data: str, *counts: str) -> None:
    root = Path(downloads)
    sounds: dict[str, dict[str, list[np.ndarray]]] = {s: defaultdict(list) for s in SPLITS}
    for path, label, split in sources(root):
        x = one_sound(path)
        if x is not None:
            sounds[split][label].append(x)
    grounds: dict[str, list[np.ndarray]] = defaultdict(list)
    for path in sorted(p for p in (root / ROOTS["sonic"]).rglob("*") if re.match(BACKGROUND, p.stem)):
        grounds[named_split(path.stem, BACKGROUNDS)].append(load_at(Utterance(path.stem, str(path)), RATE))
    for split, count in zip(SPLITS, counts or ("300", "60", "100")):
        folder = Path(data) / split
        (folder / "wav").mkdir(parents=True, exist_ok=True)
        events, utterances = {}, []
        for n in range(int(count)):
            name = f"{split}-{n:04d}"
            wav, events[name] = clip(sounds[split], grounds[split], rng_of(0, split, n))
            path = folder / "wav" / f"{name}.wav"
            write_wav(path, wav, RATE)
            utterances.append(Utterance(name, str(path.resolve())))
        write_data_dir(folder, utterances)
        write_events(folder / EVENTS, events)
        drawn = {i: [point_of(e, rng_of(0, "mark", i, k)) for k, e in enumerate(of)] for i, of in events.items()}
        write_points(folder / POINTS, drawn)
        counted = Counter(e.label for of in events.values() for e in of)
        lengths = [e.end_s - e.start_s for of in events.values() for e in of]
        made = ", ".join(f"{n} {k} of {len(sounds[split][k])}" for k, n in sorted(counted.items()))
        what = f"{len(lengths)} events ({made}), median {np.median(lengths):.2f} s, {len(grounds[split])} backgrounds"
        print(f"{folder}: {count} clips, {what}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 6):
        sys.exit(__doc__)
    main(*sys.argv[1:])

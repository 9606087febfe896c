"""The sound of some Debian packages to Kaldi data dirs: `make_data.py DOWNLOADS FESTVOX DATA`.

DATA/train and DATA/dev are for pretraining and have no labels; DATA/<task>/{train,dev,test} have utt2label. No dev or test
utterance of a task is in DATA/train. FESTVOX holds festvox_ru's train, dev and test: the frame task's, whose train is here, too.
"""

import hashlib
import re
import sys
from collections import Counter
from pathlib import Path
from string import ascii_lowercase

import soundfile as sf

from audiokd.data.crops import duration_of
from audiokd.data.kaldi import read_data_dir, write_data_dir
from audiokd.data.labels import LABELS, write_labels
from audiokd.data.utterance import Utterance

SHORTEST_S = 0.1
FORMATS = (".ogg", ".wav", ".flac", ".aiff")
PIECE_S = 30.0  # a longer recording is cut, so that each of its parts is seen as often as a short one
DEV_SHARE = 0.01
SPLITS = ("train", "dev", "test")

ROOTS = {
    "asterisk": "asterisk-core-sounds-*-wav/usr/share/asterisk/sounds",
    "klettres": "klettres-data/usr/share/klettres",
    "drums": "hydrogen-drumkits/usr/share/hydrogen/data/drumkits",
    "sonic": "sonic-pi-samples/usr/share/sonic-pi/samples",
    "stamps": "tuxpaint-stamps-default/usr/share/tuxpaint/stamps",
    "music": "wesnoth-1.16-music/usr/share/games/wesnoth/1.16/data/core/music",
}
#: drum -> what its file is called, the first that fits
DRUMS = {
    "hihat": r"hat|chh|ohh|^hh|_hh_|^ho_|closehi|pedalhi",
    "snare": r"snare|^sd_|_sn_",
    "kick": r"kick|bassdrum|^bd|_bd_|hse_k_",
    "tom": r"tom|^ft_",
    "cymbal": r"crash|ride|china|splash|^cc_|^rc_|^cra_",
}
DRUM_TEST = ("The Black Pearl 1.0", "ColomboAcousticDrumkit", "VariBreaks", "Millo_MultiLayered3")
DRUM_DEV = ("ElectricEmpireKit", "Millo-Drums_v.1")
LETTER_TEST = ("klettres-en_GB", "klettres-es", "asterisk-fr")
LETTER_DEV = ("klettres-de", "klettres-it")
#: sound effect -> below which folder of the stamps
EFFECTS = {"bird": "animals/birds/", "mammal": "animals/mammals/", "thing": ""}


def share(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48


def of_share(key: str) -> str:
    """Six tenths train, two dev, two test."""
    return SPLITS[min(2, int(share(key) * 5) // 3 + int(share(key) * 5) // 4)]


def main(downloads: str, festvox: str, data: str) -> None:
    sounds: dict[str, Path] = {}
    for source, pattern in ROOTS.items():
        roots = sorted(Path(downloads).glob(pattern))
        if not roots:
            sys.exit(f"error: {downloads}: no {pattern}")
        for root in roots:
            for path in sorted(p for p in root.rglob("*") if p.suffix in FORMATS):
                if "silence" not in path.parts and sf.info(path).duration >= SHORTEST_S:
                    name = re.sub(r"[^\w.-]+", "_", "-".join(path.relative_to(root).with_suffix("").parts))
                    sounds[f"{source}-{name}"] = path
    tasks = {"drums": drums(sounds), "letters": letters(sounds), "language": prompts(sounds), "sounds": effects(sounds)}
    held_out = set()
    for task, rows in tasks.items():
        for split in SPLITS:
            labels = {i: (label,) for i, (where, label) in rows.items() if where == split}
            folder = Path(data) / task / split
            write_data_dir(folder, [Utterance(i, str(sounds[i])) for i in sorted(labels)])
            write_labels(folder / LABELS, labels)
            held_out |= labels.keys() if split != "train" else set()
        counts = {s: Counter(label for where, label in rows.values() if where == s) for s in SPLITS}
        print(f"{data}/{task}: " + "; ".join(f"{s} {sum(c.values())} of {len(c)} labels" for s, c in counts.items()))
    unlabelled = [u for i, path in sorted(sounds.items()) if i not in held_out for u in pieces(i, path)]
    unlabelled += read_data_dir(Path(festvox) / "train")
    chosen = {u.id for u in unlabelled if share(u.id) < DEV_SHARE}
    for split, mine in (("train", False), ("dev", True)):
        write_data_dir(Path(data) / split, [u for u in unlabelled if (u.id in chosen) == mine])
    hours = sum(map(duration_of, unlabelled)) / 3600
    print(f"{data}: {len(unlabelled)} pieces without labels, {hours:.2f} h, {len(chosen)} of them dev")


def pieces(name: str, path: Path) -> list[Utterance]:
    """A recording, in parts where it is long."""
    seconds = sf.info(path).duration
    if seconds <= PIECE_S:
        return [Utterance(name, str(path))]
    n = int(-(-seconds // PIECE_S))
    marks = [round(seconds * k / n, 3) for k in range(n + 1)]
    return [Utterance(f"{name}-{k:02d}", str(path), start_s=marks[k], end_s=marks[k + 1]) for k in range(n)]


def drums(sounds: dict[str, Path]) -> dict[str, tuple[str, str]]:
    """Split and drum of one-shots; kits are split, not sounds."""
    rows = {}
    for name, path in sounds.items():
        kind = next((d for d, p in DRUMS.items() if re.search(p, path.stem.lower())), None)
        if name.startswith("drums-") and kind:
            kit = path.parent.name
            rows[name] = ("test" if kit in DRUM_TEST else "dev" if kit in DRUM_DEV else "train", kind)
    return rows


def letters(sounds: dict[str, Path]) -> dict[str, tuple[str, str]]:
    """Split and letter a to z of alphabets that are written so; voices are split."""
    rows = {}
    for name, path in sounds.items():
        letter, voice = path.stem.lower(), ""
        if name.startswith("klettres-") and path.parent.name == "alpha":
            voice = f"klettres-{path.parent.parent.name}"
            if voice == "klettres-fr":
                letter = ascii_lowercase[int(letter.split("-")[1])]
        elif name.startswith("asterisk-") and path.parent.name == "letters":
            voice = f"asterisk-{path.parent.parent.name[:2]}"
        if voice and len(letter) == 1 and letter in ascii_lowercase:
            rows[name] = ("test" if voice in LETTER_TEST else "dev" if voice in LETTER_DEV else "train", letter)
    return rows


def prompts(sounds: dict[str, Path]) -> dict[str, tuple[str, str]]:
    """Split and language of telephone prompts of a second or more; the same prompt in all languages is in one split."""
    rows = {}
    for name, path in sounds.items():
        if name.startswith("asterisk-") and path.parent.name != "letters" and sf.info(path).duration >= 1:
            language = name.split("-")[1][:2]
            rows[name] = (of_share(path.stem), language)
    return rows


def effects(sounds: dict[str, Path]) -> dict[str, tuple[str, str]]:
    """Split and kind of the stamps' own sounds (not of what is said about them)."""
    rows = {}
    for name, path in sounds.items():
        where = str(path)
        if name.startswith("stamps-") and not re.search(r"_desc|/symbols/(math|alphabets)/", where):
            kind = next(k for k, folder in EFFECTS.items() if f"/stamps/{folder}" in where)
            rows[name] = (of_share(path.stem), kind)
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])

"""LibriSpeech as published to Kaldi data dirs: `make_data.py LIBRISPEECH_DIR DATA_DIR PART...`.

<part>/<speaker>/<chapter>/<speaker>-<chapter>-<n>.flac, with the chapter's text in <speaker>-<chapter>.trans.txt. The
train parts become one set, train_960 (or train, where not all three are there).
"""

import sys
from pathlib import Path

from audiokd.data.kaldi import write_data_dir
from audiokd.data.utterance import Utterance

TRAIN = {"train-clean-100", "train-clean-360", "train-other-500"}


def read_part(folder: Path) -> list[Utterance]:
    utterances = []
    for transcript in sorted(folder.rglob("*.trans.txt")):
        for number, line in enumerate(transcript.read_text(encoding="utf-8").splitlines(), 1):
            utt_id, _, text = line.partition(" ")
            flac = transcript.parent / f"{utt_id}.flac"
            if not flac.exists():
                print(f"left out: {transcript}:{number}: no {flac.name}", file=sys.stderr)
                continue
            speaker = utt_id.split("-")[0]
            utterances.append(Utterance(utt_id, str(flac.resolve()), text=text, speaker=speaker))
    if not utterances:
        sys.exit(f"error: {folder}: no transcripts with audio; is it LibriSpeech as published?")
    return sorted(utterances, key=lambda u: u.id)


def main(root: str, data: str, *parts: str) -> None:
    sets: dict[str, list[Utterance]] = {}
    train = "train_960" if set(parts) >= TRAIN else "train"
    for part in parts:
        name = train if part in TRAIN else part.replace("-", "_")
        sets.setdefault(name, []).extend(read_part(Path(root) / part))
    for name, utterances in sets.items():
        write_data_dir(f"{data}/{name}", sorted(utterances, key=lambda u: u.id))
        print(f"{data}/{name}: {len(utterances)} utterances")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""festvox-ru to Kaldi data dirs: `make_data.py PACKAGE_DIR DATA_DIR`.

etc/txt.done.data has a line an utterance, `( ru_0001 "text" )`; `+` marks stress inside words and is dropped. In the order
of the corpus (one book, read through) the last 40 utterances are the test set, the 20 before them dev. lab/<id>.lab has a
line a phone, `end-time 125 phone` after a `#`; each begins where the one ahead ends: they become phones.ctm.
"""

import re
import sys
from pathlib import Path

from audiokd.data.ctm import PHONES, Phone, write_ctm
from audiokd.data.kaldi import write_data_dir
from audiokd.data.utterance import Utterance

LINE = re.compile(r'\(\s*(\S+)\s+"(.*)"\s*\)')
LAB_LINE = re.compile(r"\s*([\d.]+)\s+\d+\s+(\S+)\s*")


def main(package: str, data: str) -> None:
    root = next(Path(package).rglob("msu_ru_nsh_clunits"))
    utterances = []
    for number, line in enumerate((root / "etc" / "txt.done.data").read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        found = LINE.fullmatch(line.strip())
        if not found:
            sys.exit(f"error: txt.done.data:{number}: not a '( id \"text\" )' line: {line[:60]}")
        utt_id, text = found.groups()
        wav = root / "wav" / f"{utt_id}.wav"
        if wav.exists():
            utterances.append(Utterance(utt_id, str(wav), text=text.replace("+", ""), speaker="nsh"))
    utterances.sort(key=lambda u: u.id)
    for name, part in {"train": utterances[:-60], "dev": utterances[-60:-40], "test": utterances[-40:]}.items():
        write_data_dir(f"{data}/{name}", part)
        write_ctm(f"{data}/{name}/{PHONES}", {u.id: phones(root / "lab" / f"{u.id}.lab") for u in part})
        print(f"{data}/{name}: {len(part)} utterances")


def phones(lab: Path) -> list[Phone]:
    out: list[Phone] = []
    lines = lab.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines[lines.index("#") + 1 :], lines.index("#") + 2):
        found = LAB_LINE.fullmatch(line)
        if not found:
            sys.exit(f"error: {lab}:{number}: not an 'end-time colour phone' line: {line[:60]}")
        out.append(Phone(out[-1].end_s if out else 0.0, float(found[1]), found[2]))
    return out


if __name__ == "__main__":
    main(*sys.argv[1:])

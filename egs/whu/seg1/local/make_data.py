"""WHU's aerial set and Massachusetts as data dirs: `make_data.py CORPUS SET DATA`. Their labels are clean."""

import sys
from pathlib import Path

from audiokd.data.building_sets import WHU_SPLITS, massachusetts_split, whu_split, write_masked_set


def main(corpus: str, name: str, data: str) -> None:
    for ours, theirs in WHU_SPLITS.items():
        to = Path(data) / ("train-clean" if ours == "train" else ours)
        found = whu_split(corpus, theirs) if name == "whu" else massachusetts_split(corpus, theirs, to)
        write_masked_set(to, found)


if __name__ == "__main__":
    main(*sys.argv[1:])

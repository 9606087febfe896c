"""A set of DomainBed to data dirs: `make_data.py NAME ROOT DATA`."""

import sys

from audiokd.data.class_folders import domainbed_set
from audiokd.data.image_sets import ImageSet, write_image_set


def main(name: str, root: str, data: str) -> None:
    images = domainbed_set(name, root)
    write_image_set(data, images)
    everything = [item for items in images.splits.values() for item in items]
    write_image_set(data, ImageSet({"all": everything}, images.classes))


if __name__ == "__main__":
    main(*sys.argv[1:])

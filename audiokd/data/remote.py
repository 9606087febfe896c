"""An INPUT in an object store: its lists are fetched when it is opened, a tar when its shard is worked on, audio by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from audiokd import objects
from audiokd.data.utterance import Utterance

_LISTS = 2  # folders deep: cuts.info/shards.json


@dataclass
class Fetched:
    """What loads a shard whose files are in an object store: fetches them to `folder` first. Picklable.

    Args:
        url: folder of the shards.
        names: files of the shard below it, and what changes when they change.
        folder: here.
        tars: which of them are let go after the shard.
        read: makes utterances of what is in `folder`.
    """

    url: str
    names: dict[str, str]
    folder: Path
    tars: tuple[str, ...]
    read: Callable[[], list[Utterance]]

    def __call__(self) -> list[Utterance]:
        for name in self.names:
            if not (self.folder / name).is_file():
                objects.fetch(f"{self.url}/{name}", self.folder / name)
        return self.read()

    @property
    def sha256(self) -> str:
        """Over what the store says of the files, without reading them."""
        return hashlib.sha256(repr(sorted(self.names.items())).encode()).hexdigest()

    def release(self) -> None:
        """Give the room of the tars back."""
        for name in self.tars:
            (self.folder / name).unlink(missing_ok=True)


def fetch_lists(url: str, audio_suffixes: tuple[str, ...]) -> tuple[Path, dict[str, str]]:
    """Fetch all of a folder but tars and audio; where to, and all files of the folder with what changes when they change."""
    names = objects.list_files(url)
    folder = objects.cache_folder(url, repr(sorted(names.items())))
    for name in names:
        path = PurePosixPath(name)
        large = path.suffix.lower() in (*audio_suffixes, ".tar") or len(path.parts) > _LISTS
        if not large and not (folder / name).is_file():
            objects.fetch(f"{url}/{name}", folder / name)
    return folder, names


def elsewhere(utt: Utterance, url: str, names: dict[str, str]) -> Utterance:
    """`utt` with the address of its audio, where its list names it relative to the folder."""
    return utt.with_(path=f"{url}/{utt.path}") if utt.codec == "" and utt.path in names else utt

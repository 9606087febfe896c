"""INPUT: what a stage is pointed at (data dir, Shar or webdataset folder, cuts, folder of audio, one file), in shards."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from audiokd import objects
from audiokd.data.cuts import read_cuts
from audiokd.data.folders import files_below
from audiokd.data.ids import escape_id
from audiokd.data.kaldi import read_data_dir
from audiokd.data.remote import Fetched, elsewhere, fetch_lists
from audiokd.data.shar import read_shar
from audiokd.data.utterance import Utterance
from audiokd.data.webdataset import read_tar, tars
from audiokd.errors import AudiokdError
from audiokd.files import sha256_bytes

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif")
QUARANTINE = "quarantine.txt"
_END = 2**16  # bytes of a tar's beginning, and of its end, that are part of its hash


@dataclass
class InputShard:
    """A fixed part of an INPUT. `sha256` is over its files where it is a shard that we wrote, or over a tar's ends; else None."""

    name: str
    sha256: str | None
    _load: Callable[[], list[Utterance]]
    _count: int | None = None

    def load(self) -> list[Utterance]:
        """The shard's utterances, in order."""
        utts = self._load()
        self._count = len(utts)
        return utts

    def __len__(self) -> int:
        if self._count is None:
            self.load()
        return self._count or 0

    @property
    def known_size(self) -> int | None:
        """Utterances, where they were counted before."""
        return self._count

    @property
    def is_here(self) -> bool:
        """Whether it can be loaded without fetching anything from an object store."""
        return not isinstance(self._load, Fetched)

    def release(self) -> None:
        """Delete what was fetched for `load`."""
        if isinstance(self._load, Fetched):
            self._load.release()


@dataclass
class Input:
    """An opened INPUT; `kind` is kaldi, shar, webdataset, cuts, folder or file."""

    kind: str
    path: str
    shards: list[InputShard]

    def utterances(self) -> list[Utterance]:
        """All utterances, in order."""
        return [utt for shard in self.shards for utt in shard.load()]

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)


def open_input(path: str | os.PathLike[str], shard_size: int = 1000, allow_pipes: bool = False) -> Input:
    """Find out what `path` is and cut it into shards. No audio is opened.

    A Shar folder keeps its shards, and each tar of a webdataset folder is one; anything else is sorted by id and cut,
    `shard_size` utterances each. What `audiokd validate` put on the quarantine list is left out.

    Args:
        path: Kaldi data dir, Shar folder, folder of webdataset tars or one tar, lhotse cuts (.jsonl, .jsonl.gz), folder of
            audio (id: path below it without the suffix, `audiokd.data.ids.escape_id` of it), or an audio file; or the address of
            one of these in an object store, s3://bucket/folder.
        shard_size: utterances a shard.
        allow_pipes: let shell commands in wav.scp and in cuts run.

    Raises:
        AudiokdError: nothing there, nothing in it, an unknown kind of file, or two utterances of one id.
    """
    _check_size(shard_size)
    if objects.is_url(path):
        return _open_remote(str(path).rstrip("/"), shard_size, allow_pipes)
    root = Path(path)
    if not root.exists():
        what = "no such file or folder"
        raise AudiokdError(
            what, where=str(root), fix="an INPUT is a data dir, Shar folder, tars, cuts, audio folder or file"
        )
    kind = _kind(root)
    if kind == "shar":
        parts = [InputShard(f"{i:05d}", s.sha256, s.load, s.size) for i, s in enumerate(read_shar(root))]
        return Input(kind, str(path), parts)
    if kind == "webdataset":
        bad = quarantined(root) if root.is_dir() else set()
        parts = [
            InputShard(f"{i:05d}", None if bad else _sha256_of_ends(tar), partial(_load_tar, tar, bad))
            for i, tar in enumerate(tars(root))
        ]
        return Input(kind, str(path), parts)
    if kind == "kaldi":
        left_out = quarantined(root)
        utts = [u for u in read_data_dir(root, allow_pipes) if u.id not in left_out]
        if not utts:
            fix = f"look at {root / QUARANTINE}, mend the audio and run 'audiokd validate' again"
            raise AudiokdError("every utterance is in quarantine", where=str(root), fix=fix)
    elif kind == "cuts":
        utts = read_cuts(root, allow_pipes)
    elif kind == "folder":
        utts = _read_folder(root)
    else:
        utt_id = escape_id(root.stem)
        utts = [Utterance(id=utt_id, path=str(root), recording_id=utt_id)]
    return cut(kind, str(path), utts, shard_size)


def cut(kind: str, path: str, utts: list[Any], shard_size: int) -> Input:
    """An INPUT that has no shards of its own, sorted and cut: of utterances, or of items, which have ids as they have.

    Raises:
        AudiokdError: nothing in it, two of one id, or shards of none.
    """
    _check_size(shard_size)
    if not utts:
        raise AudiokdError("no utterance in it", where=path, fix="give an INPUT that has some")
    utts = sorted(utts, key=lambda u: u.id)
    for before, utt in pairwise(utts):
        if before.id == utt.id:
            both = f"{before.where or before.path} and {utt.where or utt.path}"
            raise AudiokdError(f"two utterances have the id {utt.id}: {both}", where=path, fix="make ids unique")
    starts = range(0, len(utts), shard_size)
    chunks = [utts[i : i + shard_size] for i in starts]
    return Input(kind, path, [InputShard(f"{i:05d}", None, partial(list, c), len(c)) for i, c in enumerate(chunks)])


def _check_size(shard_size: int) -> None:
    if shard_size < 1:
        raise AudiokdError(f"shard_size is {shard_size}", fix="it must be 1 or more")


def _open_remote(url: str, shard_size: int, allow_pipes: bool) -> Input:
    """As `open_input`, of an object store."""
    name = PurePosixPath(url).name
    if name.endswith((".jsonl", ".jsonl.gz")):
        file = objects.cache_folder(url) / name
        objects.fetch(url, file)
        return cut("cuts", url, read_cuts(file, allow_pipes), shard_size)
    if PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES:
        utt_id = escape_id(PurePosixPath(name).stem)
        return cut("file", url, [Utterance(id=utt_id, path=url, recording_id=utt_id)], shard_size)
    if name.endswith(".tar"):
        url, name = url.rpartition("/")[0], name
        folder, names = objects.cache_folder(url), {name: objects.list_files(url).get(name, "")}
    else:
        folder, names = fetch_lists(url, AUDIO_SUFFIXES)
    if not names:
        fix = "an INPUT is a data dir, Shar folder, tars, cuts, audio folder or file"
        raise AudiokdError("nothing there", where=url, fix=fix)
    if "wav.scp" in names:
        left_out = quarantined(folder)
        utts = [u for u in read_data_dir(folder, allow_pipes) if u.id not in left_out]
        return cut("kaldi", url, [elsewhere(u, url, names) for u in utts], shard_size)
    shards = []
    if any(n.startswith("cuts.") and ".jsonl" in n for n in names):
        for i, s in enumerate(read_shar(folder)):
            middle = f".{s.name}" if s.name else ""
            audio = tuple(n for n in (f"recording{middle}.tar", f"samples{middle}.tar") if n in names)
            mine = {n: v for n, v in names.items() if n in audio or n.startswith(f"cuts{middle}.jsonl")}
            load = Fetched(url, mine, folder, audio, s.load)
            shards.append(InputShard(f"{i:05d}", s.sha256 or load.sha256, load, s.size))
        return Input("shar", url, shards)
    packed = [n for n in names if n.endswith(".tar") and "/" not in n]
    if packed:
        bad = quarantined(folder)
        for i, tar in enumerate(packed):
            load = Fetched(url, {tar: names[tar]}, folder, (tar,), partial(_load_tar, folder / tar, bad))
            shards.append(InputShard(f"{i:05d}", load.sha256, load))
        return Input("webdataset", url, shards)
    found = [PurePosixPath(n) for n in names if PurePosixPath(n).suffix.lower() in AUDIO_SUFFIXES]
    ids = {p: escape_id(p.with_suffix("").as_posix()) for p in found if not any(x.startswith(".") for x in p.parts)}
    return cut("folder", url, [Utterance(id=i, path=f"{url}/{p}", recording_id=i) for p, i in ids.items()], shard_size)


def _sha256_of_ends(tar: Path) -> str | None:
    """Over a tar's size and its first and last blocks: reading the headers of tens of thousands of tars takes an hour."""
    try:
        size = tar.stat().st_size
        with open(tar, "rb") as f:
            first = f.read(_END)
            f.seek(max(0, size - _END))
            return sha256_bytes(str(size).encode(), first, f.read())
    except OSError:  # whoever loads it says why
        return None


def quarantined(data_dir: str | os.PathLike[str]) -> set[str]:
    """Ids on a folder's quarantine list."""
    path = Path(data_dir) / QUARANTINE
    return {line.split()[0] for line in path.read_text().splitlines() if line.strip()} if path.exists() else set()


def _kind(root: Path) -> str:
    if root.is_dir():
        if (root / "wav.scp").is_file():
            return "kaldi"
        if any(root.glob("cuts.*jsonl*")) or (root / "cuts.info").is_dir():
            return "shar"
        return "webdataset" if tars(root) else "folder"
    if root.suffix == ".tar":
        return "webdataset"
    if root.name.endswith((".jsonl", ".jsonl.gz")):
        return "cuts"
    if root.suffix.lower() in AUDIO_SUFFIXES:
        return "file"
    fix = f"give a folder with wav.scp, a Shar folder, tars, cuts (.jsonl, .jsonl.gz) or audio ({' '.join(AUDIO_SUFFIXES)})"
    if root.name == "wav.scp":
        fix = f"give its folder: {root.parent}"
    raise AudiokdError("this kind of file cannot be read", where=str(root), fix=fix)


def _load_tar(tar: Path, left_out: set[str]) -> list[Utterance]:
    return [utt for utt in read_tar(tar) if utt.id not in left_out]


def _read_folder(root: Path) -> list[Utterance]:
    utts = []
    for path in files_below(root, AUDIO_SUFFIXES):
        utt_id = escape_id(path.relative_to(root).with_suffix("").as_posix())
        utts.append(Utterance(id=utt_id, path=str(path), recording_id=utt_id))
    if not utts:
        fix = f"audio files end in {' '.join(AUDIO_SUFFIXES)}; a data dir has wav.scp, a Shar folder cuts.*.jsonl.gz"
        raise AudiokdError("no audio in this folder", where=str(root), fix=fix)
    return utts

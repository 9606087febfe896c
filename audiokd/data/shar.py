"""Shard folders in lhotse's Shar layout, written so that the same input gives the same bytes, and read at random.

    SHARD_DIR/
      cuts.000000.jsonl.gz     one cut a line: id, duration, text and speaker as a supervision
      recording.000000.tar     audio, `ID.wav` and `ID.json` in turn: the source's own bytes where the cut is the whole
                               file, FLAC where its samples are integers of 16 or 24 bits
      samples.000000.tar       float32 arrays `[T]` or `[C, T]`, where neither holds: pieces of float, mp3 and ogg files
      cuts.info/000000.json    counts, sizes and sha256 of the shard; written after its files
      cuts.info/errors.jsonl   utterances whose audio could not be read: id, where, what
      cuts.info/shards.json    counts and sha256 of all shards, written last

Samples are kept exactly; what is resampled on the way (`audiokd shard --sample_rate`) is rounded to 16 bits. What is not lhotse's
lies in `cuts.info/` because `CutSet.from_shar(in_dir=SHARD_DIR)` takes every other name in the folder for a field with one file a
shard, and stops.
Format: https://lhotse.readthedocs.io/en/latest/shar.html
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import soundfile as sf

from audiokd.data.audio import check_finite, info, is_whole, load_channels, read_bytes, resample
from audiokd.data.cuts import channel_of, cut_lines, stretch, words
from audiokd.data.ids import legal_id
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.files import atomic_write, gzip_bytes, jsonl, leads_out, sha256_bytes, sha256_file, write_bytes, write_json

VERSION = 1
INFO = "cuts.info"
SUFFIX = {"WAV": "wav", "WAVEX": "wav", "RF64": "wav", "FLAC": "flac", "OGG": "ogg", "MP3": "mp3", "AIFF": "aiff"}
MAX_FLAC_CHANNELS = 8


# --- writing ---


def write_shard(
    root: Path,
    number: int,
    utterances: list[Utterance],
    sample_rate: int | None = None,
    on_item: Callable[[Utterance], None] | None = None,
) -> dict[str, Any]:
    """Write one shard; its `cuts.info/NNNNNN.json` comes last. An utterance that cannot be read is left out.

    Args:
        root: shard folder.
        number: of the shard.
        utterances: what goes in, in order.
        sample_rate: Hz at which all are kept, as 16-bit FLAC where they were recorded at another; None: as they are.
        on_item: called after each utterance.

    Returns:
        What the json holds: input (fingerprint), utterances, duration_s, files {name: {bytes, sha256}}, and errors.
    """
    name = f"{number:06d}"
    cuts: list[dict[str, Any]] = []
    errors: list[dict[str, str | None]] = []
    total_s, samples = 0.0, None
    with ExitStack() as stack:
        recording = stack.enter_context(_tar(root / f"recording.{name}.tar"))
        for utt in utterances:
            try:
                member_name(utt.id)
                item = _encode(utt, sample_rate)
            except AudiokdError as e:
                errors.append({"id": utt.id, "where": e.where, "what": e.what})
            else:
                cut, meta = _cut(utt, item)
                if item.suffix == "npy" and samples is None:  # most shards need no arrays: the file begins here
                    samples = stack.enter_context(_tar(root / f"samples.{name}.tar"))
                    for before in cuts:
                        _add_nothing(samples, before["id"])
                for tar, mine in ((recording, item.suffix != "npy"), (samples, item.suffix == "npy")):
                    if mine:
                        _add(tar, utt.id, item.suffix, item.data, meta)
                    elif tar is not None:
                        _add_nothing(tar, utt.id)
                cuts.append(cut)
                total_s += cut["duration"]
            if on_item:
                on_item(utt)
    if samples is None:
        (root / f"samples.{name}.tar").unlink(missing_ok=True)
    write_bytes(root / f"cuts.{name}.jsonl.gz", gzip_bytes(jsonl(cuts)))
    files = [f"cuts.{name}.jsonl.gz", f"recording.{name}.tar"] + ([f"samples.{name}.tar"] if samples else [])
    state = {
        "version": VERSION,
        "input": fingerprint(utterances, sizes=True),
        "utterances": len(cuts),
        "duration_s": round(total_s, 6),
        "files": {f: _seal(root / f) for f in files},
        "errors": errors,
    }
    write_json(root / INFO / f"{name}.json", state)
    return state


def finished(root: Path, number: int, utterances: list[Utterance]) -> dict[str, Any] | None:
    """The state of a shard that is complete and made from these utterances; None where it must be written."""
    try:
        state = json.loads((root / INFO / f"{number:06d}.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    whole = all((root / f).is_file() and (root / f).stat().st_size == s["bytes"] for f, s in state["files"].items())
    same = state["version"] == VERSION and state["input"] == fingerprint(utterances, sizes=True)
    return state if whole and same else None


def finish(root: Path, states: list[dict[str, Any]], input_state: dict[str, Any]) -> dict[str, Any]:
    """Write shards.json. If any shard has arrays, the others get a file without any: lhotse wants one a shard."""
    arrays = any(f"samples.{i:06d}.tar" in s["files"] for i, s in enumerate(states))
    shards = []
    for number, state in enumerate(states):
        name, files = f"{number:06d}", dict(state["files"])
        path = root / f"samples.{name}.tar"
        if arrays and path.name not in files:
            with _tar(path) as tar:
                for _, cut in cut_lines(root / f"cuts.{name}.jsonl.gz"):
                    _add_nothing(tar, cut["id"])
            files[path.name] = _seal(path)
        elif not arrays:
            path.unlink(missing_ok=True)
        counts = {key: state[key] for key in ("utterances", "duration_s")}
        shards.append({"name": name, **counts, "errors": len(state["errors"]), "files": files})
    total = {
        "utterances": sum(s["utterances"] for s in shards),
        "duration_s": round(sum(s["duration_s"] for s in shards), 6),
        "errors": sum(s["errors"] for s in shards),
    }
    summary = {"version": VERSION, **input_state, "total": total, "shards": shards}
    write_json(root / INFO / "shards.json", summary)
    return summary


def fingerprint(utterances: list[Utterance], sizes: bool = False) -> str:
    """sha256 over what goes into a shard: ids, stretches, texts, and with `sizes` the size of the audio. No path."""

    def size(utt: Utterance) -> int:
        if utt.codec == "pipe" or utt.nbytes is not None:
            return utt.nbytes or 0
        return os.stat(utt.path).st_size if os.path.exists(utt.path) else -1

    rows = ([u.id, u.start_s, u.end_s, u.channel, u.text, u.speaker, size(u) if sizes else 0] for u in utterances)
    return sha256_bytes(*(json.dumps(row).encode() for row in rows))


def member_name(utt_id: str) -> str:
    """The id as a name in a tar, after checking that lhotse and we get the same id back from it.

    Raises:
        AudiokdError: the id is an absolute path, has `..`, or does not survive as a path.
    """
    path = PurePosixPath(f"{utt_id}.x")
    if path.is_absolute() or ".." in path.parts or str(path.parent / path.stem) != utt_id or "\0" in utt_id:
        fix = "give it an id without a leading /, without //, . and .. parts"
        raise AudiokdError("this id cannot be a name in a tar", where=f"utterance {utt_id}", fix=fix)
    return utt_id


class _Item(NamedTuple):
    suffix: str
    data: bytes
    sample_rate: int
    num_samples: int
    num_channels: int


def _encode(utt: Utterance, wanted_rate: int | None) -> _Item:
    """The utterance's audio as bytes from which the very same samples come back, or those of another rate in 16 bits."""
    x, sample_rate = load_channels(utt)  # decodes all of it, so what is damaged does not get in
    resampled = wanted_rate not in (None, sample_rate)
    if wanted_rate is not None and resampled:
        x = np.stack([resample(np.ascontiguousarray(c), sample_rate, wanted_rate) for c in x.T], axis=1)
        check_finite(utt, x, wanted_rate)  # sums of samples near float32's end overflow
        x = (np.rint(x * 2**15).clip(-(2**15), 2**15 - 1) / 2**15).astype(np.float32)
        sample_rate = wanted_rate
    num_samples, num_channels = x.shape
    if utt.codec != "npy" and not resampled and is_whole(utt):
        audio_format = info(utt).format
        suffix = SUFFIX.get(audio_format, audio_format.lower())
        return _Item(suffix, read_bytes(utt), sample_rate, num_samples, num_channels)
    data = _flac(x, sample_rate)
    if data:
        return _Item("flac", data, sample_rate, num_samples, num_channels)
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(x.T if num_channels > 1 else x[:, 0]), version=(1, 0))
    return _Item("npy", out.getvalue(), sample_rate, num_samples, num_channels)


def _flac(x: np.ndarray, sample_rate: int) -> bytes | None:
    """FLAC of samples `[T, C]` that are all integers of 16 or 24 bits (scaled to [-1, 1)); None where they are not."""
    if x.shape[1] > MAX_FLAC_CHANNELS:
        return None
    for bits in (16, 24):
        y = x * np.float32(2 ** (bits - 1))  # exact: a power of two
        if y.min() >= -(2 ** (bits - 1)) and y.max() <= 2 ** (bits - 1) - 1 and np.array_equal(y, np.rint(y)):
            ints = y.astype(np.int16) if bits == 16 else y.astype(np.int32) << 8
            out = io.BytesIO()
            try:
                sf.write(out, ints, sample_rate, format="FLAC", subtype=f"PCM_{bits}")
            except RuntimeError:  # a sample rate that FLAC does not have
                return None
            return out.getvalue()
    return None


def _cut(utt: Utterance, item: _Item) -> tuple[dict[str, Any], dict[str, Any]]:
    """The cut's line, and the manifest that stands beside its data in the tar."""
    duration = item.num_samples / item.sample_rate
    channels = list(range(item.num_channels))
    channel = 0 if item.num_channels == 1 or item.suffix == "npy" else channels
    recording_id = utt.recording_id or utt.id
    supervision = {"id": utt.id, "recording_id": recording_id, "start": 0.0, "duration": duration, "channel": channel}
    supervision |= {k: v for k, v in (("text", utt.text), ("speaker", utt.speaker)) if v is not None}
    cut: dict[str, Any] = {
        "id": utt.id,
        "start": 0.0,
        "duration": duration,
        "channel": channel,
        "supervisions": [supervision] if utt.text is not None or utt.speaker is not None else [],
    }
    if item.suffix == "npy":
        shape = [item.num_samples] if item.num_channels == 1 else [item.num_channels, item.num_samples]
        meta: dict[str, Any] = {"storage_type": "shar", "storage_path": "", "storage_key": "", "shape": shape}
        cut["custom"] = {"samples": meta, "samples_rate": item.sample_rate}
    else:
        meta = cut["recording"] = {
            "id": recording_id,
            "sources": [{"type": "shar", "channels": channels, "source": ""}],
            "sampling_rate": item.sample_rate,
            "num_samples": item.num_samples,
            "duration": duration,
            "channel_ids": channels,
        }
    cut["type"] = "MonoCut" if channel == 0 else "MultiCut"
    return cut, meta


@contextmanager
def _tar(path: Path) -> Iterator[tarfile.TarFile]:
    with atomic_write(path) as f, tarfile.open(fileobj=f, mode="w", format=tarfile.PAX_FORMAT) as tar:
        yield tar


def _add(tar: tarfile.TarFile | None, utt_id: str, suffix: str, data: bytes, meta: dict[str, Any]) -> None:
    for name, content in ((f"{utt_id}.{suffix}", data), (f"{utt_id}.json", jsonl([meta]))):
        member = tarfile.TarInfo(name)  # mtime 0, uid 0, no user name: nothing of this machine
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))  # type: ignore[union-attr]


def _add_nothing(tar: tarfile.TarFile, utt_id: str) -> None:
    for suffix in ("nodata", "nometa"):
        tar.addfile(tarfile.TarInfo(f"{utt_id}.{suffix}"))


def _seal(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}


# --- reading ---


class SharShard(NamedTuple):
    """One shard of a folder: its number as written, its cuts where known, sha256 over its files where known, loader."""

    name: str
    size: int | None
    sha256: str | None
    load: Callable[[], list[Utterance]]


def read_shar(root: str | os.PathLike[str]) -> list[SharShard]:
    """The shards of a folder that we or lhotse wrote, in order.

    Raises:
        AudiokdError: no shards there, or ours and not finished.
    """
    root = Path(root)
    manifests = sorted(p for p in root.glob("cuts.*") if re.fullmatch(r"cuts\.(\d+\.)?jsonl(\.gz)?", p.name))
    if not manifests:
        raise AudiokdError("no cuts.*.jsonl.gz there", where=str(root), fix="give a folder in lhotse's Shar layout")
    known: dict[str, dict[str, Any]] = {}
    if (root / INFO).is_dir():
        if not (root / INFO / "shards.json").exists():
            fix = "run 'audiokd shard' with the same arguments again: it goes on where it was stopped"
            raise AudiokdError("the shards are not finished", where=str(root), fix=fix)
        known = {s["name"]: s for s in json.loads((root / INFO / "shards.json").read_bytes())["shards"]}
    found = [(m.name.split(".")[1] if m.name.count(".") > 1 and m.name[5].isdigit() else "", m) for m in manifests]
    # one that is gone is an error of its shard, not a shorter corpus
    found += [(name, root / f"cuts.{name}.jsonl.gz") for name in known.keys() - {name for name, _ in found}]
    shards = []
    for name, manifest in sorted(found):
        row = known.get(name)
        digest = sha256_bytes(*(row["files"][f]["sha256"].encode() for f in sorted(row["files"]))) if row else None
        shards.append(SharShard(name, row["utterances"] if row else None, digest, partial(read_shard, root, manifest)))
    return shards


def read_shard(root: Path, manifest: Path) -> list[Utterance]:
    """The utterances of one shard, each pointing at its bytes in the tar.

    Args:
        root: folder of the shards.
        manifest: the shard's cuts in it, such as cuts.000000.jsonl.gz.

    Raises:
        AudiokdError: no manifest, no tar beside it, a cut that is not in it, or a file that is damaged.
    """
    if not manifest.is_file():
        what = f"shards.json in {INFO} lists it, and it is not there"
        raise AudiokdError(what, where=str(manifest), fix="make the shard again, or copy it again from its source")
    middle = re.sub(r"^cuts|\.?jsonl(\.gz)?$", "", manifest.name)  # ".000000" or ""
    audio, arrays = root / f"recording{middle}.tar", root / f"samples{middle}.tar"
    if not audio.is_file() and not arrays.is_file():
        fix = "recordings must lie in the same folder, as an uncompressed tar"
        raise AudiokdError(f"no {audio.name} beside it", where=str(manifest), fix=fix)
    found = {path: _members(path) for path in (audio, arrays) if path.is_file()}
    utts = []
    for line, cut in cut_lines(manifest):
        where = f"{manifest}:{line}"
        path = next((p for p in found if cut["id"] in found[p]), None)
        if path is None:
            fix = "the shard is damaged: make it again"
            raise AudiokdError(f"cut {cut['id']} has no audio in {audio.name}", where=where, fix=fix)
        suffix, offset, nbytes = found[path][cut["id"]]
        text, speaker = words(cut)
        common: dict[str, Any] = {"id": legal_id(cut["id"]), "path": str(path), "offset": offset, "nbytes": nbytes}
        common |= {"where": where, "duration_s": cut["duration"], "text": text, "speaker": speaker}
        if path == arrays:
            rate = (cut.get("custom") or {}).get("samples_rate")
            if suffix != "npy" or not rate:
                what = f"cut {cut['id']}: samples are kept as .{suffix}, not as .npy with custom.samples_rate"
                raise AudiokdError(what, where=where, fix="make the shard with 'audiokd shard'")
            utts.append(Utterance(**common, codec="npy", sample_rate=rate, recording_id=legal_id(cut["id"])))
            continue
        recording = cut.get("recording")
        if not recording:
            raise AudiokdError(f"cut {cut['id']} has no recording", where=where, fix="make the shard again")
        start_s, end_s = stretch(cut, recording["sampling_rate"])
        channels = recording.get("channel_ids") or recording["sources"][0]["channels"]
        channel = channel_of(cut, channels, where)
        utts.append(
            Utterance(**common, start_s=start_s, end_s=end_s, channel=channel, recording_id=legal_id(recording["id"]))
        )
    return utts


def _members(path: Path) -> dict[str, tuple[str, int, int]]:
    """Id -> suffix, offset and size of the data in a Shar tar, from its headers alone."""
    members: dict[str, tuple[str, int, int]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for number, member in enumerate(tar):
                name = PurePosixPath(member.name)
                if leads_out(member.name) or not member.isfile():
                    fix = "do not use this archive: it is not a shard, or someone made it to write outside its folder"
                    raise AudiokdError(f"member {member.name!r} is refused", where=str(path), fix=fix)
                if number % 2 == 0 and name.suffix != ".nodata":  # data and its manifest take turns
                    members[str(name.parent / name.stem)] = (name.suffix[1:], member.offset_data, member.size)
    except (tarfile.TarError, OSError) as e:
        fix = "make the shard again, or copy it again from its source"
        raise AudiokdError(f"not a whole tar: {e}", where=str(path), fix=fix) from e
    return members

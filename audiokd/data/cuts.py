"""lhotse cuts manifests (.jsonl, .jsonl.gz) as utterances, without importing lhotse."""

from __future__ import annotations

import gzip
import json
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audiokd.data.ids import legal_id
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError


def read_cuts(path: str | os.PathLike[str], allow_pipes: bool = False) -> list[Utterance]:
    """Read a manifest of MonoCuts (or MultiCuts over all channels of one file) whose recordings are files.

    Relative paths are lhotse's, from the working directory; if nothing is there, from the manifest's folder.

    Raises:
        AudiokdError: a line that is something else, named.
    """
    path = Path(path)
    return [_utterance(path, line, cut, allow_pipes) for line, cut in cut_lines(path)]


def cut_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line of a .jsonl or .jsonl.gz file of cuts.

    Raises:
        AudiokdError: a line that is no cut, or a file that is damaged (file:line).
    """
    opener = gzip.open if path.suffix == ".gz" else open
    line = 0
    try:
        with opener(path, "rt", encoding="utf-8") as f:  # type: ignore[operator]
            for line, text in enumerate(f, 1):
                if text.strip():
                    cut = _parse(path, line, text)
                    if not isinstance(cut, dict) or "id" not in cut:
                        raise AudiokdError(
                            "not a cut: no id", where=f"{path}:{line}", fix="give a lhotse cuts manifest"
                        )
                    yield line, cut
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as e:  # bad UTF-8, or a gzip that is cut off
        raise AudiokdError(f"cannot be read ({e})", where=f"{path}:{line + 1}", fix=_AGAIN) from e


_AGAIN = "the file is damaged: write the manifest again"


def _parse(path: Path, line: int, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as e:
        raise AudiokdError(f"not a line of JSON ({e})", where=f"{path}:{line}", fix=_AGAIN) from e


def stretch(cut: dict[str, Any], sample_rate: int) -> tuple[float, float]:
    """Start and end in seconds that fall on the very samples that lhotse reads."""
    start = _round_half_up(cut.get("start", 0.0) * sample_rate)
    return start / sample_rate, (start + _round_half_up(cut["duration"] * sample_rate)) / sample_rate


def words(cut: dict[str, Any]) -> tuple[str | None, str | None]:
    """Text and speaker of a cut's supervisions: texts joined by spaces, the speaker where there is only one."""
    supervisions = cut.get("supervisions") or []
    texts = [s["text"] for s in supervisions if s.get("text") is not None]
    speakers = {s["speaker"] for s in supervisions if s.get("speaker")}
    return " ".join(texts) if texts else None, speakers.pop() if len(speakers) == 1 else None


def channel_of(cut: dict[str, Any], channels: list[int], where: str) -> int | None:
    """The row of the cut's channel among a source's `channels`; None where it takes all of them.

    Raises:
        AudiokdError: the source has no such channel, or some but not all of several are asked for.
    """
    wanted = cut.get("channel", 0)
    if isinstance(wanted, list) and len(wanted) == 1:
        wanted = wanted[0]
    if sorted(wanted) == sorted(channels) if isinstance(wanted, list) else len(channels) == 1:
        return None
    if isinstance(wanted, list) or wanted not in channels:
        fix = "make MonoCuts, or MultiCuts over all channels"
        raise AudiokdError(f"channel {wanted} of a file with channels {channels}", where=where, fix=fix)
    return channels.index(wanted)


def _utterance(path: Path, line: int, cut: dict[str, Any], allow_pipes: bool) -> Utterance:
    where = f"{path}:{line}"

    def refuse(what: str, fix: str) -> AudiokdError:
        return AudiokdError(f"cut {cut['id']} {what}", where=where, fix=fix)

    kind = cut.get("type", "no cut at all")
    if kind not in ("MonoCut", "MultiCut", "Cut"):
        raise refuse(f"is a {kind}", "only MonoCut and MultiCut can be read: save the mixed or padded audio first")
    recording = cut.get("recording")
    if not recording:
        raise refuse("has no recording", "attach the recordings (lhotse cut simple -r recordings.jsonl.gz ...)")
    if recording.get("transforms"):
        raise refuse("is changed on the fly (transforms)", "save the changed audio first (CutSet.save_audios)")
    wanted = cut.get("channel", 0)
    first = wanted[0] if isinstance(wanted, list) else wanted
    sources = [s for s in recording["sources"] if first in s["channels"]]
    if not sources:
        raise refuse(f"asks for channel {first}, which its recording has not", "correct the manifest")
    source, codec = sources[0], ""
    if source["type"] == "command":
        if not allow_pipes:
            raise refuse(f"runs a shell command: {source['source']}", "if you trust it: --allow_pipes true")
        codec = "pipe"
    elif source["type"] == "shar":
        raise refuse("belongs to a Shar folder", f"give the folder {path.parent} in place of the file")
    elif source["type"] != "file":
        raise refuse(
            f"has a source of type {source['type']}", "only files can be read: download or save the audio first"
        )
    file = source["source"]
    if not codec and not os.path.isabs(file) and not os.path.exists(file) and (path.parent / file).exists():
        file = str(path.parent / file)
    start_s, end_s = stretch(cut, recording["sampling_rate"])
    text, speaker = words(cut)
    return Utterance(
        id=legal_id(cut["id"]),
        path=file,
        codec=codec,
        start_s=start_s,
        end_s=end_s,
        channel=channel_of(cut, source["channels"], where),
        recording_id=legal_id(recording["id"]),
        duration_s=end_s - start_s,
        text=text,
        speaker=speaker,
        where=where,
    )


def _round_half_up(x: float) -> int:
    return math.floor(round(x, 8) + 0.5)

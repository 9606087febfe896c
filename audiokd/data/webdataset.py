"""Tars of samples, `KEY.mp3` beside `KEY.json`, read in place as webdataset corpora are published (Emilia and others).

An utterance's id is its KEY; text, speaker and duration are the fields of these names in its json, the text else KEY.txt.
Naming: https://github.com/webdataset/webdataset (the key is the name up to the first dot of its last part).
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from audiokd.data.ids import legal_id
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.files import leads_out

AUDIO = ("wav", "flac", "ogg", "mp3", "opus", "aiff", "aif")


def tars(root: Path) -> list[Path]:
    """The tars of a folder in order, or the one that `root` is."""
    return [root] if root.is_file() else sorted(p for p in root.glob("*.tar") if not p.name.startswith("."))


def read_tar(path: Path) -> list[Utterance]:
    """The utterances of one tar, in its order, each pointing at its bytes there. No audio is decoded.

    A json that cannot be read costs its utterance the text, and is named on stderr.

    Raises:
        AudiokdError: not a whole uncompressed tar, a member whose name leads out of its folder, a key that comes twice, or no
            audio in it.
    """
    audio: dict[str, tarfile.TarInfo] = {}
    fields: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                stem, _, suffix = name.name.partition(".")
                key = str(name.parent / stem)
                if not member.isfile() or not stem:
                    continue
                if leads_out(member.name):
                    fix = "do not use this archive, or pack it anew: someone made it to write outside its folder"
                    raise AudiokdError(f"member {member.name!r} is refused", where=str(path), fix=fix)
                if suffix.lower() in AUDIO:
                    if key in audio:
                        what = f"the key {key} comes twice: {audio[key].name} and {member.name}"
                        raise AudiokdError(what, where=str(path), fix="make the keys unique")
                    audio[key] = member
                elif suffix in ("json", "txt"):
                    content = tar.extractfile(member).read()  # type: ignore[union-attr]
                    fields[key] = {**_fields(content, suffix, f"{path}:{member.name}"), **fields.get(key, {})}
    except (tarfile.TarError, OSError, EOFError) as e:
        fix = "download it again; a compressed tar must be gunzipped first"
        raise AudiokdError(f"not a whole tar: {e}", where=str(path), fix=fix) from e
    if not audio:
        raise AudiokdError("no audio in this tar", where=str(path), fix=f"its members would end in {' '.join(AUDIO)}")
    return [_utterance(path, key, member, fields.get(key, {})) for key, member in audio.items()]


def _fields(content: bytes, suffix: str, where: str) -> dict[str, Any]:
    try:
        text = content.decode()
        fields = json.loads(text) if suffix == "json" else {"text": text}
        if not isinstance(fields, dict):
            raise ValueError("not an object")
        return fields
    except ValueError as e:
        print(f"{where}: cannot be read ({e}); its utterance goes without text", file=sys.stderr, flush=True)
        return {}


def _utterance(path: Path, key: str, member: tarfile.TarInfo, fields: dict[str, Any]) -> Utterance:
    text, speaker, duration = (fields.get(name) for name in ("text", "speaker", "duration"))
    return Utterance(
        id=legal_id(key),
        path=str(path),
        offset=member.offset_data,
        nbytes=member.size,
        recording_id=legal_id(key),
        duration_s=float(duration) if isinstance(duration, (int, float)) and duration > 0 else None,
        text=text.strip() if isinstance(text, str) else None,
        speaker=speaker if isinstance(speaker, str) and speaker else None,
        where=f"{path}:{member.name}",
    )

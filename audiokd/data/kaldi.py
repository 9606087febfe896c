"""Kaldi data directories: read, write, check (as utils/validate_data_dir.sh) and mend (as utils/fix_data_dir.sh).

wav.scp is `recording-id path` (or `recording-id command |`), segments `utterance-id recording-id start end [channel]`,
text `utterance-id words`, utt2spk `utterance-id speaker`, spk2utt its inverse. All sorted by id in the C locale.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.files import write_text

TABLES = ("wav.scp", "segments", "text", "utt2spk", "spk2utt")
SHOWN = 10  # faults shown in an error message
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a data dir. `fatal` faults stop reading it; the others are for a person to look at."""

    file: str
    line: int
    what: str
    utt_id: str | None = None
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {f'{self.utt_id}: ' if self.utt_id else ''}{self.what}"


@dataclass
class _Table:
    """A file of a data dir: `rows` maps key to (line, rest of the line), the first of duplicates."""

    path: Path
    rows: dict[str, tuple[int, str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, line: int, what: str, key: str | None = None, fatal: bool = True) -> None:
        self.faults.append(Fault(str(self.path), line, what, key, fatal))


def read_data_dir(path: str | os.PathLike[str], allow_pipes: bool = False) -> list[Utterance]:
    """Read a data directory's utterances, in order.

    Args:
        path: folder with wav.scp, and segments, text, utt2spk where the corpus has them.
        allow_pipes: let wav.scp entries that end in `|` run as shell commands.

    Raises:
        AudiokdError: the directory breaks a rule; the first faults are named with file and line.
    """
    root = Path(path)
    tables = _read(root)
    fatal = [f for f in _check(tables, allow_pipes) if f.fatal]
    if fatal:
        raise faults_error(root, fatal)
    return _utterances(root, tables)


def read_texts(path: str | os.PathLike[str]) -> dict[str, str]:
    """Words by utterance id of a data directory's `text`, by the same rules as `read_data_dir`.

    Raises:
        AudiokdError: the file breaks one; the first faults are named with file and line.
    """
    table = _read_table(Path(path) / "text")
    if fatal := [f for f in table.faults if f.fatal]:
        raise faults_error(Path(path), fatal)
    return {i: words for i, (_, words) in table.rows.items()}


def check_data_dir(path: str | os.PathLike[str], allow_pipes: bool = False) -> list[Fault]:
    """Check every rule of a data directory's structure (no audio is opened) and return what is broken."""
    return _check(_read(Path(path)), allow_pipes)


def fix_data_dir(src: str | os.PathLike[str], dst: str | os.PathLike[str] | None = None) -> list[Fault]:
    """Sort, drop duplicates and what cannot be used, and write spk2utt anew.

    Where text or utt2spk lacks an utterance, the utterance is dropped, as Kaldi does. Control characters in text become
    spaces. Without `dst` the directory is mended in place, its files kept in `src/.backup`.

    Returns:
        The faults that were there.

    Raises:
        AudiokdError: no utterance would be left.
    """
    src = Path(src)
    dst = src if dst is None else Path(dst)
    tables = _read(src)
    faults = _check(tables, allow_pipes=True)
    keep = _usable(tables)
    if not keep:
        fix = f"look at the faults first: {'; '.join(map(str, faults[:3]))}"
        raise AudiokdError("no utterance would be left", where=str(src), fix=fix)
    segments = tables.get("segments")
    recordings = {segments.rows[u][1].split()[0] for u in keep} if segments else keep
    out = {"wav.scp": {r: tables["wav.scp"].rows[r][1] for r in recordings}}
    for name in ("segments", "text", "utt2spk"):
        if name in tables:
            out[name] = {u: tables[name].rows[u][1] for u in keep}
    if "text" in out:
        out["text"] = {u: " ".join(_CONTROL.sub(" ", t).split()) for u, t in out["text"].items()}
    if "utt2spk" in out:
        out["spk2utt"] = _inverse(out["utt2spk"])
    for extra in sorted(p.name for p in src.glob("utt2*") if p.is_file() and p.name != "utt2spk"):
        theirs = _read_table(src / extra).rows
        out[extra] = {u: theirs[u][1] for u in keep if u in theirs}
    if dst == src:
        (src / ".backup").mkdir(exist_ok=True)
        for name in [*out, "spk2utt"]:
            if (src / name).exists():
                shutil.copy2(src / name, src / ".backup" / name)
    for name, rows in out.items():
        _write_table(dst / name, rows)
    if "spk2utt" not in out:
        (dst / "spk2utt").unlink(missing_ok=True)
    return faults


def write_data_dir(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> None:
    """Write utterances as a data directory: wav.scp, and segments, text, utt2spk, spk2utt where there is any.

    Raises:
        AudiokdError: an id or path that a data dir cannot hold, two utterances of one id, audio inside an archive.
    """
    root, utts = Path(path), sorted(utterances, key=lambda u: u.id)
    out: dict[str, dict[str, str]] = {"wav.scp": {}, "segments": {}, "text": {}, "utt2spk": {}}
    cut = any(
        u.start_s or u.end_s is not None or u.channel is not None or u.recording_id not in ("", u.id) for u in utts
    )
    for before, utt in zip([None, *utts], utts):
        where = f"{root}: utterance {utt.id}"
        if before is not None and before.id == utt.id:
            raise AudiokdError("two utterances have this id", where=where, fix="make the ids unique")
        if utt.nbytes is not None or utt.offset or utt.codec == "npy":
            fix = "write its audio to a file of its own first"
            raise AudiokdError(f"its audio lies inside {utt.path}", where=where, fix=fix)
        recording = (utt.recording_id or utt.id) if cut else utt.id
        for key in (utt.id, recording, utt.speaker or utt.id):
            if not key or key.split() != [key] or _CONTROL.search(key):
                raise AudiokdError(f"{key!r} cannot be an id: no spaces", where=where, fix="replace spaces by _")
        source = f"{utt.path.rstrip()} |" if utt.codec == "pipe" else utt.path
        if source != source.strip() or "\n" in source or (source.endswith("|") and utt.codec != "pipe"):
            raise AudiokdError(f"wav.scp cannot hold the path {source!r}", where=where, fix="rename the file")
        if out["wav.scp"].setdefault(recording, source) != source:
            raise AudiokdError(f"recording {recording} is two files", where=where, fix="give each file its own id")
        if cut:
            end = "-1" if utt.end_s is None else repr(utt.end_s)
            channel = "" if utt.channel is None else f" {utt.channel}"
            out["segments"][utt.id] = f"{recording} {utt.start_s!r} {end}{channel}"
        if any(u.text is not None for u in utts):
            out["text"][utt.id] = " ".join(_CONTROL.sub(" ", utt.text or "").split())
        if any(u.speaker for u in utts):
            out["utt2spk"][utt.id] = utt.speaker or utt.id
    if out["utt2spk"]:
        out["spk2utt"] = _inverse(out["utt2spk"])
    for name in TABLES:
        if out.get(name) or name == "wav.scp":
            _write_table(root / name, out[name])
        else:
            (root / name).unlink(missing_ok=True)


def faults_error(root: Path, faults: list[Fault]) -> AudiokdError:
    """The error for a data dir with these faults: the first of them, and what to do."""
    lines = [f"  {f}" for f in faults[:SHOWN]] + ([f"  ... and {len(faults) - SHOWN} more"] if faults[SHOWN:] else [])
    fix = f"audiokd validate {root} --fix true sorts and drops what cannot be used"
    if all(f.what.startswith(_PIPE) for f in faults):
        fix = "if you trust these commands: --allow_pipes true"
    what = f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the data directory:\n" + "\n".join(lines)
    return AudiokdError(what, where=str(root), fix=fix)


# --- reading ---

_PIPE = "a shell command, and pipes are not allowed"


def _read(root: Path) -> dict[str, _Table]:
    if not (root / "wav.scp").is_file():
        what = "no wav.scp there" if root.is_dir() else "no such folder"
        raise AudiokdError(
            what, where=str(root), fix="a data dir is a folder with a wav.scp: `recording-id path` a line"
        )
    return {name: _read_table(root / name) for name in TABLES if (root / name).is_file()}


def _read_table(path: Path) -> _Table:
    table, last = _Table(path), ""
    lines = path.read_bytes().split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    elif lines:
        table.fault(len(lines), "no newline at the end of the file", fatal=False)
    for number, raw in enumerate(lines, 1):
        if raw.endswith(b"\r"):
            table.fault(number, "Windows line ending (CR)")
            raw = raw[:-1]
        try:
            line = raw.decode()
        except UnicodeDecodeError as e:
            key = raw.split(b" ")[0].decode(errors="replace")
            table.fault(number, f"not UTF-8: byte 0x{raw[e.start]:02x} at column {e.start + 1}", key)
            continue
        parts = line.split(maxsplit=1)
        if not parts:
            table.fault(number, "an empty line")
            continue
        key, rest = parts[0], parts[1].rstrip() if len(parts) > 1 else ""
        if line[0].isspace():
            table.fault(number, "space before the id", key)
        if not rest and path.name != "text":
            table.fault(number, "only an id on the line", key)
            continue
        if _CONTROL.search(line.replace("\t", " ")):
            char = _CONTROL.search(line.replace("\t", " "))
            table.fault(number, f"control character U+{ord(char[0]):04X}", key)  # type: ignore[index]
            if path.name != "text":
                continue
        if key in table.rows:
            table.fault(number, f"id seen before, in line {table.rows[key][0]}", key)
            continue
        if key < last:
            table.fault(number, f"not sorted (C locale): comes after {last}", key)
        last = max(key, last)
        table.rows[key] = (number, rest)
    return table


def _segment(rest: str) -> tuple[str, float, float | None, int | None] | str:
    """Recording, start, end (None: to the end), channel; or what is wrong."""
    parts = rest.split()
    if len(parts) not in (3, 4):
        return f"{len(parts) + 1} fields, not `utterance-id recording-id start end [channel]`"
    try:
        start, end = float(parts[1]), float(parts[2])
        channel = int(parts[3]) if len(parts) == 4 else None
    except ValueError:
        return f"times or channel are not numbers: {' '.join(parts[1:])}"
    if not 0 <= start < float("inf") or (channel is not None and channel < 0):
        return f"start is {parts[1]}, not a time in seconds from 0 on" if channel is None else f"channel is {channel}"
    if end == -1:
        return parts[0], start, None, channel
    if not start < end < float("inf"):
        return f"end {parts[2]} is not after start {parts[1]}"
    return parts[0], start, end, channel


def _utterances(root: Path, tables: dict[str, _Table]) -> list[Utterance]:
    scp, segments = tables["wav.scp"], tables.get("segments")
    text, speakers = tables.get("text", _Table(root)), tables.get("utt2spk", _Table(root))
    sources = {key: _source(root, value) for key, (_, value) in scp.rows.items()}
    utts = []
    for key, (line, value) in (segments or scp).rows.items():
        segment = _segment(value) if segments else (key, 0.0, None, None)
        assert not isinstance(segment, str)  # _check has been through
        recording, start, end, channel = segment
        path, codec = sources[recording]
        utts.append(
            Utterance(
                id=key,
                path=path,
                codec=codec,
                start_s=start,
                end_s=end,
                channel=channel,
                recording_id=recording,
                duration_s=None if end is None else end - start,
                text=text.rows[key][1] if key in text.rows else None,
                speaker=speakers.rows[key][1] if key in speakers.rows else None,
                where=f"{(segments or scp).path}:{line}",
            )
        )
    return utts


def _source(root: Path, value: str) -> tuple[str, str]:
    """Path and codec. Relative paths are Kaldi's, from the working directory; if nothing is there, the data dir's."""
    if value.endswith("|"):
        return value[:-1].strip(), "pipe"
    if not os.path.isabs(value) and not os.path.exists(value) and (root / value).exists():
        return str(root / value), ""
    return value, ""


# --- checking and mending ---


def _check(tables: dict[str, _Table], allow_pipes: bool) -> list[Fault]:
    faults = [f for t in tables.values() for f in t.faults]

    def fault(table: _Table, key: str, what: str, fatal: bool = True) -> None:
        faults.append(Fault(str(table.path), table.rows[key][0], what, key, fatal))

    scp, segments = tables["wav.scp"], tables.get("segments")
    if not scp.rows:
        faults.append(Fault(str(scp.path), 1, "no recording in it"))
    for key, (_, value) in scp.rows.items():
        if value.endswith("|") and not allow_pipes:
            fault(scp, key, f"{_PIPE}: {value}")
    for key, (_, value) in segments.rows.items() if segments else ():
        segment = _segment(value)
        if isinstance(segment, str):
            fault(segments, key, segment)  # type: ignore[arg-type]
        elif segment[0] not in scp.rows:
            fault(segments, key, f"recording {segment[0]} is not in wav.scp")  # type: ignore[arg-type]
    listed = segments or scp
    for name in ("text", "utt2spk"):
        table = tables.get(name)
        if table is None:
            continue
        for key in table.rows:
            if key not in listed.rows:
                fault(table, key, f"not in {listed.path.name}")
        for key in listed.rows:
            if key not in table.rows:
                fault(listed, key, f"not in {name}")
    utt2spk, spk2utt = tables.get("utt2spk"), tables.get("spk2utt")
    if utt2spk:
        for key, (_, speaker) in utt2spk.rows.items():
            if len(speaker.split()) != 1:
                fault(utt2spk, key, f"{len(speaker.split()) + 1} fields, not `utterance-id speaker`")
            elif not key.startswith(speaker):
                fault(utt2spk, key, f"speaker {speaker} does not begin the id: Kaldi sorts may differ", fatal=False)
    if spk2utt:
        inverse = _inverse({u: s for u, (_, s) in utt2spk.rows.items()}) if utt2spk else {}
        for speaker, (_, utts) in spk2utt.rows.items():
            if sorted(utts.split()) != inverse.get(speaker, "").split():
                fault(spk2utt, speaker, "not the inverse of utt2spk")
        for speaker in sorted(inverse.keys() - spk2utt.rows.keys()):
            faults.append(Fault(str(spk2utt.path), len(spk2utt.rows), f"speaker {speaker} of utt2spk is missing"))
    return faults


def _usable(tables: dict[str, _Table]) -> set[str]:
    """Ids of the utterances that every table has, with good lines."""
    scp, segments = tables["wav.scp"], tables.get("segments")
    keep = set((segments or scp).rows)
    if segments:
        good = {u: _segment(v) for u, (_, v) in segments.rows.items()}
        keep = {u for u, s in good.items() if not isinstance(s, str) and s[0] in scp.rows}
    if "text" in tables:
        keep &= tables["text"].rows.keys()
    if "utt2spk" in tables:
        keep &= {u for u, (_, s) in tables["utt2spk"].rows.items() if len(s.split()) == 1}
    return keep


def _inverse(utt2spk: dict[str, str]) -> dict[str, str]:
    spk2utt: dict[str, list[str]] = {}
    for utt in sorted(utt2spk):
        spk2utt.setdefault(utt2spk[utt], []).append(utt)
    return {s: " ".join(u) for s, u in spk2utt.items()}


def _write_table(path: Path, rows: dict[str, str]) -> None:
    write_text(path, "".join(f"{key} {rows[key]}".rstrip() + "\n" for key in sorted(rows)))

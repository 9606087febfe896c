"""Stage 2: check a data directory's lists and all of its audio before anything is made from it."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from audiokd.data.inputs import QUARANTINE
from audiokd.data.item_inputs import holds_items
from audiokd.data.kaldi import check_data_dir, faults_error, fix_data_dir, read_data_dir
from audiokd.data.pool import pool_map
from audiokd.data.utterance import Utterance
from audiokd.data.validate import AudioReport, check_audio
from audiokd.data.webdataset import read_tar, tars
from audiokd.errors import AudiokdError, ConfigError
from audiokd.files import write_json, write_text
from audiokd.progress import progress

REPORT = "validate.json"


def validate(
    data_dir: str,
    max_error_rate: float = 0.0,
    fix: bool = False,
    allow_pipes: bool = False,
    nj: int = 1,
    clip_threshold: float = 0.001,
) -> dict:
    """Check a data directory, or a folder of webdataset tars: every rule of its lists, and all of its audio, pictures or
    videos, decoded in full.

    Each fault is printed as `file:line: utterance: what`. Utterances whose audio cannot be used go to
    DATA_DIR/quarantine.txt (`utterance-id reason` a line), which later stages leave out; the report is
    DATA_DIR/validate.json. Clipping, silence and a suffix that does not fit are warnings. Of pictures those are what had to be
    converted (CMYK, 16 bits, transparency), a suffix that does not fit, and one file under two ids; of videos a
    variable frame rate, odd sides and one file under two ids; the report counts classes and domains. Of frames of drives all
    points, sweeps and pictures are read, and boxes and calibrations checked.

    Args:
        data_dir: folder with wav.scp, and segments, text, utt2spk, spk2utt where the corpus has them; or with *.tar; or with
            items.jsonl, and classes.txt where it has one, which has to list the classes of the labels.
        max_error_rate: share of utterances, pictures or frames that are bad from which the stage fails.
        fix: sort the lists, drop duplicates and unusable lines, write spk2utt anew (the old files go to .backup); of sound.
        allow_pipes: run wav.scp entries that end in `|` as shell commands; of sound.
        nj: processes that decode.
        clip_threshold: share of samples at full scale from which an utterance is reported as clipped; of sound.

    Returns:
        The report.

    Raises:
        AudiokdError: the lists break a rule, or too much audio or too many pictures are bad.
    """
    root = Path(data_dir)
    if root.is_dir() and holds_items(root):
        from audiokd.data.items3d import holds_frames
        from audiokd.stages.validate_frames import validate_frames
        from audiokd.stages.validate_pictures import validate_pictures

        if fix or allow_pipes:
            raise ConfigError("--fix and --allow_pipes are for lists of sound", where=str(root), fix="leave them out")
        return (validate_frames if holds_frames(root) else validate_pictures)(root, max_error_rate, nj)
    if not (root / "wav.scp").exists() and tars(root):
        return _check_audio(
            root, [u for tar in tars(root) for u in read_tar(tar)], [], max_error_rate, nj, clip_threshold
        )
    faults = check_data_dir(root, allow_pipes)
    if fix and any(f.fatal for f in faults):
        mended = fix_data_dir(root)
        say(f"{root}: {len(mended)} faults mended, the old files are in {root / '.backup'}")
        for fault in mended:
            say(f"  was: {fault}")
        faults = check_data_dir(root, allow_pipes)
    for fault in faults:
        say(str(fault) if fault.fatal else f"{fault} (warning)")
    fatal = [f for f in faults if f.fatal]
    if fatal:
        write_json(root / REPORT, {"structure": [str(f) for f in faults], "ok": False})
        raise faults_error(root, fatal)

    utts = read_data_dir(root, allow_pipes)
    return _check_audio(root, utts, [str(f) for f in faults], max_error_rate, nj, clip_threshold)


def _check_audio(
    root: Path, utts: list[Utterance], structure: list[str], max_error_rate: float, nj: int, clip_threshold: float
) -> dict[str, Any]:
    reports: list[AudioReport] = []
    bad = 0
    with progress(f"validate {root.name}", len(utts), "utterances") as bar:
        check = partial(check_audio, clip_threshold=clip_threshold)
        for report in pool_map(check, utts, nj, chunk_size=16):
            reports.append(report)
            bad += report.error is not None
            if report.error is not None:
                say(f"{report.where}: {report.id}: {report.error}")
            for warning in report.warnings:
                say(f"{report.where}: {report.id}: {warning} (warning)")
            bar.advance(1, f"{bad} bad")
    return _summary(root, reports, structure, max_error_rate)


def _summary(root: Path, reports: list[AudioReport], structure: list[str], max_error_rate: float) -> dict[str, Any]:
    good = [r for r in reports if r.error is None]
    bad = [(r.id, r.where, r.error) for r in reports if r.error is not None]
    summary: dict[str, Any] = {
        "utterances": len(reports),
        "duration_s": round(sum(r.duration_s for r in good), 3),
        "sample_rates": dict(Counter(str(r.sample_rate) for r in good)),
        "channels": dict(Counter(str(r.channels) for r in good)),
        "formats": dict(Counter(r.format for r in good)),
        "structure": structure,
        "audio": [{"id": i, "where": where, "what": what} for i, where, what in sorted(bad)],
        "warnings": [{"id": r.id, "where": r.where, "what": w} for r in good for w in r.warnings],
    }
    summary = conclude(root, summary, bad, len(reports), max_error_rate, "utterances have bad audio")
    say(
        f"{root}: {len(good)} utterances, {summary['duration_s'] / 3600:.2f} h, {len(bad)} in quarantine, "
        f"{len(summary['warnings'])} warnings; the report is {root / REPORT}"
    )
    return summary


def conclude(
    root: Path, summary: dict[str, Any], bad: list[tuple[str, str, str]], total: int, max_error_rate: float, what: str
) -> dict[str, Any]:
    """Write the quarantine list and the report.

    Args:
        root: the data dir.
        summary: of the report; ok, bad and error_rate are added.
        bad: id, place and reason of what cannot be used.
        total: how many were looked at.
        max_error_rate: share of `bad` that is let pass.
        what: is wrong with them, after "3 of 10 ".

    Returns:
        What the report holds.

    Raises:
        AudiokdError: there is more; the first are named.
    """
    bad, rate = sorted(bad), len(bad) / total
    summary |= {"ok": rate <= max_error_rate, "bad": len(bad), "error_rate": round(rate, 6)}
    if bad:
        write_text(root / QUARANTINE, "".join(f"{i} {' '.join(reason.split())}\n" for i, _, reason in bad))
    else:
        (root / QUARANTINE).unlink(missing_ok=True)
    write_json(root / REPORT, summary)
    if rate > max_error_rate:
        shown = "\n".join(f"  {where}: {i}: {reason}" for i, where, reason in bad[:10])
        more = f"\n  ... and {len(bad) - 10} more in {root / REPORT}" if bad[10:] else ""
        fix = f"mend them, or leave them out (they are listed in {root / QUARANTINE}): --max_error_rate {_up(rate)}"
        raise AudiokdError(f"{len(bad)} of {total} {what} ({rate:.2%}):\n{shown}{more}", where=str(root), fix=fix)
    return summary


def _up(rate: float) -> float:
    """The rate, rounded up so that it lets the run pass."""
    return min(round(rate + 5e-4, 3), 1.0)


def say(line: str) -> None:
    """A line on stderr, at once."""
    print(line, file=sys.stderr, flush=True)

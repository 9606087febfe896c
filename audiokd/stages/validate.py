"""Stage 2: check a data directory's lists and all of its audio before anything is made from it."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from audiokd.data.inputs import QUARANTINE
from audiokd.data.kaldi import check_data_dir, faults_error, fix_data_dir, read_data_dir
from audiokd.data.pool import pool_map
from audiokd.data.utterance import Utterance
from audiokd.data.validate import AudioReport, check_audio
from audiokd.data.webdataset import read_tar, tars
from audiokd.errors import AudiokdError
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
    """Check a data directory, or a folder of webdataset tars: every rule of its lists, and all of its audio, decoded in full.

    Each fault is printed as `file:line: utterance: what`. Utterances whose audio cannot be used go to
    DATA_DIR/quarantine.txt (`utterance-id reason` a line), which later stages leave out; the report is
    DATA_DIR/validate.json. Clipping, silence and a suffix that does not fit are warnings.

    Args:
        data_dir: folder with wav.scp, and segments, text, utt2spk, spk2utt where the corpus has them; or with *.tar.
        max_error_rate: share of utterances with bad audio from which the stage fails.
        fix: sort the lists, drop duplicates and unusable lines, write spk2utt anew (the old files go to .backup).
        allow_pipes: run wav.scp entries that end in `|` as shell commands.
        nj: processes that decode.
        clip_threshold: share of samples at full scale from which an utterance is reported as clipped.

    Returns:
        The report.

    Raises:
        AudiokdError: the lists break a rule, or too much audio is bad.
    """
    root = Path(data_dir)
    if not (root / "wav.scp").exists() and tars(root):
        return _check_audio(
            root, [u for tar in tars(root) for u in read_tar(tar)], [], max_error_rate, nj, clip_threshold
        )
    faults = check_data_dir(root, allow_pipes)
    if fix and any(f.fatal for f in faults):
        mended = fix_data_dir(root)
        _say(f"{root}: {len(mended)} faults mended, the old files are in {root / '.backup'}")
        for fault in mended:
            _say(f"  was: {fault}")
        faults = check_data_dir(root, allow_pipes)
    for fault in faults:
        _say(str(fault) if fault.fatal else f"{fault} (warning)")
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
                _say(f"{report.where}: {report.id}: {report.error}")
            for warning in report.warnings:
                _say(f"{report.where}: {report.id}: {warning} (warning)")
            bar.advance(1, f"{bad} bad")
    return _conclude(root, reports, structure, max_error_rate)


def _conclude(root: Path, reports: list[AudioReport], structure: list[str], max_error_rate: float) -> dict[str, Any]:
    bad = sorted((r for r in reports if r.error is not None), key=lambda r: r.id)
    good = [r for r in reports if r.error is None]
    rate = len(bad) / len(reports)
    summary: dict[str, Any] = {
        "ok": rate <= max_error_rate,
        "utterances": len(reports),
        "bad": len(bad),
        "error_rate": round(rate, 6),
        "duration_s": round(sum(r.duration_s for r in good), 3),
        "sample_rates": dict(Counter(str(r.sample_rate) for r in good)),
        "channels": dict(Counter(str(r.channels) for r in good)),
        "formats": dict(Counter(r.format for r in good)),
        "structure": structure,
        "audio": [{"id": r.id, "where": r.where, "what": r.error} for r in bad],
        "warnings": [{"id": r.id, "where": r.where, "what": w} for r in good for w in r.warnings],
    }
    if bad:
        write_text(root / QUARANTINE, "".join(f"{r.id} {' '.join(str(r.error).split())}\n" for r in bad))
    else:
        (root / QUARANTINE).unlink(missing_ok=True)
    write_json(root / REPORT, summary)
    if rate > max_error_rate:
        shown = "\n".join(f"  {r.where}: {r.id}: {r.error}" for r in bad[:10])
        more = f"\n  ... and {len(bad) - 10} more in {root / REPORT}" if bad[10:] else ""
        what = f"{len(bad)} of {len(reports)} utterances have bad audio ({rate:.2%}):\n{shown}{more}"
        fix = f"mend them, or leave them out (they are listed in {root / QUARANTINE}): --max_error_rate {_up(rate)}"
        raise AudiokdError(what, where=str(root), fix=fix)
    _say(
        f"{root}: {len(good)} utterances, {summary['duration_s'] / 3600:.2f} h, {len(bad)} in quarantine, "
        f"{len(summary['warnings'])} warnings; the report is {root / REPORT}"
    )
    return summary


def _up(rate: float) -> float:
    """The rate, rounded up so that it lets the run pass."""
    return min(round(rate + 5e-4, 3), 1.0)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

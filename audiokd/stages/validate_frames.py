"""Stage 2 of drives: check a folder's frames, its classes and all files that the frames name."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from audiokd.data.items3d import read_frames, read_names
from audiokd.data.pool import pool_map
from audiokd.data.validate_frames import FrameReport, check_frame
from audiokd.errors import AudiokdError
from audiokd.files import write_json
from audiokd.progress import progress
from audiokd.stages.validate import REPORT, conclude, say


def validate_frames(root: Path, max_error_rate: float, nj: int) -> dict[str, Any]:
    """As `audiokd.stages.validate.validate`, of a folder whose items.jsonl has frames of drives.

    Raises:
        AudiokdError: a line of items.jsonl breaks a rule, there is no classes.txt, or too many frames are bad.
    """
    try:
        items, names = read_frames(root), read_names(root)
    except AudiokdError as e:
        write_json(root / REPORT, {"structure": [str(e)], "ok": False})
        raise
    reports: list[FrameReport] = []
    bad = 0
    with progress(f"validate {root.name}", len(items), "frames") as bar:
        for report in pool_map(partial(check_frame, names=names), items, nj, chunk_size=4):
            reports.append(report)
            bad += report.error is not None
            who = f"{report.where}: {report.item.id} of {report.item.scene}"
            for what in [report.error] if report.error is not None else []:
                say(f"{who}: {what}")
            for warning in report.warnings:
                say(f"{who}: {warning} (warning)")
            bar.advance(1, f"{bad} bad")
    good = [r for r in reports if r.error is None]
    wrong = [(r.item.id, f"{r.where}: scene {r.item.scene}", r.error) for r in reports if r.error is not None]
    boxed, marked = (sum((Counter(getattr(r, k)) for r in good), Counter()) for k in ("boxed", "marked"))
    summary: dict[str, Any] = {
        "frames": len(reports),
        "scenes": len({r.item.scene for r in good}),
        "frames_with_boxes": sum(bool(r.boxed) for r in good),
        "boxes": {n: boxed[n] for n in names},
        "marks_alone": {n: marked[n] for n in names},
        "points_a_frame": round(sum(r.points for r in good) / len(good), 1) if good else 0,
        "cameras": dict(sorted(Counter(str(r.cameras) for r in good).items())),
        "structure": [],
        "bad_frames": [{"id": i, "where": where, "what": what} for i, where, what in sorted(wrong)],
        "warnings": [{"id": r.item.id, "where": r.where, "what": w} for r in good for w in r.warnings],
    }
    for name in [n for n in names if not boxed[n] + marked[n]]:
        say(f"{root}: no object of {name} (warning)")
        summary["warnings"].append({"id": "", "where": str(root), "what": f"no object of {name}"})
    summary = conclude(root, summary, wrong, len(reports), max_error_rate, "frames cannot be used")
    say(
        f"{root}: {len(good)} frames of {summary['scenes']} scenes, {boxed.total()} boxes, {marked.total()} marks alone, "
        f"{len(wrong)} in quarantine, {len(summary['warnings'])} warnings; the report is {root / REPORT}"
    )
    return summary

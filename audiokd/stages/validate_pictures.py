"""Stage 2 of pictures and videos: check a folder's items.jsonl, its classes and all of its files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from audiokd.data.classes import CLASSES, check_same, named, read_classes
from audiokd.data.item_inputs import media_of
from audiokd.data.items import Item, read_items
from audiokd.data.pool import pool_map
from audiokd.data.validate_images import ImageReport, check_image
from audiokd.data.validate_videos import check_video
from audiokd.errors import AudiokdError
from audiokd.files import write_json
from audiokd.progress import progress
from audiokd.stages.validate import REPORT, conclude, say


def validate_pictures(root: Path, max_error_rate: float, nj: int) -> dict[str, Any]:
    """As `audiokd.stages.validate.validate`, of a folder with items.jsonl.

    Raises:
        AudiokdError: a line of items.jsonl breaks a rule, a label is not in classes.txt, or too many pictures or videos are bad.
    """
    items = read_items(root)
    moving = media_of(root) == "video"
    unit, check = ("videos", check_video) if moving else ("pictures", check_image)
    try:
        absent = _check_classes(root, items)
    except AudiokdError as e:
        write_json(root / REPORT, {"structure": [str(e)], "ok": False})
        raise
    reports: list[ImageReport] = []
    bad = 0
    with progress(f"validate {root.name}", len(items), unit) as bar:
        for report in pool_map(check, items, nj, chunk_size=16):
            reports.append(report)
            bad += report.error is not None
            if report.error is not None:
                say(f"{report.where}: {report.item.id}: {report.error}")
            for warning in report.warnings:
                say(f"{report.where}: {report.item.id}: {warning} (warning)")
            bar.advance(1, f"{bad} bad")
    good = [r for r in reports if r.error is None]
    wrong = [(r.item.id, r.where, r.error) for r in reports if r.error is not None]
    copies = _copies(good)
    for row in copies:
        say(f"{row['where']}: {row['id']}: {row['what']} (warning)")
    summary: dict[str, Any] = {
        unit: len(reports),
        "classes": _counts(good, "label"),
        "domains": _counts(good, "domain"),
        "without_label": sum(r.item.label is None for r in good),
        "sizes": _sizes(good),
        "formats": dict(sorted(Counter(r.format for r in good).items())),
        "structure": [],
        "images": [{"id": i, "where": where, "what": what} for i, where, what in sorted(wrong)],
        "warnings": [{"id": r.item.id, "where": r.where, "what": w} for r in good for w in r.warnings] + copies,
    }
    if moving:
        summary["frames"] = sum(r.frames for r in good)
        summary["duration_s"] = round(sum(r.duration_s for r in good), 3)
    if absent:
        what = f"no item of {named(absent)}"
        say(f"{root / CLASSES}: {what} (warning)")
        summary["warnings"].append({"id": "", "where": str(root / CLASSES), "what": what})
    summary = conclude(root, summary, wrong, len(reports), max_error_rate, f"{unit} cannot be read")
    sizes = f", {' to '.join('x'.join(map(str, summary['sizes'][k])) for k in ('least', 'greatest'))}" if good else ""
    say(
        f"{root}: {len(good)} {unit}, {len(summary['classes'])} classes, {len(summary['domains'])} domains{sizes}, "
        f"{len(wrong)} in quarantine, {len(summary['warnings'])} warnings; the report is {root / REPORT}"
    )
    return summary


def _check_classes(root: Path, items: list[Item]) -> list[str]:
    """Classes of the list that no item has, as of a part that was held out: nothing is wrong with those."""
    labels = {i.label for i in items if i.label is not None}
    if not labels or not (root / CLASSES).exists():
        return []
    listed = read_classes(root / CLASSES)
    if labels - listed.keys():
        fix = f"correct {CLASSES}, or the labels of {root / 'items.jsonl'}"
        check_same(listed, labels, str(root / CLASSES), fix)
    return [label for label in listed if label not in labels]


def _counts(reports: list[ImageReport], field: str) -> dict[str, int]:
    return dict(sorted(Counter(v for r in reports if (v := getattr(r.item, field)) is not None).items()))


def _sizes(reports: list[ImageReport]) -> dict[str, tuple[int, int]]:
    """Width and height of the pictures with the least, the median and the greatest number of pixels."""
    sizes = sorted((r.size for r in reports), key=lambda s: (s[0] * s[1], s))
    if not sizes:
        return {}
    return {"least": sizes[0], "median": sizes[(len(sizes) - 1) // 2], "greatest": sizes[-1]}


def _copies(reports: list[ImageReport]) -> list[dict[str, str]]:
    """A warning for each item whose file is another's, byte for byte: the first of them by id is named."""
    first: dict[str, ImageReport] = {}
    rows = []
    for r in sorted(reports, key=lambda r: r.item.id):
        one = first.setdefault(r.sha256, r)
        if one is not r:
            other = (
                "" if one.item.label == r.item.label else f", whose label is {one.item.label} and not {r.item.label}"
            )
            what = f"the same file as {one.item.id} ({one.where}){other}"
            rows.append({"id": r.item.id, "where": r.where, "what": what})
    return rows

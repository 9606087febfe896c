"""Boxes of a moment of a drive for people: from above, in the cameras' pictures, and both on one sheet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audiokd.data.boxes3d import EDGES, box_corners
from audiokd.data.frame3d import Frame3d
from audiokd.eval.boxes3d import box_table
from audiokd.eval.pseudo_quality import quality_table
from audiokd.eval.table import Summary
from audiokd.report.heat_maps import png_uri
from audiokd.report.page import Report

if TYPE_CHECKING:
    from PIL import Image

TRUE, FOUND, MARK = (40, 220, 60), (255, 120, 20), (90, 170, 255)
BACK = (14, 16, 22)
#: columns of the table of scores
SCORES = {
    "map": "mAP ↑",
    "nds": "NDS ↑",
    "nds_without_velocity": "NDS without velocity ↑",
    "ate": "ATE, m ↓",
    "ase": "ASE ↓",
    "aoe": "AOE, rad ↓",
}
WIDE = 480  # pixels of a camera's picture at most; smaller ones are enlarged by whole times
NEAR_M = 0.1  # lines are cut off so far in front of a camera


def bird_view(frame: Frame3d, true: np.ndarray, found: np.ndarray, range_m: float, side: int = 480) -> Image.Image:
    """From above, the way ahead up: points by height, true boxes green, found ones orange with a line to the front, marks blue.

    Args:
        frame: the moment.
        true: boxes [N, 9], those that are known.
        found: boxes [M, 9].
        range_m: from the car to the border.
        side: of the picture, pixels.
    """
    from PIL import Image, ImageDraw

    scale = side / 2 / range_m

    def place(xy: np.ndarray) -> np.ndarray:  # x ahead is up, y left is left
        return np.stack([side / 2 - xy[..., 1] * scale, side / 2 - xy[..., 0] * scale], -1)

    canvas = np.full((side, side, 3), BACK, np.uint8)
    at = np.floor(place(frame.points[:, :2].astype(np.float64))).astype(int)
    inside = ((at >= 0) & (at < side)).all(1)
    height = np.clip((frame.points[inside, 2] + 0.5) / 3.5, 0, 1)[:, None]
    low, high = np.array([70.0, 75, 95]), np.array([255.0, 250, 210])
    order = np.argsort(height[:, 0], kind="stable")  # the high ones on top
    canvas[at[inside][order, 1], at[inside][order, 0]] = (low + (high - low) * height)[order]
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for ring in np.arange(10, range_m * 1.5, 10):
        r = float(ring * scale)
        draw.ellipse([side / 2 - r, side / 2 - r, side / 2 + r, side / 2 + r], outline=(45, 48, 60))
    for boxes, colour in ((true, TRUE), (found, FOUND)):
        for corners, box in zip(place(box_corners(boxes)[:, :4, :2]), boxes):
            draw.polygon([tuple(map(float, c)) for c in corners], outline=colour)
            ahead = box[:2] + np.array([np.cos(box[6]), np.sin(box[6])]) * (box[3] / 2 + 0.8)
            draw.line([*map(float, place(box[:2])), *map(float, place(ahead))], fill=colour)
    for mark in frame.marks[~np.isnan(frame.marks).any(1)]:
        x, y = map(float, place(mark[:2]))
        draw.line([x - 3, y, x + 3, y], fill=MARK)
        draw.line([x, y - 3, x, y + 3], fill=MARK)
    return image


def camera_view(frame: Frame3d, camera: int, true: np.ndarray, found: np.ndarray, times: int = 1) -> Image.Image:
    """A camera's picture, so many times as large, with the edges of boxes [N, 9] that lie in front; their fronts have a cross."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(frame.images[camera])
    image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    to_camera, intrinsics = frame.to_camera[camera], np.diag([times, times, 1.0]) @ frame.intrinsics[camera]
    for boxes, colour in ((true, TRUE), (found, FOUND)):
        for corners in box_corners(boxes) @ to_camera[:3, :3].T + to_camera[:3, 3]:
            for start, end in EDGES:
                line = _in_front(corners[start], corners[end])
                if line is not None:
                    ends = line @ intrinsics.T
                    draw.line([tuple(map(float, e)) for e in ends[:, :2] / ends[:, 2:]], fill=colour)
    return image


def frame_sheet(frame: Frame3d, true: np.ndarray, found: np.ndarray, range_m: float) -> Image.Image:
    """All cameras, from left to right by where they look, beside the view from above."""
    from PIL import Image, ImageDraw

    text, gap = 16, 4
    above = bird_view(frame, true, found, range_m)
    times = max(1, WIDE // max((i.shape[1] for i in frame.images), default=WIDE))
    views = [camera_view(frame, k, true, found, times) for k in _by_yaw(frame)]
    rows = -(-len(views) // 3)
    wide = min(3, len(views)) * (views[0].width + gap) if views else 0
    high = max(above.height, rows * (views[0].height + gap) if views else 0)
    sheet = Image.new("RGB", (above.width + gap + wide, high + text), "white")
    sheet.paste(above, (0, 0))
    for k, view in enumerate(views):
        sheet.paste(view, (above.width + gap + k % 3 * (view.width + gap), k // 3 * (view.height + gap)))
    said = f"{frame.id}: {len(true)} true boxes (green), {len(found)} found (orange), rings of 10 m"
    ImageDraw.Draw(sheet).text((4, high + 2), said, fill="black")
    return sheet


def stack(sheets: list[Image.Image]) -> Image.Image:
    """Sheets one below another."""
    from PIL import Image

    made = Image.new("RGB", (max(s.width for s in sheets), sum(s.height for s in sheets)), "white")
    top = 0
    for sheet in sheets:
        made.paste(sheet, (0, top))
        top += sheet.height
    return made


def add_boxes(page: Report, exp: Path) -> tuple[list[str], list[list[str]]] | None:
    """What a run's folder has of boxes/<set>.json and boxes/<set>/sheet.png; the table of scores.

    Args:
        page: to add to.
        exp: folder of the run.
    """
    from PIL import Image

    paths = sorted((exp / "boxes").glob("*.json"))
    found = {p: json.loads(p.read_text()) for p in paths}
    if not found:
        return None
    headers = ["set", "frames", *(f"{SCORES[k]}" for k in SCORES)]
    rows = [[p.stem, str(r["rows"]), *(Summary(**r["scores"][k]).text() for k in SCORES)] for p, r in found.items()]
    caption = "With a 95% bootstrap interval over drives. NDS counts what is not known as wrong; "
    caption += "without velocity it leaves that out."
    page.add_table("Boxes", headers, rows, caption)
    for path, r in found.items():
        page.add_table(f"{path.stem}: each class", *box_table(r), "Errors are of true positives within 2 m.")
        order = "in order" if r["quality"]["in_order"] else "to the nearest of its class within 2 m"
        page.add_table(
            f"{path.stem}: object by object",
            *quality_table(r["quality"]),
            f"Each true object and the box that is paired {order}.",
        )
        sheet = path.with_suffix("") / "sheet.png"
        if sheet.exists():
            with Image.open(sheet) as image:
                uri = png_uri(image)
            caption = (
                "From above (the way ahead is up) and in the cameras: true boxes green, found ones orange, marks blue."
            )
            page.add_picture(f"{path.stem}: boxes", uri, f"boxes of some frames of {path.stem}", caption)
    return headers, rows


def _by_yaw(frame: Frame3d) -> list[int]:
    """Cameras that look ahead, from left to right, then those that look back, from the left side round to the right."""
    looks = frame.to_camera[:, 2, :2]  # the camera's axis ahead, in the frame's coordinates
    yaw = np.arctan2(looks[:, 1], looks[:, 0])
    back = np.abs(yaw) > np.pi / 2 + 0.1
    return [int(k) for k in np.lexsort((np.where(back, yaw % (2 * np.pi), -yaw), back))]


def _in_front(start: np.ndarray, end: np.ndarray) -> np.ndarray | None:
    """Both ends [2, 3] of what of a line lies in front of the camera; None where nothing does."""
    if max(start[2], end[2]) <= NEAR_M:
        return None
    ends = np.stack([start, end])
    for k in (0, 1):
        if ends[k, 2] < NEAR_M:
            share = (NEAR_M - ends[k, 2]) / (ends[1 - k, 2] - ends[k, 2])
            ends[k] = ends[k] + share * (ends[1 - k] - ends[k])
    return ends

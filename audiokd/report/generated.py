"""The page's sections on what a diffusion model makes: scores, samples by class, and how its features change along a trajectory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiokd.report.heat_maps import png_uri
from audiokd.report.page import Report, Sample
from audiokd.report.plots import log_mel, spectrogram

if TYPE_CHECKING:
    from PIL import Image

    from audiokd.data.media import MediaSet

COLUMNS, ROWS = 10, 12  # of a grid at most
SIDE, TEXT = 64, 96  # pixels of a picture at least, and of the words beside a row
HEARD = 4  # sounds that the page plays, of different classes
TRAJECTORY = "trajectory.csv"  # its name in a run's folder


def picture_grid(rows: Mapping[str, Sequence[Image.Image]], columns: int = COLUMNS) -> Image.Image:
    """A row of pictures for each name, which stands before it; small ones are enlarged by whole pixels."""
    from PIL import Image, ImageDraw

    sizes = [p.size for of in rows.values() for p in of]
    wide, high = (max(s[k] for s in sizes) for k in (0, 1))
    times = max(1, -(-SIDE // max(wide, high)))
    wide, high = wide * times, high * times
    grid = Image.new("RGB", (TEXT + columns * (wide + 2), len(rows) * (high + 2)), "white")
    draw = ImageDraw.Draw(grid)
    for y, (name, of) in enumerate(rows.items()):
        draw.text((2, y * (high + 2) + high // 2 - 6), name[:15], fill="black")
        for x, picture in enumerate(of[:columns]):
            shown = picture.convert("RGB").resize(
                (picture.width * times, picture.height * times), Image.Resampling.NEAREST
            )
            grid.paste(shown, (TEXT + x * (wide + 2), y * (high + 2)))
    return grid


def samples_by_class(media: MediaSet, rows: int = ROWS, columns: int = COLUMNS) -> dict[str, list[Image.Image]]:
    """The first pictures (of sounds, log-mel spectrograms) of each of the first classes, or captions; unreadable ones are passed
    over."""
    from audiokd.data.images import load_image
    from audiokd.errors import AudiokdError

    found: dict[str, list[Any]] = {}
    for item in media.items:
        name = item.label or item.caption or ""
        if (name not in found and len(found) == rows) or len(found.get(name, ())) == columns:
            continue
        try:
            if media.kind == "image":
                shown = load_image(item)
            else:
                shown = sound_picture(media, item.id)
        except AudiokdError:  # counted in the scores
            continue
        found.setdefault(name, []).append(shown)
    return {media.classes.get(n, n): of for n, of in sorted(found.items())}


def sound_picture(media: MediaSet, id: str) -> Image.Image:
    """The log-mel spectrogram of a sound, up to half of its rate, low bands at the bottom."""
    from audiokd.data.audio import load

    wav, rate = load(media.utterances[id])
    mel = log_mel(np.asarray(wav), rate, rate / 2)
    return spectrogram(mel, float(mel.max())).convert("RGB")


def add_generated(page: Report, exp: Path) -> tuple[list[str], list[list[str]]] | None:
    """What a run's folder has of generated/<set>, fidelity/<set>.json and trajectory.csv; the table of scores.

    Args:
        page: to add to.
        exp: folder of the run.
    """
    from audiokd.data.audio import load
    from audiokd.data.media import open_media
    from audiokd.eval.fidelity_table import fidelity_table

    results = [json.loads(p.read_text()) for p in sorted((exp / "fidelity").glob("*.json"))]
    table = fidelity_table(results) if results else None
    if table is not None:
        caption = "Generated against real items, with a 95% bootstrap interval; features are those of the encoder that was named."
        page.add_table("Generated", *table, caption)
    for folder in sorted(p.parent for p in (exp / "generated").glob("*/generation.json")):
        about = json.loads((folder / "generation.json").read_text())
        media = open_media(folder, same_names=True)
        grid = samples_by_class(media)
        if not grid:
            continue
        how = f"{about.get('sampler')}, {about.get('steps')} steps, guidance {about.get('guidance')}, seed {about.get('seed')}."
        what = "pictures" if media.kind == "image" else "log-mel spectrograms, low bands at the bottom"
        uri = png_uri(picture_grid(grid))
        page.add_picture(
            f"{folder.name}: samples", uri, f"samples for {folder.name}", f"The first {what} of each class: {how}"
        )
        if media.kind == "audio":
            first = {i.label or i.caption or "": i for i in reversed(media.items)}
            heard = [
                Sample(i.id, {"generated": load(media.utterances[i.id])}, n) for n, i in sorted(first.items())[:HEARD]
            ]
            page.add_samples(f"{folder.name}: listen", heard, "The first of each class.")
    if (exp / TRAJECTORY).exists():
        caption = "Of a DDIM trajectory without guidance: each block's output against that of the step before, by the timestep "
        caption += "that a step goes to. Where the encoder's change is small, its output can stand for several steps."
        page.add_curves("How the teacher's features change", exp / TRAJECTORY, caption=caption)
    return table

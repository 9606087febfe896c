"""Stage 8 of drives: how well found boxes are those of the truth: the nuScenes detection score, and how good pseudo labels are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError, ConfigError

log = logging.getLogger(__name__)


def boxes(
    found: str,
    data: str,
    out: str,
    system: str = "",
    bands: tuple[float, float] = (10.0, 20.0),
    part: str = "all",
    pictures: str = "",
    num_pictures: int = 4,
    min_score: float = 0.3,
    range_m: float = 25.6,
    within_m: float = 0.0,
) -> dict[str, Any]:
    """Score the boxes that `audiokd detect3d` found.

    Writes `out` (JSON) and its tables as markdown beside it (`out` with the suffix .md).

    Args:
        found: folder as `audiokd detect3d MODEL DATA OUT` writes it.
        data: data dir of these frames, with their true boxes; it may be another one than was given to detect3d, such as the set
            before most boxes were taken away.
        out: JSON file to write.
        system: name in the table; that of `out` if left empty.
        bands: metres from the car where the second and the third band of distance begin.
        part: all frames; or a data dir whose frames that have no boxes are meant: those that pseudo labels were needed for.
        pictures: folder for a PNG of some frames from above and in the cameras, with true and found boxes, and sheet.png.
        num_pictures: of frames, from all over the set.
        min_score: of a box that pictures show, where not every object has one.
        range_m: from the car to the border of the view from above.
        within_m: objects and boxes whose centres are farther from the car do not count; 0: all do. For `quality` boxes are
            paired with objects before, and objects alone are left out.

    Returns:
        what `out` holds: `scores` with mAP, NDS, NDS without velocity and errors of true positives, each with a 95% bootstrap
        interval over drives; `classes`; `quality`, object by object, by distance, points and class
        (`audiokd.eval.pseudo_quality`).

    Raises:
        AudiokdError: the run of detect3d is not finished; none of its frames is in `data`, or none has boxes there.
    """
    from audiokd.data.items3d import read_frames, read_names
    from audiokd.data.pseudo_boxes import read_about, read_pseudo_boxes
    from audiokd.eval.boxes3d import box_table, score_frames
    from audiokd.eval.center_ap import Boxes
    from audiokd.eval.pseudo_quality import quality_table, score_pseudo
    from audiokd.eval.table import Summary, markdown
    from audiokd.report.boxes3d import SCORES
    from audiokd.stages.scoring import write_score

    if Path(out).suffix == ".md":
        raise ConfigError("out is the JSON file; the table is written beside it", where=out, fix="--out <name>.json")
    if not 0 < bands[0] < bands[1]:
        raise ConfigError(f"bands at {bands[0]:g} and {bands[1]:g} m", fix="two distances, the nearer first")
    names = read_names(data)
    said = read_pseudo_boxes(found, classes=names)
    items = {f.id: f for f in read_frames(data)}
    wanted = items.keys() if part == "all" else _without_boxes(part)
    truth = {i: _truth(f, names) for i, f in items.items() if i in wanted and i in said}
    lacking = [i for i in truth if truth[i] is None]
    known = {i: t for i, t in truth.items() if t is not None}
    if not known:
        why = "has its boxes" if lacking else "is there"
        raise AudiokdError(f"none of {len(said)} frames {why}", where=data, fix=f"are they those of {found}?")
    if lacking or len(known) < len(said):
        log.warning("%s: %d of %d frames are left out", found, len(said) - len(known), len(said))
    answers = {i: Boxes(said[i].boxes, said[i].labels, said[i].scores) for i in known}
    true, answered = ({i: _near(b, within_m) for i, b in of.items()} for of in (known, answers))
    scores = score_frames(true, answered, names, {i: items[i].scene for i in known})
    about = read_about(found)
    quality = score_pseudo(known, answers, names, _iou, bands, bool(about.get("per_mark")), within_m, _inside(about))
    result = {
        "system": system or Path(out).stem,
        "settings": {"found": found, "data": data, "bands": [*bands], "part": part, "within_m": within_m},
        **scores,
        "quality": quality,
        "rows": len(known),
        "scenes": len({items[i].scene for i in known}),
        "left_out": len(said) - len(known),
        "model_sha256": about["model_sha256"],
    }
    if pictures:
        shown = 0.0 if quality["in_order"] else min_score
        result["pictures"] = _draw(Path(pictures), data, known, said, num_pictures, shown, range_m)
    cells = [Summary(**scores["scores"][k]).text() for k in SCORES]
    text = markdown(["system", "frames", *SCORES.values()], [[result["system"], str(len(known)), *cells]])
    text += f"\nIntervals: 95% bootstraps over {result['scenes']} drives. NDS counts what is not known (velocity, attributes) as "
    text += "wrong; without velocity it leaves out that, and attributes where the truth has none.\n\n"
    text += markdown(*box_table(result)) + "\n" + markdown(*quality_table(quality))
    paired = (
        "in order, one for each object" if quality["in_order"] else "to the nearest object of their class within 2 m"
    )
    text += f"\nBoxes are paired {paired}.\n"
    if quality["outside"]:
        text += f"{quality['outside']} objects outside the model's range are left out of the last table.\n"
    write_score(out, result, text)
    print(text, end="")
    return result


def _truth(frame: Any, names: tuple[str, ...]) -> Any:
    """True boxes of a frame; None where an object has none."""
    import numpy as np

    from audiokd.data.frame3d import BOX
    from audiokd.eval.center_ap import Boxes

    if any(o.box is None for o in frame.objects):
        return None
    points = [-1 if o.num_points is None else o.num_points for o in frame.objects]
    boxes = np.array([o.box for o in frame.objects], np.float32).reshape(-1, len(BOX))
    labels = np.array([names.index(o.label) for o in frame.objects], np.int64)
    return Boxes(boxes, labels, num_points=np.array(points, np.int64))


def _near(of: Any, within_m: float) -> Any:
    """Boxes of a frame whose centres are no farther than `within_m`; 0: all."""
    import numpy as np

    from audiokd.eval.center_ap import Boxes

    if not within_m:
        return of
    kept = np.hypot(of.boxes[:, 0], of.boxes[:, 1]) <= within_m
    scores, points = (None if v is None else v[kept] for v in (of.scores, of.num_points))
    return Boxes(of.boxes[kept], of.labels[kept], scores, points)


def _inside(about: Mapping[str, Any]) -> Any:
    """Which of true boxes [N, 9] lie in the range of the model that boxes.json tells `about`, as its turned scenes have them."""
    import numpy as np

    if not about.get("range_m"):
        return None
    low, high = np.array(about["range_m"], float)
    angle = np.radians(about.get("turn_degrees", 0.0))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def inside(boxes: Any) -> Any:
        places = boxes[:, :2].astype(float) @ turn.T
        return ((places >= low) & (places < high)).all(1)

    return inside


def _without_boxes(data: str) -> set[str]:
    from audiokd.data.items3d import read_frames

    ids = {f.id for f in read_frames(data) if any(o.box is None for o in f.objects)}
    if not ids:
        raise AudiokdError("all of its frames have boxes", where=data, fix="--part all")
    return ids


def _iou(a: Any, b: Any) -> Any:
    import torch

    from audiokd.vision.rotated_iou import iou_3d

    return iou_3d(*(torch.from_numpy(x.astype("float64")) for x in (a, b))).numpy()


def _draw(
    folder: Path, data: str, truth: dict[str, Any], said: dict[str, Any], count: int, min_score: float, range_m: float
) -> dict[str, Any]:
    """A sheet of each of some frames, evenly spread over the set, and all of them on one."""
    import io

    from audiokd.data.frames3d import Frames3d
    from audiokd.errors import FrameError
    from audiokd.files import write_bytes
    from audiokd.report.boxes3d import WIDE, frame_sheet, stack

    sizes = [c.get("size") for f in Frames3d(data, with_images=False).items for c in f.cameras]
    # large pictures, and those of several sizes, are brought to one; a size that is none is that frame's error
    high, wide = next((s for s in sizes if isinstance(s, list) and len(s) == 2 and min(s) > 0), (WIDE, WIDE))
    share = min(1.0, WIDE / wide)
    frames = Frames3d(data, size=(round(high * share), round(wide * share)))
    rows = [k for k, i in enumerate(frames.ids) if i in truth]
    count = min(count, len(rows))
    chosen = [rows[(2 * n + 1) * len(rows) // (2 * count)] for n in range(count)]
    sheets = {}
    for k in chosen:
        try:
            frame = frames[k]
        except FrameError as e:
            log.warning("no picture of it: %s", e)
            continue
        of = said[frame.id]
        sheets[frame.id] = frame_sheet(frame, truth[frame.id].boxes, of.boxes[of.scores >= min_score], range_m)
    everything = {"sheet": stack([*sheets.values()])} if sheets else {}
    for name, sheet in (sheets | everything).items():
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG", optimize=True)
        write_bytes(folder / f"{name.replace('/', '__')}.png", buffer.getvalue())
    return {"folder": str(folder), "frames": [*sheets], "min_score": min_score}

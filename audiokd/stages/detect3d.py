"""Stage 7 of drives: the boxes that a detector finds in the frames of a set, or a teacher in its marks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError, ConfigError, FrameError

_SHOWN = 10  # frames that failed, named at the end


def detect3d(
    model: str,
    input: str,
    out: str,
    batch_size: int = 1,
    shard_size: int = 100,
    max_error_rate: float = 0.0,
    device: str = "cpu",
    turn_degrees: float = 0.0,
) -> dict[str, Any]:
    """Find the boxes of frames and write them as plain JSON lines, bound to the model and to the set.

    Of a point-to-box teacher there is one box for each object that has a mark: pseudo labels. Frames that cannot be used are
    named in OUT/errors.jsonl. Killed and started again goes on from the last whole shard.

    Args:
        model: folder that `audiokd export` wrote of a point_detr3d run.
        input: data dir of frames.
        out: folder to write (`audiokd.data.pseudo_boxes`).
        batch_size: frames at once.
        shard_size: frames a file of boxes.
        max_error_rate: share of frames that cannot be used from which the stage fails, once all others are written.
        device: cpu, cuda, cuda:1, ...
        turn_degrees: each scene is turned by so much before the model sees it, and its boxes are turned back: how much a detector
            loses by directions that its training drives did not have. Score these within the range's inner circle (`boxes
            --within_m`).

    Returns:
        frames, boxes, errors: how many.

    Raises:
        AudiokdError: the model finds no boxes, or has other classes than the set; too many frames cannot be used.
    """
    from audiokd.data.frames3d import Frames3d
    from audiokd.data.pseudo_boxes import PseudoBoxWriter, read_pseudo_boxes
    from audiokd.hub.auto import load_for_inference
    from audiokd.objects import here_only
    from audiokd.progress import progress
    from audiokd.stages.corpus import model_hashes
    from audiokd.vision.turned_frames import predict_turned

    here_only(out, "boxes")
    if min(batch_size, shard_size) < 1:
        raise ConfigError("batch_size and shard_size are 1 or more")
    detector = load_for_inference(model, device)
    if not hasattr(detector, "predict") or not hasattr(detector.config, "labels"):
        fix = "give the folder that 'audiokd export' wrote of a point_detr3d run"
        raise AudiokdError(f"a {type(detector).__name__} finds no boxes", where=model, fix=fix)
    cameras = bool(getattr(detector.config, "cameras", 0))
    size = detector.config.camera_size if cameras else None
    frames = Frames3d(input, size=size and (size[0], size[1]), with_images=cameras)
    if [*frames.names] != [*detector.config.labels]:
        what = f"classes {', '.join(frames.names)}; the model has {', '.join(detector.config.labels)}"
        raise AudiokdError(what, where=input, fix="a set of the model's classes, in its order")
    sha256 = model_hashes(detector)["model_sha256"]
    per_mark = bool(getattr(detector, "per_mark", False))
    range_m = [getattr(detector.config, k)[:2] for k in ("low", "high") if hasattr(detector.config, k)]
    writer = PseudoBoxWriter(
        out, sha256, frames.sha256, frames.names, frames.ids, shard_size, turn_degrees, per_mark, range_m
    )
    predict = partial(predict_turned, detector, degrees=turn_degrees) if turn_degrees else detector.predict
    number = {i: k for k, i in enumerate(frames.ids)}
    todo = [s for s in writer.shards if not writer.done(s)]
    if len(todo) < len(writer.shards):
        print(f"{out}: {len(writer.shards) - len(todo)} of {len(writer.shards)} shards are done already")
    with progress("detect3d", sum(len(writer.ids_of(s)) for s in todo), "frames") as bar:
        for shard in todo:
            found: dict[str, Any] = {}
            errors: dict[str, AudiokdError] = {}
            ids = writer.ids_of(shard)
            for first in range(0, len(ids), batch_size):
                chunk = ids[first : first + batch_size]
                good, bad = _predict(predict, frames, [number[i] for i in chunk])
                found |= good
                errors |= bad
                bar.advance(len(chunk), f"{len(errors)} bad in this shard" if errors else "")
            writer.write(shard, found, errors)
    wrong = writer.finish()
    result = {
        "frames": len(frames) - len(wrong),
        "boxes": sum(len(f.boxes) for f in read_pseudo_boxes(out).values()),
        "errors": len(wrong),
    }
    print(f"{out}: {result['boxes']} boxes in {result['frames']} frames, {len(wrong)} errors")
    for row in wrong[:_SHOWN]:
        print(f"  failed: {row['where']}: {row['error']}")
    if len(wrong) > max_error_rate * len(frames):
        what = f"{len(wrong)} of {len(frames)} frames failed, more than --max_error_rate {max_error_rate:g}"
        fix = f"see {Path(out) / 'errors.jsonl'}; the boxes of the others are written"
        raise AudiokdError(what, where=out, fix=fix)
    return result


def _predict(predict: Any, frames: Any, rows: list[int]) -> tuple[dict[str, Any], dict[str, AudiokdError]]:
    """Boxes and errors of some frames; where a model refuses one of a batch the others are asked one by one."""
    from audiokd.data.pseudo_boxes import Found

    loaded: list[Any] = []
    errors: dict[str, AudiokdError] = {}
    for k in rows:
        try:
            loaded.append(frames[k])
        except FrameError as e:
            errors[frames.ids[k]] = e
    try:
        said = predict(loaded) if loaded else []
        return {f.id: Found(*of) for f, of in zip(loaded, said)}, errors
    except FrameError as e:
        if len(loaded) == 1:
            return {}, errors | {loaded[0].id: e}
    found: dict[str, Any] = {}
    for frame in loaded:
        try:
            found[frame.id] = Found(*predict([frame])[0])
        except FrameError as e:
            errors[frame.id] = e
    return found, errors

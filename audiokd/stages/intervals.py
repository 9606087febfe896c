"""Stage 7 of weakly placed events: an interval of every point, by a teacher, or of the mean length about it; pseudo labels.

audiokd intervals exp/teacher/export data/train-05 exp/pseudo
audiokd fit detector --train exp/pseudo --data.events "[exp/pseudo,data/dev]" ...
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiokd.errors import AudioError, AudiokdError, ConfigError

if TYPE_CHECKING:
    import numpy as np

    from audiokd.data.event_points import EventPoint
    from audiokd.data.events import Event
    from audiokd.data.utterance import Utterance

FIXED = "fixed"
ABOUT = "intervals.json"
_SHOWN = 10  # clips that failed, named at the end


def intervals(
    model: str,
    data: str,
    intervals_dir: str,
    every: bool = False,
    truth: str = "",
    out: str = "",
    system: str = "",
    max_error_rate: float = 0.0,
    device: str = "cpu",
    allow_pipes: bool = False,
) -> dict[str, Any]:
    """Make an interval of every point of a data dir, and write a copy of it whose events.tsv has them.

    The copy appears whole or not at all. Events that clips have already stay as they are. intervals.json says whose the intervals
    are (model_sha256), regime.json which clips had events. Clips that cannot be used are left out and named in errors.jsonl.

    Args:
        model: folder that `audiokd export` wrote of a point_sed run; or "fixed": each as long as its class' events of `data` are on
            average, its point in the middle.
        data: data dir with points.tsv; utterances without a row in it are left out. fixed needs its events.tsv, too.
        intervals_dir: data dir to write.
        every: make intervals in clips that have events, too, in their place.
        truth: data dir with the events that the points are on, to score the intervals by, in its order of time.
        out: JSON file for those scores, with a table as markdown beside it.
        system: name in the table; that of `out` if left empty.
        max_error_rate: share of clips that cannot be used from which the stage fails and writes nothing but errors.jsonl.
        device: cpu, cuda, cuda:1, ...
        allow_pipes: run shell commands in wav.scp.

    Returns:
        utterances, intervals, errors: how many; `scores` where there is a truth.

    Raises:
        AudiokdError: the model makes no intervals, points of classes that it does not know or of utterances that are not there, too
            many clips cannot be used.
    """
    from audiokd.data.error_log import ERRORS
    from audiokd.data.event_points import POINTS, read_points
    from audiokd.data.events import EVENTS, read_events
    from audiokd.data.inputs import open_input
    from audiokd.files import jsonl, write_bytes
    from audiokd.objects import here_only
    from audiokd.progress import progress

    here_only(intervals_dir, "data dirs")
    if bool(truth) != bool(out):
        raise ConfigError("scores need a truth and a file", fix="--truth DIR --out FILE.json, or neither")
    if Path(out).suffix == ".md":
        raise ConfigError("out is the JSON file; the table is written beside it", where=out, fix="--out <name>.json")
    if Path(data).resolve() == Path(intervals_dir).resolve():
        raise ConfigError("the copy is another folder", where=intervals_dir)
    points = read_points(data)
    known = read_events(data) if (Path(data) / EVENTS).exists() else {}
    make = _Teacher(model, data, points, device) if model != FIXED else _Fixed(data, points, known)
    there = open_input(data, allow_pipes=allow_pipes).utterances()
    utterances = [u for u in there if u.id in points]
    if not utterances:
        raise AudiokdError("no utterance has a row in points.tsv", where=data)
    if lost := sorted(points.keys() - {u.id for u in there}):
        what = f"points of {len(lost)} utterances that are not there, {lost[0]} first"
        raise AudiokdError(what, where=f"{data}/{POINTS}", fix="correct their ids, or leave those rows out")
    if bare := len(there) - len(utterances):
        print(f"{data}: {bare} utterances have no row in {POINTS} and are left out")
    found: dict[str, list[Event]] = {}
    made: dict[str, list[Event]] = {}
    wrong: list[dict[str, Any]] = []
    with progress("intervals", len(utterances), "clips") as bar:
        for u in utterances:
            if u.id in known and not every:
                found[u.id] = known[u.id]
            else:
                try:
                    found[u.id] = made[u.id] = make.of(u, points[u.id])
                except AudioError as e:
                    wrong.append({"id": u.id, "where": u.where or u.path, "error": e.what})
            bar.advance(1, f"{len(wrong)} bad" if wrong else "")
    folder = Path(intervals_dir)
    if wrong:
        write_bytes(folder / ERRORS, jsonl(wrong))
    else:
        (folder / ERRORS).unlink(missing_ok=True)
    result: dict[str, Any] = {
        "utterances": len(found),
        "intervals": sum(map(len, made.values())),
        "errors": len(wrong),
    }
    print(f"{folder}: {result['intervals']} intervals in {len(made)} clips, {len(found) - len(made)} with events")
    for row in wrong[:_SHOWN]:
        print(f"  failed: {row['id']}: {row['error']}")
    if len(wrong) > max_error_rate * len(utterances):
        what = f"{len(wrong)} of {len(utterances)} clips failed, more than --max_error_rate {max_error_rate:g}"
        raise AudiokdError(what, where=intervals_dir, fix=f"see {folder / ERRORS}")
    about = {"model": make.name, "model_sha256": make.sha256, "labels": make.labels, "every": every, **result}
    _write(folder, [u for u in utterances if u.id in found], found, set(made), points, about, model)
    if truth:
        result["scores"] = _score(made, points, truth, out, system, make.sha256, {"model": model, "data": data})
    return result


class _Teacher:
    """A model's intervals."""

    def __init__(self, model: str, data: str, points: dict[str, list[EventPoint]], device: str):
        from audiokd.hub.auto import load_for_inference
        from audiokd.stages.corpus import model_hashes

        self.net = load_for_inference(model, device)
        self.name = getattr(self.net.config, "model_type", "")
        if self.name != "point_sed":
            fix = f"give the folder that 'audiokd export' wrote of a point_sed run, or {FIXED}"
            raise AudiokdError(f"a {type(self.net).__name__} makes no intervals of points", where=model, fix=fix)
        self.labels = list(self.net.config.labels)
        self.sha256 = model_hashes(self.net)["model_sha256"]
        _check_labels(points, self.labels, data)

    def of(self, u: Utterance, points: list[EventPoint]) -> list[Event]:
        """Raises AudioError: the clip cannot be read, or a point lies outside of it."""
        from audiokd.data.audio import load_at

        wav = load_at(u, self.net.sample_rate)
        told = [(p.time_s, self.labels.index(p.label)) for p in points]
        return _events(self.net.predict(wav, told), points)


class _Fixed:
    """Intervals of the mean length of each class."""

    name, sha256 = FIXED, ""

    def __init__(self, data: str, points: dict[str, list[EventPoint]], known: dict[str, list[Event]]):
        from audiokd.data.events import mean_lengths

        self.mean_s = mean_lengths(known.values())
        self.labels = list(self.mean_s)
        _check_labels(points, self.labels, data)

    def of(self, u: Utterance, points: list[EventPoint]) -> list[Event]:
        """Raises AudioError: the clip's header cannot be read, or a point lies outside of it."""
        import numpy as np

        from audiokd.data.crops import duration_of
        from audiokd.data.event_points import check_points, within

        duration_s = u.duration_s if u.duration_s is not None else duration_of(u)
        check_points([p.time_s for p in points], duration_s)
        half = np.array([[-self.mean_s[p.label] / 2, self.mean_s[p.label] / 2] for p in points]).reshape(-1, 2)
        return _events(within(half + np.array([p.time_s for p in points])[:, None], duration_s), points)


def _events(found: np.ndarray, points: list[EventPoint]) -> list[Event]:
    from audiokd.data.events import Event

    # as the file will have them, so that scores and order are of what is written
    return [Event(round(float(start), 5), round(float(end), 5), p.label) for (start, end), p in zip(found, points)]


def _check_labels(points: dict[str, list[EventPoint]], labels: list[str], data: str) -> None:
    if strange := sorted({p.label for of in points.values() for p in of} - set(labels)):
        what = f"points on classes without a known length: {', '.join(strange[:5])}"
        fix = f"known are {', '.join(labels[:20])}: more clips with events, or leave those points out"
        raise AudiokdError(what, where=data, fix=fix)


def _write(
    folder: Path,
    utterances: list[Utterance],
    found: dict[str, list[Event]],
    made: set[str],
    points: dict[str, list[EventPoint]],
    about: dict[str, Any],
    model: str,
) -> None:
    from audiokd.data.event_points import POINTS, write_points
    from audiokd.data.events import EVENTS, write_events
    from audiokd.data.kaldi import write_data_dir
    from audiokd.data.regime import Regime, Seen, item_of, write_regime
    from audiokd.files import atomic_folder, write_json

    true, bare = ([u for u in utterances if (u.id in made) is there] for there in (False, True))
    steps = [Seen("intervals", [item_of(u, "events") for u in true], [item_of(u) for u in bare])]
    # intervals may begin in another order than their points lie in; row i of points is on event i in the order of time
    placed = {u.id: points[u.id] for u in utterances}
    for u in bare:
        pairs = sorted(zip(found[u.id], placed[u.id]), key=lambda pair: pair[0])
        placed[u.id] = [point for _, point in pairs]
    with atomic_folder(folder, last="wav.scp") as new:
        write_data_dir(new, utterances)
        write_events(new / EVENTS, found)
        write_points(new / POINTS, placed)
        write_json(new / ABOUT, about)
        write_regime(new, Regime("inductive", steps, []), {"teacher": "" if model == FIXED else model})


def _score(
    made: dict[str, list[Event]],
    points: dict[str, list[EventPoint]],
    truth: str,
    out: str,
    system: str,
    sha256: str,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Scores of what was made, and their file and table."""
    from audiokd.data.event_points import check_pairs
    from audiokd.data.events import read_events
    from audiokd.eval.intervals import SCORES, interval_table, score_intervals
    from audiokd.eval.table import Summary, markdown
    from audiokd.stages.scoring import write_score

    true = read_events(truth)
    for utt_id in made:
        check_pairs(utt_id, true.get(utt_id, []), points[utt_id], truth)
    if not any(made.values()):
        raise AudiokdError("nothing was made that could be scored", where=truth, fix="--every true")
    found = score_intervals(true, made)
    name = system or Path(out).stem
    result = {"system": name, "settings": settings | {"truth": truth}, "model_sha256": sha256, **found}
    cells = [Summary(**found["scores"][k]).text() for k in SCORES]
    text = markdown(["system", "events", *SCORES.values()], [[name, str(found["events"]), *cells]])
    text += f"\nIntervals: 95% bootstraps over clips.\n\n{markdown(*interval_table(found))}"
    write_score(out, result, text)
    print(text, end="")
    scores: dict[str, Any] = found["scores"]
    return scores

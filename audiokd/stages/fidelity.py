"""Stage 8: how near generated pictures or sounds are to real ones, how varied, and whether of the class that was asked for.

audiokd fidelity exp/tiue/generated/test data/test --encoder exp/judge/export --classifier exp/judge/export --out scores.json
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from audiokd.errors import AudiokdError, ConfigError

if TYPE_CHECKING:
    from audiokd.data.media import MediaSet
    from audiokd.eval.feature_sets import FeatureSet

#: layers that say something of classes or places: no features
HEADS = ("logits", "events", "map", "score", "probability")


def fidelity(
    generated: str,
    real: str,
    out: str,
    encoder: str = "",
    layer: str = "",
    classifier: str = "",
    pair: str = "",
    k: int = 5,
    rows: Literal["mean", "frames"] = "mean",
    system: str = "",
    seed: int = 0,
    draws: int = 100,
    allow_singular: bool = False,
    any_size: bool = False,
    max_error_rate: float = 0.01,
    device: str = "cpu",
    nj: int = 1,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Score generated pictures or sounds against real ones.

    Writes `out` (JSON) and its table as markdown beside it (`out` with the suffix .md). Items that cannot be read are left out and
    stand in errors.jsonl beside `out`.

    Args:
        generated: data dir, of pictures (items.jsonl, as `audiokd generate` writes it) or of sound; or a store of its
            features, as `audiokd extract` writes it: then labels, and what needs them, are left out.
        real: the same of real ones; of stores both are of one encoder.
        out: JSON file to write.
        encoder: whose features are compared: what `audiokd extract` takes, our own models, timm/NAME, inception (that of published
            FIDs) or log_mel among them. Not needed for two stores.
        layer: of the encoder; by default of sound the last layer's embedding of a clip (its frames, with --rows frames), of
            pictures its first that is no head: of our classifiers the features before the logits.
        classifier: one that `audiokd extract --layer logits` takes, for the accuracy: the share of generated items that it takes
            for the label that was asked for; and of the real items, if they have labels.
        pair: pair model for the CLIP score of items with captions, or with labels, which classes.txt names.
        k: neighbours of precision, recall, density and coverage.
        rows: what the Fréchet distance is over: one mean an item, or frames of sound. The other scores are over means.
        system: name in the table; that of `out` if left empty.
        seed: of the bootstraps.
        draws: of the Fréchet distance's bootstrap; 0 leaves its interval out: a draw takes as long as the distance itself, which of
            2048 features are seconds.
        allow_singular: give a Fréchet distance of no more items than features, too.
        any_size: let pictures of the two sides differ in size: an encoder resizes them, and sees that.
        max_error_rate: share of items of a side that may be unreadable.
        device: cpu, cuda, ...
        nj: processes of the extraction.
        batch_size: pictures a batch of the extraction.

    Returns:
        what `out` holds: each score with its 95 % bootstrap interval (over items; of the diversity over conditions), the number of
        items, features and the rank of their covariance, and what generation.json of `generated` says.

    Raises:
        AudiokdError: a folder without items; pictures of other sizes; too few items; an item without a label where
            one is due; sides of other encoders or kinds; too many unreadable items.
    """
    from audiokd.eval.diversity import diversity
    from audiokd.eval.fidelity_table import COLUMNS
    from audiokd.eval.frechet import frechet_summary
    from audiokd.eval.kid import kid_summary
    from audiokd.eval.manifold import manifold_summaries
    from audiokd.files import write_json

    if Path(out).suffix == ".md":
        raise ConfigError("out is the JSON file; the table is written beside it", where=out, fix="--out <name>.json")
    if draws < 0:
        raise ConfigError(f"{draws} draws", fix="--draws 0 or more")
    sides = _Sides(generated, real, out, max_error_rate, device, nj, batch_size)
    if not any_size:
        sides.check_sizes()
    conditions = sides.conditions() if sides.media["generated"] is not None else {}
    if classifier and sides.media["generated"] is None:
        raise ConfigError("a store has no labels to ask a classifier for", where=generated, fix="give the data dir")
    frames = rows == "frames"
    made, there = sides.features(encoder, layer, frames)
    a, b = ((s.frames, s.item) if frames else (s.means, None) for s in (made, there))
    frechet, about = frechet_summary(a[0], b[0], a[1], b[1], allow_singular, seed, draws)
    scores = {sides.frechet_name: frechet, "kid": kid_summary(made.means, there.means, seed)}
    scores |= manifold_summaries(made.means, there.means, k)
    if conditions:
        scores["diversity"] = diversity(made.means, [conditions[i] for i in made.ids])
        known = sides.conditions("real") if sides.media["real"] is not None else {}
        if known and set(known.values()) & set(conditions.values()):
            scores["diversity_real"] = diversity(there.means, [known[i] for i in there.ids])
    if classifier:
        scores |= sides.accuracies(classifier)
    if pair:
        scores["clip_score"] = sides.clip_score(pair)
    said = Path(generated) / "generation.json"
    result = {
        "system": system or Path(out).stem,
        "settings": {
            "generated": generated,
            "real": real,
            "encoder": encoder,
            "layer": sides.layer,
            "classifier": classifier,
            "pair": pair,
            "k": k,
            "rows": rows,
            "seed": seed,
            "draws": draws,
        },
        "scores": {name: scores[name].as_dict() for name in COLUMNS if name in scores},
        "generated": len(made),
        "real": len(there),
        "features": about,
        "unreadable": sides.unreadable,
        "encoder_sha256": sides.encoder_sha256,
        "generation": json.loads(said.read_text()) if said.is_file() else {},
    }
    write_json(out, result)
    sides.clear()
    print(_written(out, result), end="")
    return result


class _Sides:
    """The generated and the real side: their items, and their stores of features, which are extracted where they are not given."""

    def __init__(
        self, generated: str, real: str, out: str, max_error_rate: float, device: str, nj: int, batch_size: int | None
    ):
        from audiokd.data.media import open_media

        self.paths = {"generated": generated, "real": real}
        self.out, self.max_error_rate = Path(out), max_error_rate
        self.how: dict[str, Any] = {"device": device, "nj": nj}
        self.media: dict[str, MediaSet | None] = {}
        for side, path in self.paths.items():
            if not Path(path).exists():
                raise AudiokdError("no such folder", where=path, fix="give a data dir, or a store of features")
            self.media[side] = None if _is_store(path) else open_media(path, same_names=True)
        kinds = {m.kind for m in self.media.values() if m is not None}
        if len(kinds) > 1:
            raise AudiokdError("pictures on one side, sound on the other", where=f"{generated}, {real}")
        self.kind = next(iter(kinds), "")
        if self.kind == "image":
            self.how["batch_size"] = batch_size
        self.work = self.out.with_name(f".{self.out.stem}.features")
        self.layer, self.encoder_sha256 = "", ""
        self.marks: dict[str, str] = {}
        self.unreadable: dict[str, int] = dict.fromkeys(self.paths, 0)

    @property
    def frechet_name(self) -> str:
        """By what it is known: fid of pictures, fad of sound."""
        return "fid" if self.kind == "image" else "fad"

    def check_sizes(self) -> None:
        """That all pictures are of one size.

        Raises:
            AudiokdError: they are not.
        """
        if self.kind != "image" or None in self.media.values():
            return
        sizes = {side: _sizes(of) for side, of in self.media.items() if of is not None}
        said = {s: ", ".join(f"{w} x {h}" for w, h in sorted(of)[:4]) for s, of in sizes.items()}
        if len(sizes["generated"] | sizes["real"]) > 1:
            what = f"generated pictures of {said['generated']} pixels, real ones of {said['real']}"
            fix = "bring the real ones to that size; or --any_size true, and the encoder's resizing is scored, too"
            raise AudiokdError(what, where=self.paths["generated"], fix=fix)

    def conditions(self, side: str = "generated") -> dict[str, str]:
        """Label of each item by id, or caption where there are no labels; none where nothing is known of any item.

        Raises:
            AudiokdError: known of some generated items only.
        """
        from audiokd.data.classes import named

        media = self.media[side]
        assert media is not None
        found = {i.id: i.label if i.label is not None else i.caption for i in media.items}
        known = {i: c for i, c in found.items() if c is not None}
        if known and len(known) < len(found):
            if side == "real":
                return {}
            lacking = [i for i in found if i not in known]
            what = f"{len(lacking)} of {len(found)} items have no label: {named(lacking)}"
            raise AudiokdError(
                what, where=self.paths[side], fix="`label` or `caption` in items.jsonl, or in none of it"
            )
        return known

    def features(self, encoder: str, layer: str, frames: bool) -> tuple[FeatureSet, FeatureSet]:
        """Of both sides.

        Raises:
            AudiokdError: no encoder where one is needed, one that is of no use, or stores of two.
        """
        from audiokd.eval.feature_sets import read_feature_set
        from audiokd.hub.auto import load_for_inference
        from audiokd.tokens.store import open_store

        if any(m is not None for m in self.media.values()):
            if not encoder:
                raise ConfigError(
                    "--encoder is needed", fix="a model that audiokd exported, timm/NAME, inception, log_mel"
                )
            loaded = load_for_inference(encoder)
            self.marks[encoder] = _mark(loaded)
            layers = getattr(loaded, "feature_layers", ())
            first = ("frames",) if frames else ("clip1", "clip")
            layer = layer or next((n for n in (*first, *layers) if n in layers and n not in HEADS), "")
        stores = {
            s: open_store(p if self.media[s] is None else self._extract(s, encoder, layer))
            for s, p in self.paths.items()
        }
        made, there = (s.meta for s in stores.values())
        for key in ("model_sha256", "layer"):
            if made.get(key) != there.get(key):
                what = f"stores of two encoders: {key} {str(made.get(key))[:12]} and {str(there.get(key))[:12]}"
                raise AudiokdError(what, where=f"{self.paths['generated']}, {self.paths['real']}")
        self.layer, self.encoder_sha256 = made.get("layer", ""), made.get("model_sha256", "")
        if not self.kind:
            self.kind = made.get("media", "audio")
        found = read_feature_set(stores["generated"]), read_feature_set(stores["real"])
        return found

    def accuracies(self, classifier: str) -> dict[str, Any]:
        """Of the generated items, and of the real ones where all have labels."""
        from audiokd.eval.table import Summary
        from audiokd.stages.classify import score_store

        found = {}
        for side, name in (("generated", "accuracy"), ("real", "accuracy_real")):
            media = self.media[side]
            if media is None or (side == "real" and any(i.label is None for i in media.items)):
                continue
            media.labels()  # each has one
            store = self._extract(side, classifier, "logits")
            scored = score_store(store, [self.paths[side]], False)
            if scored["task"] != "class":
                raise AudiokdError("a classifier of tags, not of classes", where=classifier)
            found[name] = Summary(**scored["test"])
        return found

    def clip_score(self, name: str) -> Any:
        from audiokd.eval.clip_score import clip_score
        from audiokd.teachers.pair import load_pair

        media = self.media["generated"]
        if media is None:
            raise ConfigError(
                "a store has no pictures for --pair", where=self.paths["generated"], fix="give the data dir"
            )
        said = {i.id: i.caption or (media.classes[i.label] if i.label is not None else None) for i in media.items}
        texts = {i: t for i, t in said.items() if t}
        if not texts:
            raise AudiokdError("no item has a caption or a label", where=media.path, fix="leave --pair out")
        return clip_score(load_pair(name).to(self.how["device"]), media, texts)

    def _extract(self, side: str, model: str, layer: str) -> str:
        """A store of a side's features; what cannot be read is noted once."""
        from audiokd.data.error_log import ErrorLog
        from audiokd.hub.auto import load_for_inference
        from audiokd.stages.extract import extract
        from audiokd.tokens.store import open_store

        if model not in self.marks:
            self.marks[model] = _mark(load_for_inference(model))
        store = str(self.work / f"{side}-{layer or 'first'}-{self.marks[model]}")
        extract(model, self.paths[side], store, layer=layer, max_error_rate=1.0, **self.how)
        found, media = open_store(store), self.media[side]
        assert media is not None
        items = {i.id: i for i in media.items}
        rows = [row for shard in found.shards for row in found.errors(shard)]
        notes = ErrorLog(self.out.parent, side)
        for row in rows:
            notes.add(items[row["id"]], AudiokdError(row["error"]))
        self.unreadable[side] = max(self.unreadable[side], len(rows))
        if len(rows) > self.max_error_rate * len(items):
            what = f"{len(rows)} of {len(items)} {side} items cannot be read, more than --max_error_rate {self.max_error_rate:g}"
            raise AudiokdError(what, where=self.paths[side], fix=f"see {notes.path}")
        return store

    def clear(self) -> None:
        """Remove the features that were made for this."""
        shutil.rmtree(self.work, ignore_errors=True)


def _mark(model: Any) -> str:
    """Of weights and configuration: what a run with another encoder left when it failed is not in the way."""
    from audiokd.files import sha256_bytes
    from audiokd.stages.corpus import model_hashes

    return sha256_bytes(*(v.encode() for v in model_hashes(model).values()))[:12]


def _is_store(path: str) -> bool:
    return (Path(path) / "store.json").is_file()


def _sizes(media: MediaSet) -> set[tuple[int, int]]:
    """Width and height of all pictures, from their heads."""
    from PIL import Image

    from audiokd.data.images import open_picture

    found = set()
    for item in media.items:
        try:
            with open_picture(item) as file, Image.open(file) as image:
                found.add(image.size)
        except (AudiokdError, OSError):  # said when its features are due
            continue
    return found


def _written(out: str, result: dict[str, Any]) -> str:
    """The table, written as markdown beside `out`."""
    from audiokd.eval.fidelity_table import fidelity_table
    from audiokd.eval.table import markdown
    from audiokd.files import write_text

    f, settings = result["features"], result["settings"]
    text = f"{markdown(*fidelity_table([result]))}\n{result['generated']} generated items against {result['real']} real ones; "
    text += f"{f['dim']} features ({settings['layer']} of {settings['encoder'] or 'two stores'}), covariances of rank "
    text += f"{f['rank_generated']} and {f['rank_real']}; k = {settings['k']}; 95% bootstrap intervals"
    text += ".\n" if settings["draws"] else ", of the Fréchet distance none.\n"
    if any(result["unreadable"].values()):
        bad = ", ".join(f"{n} {side}" for side, n in result["unreadable"].items())
        text += f"Items that cannot be read are left out: {bad}.\n"
    write_text(Path(out).with_suffix(".md"), text)
    return text

"""What `audiokd fit promptsrc` is given: labelled items and a pair model; and what `audiokd export` writes of it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from audiokd.data.classes import check_same, write_classes
from audiokd.data.draws import base_novel, few_shot
from audiokd.data.media import MediaSet, open_media
from audiokd.data.regime import Regime, Seen, write_regime
from audiokd.errors import AudiokdError
from audiokd.files import write_text
from audiokd.methods.promptsrc.settings import PromptSettings, PromptSRCSettings

CLASSES = "classes.txt"  # of a run's folder, all classes: an export makes their vectors
SHOTS = "shots.txt"  # of a run's folder, the items that are learnt from: `id label` a line


class PromptSRCRun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: data dirs of pictures or of sound, labelled.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        AudiokdError: no pair model, more points of the average than steps, items without labels, fewer than the shots, other
            classes in one set than in the other.
    """

    def __init__(self, settings: PromptSRCSettings, train: str, dev: str, allow_pipes: bool = False):
        d = settings.data
        if not settings.model.pair:
            raise AudiokdError("no pair model", fix="--model.pair FOLDER, a CLIP, SigLIP, CLAP or LiT")
        a, steps = settings.average, settings.run.max_steps
        if not 0 <= a.points <= steps or a.std <= 0:
            what = f"an average of {a.points} points over a run of {steps} steps, with a width of {a.std}"
            raise AudiokdError(what, where="average", fix="--average.points of run.max_steps at most; 0 is no average")
        self.settings = settings
        how = (allow_pipes, d.classes or None, d.same_names)
        sets = {k: open_media(p, *how) for k, p in {"train": train, "dev": dev}.items()}
        self.classes = sets["train"].classes
        check_same(self.classes, sets["dev"].classes, dev, "give both sets one classes.txt, or --data.classes")
        labels = list(self.classes)
        self.taught = base_novel(labels)[0] if d.base_only else tuple(labels)
        for media in sets.values():
            media.labels()  # all have one
        self.sets = {k: m.of([i for i in m.items if i.label in self.taught]) for k, m in sets.items()}
        for name, path in (("train", train), ("dev", dev)):
            if not len(self.sets[name]):
                raise AudiokdError("no item of the classes that are learnt", where=path)
        if d.shots:
            train_set = self.sets["train"]
            self.sets["train"] = train_set.of(few_shot(train_set.items, d.shots, settings.run.seed))
        test = [i for path in d.test for i in open_media(path, *how).items]
        learnt = Seen("prompts", labelled=self.sets["train"].items, selection=self.sets["dev"].items)
        self.regime = Regime("inductive", [learnt], test)

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        found: dict[str, Any] = {"classes": len(self.classes), "taught": len(self.taught)}
        for name, media in self.sets.items():
            rows = "\n".join(f"{i.id} {i.label}" for i in media.items)
            found[name] = {"items": len(media), "labelled_sha256": hashlib.sha256(rows.encode()).hexdigest()}
        return found

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module with the prompts that `run.seed` gives, and its data."""
        import lightning as L
        from lightning.pytorch.utilities import rank_zero_only

        from audiokd.methods.promptsrc.module import PromptSRCModule
        from audiokd.teachers.pair import load_pair
        from audiokd.teachers.text_bank import fill, make_text_bank
        from audiokd.training.views import ViewDataModule, pair_view

        s, d = self.settings, self.settings.data
        pair = load_pair(s.model.pair)
        check_kind(pair, self.sets["train"])
        if rank_zero_only.rank == 0:
            write_regime(folder, self.regime, {"model.pair": s.model.pair})
            write_classes(folder / CLASSES, self.classes)
            write_text(folder / SHOTS, "".join(f"{i.id} {i.label}\n" for i in self.sets["train"].items))
        taught = {label: self.classes[label] for label in self.taught}
        frozen = make_text_bank(pair, fill(taught, s.model.templates), float(pair.scale))
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        prompted = build_prompted(pair, s.model)
        labels = {i.id: self.taught.index(i.label or "") for media in self.sets.values() for i in media.items}
        module = PromptSRCModule(s, prompted, prompted.texts_of(list(taught.values())), frozen.vectors, labels)
        views = {"media": pair_view(pair, d.view, s.run.seed)}
        plain = {"media": pair_view(pair)}
        return module, ViewDataModule(self.sets["train"], self.sets["dev"], views, plain, d, s.run, folder)


def build_prompted(pair: Any, model: PromptSettings) -> Any:
    """The pair model with prompts of these settings, that torch's seed gives."""
    from audiokd.teachers.prompted_pair import PromptedPair, PromptShape

    shape = {k: v for k, v in asdict(model).items() if k in PromptShape.__dataclass_fields__}
    return PromptedPair(pair, PromptShape(**shape))


def check_kind(pair: Any, media: MediaSet) -> None:
    """That a pair model embeds what the set has.

    Raises:
        AudiokdError: it does not.
    """
    if pair.kind != media.kind:
        raise AudiokdError(
            f"a pair model of {pair.kind}, and a set of {media.kind}", where=f"{pair.name}, {media.path}"
        )


def write_model(exp_dir: Path, settings: PromptSRCSettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the prompts of the run in `exp_dir` and the vectors of all its classes.

    Args:
        exp_dir: folder of the run.
        settings: of the run.
        state: checkpoint; None is the prompts that `run.seed` begins with.
        out: folder to write: prompts.safetensors, text_bank.safetensors.
        name: of the checkpoint.
    """
    import lightning as L

    from audiokd.data.classes import read_classes
    from audiokd.files import atomic_folder
    from audiokd.methods.promptsrc.module import PromptSRCModule
    from audiokd.nn.weights import load_weights
    from audiokd.teachers.pair import load_pair
    from audiokd.teachers.text_bank import BANK, make_text_bank

    L.seed_everything(settings.run.seed, workers=True, verbose=False)
    prompted = build_prompted(load_pair(settings.model.pair), settings.model)
    step = 0
    if state is not None:
        step, prefix = state["iteration"], PromptSRCModule.exported
        found = {k[len(prefix) :]: v for k, v in state["state_dict"].items() if k.startswith(prefix)}
        load_weights(prompted, found, f"{exp_dir}, {name} checkpoint")
    classes = read_classes(exp_dir / CLASSES)
    texts = {label: [text] for label, text in zip(classes, prompted.texts_of(list(classes.values())))}
    bank = make_text_bank(prompted.eval(), texts, float(prompted.scale))
    with atomic_folder(out) as folder:
        prompted.save(folder)
        bank.save(folder / BANK)
    print(f"{out}: prompts of {prompted.name}, {name} checkpoint, step {step}; vectors of {len(classes)} classes")

"""What `audiokd fit s3a` is given: items without labels, a vocabulary, a pair model; and what is made of it before a step."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from audiokd.data.classes import named, read_classes, spoken
from audiokd.data.media import MediaSet, open_media
from audiokd.data.regime import Regime, Seen, write_regime
from audiokd.data.vocabulary import Vocabulary, read_vocabulary, reduce_vocabulary, write_vocabulary
from audiokd.errors import AudiokdError
from audiokd.files import sha256_bytes, sha256_file, write_json
from audiokd.methods.s3a.settings import S3ASettings

log = logging.getLogger(__name__)
#: files of a run's folder
BANK, STRUCTURE, QUESTIONS, VOCABULARY = "text_bank.safetensors", "structure.json", "questions.jsonl", "vocabulary.json"


class S3ARun:
    """The inputs of a run.

    Args:
        settings: configuration.
        train, dev: data dirs of pictures (items.jsonl), or INPUTs of sound; labels are never trained on.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        AudiokdError: no pair model or vocabulary is given, class names that a drawn vocabulary cannot hold, or what the readers
            raise.
    """

    def __init__(self, settings: S3ASettings, train: str, dev: str, allow_pipes: bool = False):
        self.settings = settings
        if not settings.pair:
            raise AudiokdError("no pair model given", fix="--pair FOLDER, a CLIP, SigLIP, CLAP or LiT model")
        if not settings.vocabulary.path:
            raise AudiokdError(
                "no vocabulary given", fix="--vocabulary.path, the folder of WordNet, an ontology.json or a list"
            )
        self.train, self.dev = (open_media(p, allow_pipes, same_names=True) for p in (train, dev))
        self.test = open_media(settings.data.test, allow_pipes, same_names=True) if settings.data.test else None
        if len({m.kind for m in self._sets().values()}) > 1:
            raise AudiokdError(f"{self.train.kind}s to train on, {self.dev.kind}s to validate on", where=dev)
        self.vocabulary = self._vocabulary()

    def _sets(self) -> dict[str, MediaSet]:
        return {"train": self.train, "dev": self.dev} | ({} if self.test is None else {"test": self.test})

    def _vocabulary(self) -> Vocabulary:
        v = self.settings.vocabulary
        found = read_vocabulary(v.path, v.source)
        classes = (
            read_classes(v.classes)
            if v.classes
            else {k: n for m in self._sets().values() for k, n in m.classes.items()}
        )
        names = sorted({spoken(n) for n in classes.values()})
        if v.size:
            return reduce_vocabulary(found, v.size, names, self.settings.run.seed)
        lacking = sorted(set(names) - set(found.names))
        if lacking:
            log.warning("%d of %d classes are not in the vocabulary: %s", len(lacking), len(names), named(lacking))
        return found

    def describe(self) -> dict[str, Any]:
        """What config.yaml keeps of the inputs."""
        about: dict[str, Any] = {"vocabulary": {"names": len(self.vocabulary), "sha256": _sha256(self.vocabulary)}}
        for name, media in self._sets().items():
            ids = "\n".join(i.id for i in media.items)
            about[name] = {"items": len(media), "ids_sha256": sha256_bytes(ids.encode())}
        return about

    def build(self, folder: Path) -> tuple[Any, Any]:
        """The module and its data; regime.json, the names' vectors and structure.json are written where they are not there yet."""
        import lightning as L
        import torch
        from lightning.pytorch.utilities import rank_zero_only

        from audiokd.methods.s3a.data import S3ADataModule, views_of
        from audiokd.methods.s3a.model import model_of
        from audiokd.methods.s3a.module import S3AModule
        from audiokd.nn.weights import weights_sha256
        from audiokd.teachers.pair import load_pair
        from audiokd.training.shape_file import write_shape

        s = self.settings
        L.seed_everything(s.run.seed, workers=True, verbose=False)
        pair = load_pair(s.pair)
        if pair.kind != self.train.kind:
            raise AudiokdError(f"a pair model of {pair.kind}s, and {self.train.kind}s to name", where=s.pair)
        sha256 = weights_sha256(pair)
        if torch.cuda.is_available() and s.run.accelerator in ("auto", "gpu", "cuda"):
            pair.to("cuda")
        if rank_zero_only.rank == 0:
            write_regime(folder, self.regime(), {"pair": s.pair})
            write_vocabulary(folder / VOCABULARY, self.vocabulary)
        bank = self._bank(folder, pair, sha256)
        model = model_of(pair, bank).to(pair.device)
        data = S3ADataModule(self.train, self.dev, views_of(model, s.run.seed), s, folder)
        found = self._structure(folder, pair, sha256, bank, model, data) if s.loss.structural else None
        if rank_zero_only.rank == 0:
            write_shape(folder, model.config)
        ids = [i.id for i in self.train.items]
        return S3AModule(s, model.cpu(), ids, found, self.truth(self.dev)), data

    def regime(self) -> Regime:
        """Transductive where classes are tested whose items are trained on without labels, as S3A's are."""
        test = () if self.test is None else self.test.items
        known = any(i.label is not None for i in test)
        step = Seen("s3a", unlabelled=self.train.items, selection=self.dev.items)
        return Regime("transductive" if known else "inductive", [step], test)

    def truth(self, media: MediaSet) -> dict[str, int]:
        """Number of the name of labelled items by id; -1 where the vocabulary lacks it."""
        number = {name: k for k, name in enumerate(self.vocabulary.names)}
        return {i.id: number.get(spoken(media.classes[i.label]), -1) for i in media.items if i.label is not None}

    def _bank(self, folder: Path, pair: Any, sha256: str) -> Any:
        """The names' vectors: the run's own once it has begun, those that are given, or new ones."""
        from audiokd.teachers.text_bank import fill, load_text_bank, make_text_bank

        v, path = self.settings.vocabulary, folder / BANK
        prompts = fill(self.vocabulary.names, v.templates or ("photo7" if pair.kind == "image" else "sound"))
        if path.exists():
            bank = load_text_bank(path)
            same = bank.names == self.vocabulary.names and (
                v.bank or bank.prompts == tuple(map(tuple, prompts.values()))
            )
            if _begun(folder) or (same and bank.model_sha256 == sha256):
                bank.check_model(sha256, str(path))
                return bank
        if v.bank:
            bank = load_text_bank(v.bank).of(self.vocabulary.names)
            bank.check_model(sha256, v.bank)
        else:
            bank = make_text_bank(pair, prompts, float(pair.scale))
        bank.save(path)
        return bank

    def _structure(self, folder: Path, pair: Any, sha256: str, bank: Any, model: Any, data: Any) -> Any:
        """Clusters and names of the training items: those of structure.json, where it is of these inputs, or new ones."""
        from audiokd.methods.s3a.answers import FiledAnswers
        from audiokd.methods.s3a.cvpr import cvpr, describe, glosses, read_back
        from audiokd.methods.s3a.data import embed_all

        s, path = self.settings, folder / STRUCTURE
        ids = [i.id for i in self.train.items]
        made_of = {
            "pair": sha256,
            "seed": s.run.seed,
            "vocabulary": _sha256(self.vocabulary),
            "structure": asdict(s.structure),
            "prompt": asdict(s.prompt)
            | {"sha256": sha256_file(s.prompt.answers) if _is_file(s.prompt.answers) else ""},
            "items": sha256_bytes("\n".join(ids).encode()),
        }
        if path.exists():
            about = json.loads(path.read_text(encoding="utf-8"))
            if _begun(folder) or about.get("made_of") == made_of:
                return read_back(about, ids, self.vocabulary, path)
        phrases = {
            "glosses": lambda: glosses,
            "answers": lambda: FiledAnswers(s.prompt.answers, folder / QUESTIONS),
            "none": lambda: None,
        }[s.prompt.source]()
        read, items = embed_all(model, data.plain_batches())
        found = cvpr(items, bank, self.vocabulary, pair, s.structure, phrases, s.run.seed)
        about = describe(found, read, self.vocabulary) | {
            "made_of": made_of,
            "questions": sum(map(bool, found.candidates)),
        }
        write_json(path, about)
        moved = int((found.names != found.voted).sum())
        print(f"{path}: {len(found.names)} clusters of {len(read)} items; prompt and re-align renamed {moved}")
        return read_back(about, ids, self.vocabulary, path)


def _begun(folder: Path) -> bool:
    return (folder / "checkpoints" / "last.ckpt").exists()


def _is_file(path: str) -> bool:
    return bool(path) and Path(path).is_file()


def _sha256(vocabulary: Vocabulary) -> str:
    rows = zip(vocabulary.names, vocabulary.synsets, vocabulary.glosses)
    return sha256_bytes(json.dumps(list(rows), ensure_ascii=False).encode())


def write_model(exp_dir: Path, settings: S3ASettings, state: dict[str, Any] | None, out: Path, name: str) -> None:
    """Write the model of the run in `exp_dir` as a model folder; without a `state` the pair model itself, which names by the
    whole vocabulary (zero-shot).

    Raises:
        AudiokdError: the run has not begun, so that there are no names' vectors.
    """
    from audiokd.methods.s3a.model import S3AModel, model_of
    from audiokd.training.shape_file import write_trained

    if state is not None:
        write_trained(exp_dir, S3AModel, "student.", state, out, name)
        return
    from audiokd.files import atomic_folder
    from audiokd.nn.weights import weights_sha256
    from audiokd.teachers.pair import load_pair
    from audiokd.teachers.text_bank import load_text_bank

    pair, bank = load_pair(settings.pair), load_text_bank(exp_dir / BANK)
    bank.check_model(weights_sha256(pair), str(exp_dir / BANK))
    model = model_of(pair, bank)
    with atomic_folder(out) as folder:
        model.save_pretrained(folder)
    print(f"{out}: s3a of {len(bank)} labels, untrained (zero-shot)")

"""Talking recommenders: MovieLens in its published layouts, RMSE, users that training did not know, and a teacher of all genres."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_settings import settings_of
from talking_runs import fit_twice
from whole_runs import rows

import audiokd
from audiokd.data.movielens import read_movielens
from audiokd.data.ratings import Rating, read_ratings, write_ratings
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.talking_models.run import TalkRun
from audiokd.stages.export import export
from audiokd.stages.extract import extract
from audiokd.stages.fit import fit
from audiokd.stages.ratings import ratings

METHOD = "talking_models"


def tastes(users: range, movies: range, seed: int) -> list[Rating]:
    """Half of what users with a taste would give movies of a kind: 5 to their own, 1 to others."""
    rng = np.random.default_rng(seed)
    return [
        Rating(f"u{u}", f"m{m}", 5.0 if u % 2 == m % 2 else 1.0) for u in users for m in movies if rng.random() < 0.5
    ]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ratings of all movies, of a part of them, and a teacher of the former."""
    folder = tmp_path_factory.mktemp("ratings")
    seen = tastes(range(12), range(8), 1)
    write_ratings(folder / "teacher", [*seen[::2], *tastes(range(12), range(8, 16), 0)])
    write_ratings(folder / "train", seen[::2])
    write_ratings(folder / "dev", seen[1::4])
    write_ratings(folder / "test", [*seen[3::4], Rating("nobody", "m1", 3.0)])
    s = settings(folder, "alone", model__widths=[16, 16], run__max_steps=120, run__val_every=60, optim__lr=2e-2)
    fit(METHOD, s, str(folder / "teacher"), str(folder / "dev"), str(folder / "exp"))
    export(str(folder / "exp"), str(folder / "model"))
    return folder


def settings(root: Path, kind: str = "base", **changes: Any) -> Any:
    flat: dict[str, Any] = {"run.accelerator": "cpu", "data.batch_size": 16, "model.embed_dim": 4}
    flat |= {} if kind == "alone" else {"teacher.model": str(root / "model")}
    return settings_of(METHOD, kind, "debug", flat | {k.replace("__", "."): v for k, v in changes.items()})


def test_a_student_of_one_genre_talks_with_a_teacher_of_all(root: Path, tmp_path: Path) -> None:
    how = settings(
        root, loss__kd=1.0, run__max_steps=60, run__val_every=30, optim__lr=2e-2, data__test=(str(root / "test"),)
    )
    fit(METHOD, how, str(root / "train"), str(root / "dev"), str(tmp_path / "exp"))
    found = {k: float(v) for k, v in rows(tmp_path / "exp").items()}
    losses = {n: [found[s, "train", n] for s in range(1, 61)] for n in ("task", "interact_1", "kd")}
    assert all(sum(x[-8:]) < 0.7 * sum(x[:8]) for x in losses.values()), losses
    assert found[60, "val", "rmse"] == pytest.approx(found[60, "val", "loss"] ** 0.5)
    assert found[60, "val", "teacher_rmse"] < 1.0  # it has seen the taste
    export(str(tmp_path / "exp"), str(tmp_path / "model"))
    result = ratings(str(tmp_path / "model"), str(root / "test"), str(tmp_path / "test.json"))
    model, of = audiokd.load_model(tmp_path / "model"), read_ratings(root / "test")
    assert model.config.body["users"] == sorted({r.user for r in read_ratings(root / "train")})
    view = model.body.view_of_names([r.user for r in of], [r.movie for r in of])
    said = model(**view).tolist()
    error = [a - r.rating for a, r in zip(said, of)]
    assert result["scores"]["rmse"]["mean"] == pytest.approx((sum(e * e for e in error) / len(error)) ** 0.5, rel=1e-5)
    assert result["scores"]["mae"]["mean"] == pytest.approx(sum(map(abs, error)) / len(error), rel=1e-5)
    assert result["scores"]["rmse"]["low"] < result["scores"]["rmse"]["mean"] < result["scores"]["rmse"]["high"]
    assert result["unknown"] == 1 == int((view["users"] == 0).sum())
    assert json.loads((tmp_path / "test.json").read_text()) == result
    assert "RMSE" in (tmp_path / "test.md").read_text()


def test_stopped_and_started_again_it_is_the_same(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = settings(root, messages__rounds=2, loss__kd=1.0, optim__weight_decay=0.1)
    fit_twice(how, str(root / "train"), str(root / "dev"), tmp_path, monkeypatch)


def test_a_recommender_has_nothing_to_extract(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        AudiokdError, match=r"model: a model of ratings has no features to extract\n  use 'audiokd ratings'"
    ):
        extract(str(root / "model"), str(root / "test"), str(tmp_path / "store"), layer="logits")
    assert not (tmp_path / "store").exists()


def test_each_model_has_numbers_of_its_own(root: Path, tmp_path: Path) -> None:
    module, data = TalkRun(settings(root), str(root / "train"), str(root / "dev")).build(tmp_path)
    batch = data.collate([data.train_set[0, k] for k in range(5)])
    teacher = module.teacher.net.config.body
    for k, i in enumerate(batch["ids"]):
        user, movie = i.split("/")
        assert teacher["users"][batch["teacher"]["users"][k] - 1] == user
        assert teacher["movies"][batch["teacher"]["movies"][k] - 1] == movie
        assert module.model.config.body["users"][batch["student"]["users"][k] - 1] == user
    assert float(module.model.head.bias) == pytest.approx(np.mean([r.rating for r in read_ratings(root / "train")]))
    with torch.no_grad():
        assert torch.equal(module.teacher.logits(batch["teacher"]), module.teacher.net(**batch["teacher"]))


def test_what_cannot_be(root: Path, tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="ratings have no classes to decouple"):
        TalkRun(settings(root, "dkd"), str(root / "train"), str(root / "dev"))
    with pytest.raises(AudiokdError, match=r"student saw \d+ test items"):
        TalkRun(settings(root, data__test=(str(root / "train"),)), str(root / "train"), str(root / "dev")).build(
            tmp_path
        )
    with pytest.raises(AudiokdError, match="a recommender of 0 numbers"):
        TalkRun(settings(root, model__embed_dim=0), str(root / "train"), str(root / "dev")).build(tmp_path)
    with pytest.raises(ConfigError, match="out is the JSON file"):
        ratings(str(root / "model"), str(root / "test"), str(tmp_path / "x.md"))
    for text, said in (
        ("user\tmovie\n", r"ratings.tsv:1: no column rating"),
        ("user\tmovie\trating\n1\t2\tgood\n", r"ratings.tsv:2: the rating is 'good', not a number"),
        ("user\tmovie\trating\n1\t2\t3\n1\t2\t4\n", r"ratings.tsv:3: user 1 has rated movie 2 in .*ratings.tsv:2"),
        ("user\tmovie\trating\n1\t\t3\n", r"ratings.tsv:2: no user, or no movie"),
        ("user\tmovie\trating\n", "holds no rating"),
    ):
        (tmp_path / "bad").mkdir(exist_ok=True)
        (tmp_path / "bad" / "ratings.tsv").write_text(text)
        with pytest.raises(AudiokdError, match=said):
            read_ratings(tmp_path / "bad")
    slashed = [Rating("a/b", "c", 1.0), Rating("a", "b/c", 2.0), Rating("a%2Fb", "c", 3.0)]
    write_ratings(tmp_path / "slashed", slashed)
    assert read_ratings(tmp_path / "slashed") == slashed
    assert len({r.id for r in slashed}) == 3


FLAGS = "|".join("1" if k in (5, 15) else "0" for k in range(19))
LAYOUTS = {
    "100k": {
        "u.data": "7\t2\t3\t881250949\n8\t2\t5\t0\n",
        "u.item": f"2|GoldenEye (1995)|01-Jan-1995||http://x|{FLAGS}\n",
    },
    "1m": {"ratings.dat": "7::2::3::978300760\n8::2::5::0\n", "movies.dat": "2::Am\xe9lie:: a::Comedy|Sci-Fi\n"},
    "recbole": {
        "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t2\t3\t0\n8\t2\t5\t0\n",
        "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n2\tX\t1995\tComedy Sci-Fi\n",
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts(layout: str, tmp_path: Path) -> None:
    for name, text in LAYOUTS[layout].items():
        (tmp_path / name).write_text(text, encoding="latin-1")
    found, genres = read_movielens(tmp_path)
    assert found == [Rating("7", "2", 3.0), Rating("8", "2", 5.0)]
    assert genres == {"2": frozenset({"Comedy", "Sci-Fi"})}
    first, second = LAYOUTS[layout]
    lines = LAYOUTS[layout][first].splitlines()
    (tmp_path / first).write_text("\n".join([*lines[:-1], lines[-1].replace("2", "9", 1).replace("\x009", "")]) + "\n")
    with pytest.raises(AudiokdError, match=rf"{first}:{len(lines)}: movie 9 is not in {second}"):
        read_movielens(tmp_path)
    (tmp_path / first).write_text("\n".join([*lines[:-1], "7 2 3"]) + "\n")
    with pytest.raises(AudiokdError, match=rf"{first}:{len(lines)}: 1 fields, 4 are due"):
        read_movielens(tmp_path)
    (tmp_path / second).unlink()
    with pytest.raises(AudiokdError, match=f"{second}: cannot be read"):
        read_movielens(tmp_path)
    (tmp_path / first).unlink()
    with pytest.raises(AudiokdError, match=r"none of u.data, ratings.dat, ml-100k.inter"):
        read_movielens(tmp_path)

"""A classifier's logits against the labels: what the table says is what can be counted by hand."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import average_precision_score

from audiokd.data.labels import read_labels
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.classifier.config import ClassifierConfig
from audiokd.methods.classifier.model import ClassifierModel
from audiokd.stages.classify import classify
from audiokd.stages.extract import extract
from audiokd.tokens.store import open_store

NAMES = ["beckett", "nobody", "two_cities"]


@pytest.fixture(scope="module", params=["class", "tags"])
def store(request: pytest.FixtureRequest, readers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logits that a classifier with random weights gives for the readers' seconds."""
    root = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    shape = ATSTConfig(kind="clip", dim=32, depth=2, heads=2).to_dict()
    model = ClassifierModel(ClassifierConfig(shape, NAMES, request.param))
    torch.nn.init.normal_(model.head.weight)
    model.save_pretrained(root / "model")
    extract(str(root / "model"), str(readers / "train"), str(root / "store"), layer="logits")
    return root / "store"


def test_the_table(store: Path, readers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = classify(str(store), [str(readers / "train")], str(tmp_path / "x.json"), system="random")
    assert json.loads((tmp_path / "x.json").read_text()) == found
    table = (tmp_path / "x.md").read_text()
    assert capsys.readouterr().out == table
    assert f"| random | 14 | {found['metric']} |" in table
    labels = read_labels(readers / "train")
    items = list(open_store(store).items())
    true = [labels[i.id][0] for i in items]
    if found["task"] == "class":
        said = [NAMES[int(i.array[0].argmax())] for i in items]
        right = [a == b for a, b in zip(said, true)]
        assert found["test"]["mean"] == pytest.approx(sum(right) / 14)
        recall = sum(r for r, t in zip(right, true) if t == "beckett") / 7
        assert found["labels"] == {
            "beckett": pytest.approx(recall),
            "nobody": None,
            "two_cities": pytest.approx(2 * found["test"]["mean"] - recall),
        }
        assert found["chance"] == 0.5
    else:
        column = {n: [float(i.array[0][k]) for i in items] for k, n in enumerate(NAMES)}
        ap = {n: average_precision_score([t == n for t in true], column[n]) for n in ("beckett", "two_cities")}
        assert found["labels"] == {"nobody": None, **{n: pytest.approx(v) for n, v in ap.items()}}
        assert found["test"]["mean"] == pytest.approx(sum(ap.values()) / 2)
        assert found["chance"] == pytest.approx(1 / 3)
    assert found["test"]["low"] <= found["test"]["mean"] <= found["test"]["high"]


def test_folds(store: Path, readers: Path, tmp_path: Path) -> None:
    """The mean of two folds' scores, from the lower to the higher."""
    extract(str(store.parent / "model"), str(readers / "dev"), str(tmp_path / "dev"), layer="logits")
    data = [str(readers / "train"), str(readers / "dev")]
    results = [classify(str(s), data, str(tmp_path / "x.json")) for s in (store, tmp_path / "dev")]
    alone = [r["test"] for r in results]
    found = classify([str(store), str(tmp_path / "dev")], data, str(tmp_path / "both.json"))
    means = sorted(a["mean"] for a in alone)
    assert found["test"]["mean"] == pytest.approx(sum(means) / 2)
    assert [found["test"]["low"], found["test"]["high"]] == means
    assert (found["test"]["n"], found["rows"]) == (18, 18)
    a, b = (r["labels"] for r in results)
    assert found["labels"] == {"nobody": None, **{n: pytest.approx((a[n] + b[n]) / 2) for n in a if n != "nobody"}}
    if found["task"] == "class":
        assert 0.0 in a.values()  # a score of nothing counts, and no score does not
    assert "the mean over 2 folds" in (tmp_path / "both.md").read_text()


def test_utterances_without_a_label_are_left_out_and_counted(
    store: Path, readers: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = (readers / "train" / "utt2label").read_text().splitlines()
    (tmp_path / "some").write_text("\n".join(lines[:5]))
    with caplog.at_level(logging.WARNING):
        found = classify(str(store), [str(tmp_path / "some")], str(tmp_path / "x.json"))
    assert (found["rows"], found["without_label"], found["test"]["n"]) == (5, 9, 5)
    assert "9 of 14 utterances have no label" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("beckett-0 stranger\n", r"beckett-0: label stranger(.|\n)*it knows beckett, nobody"),
        ("somebody beckett\n", "none of its 14 utterances has a label"),
    ],
)
def test_labels_that_cannot_be(store: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "labels").write_text(text)
    with pytest.raises(AudiokdError, match=said):
        classify(str(store), [str(tmp_path / "labels")], str(tmp_path / "x.json"))


def test_several_labels(store: Path, readers: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("beckett-0 beckett nobody\n")
    arguments: Any = (str(store), [str(tmp_path / "labels")], str(tmp_path / "x.json"))
    if open_store(store).meta["task"] == "tags":
        assert classify(*arguments)["rows"] == 1
    else:
        with pytest.raises(AudiokdError, match="beckett-0: 2 labels where one is due"):
            classify(*arguments)


def test_a_store_of_something_else(store: Path, readers: Path, tmp_path: Path) -> None:
    extract(str(store.parent / "model"), str(readers / "dev"), str(tmp_path / "clip"), layer="clip")
    with pytest.raises(AudiokdError, match=r"a store of clip(.|\n)*--layer logits"):
        classify(str(tmp_path / "clip"), [str(readers / "dev")], str(tmp_path / "x.json"))
    with pytest.raises(ConfigError, match="out is the JSON file"):
        classify(str(store), [str(readers / "train")], str(tmp_path / "x.md"))

"""The data regime of a run: what is written, and runs that saw what they are tested on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from audiokd.data.draws import base_novel, few_shot, hold_out
from audiokd.data.items import Item
from audiokd.data.regime import Regime, Seen, check_disjoint, check_setting, keep_regime, write_regime
from audiokd.errors import AudiokdError

CLASSES = ("ant", "bee", "cat", "dog")


def items(split: str, per_class: int = 10) -> list[Item]:
    return [Item(f"{split}/{c}{n}", f"/{split}/{c}{n}.jpg", label=c) for c in CLASSES for n in range(per_class)]


def promptkd() -> Regime:
    """Base to novel as PromptKD has it: shots of base classes for the teacher, all classes unlabelled for the student."""
    base, _ = base_novel(CLASSES)
    train, held = hold_out(items("train"), 0.2, seed=0)
    shots = few_shot([i for i in train if i.label in base], 4, seed=0)
    selection = [i for i in held if i.label in base]
    steps = [
        Seen("teacher", labelled=shots, selection=selection),
        Seen("student", unlabelled=train, selection=selection),
    ]
    return Regime("transductive", steps, items("test"))


def test_what_is_written(tmp_path: Path) -> None:
    regime = promptkd()
    write_regime(tmp_path, regime)
    about = json.loads((tmp_path / "regime.json").read_text())
    teacher, student = about["steps"]
    assert about["setting"] == "transductive"
    assert (teacher["name"], student["name"]) == ("teacher", "student")
    assert teacher["labelled"]["count"] == 8
    assert teacher["labelled"]["labels"] == {"ant": 4, "bee": 4}
    assert teacher["selection"]["labels"] == {"ant": 2, "bee": 2}
    assert student["unlabelled"].keys() == {"count", "sha256"}  # the labels of these were not seen
    assert student["unlabelled"]["count"] == 32
    ids = "".join(f"{i}\n" for i in sorted(i.id for i in regime.test))
    assert about["test"]["sha256"] == hashlib.sha256(ids.encode()).hexdigest()
    before = (tmp_path / "regime.json").read_bytes()
    write_regime(tmp_path, Regime("transductive", regime.steps, list(reversed(regime.test))))
    assert (tmp_path / "regime.json").read_bytes() == before
    write_regime(tmp_path, Regime("transductive", regime.steps, regime.test[1:]))
    assert (tmp_path / "regime.json").read_bytes() != before


def test_what_models_before_it_saw(tmp_path: Path) -> None:
    """A model takes its run's regime along; captions are named as such, and labels that lie beside them are not."""
    pair = Regime("inductive", [Seen("pair", captioned=items("captioned"))], ())
    write_regime(tmp_path, pair)
    (tmp_path / "model").mkdir()
    keep_regime(tmp_path, tmp_path / "model")
    (tmp_path / "student").mkdir()
    write_regime(tmp_path / "student", promptkd(), {"teacher": str(tmp_path / "model"), "other": "", "hub": "a/b"})
    about = json.loads((tmp_path / "student" / "regime.json").read_text())
    assert about["before"] == {"teacher": json.loads((tmp_path / "regime.json").read_text())}
    assert about["before"]["teacher"]["steps"][0]["captioned"].keys() == {"count", "sha256"}
    (tmp_path / "bare").mkdir()
    keep_regime(tmp_path / "bare", tmp_path / "student")  # a run without one leaves what is there
    assert json.loads((tmp_path / "student" / "regime.json").read_text()) == about


@pytest.mark.parametrize("use", ["labelled", "unlabelled", "captioned", "selection"])
def test_a_test_item_that_was_seen(tmp_path: Path, use: str) -> None:
    test = items("test")
    seen = Seen("student", **{use: [*items("train"), test[3], test[12]]})  # type: ignore[arg-type]
    with pytest.raises(AudiokdError, match=rf"student saw 2 test items \({use}\): test/ant3, test/bee2"):
        check_disjoint(Regime("transductive", [Seen("teacher", labelled=items("train")), seen], test))
    with pytest.raises(AudiokdError):
        write_regime(tmp_path, Regime("transductive", [seen], test))
    assert not (tmp_path / "regime.json").exists()


def test_a_test_picture_under_another_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    again = Item("other", str(tmp_path / "test" / "a.jpg"), label="ant")
    with pytest.raises(AudiokdError, match=r"one saw 1 test items \(labelled\): other"):
        check_disjoint(Regime("inductive", [Seen("one", labelled=[again])], [Item("t", "test/a.jpg", label="ant")]))


def test_selection_by_what_was_learnt_from() -> None:
    """By the step itself, or by one before it; one after it does no harm."""
    train = items("train")
    for steps in (
        [Seen("one", labelled=train, selection=train[:2])],
        [Seen("one", unlabelled=train, selection=train[:2])],
        [Seen("zero", labelled=train), Seen("one", selection=train[:2])],
    ):
        with pytest.raises(AudiokdError, match="one selects by 2 items that were learnt from: train/ant0, train/ant1"):
            check_disjoint(Regime("inductive", steps, items("test")))
    check_disjoint(Regime("inductive", [Seen("one", selection=train[:2]), Seen("two", labelled=train)], items("test")))


def test_the_setting_is_what_the_items_say() -> None:
    regime = promptkd()
    check_setting(regime)
    with pytest.raises(AudiokdError, match=r"student sees unlabelled items of tested classes .*: cat, dog"):
        check_setting(Regime("inductive", regime.steps, regime.test))
    with pytest.raises(AudiokdError, match="setting 'Inductive'"):
        check_setting(Regime("Inductive", regime.steps, regime.test))  # type: ignore[arg-type]
    with pytest.raises(AudiokdError, match=r"teacher: no label: x\n.*unlabelled"):
        check_setting(Regime("inductive", [Seen("teacher", labelled=[Item("x", "/x")])], regime.test))
    base = [i for i in items("train") if i.label in ("ant", "bee")]
    check_setting(Regime("inductive", [Seen("teacher", labelled=base), Seen("student", unlabelled=base)], regime.test))

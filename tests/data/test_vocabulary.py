"""Vocabularies from WordNet, from an ontology, from a list; smaller ones that hold the classes; and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audiokd.data.fetch import downloads_dir, fetch_deb
from audiokd.data.vocabulary import Vocabulary, read_vocabulary, read_wordnet, reduce_vocabulary, write_vocabulary
from audiokd.errors import AudiokdError

WORDNET = "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752"
#: its lines
NOUNS = """\
  1 This software and database is being provided to you, the LICENSEE, by  
01440764 05 n 02 tench 0 Tinca_tinca 0 002 @ 01439121 n 0000 #m 01440655 n 0000 | freshwater dace-like game fish of Europe  
02002684 03 n 02 object 0 physical_object 0 002 @ 00001930 n 0000 ~ 00003553 n 0000 | a tangible and visible entity; an entity that can cast a shadow; "it was full of rackets, balls and other objects"  
02012849 05 n 01 crane 0 001 @ 02000954 n 0000 | large long-necked wading bird  
03126707 06 n 01 crane 4 001 @ 03664675 n 0000 | lifts and moves heavy objects  
00066781 04 n 0a substitution 0 a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 000 | the act of putting one thing in the place of another: "he sent Smith in"  
"""  # noqa: E501, W291


@pytest.fixture
def nouns(tmp_path: Path) -> Path:
    path = tmp_path / "data.noun"
    path.write_text(NOUNS)
    return path


def of_names(*names: str) -> Vocabulary:
    return Vocabulary(names, tuple((f"{n}#1",) for n in names), (("",),) * len(names))


def test_wordnet(nouns: Path) -> None:
    v = read_vocabulary(nouns)
    assert v.names == ("crane", "object", "substitution", "tench")
    assert v.synsets == (("n02012849", "n03126707"), ("n02002684",), ("n00066781",), ("n01440764",))
    assert v.glosses[0] == ("large long-necked wading bird", "lifts and moves heavy objects")
    assert v.glosses[1:3] == (
        ("a tangible and visible entity; an entity that can cast a shadow",),
        ("the act of putting one thing in the place of another",),
    )
    every = read_wordnet(nouns, synonyms=True)
    assert every.names == tuple(
        sorted(["Tinca tinca", "crane", "object", "physical object", "substitution", "tench", *"abcdefghi"])
    )
    assert every.synsets[every.names.index("Tinca tinca")] == ("n01440764",)
    some = read_wordnet(nouns, synsets=["n03126707", "n01440764"])
    assert (some.names, some.synsets) == (("crane", "tench"), (("n03126707",), ("n01440764",)))
    with pytest.raises(AudiokdError, match=r"data\.noun: 2 synsets are not there, n00000001 first"):
        read_wordnet(nouns, synsets=["n01440764", "n00000002", "n00000001"])


@pytest.mark.parametrize(
    "line",
    [
        "01440764 05 n 02 tench 0 Tinca_tinca 0 000 no gloss",
        "0144076 05 n 01 tench 0 000 | fish",
        "01440764 05 v 01 tench 0 000 | fish",
        "01440764 05 n 0x tench 0 000 | fish",
        "01440764 05 n 09 tench 0 000 | fish",
        "01440764 05 n 00 000 | fish",
        "tench | fish",
    ],
)
def test_lines_that_are_no_nouns(line: str, nouns: Path) -> None:
    nouns.write_text(f"{NOUNS}{line}\n")
    with pytest.raises(AudiokdError, match=r"data\.noun:7: no line of WordNet's data\.noun"):
        read_vocabulary(nouns)


@pytest.mark.corpus
def test_the_whole_of_wordnet() -> None:
    folder = fetch_deb("wordnet-base", WORDNET, downloads_dir() / "tests") / "usr/share/wordnet"
    v = read_vocabulary(folder / "data.noun")
    assert len(v) == 67_893
    assert sum(map(len, v.synsets)) == 82_115  # as man 7 wnstats counts them
    assert "n02012849" in v.synsets[v.names.index("crane")]
    tench = v.names.index("tench")
    assert v.synsets[tench] == ("n01440764",)  # the first class of ImageNet
    assert v.glosses[tench][0].startswith("freshwater dace-like game fish")
    assert all(g and not g.startswith('"') for glosses in v.glosses for g in glosses)
    assert len(read_wordnet(folder / "data.noun", synonyms=True)) == 119_034


def test_an_ontology_and_back(tmp_path: Path) -> None:
    entries = [
        {
            "id": "/m/09x0r",
            "name": "Speech",
            "description": "Speech is ...",
            "child_ids": ["/m/0ytgt"],
            "restrictions": [],
        },
        {"id": "/t/b", "name": "Crane", "description": "A bird."},
        {"id": "/t/a", "name": "Crane", "description": ""},
    ]
    path = tmp_path / "ontology.json"
    path.write_text("\ufeff" + json.dumps(entries))
    v = read_vocabulary(path)
    assert v.names == ("Crane", "Speech")
    assert v.synsets == (("/t/b", "/t/a"), ("/m/09x0r",))
    assert v.glosses == (("A bird.", ""), ("Speech is ...",))


def test_written_as_read(nouns: Path, tmp_path: Path) -> None:
    for v in (read_wordnet(nouns), read_wordnet(nouns, synonyms=True)):
        write_vocabulary(tmp_path / "v.json", v)
        assert read_vocabulary(tmp_path / "v.json") == v
    with pytest.raises(AudiokdError, match=r"v\.txt: a vocabulary is written as JSON"):
        write_vocabulary(tmp_path / "v.txt", v)


def test_a_list(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\ufeffzebra\n\ncrane\ta bird\t a machine \r\nhot dog\t\n", encoding="utf-8")
    v = read_vocabulary(path)
    assert v.names == ("crane", "hot dog", "zebra")
    assert v.synsets == (("crane#1", "crane#2"), ("hot dog#1",), ("zebra#1",))
    assert v.glosses == (("a bird", "a machine"), ("",), ("",))


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("v.txt", b"", "v.txt: holds no name"),
        ("v.txt", b"\n \n", "v.txt: holds no name"),
        ("v.txt", b"cat\ndog\ncat\ta pet\n", "v.txt:3: cat stands in line 1 before"),
        ("v.txt", b"cat\n\ta pet\n", "v.txt:2: a gloss without a name"),
        ("v.txt", b"cat\nch\xe2teau\n", "v.txt:2: not UTF-8: byte 0xe2"),
        ("data.noun", b"  1 licence\n", "data.noun: holds no name"),
        ("data.noun", b"  1 licence\n\xff\n", "data.noun:2: not UTF-8: byte 0xff"),
        ("v.json", b"[]", "v.json: holds no name"),
        ("v.json", b'[\n{"id": 1,]', "v.json:2: no JSON"),
        ("v.json", b'{"id": "a"}', "v.json: no list of objects"),
        ("v.json", b'[{"id": "a", "name": "b", "description": ""}, 3]', "v.json: entry 2: no name"),
        ("v.json", b'[{"id": 5, "name": "b", "description": ""}]', "v.json: entry 1: no id"),
        ("v.json", b'[{"id": "a", "name": " ", "description": ""}]', "v.json: entry 1: no name"),
        ("v.json", b'[{"id": "a", "name": "b"}]', "v.json: entry 1: no description"),
        (
            "v.json",
            b'[{"id": "a", "name": "b", "description": ""}, {"id": "a", "name": "b", "description": "c"}]',
            r"v.json: entry 2: a \(b\) stands there before",
        ),
    ],
)
def test_files_that_are_none(name: str, data: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AudiokdError, match=what):
        read_vocabulary(tmp_path / name)


def test_no_file(tmp_path: Path) -> None:
    for name in ("v.txt", "v.json", "data.noun"):
        with pytest.raises(AudiokdError, match=f"{name}: no such file"):
            read_vocabulary(tmp_path / name)


def test_what_a_vocabulary_is() -> None:
    for names, what in [((), "without a name"), (("b", "a"), "sorted"), (("a", "a"), "each once")]:
        with pytest.raises(AudiokdError, match=what):
            of_names(*names)
    with pytest.raises(AudiokdError, match="a: 0 senses and 0 glosses"):
        Vocabulary(("a",), ((),), ((),))
    with pytest.raises(AudiokdError, match="a: 2 senses and 1 glosses"):
        Vocabulary(("a",), (("x", "y"),), (("z",),))
    with pytest.raises(AudiokdError, match="synsets and glosses of each name"):
        Vocabulary(("a", "b"), (("x",),), (("z",),))


def test_smaller_ones_hold_the_classes() -> None:
    names = [f"n{k:04d}" for k in range(1000)]
    v = Vocabulary(tuple(names), tuple((f"{n}#1",) for n in names), tuple((f"gloss of {n}",) for n in names))
    keep = ["n0500", "n0003", "n0999"]
    small, large = reduce_vocabulary(v, 20, keep, 0), reduce_vocabulary(v, 200, keep, 0)
    assert (len(small), len(large)) == (20, 200)
    assert set(keep) < set(small.names) < set(large.names)
    assert all(g == (f"gloss of {n}",) for n, g in zip(large.names, large.glosses))
    assert all(s == (f"{n}#1",) for n, s in zip(large.names, large.synsets))
    assert reduce_vocabulary(v, 20, keep[::-1], 0) == small
    assert reduce_vocabulary(v, 20, keep, 1) != small
    assert reduce_vocabulary(v, 3, keep, 0).names == tuple(sorted(keep))
    assert reduce_vocabulary(v, 1000, keep, 0) == v
    spread = [int(n[1:]) for n in large.names]
    assert 400 < sum(spread) / len(spread) < 600
    # written down: a vocabulary that a run was made with must not move
    assert reduce_vocabulary(v, 6, keep, 0).names == ("n0003", "n0224", "n0475", "n0500", "n0944", "n0999")


def test_classes_that_cannot_be_kept() -> None:
    v = of_names("airplane", "cat", "dog")
    with pytest.raises(AudiokdError, match="aeroplane: 2 classes are not in the vocabulary\n  near names: airplane"):
        reduce_vocabulary(v, 2, ["aeroplane", "cat", "xyz"], 0)
    with pytest.raises(AudiokdError, match=r"xyz: 1 classes .*\n  rename it"):
        reduce_vocabulary(v, 2, ["xyz"], 0)
    with pytest.raises(AudiokdError, match="cat: a class stands twice"):
        reduce_vocabulary(v, 3, ["cat", "dog", "cat"], 0)
    for size in (1, 4, 0):
        with pytest.raises(AudiokdError, match=f"{size} names cannot be had: 2 classes, 3 names"):
            reduce_vocabulary(v, size, ["cat", "dog"], 0)

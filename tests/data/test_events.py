"""Sound events with times: DESED's table, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiokd.data.events import Event, read_events, write_events
from audiokd.errors import AudiokdError

HEADER = "filename\tonset\toffset\tevent_label\n"


def test_desed_table(tmp_path: Path) -> None:
    """Rows as DESED's validation.tsv has them: file names, overlapping events, a clip in which nothing happens."""
    file = tmp_path / "validation.tsv"
    rows = ["Y00pbt6aJV8Y_350.000_360.000.wav\t0.407\t10.0\tVacuum_cleaner", "b/Y1.wav\t4.0\t5.5\tDog"]
    rows += ["b/Y1.wav\t3.5\t9.25\tSpeech", "quiet.wav\t\t\t"]
    file.write_text(HEADER + "\n".join(rows) + "\n")
    found = read_events(file)
    assert found["Y00pbt6aJV8Y_350.000_360.000"] == [Event(0.407, 10.0, "Vacuum_cleaner")]
    assert found["Y1"] == [Event(3.5, 9.25, "Speech"), Event(4.0, 5.5, "Dog")]
    assert found["quiet"] == []


def test_write_then_read(tmp_path: Path) -> None:
    """In a data dir; an id with dots in it stays whole."""
    events = {"a.1": [Event(0.0, 0.123456, "Cat")], "b": []}
    write_events(tmp_path / "events.tsv", events)
    assert read_events(tmp_path) == {"a.1": [Event(0.0, 0.12346, "Cat")], "b": []}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a.wav\t0\t1\tDog\n", 1, "header"),
        (HEADER + "a.wav\t1\tDog\n", 2, "3 columns"),
        (HEADER + "a.wav\tx\t1\tDog\n", 2, "not numbers"),
        (HEADER + "\na.wav\t2\t1\tDog\n", 3, "no stretch"),
        (HEADER + "a.wav\t0\tinf\tDog\n", 2, "no stretch"),
        (HEADER + "a.wav\tnan\t1\tDog\n", 2, "no stretch"),
        (HEADER + "a.wav\t0\t1\tDog barks\n", 2, "no word"),
    ],
)
def test_bad_table_names_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    file = tmp_path / "events.tsv"
    file.write_text(text)
    with pytest.raises(AudiokdError, match=said) as e:
        read_events(file)
    assert f"{file}:{line}" in str(e.value)

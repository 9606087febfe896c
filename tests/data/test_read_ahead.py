"""Reading ahead of who uses what is read."""

from __future__ import annotations

import threading
import time

import pytest

from audiokd.data.ahead import ReadAhead


def test_in_order_and_no_further_than_said() -> None:
    started: list[int] = []
    lock = threading.Lock()

    def read(i: int) -> int:
        with lock:
            started.append(i)
        time.sleep(0.001 * (i % 3))
        return i * i

    seen = []
    for k, value in enumerate(ReadAhead(read, range(40), threads=3, ahead=5)):
        seen.append(value)
        assert max(started) <= k + 5
    assert seen == [i * i for i in range(40)]


def test_reads_while_the_other_works() -> None:
    reader = ReadAhead(lambda i: time.sleep(0.02), range(15), ahead=4)
    start = time.perf_counter()
    for _ in reader:
        time.sleep(0.03)
    assert time.perf_counter() - start < 0.8 * 15 * 0.05  # one after the other it is 0.75 s
    assert reader.waited_s < 0.3 * (time.perf_counter() - start)


def test_a_slow_reader_is_seen() -> None:
    reader = ReadAhead(lambda i: time.sleep(0.02), range(10), ahead=2)
    assert len(list(reader)) == 10
    assert reader.waited_s > 0.15


def test_an_error_comes_in_its_turn_and_ends_the_threads() -> None:
    def read(i: int) -> int:
        if i == 3:
            raise ValueError("three")
        return i

    before, got = threading.active_count(), []
    with pytest.raises(ValueError, match="three"):
        got.extend(ReadAhead(read, range(100), ahead=10))
    assert got == [0, 1, 2]
    assert threading.active_count() == before


def test_left_early_it_reads_no_more() -> None:
    done: list[int] = []
    for _ in ReadAhead(done.append, range(1000), ahead=3):
        break
    time.sleep(0.05)
    assert len(done) <= 4

"""Phrases from a file of a language model's answers, so that any model can be asked by anybody, elsewhere.

    questions.jsonl   {"key": "bank#1 | bank#2 | shore#1", "question": "..."}    written by a run that lacks answers
    the answers       {"key": "bank#1 | bank#2 | shore#1", "answers": ["bank#1: mud; reeds\n...", "..."]}

One object a line. Several answers to a question are what the paper has (3, at temperature 0.7): a phrase weighs as often as it
comes. Lines of one key add up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from audiokd.data.text import read_utf8
from audiokd.errors import AudiokdError
from audiokd.files import jsonl, write_bytes
from audiokd.methods.s3a.cvpr import question_key
from audiokd.methods.s3a.phrases import LanguageModel, Phrase, Sense, ask, question, read_answer

FORM = 'a line is {"key": "...", "answers": ["...", ...]}, its key as in questions.jsonl'


def read_answers(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Answers by key.

    Raises:
        AudiokdError: no such file, or a line that is none (file:line).
    """
    found: dict[str, list[str]] = {}
    for number, line in enumerate(read_utf8(Path(path), FORM).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            key, answers = row["key"], row["answers"]
        except (ValueError, KeyError, TypeError) as e:
            raise AudiokdError("no answers to a question", where=f"{path}:{number}", fix=FORM) from e
        if not isinstance(key, str) or not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
            raise AudiokdError("no answers to a question", where=f"{path}:{number}", fix=FORM)
        found.setdefault(key, []).extend(answers)
    return found


class FiledAnswers:
    """Phrases of every cluster from a file.

    Args:
        path: of the answers; "" where there are none yet.
        questions: file to write what is not answered to.
    """

    def __init__(self, path: str, questions: Path):
        self.path, self.questions = path, questions
        self.answers = read_answers(path) if path else {}

    def __call__(self, senses: Sequence[Sequence[Sense]]) -> list[list[Phrase]]:
        """Phrases of each cluster's senses.

        Raises:
            AudiokdError: some are not answered, or by nothing that can be used; their questions are written.
        """
        open_ = {question_key(of): of for of in senses if of and not self._usable(of)}
        if open_:
            write_bytes(self.questions, jsonl([{"key": k, "question": question(of)} for k, of in open_.items()]))
            what = f"{len(open_)} clusters without an answer that can be used, {next(iter(open_))!r} first"
            fix = f"put the questions in {self.questions} to a language model, then --prompt.answers FILE; {FORM}"
            raise AudiokdError(what, where=self.path or None, fix=fix)
        return [self._phrases(of) if of else [] for of in senses]

    def _usable(self, senses: Sequence[Sense]) -> list[str]:
        found = []
        for text in self.answers.get(question_key(senses), []):
            try:
                read_answer(text, senses)
            except AudiokdError:
                continue
            found.append(text)
        return found

    def _phrases(self, senses: Sequence[Sense]) -> list[Phrase]:
        texts = self._usable(senses)
        given = iter(texts)
        return ask(lambda _: next(given), senses, repeats=len(texts), attempts=1)


def answer_questions(
    questions: str | os.PathLike[str], answers: str | os.PathLike[str], model: LanguageModel, repeats: int = 3,
    attempts: int = 5,
) -> None:  # fmt: skip
    """Ask a language model what a run wrote down, and write its answers as the run reads them.

    Args:
        questions: questions.jsonl of the run.
        answers: file to write.
        model: answers a question; called `repeats` times for each.
        repeats: answers that are wanted.
        attempts: for each, until every sense has phrases.

    Raises:
        AudiokdError: no such file, or an answer that cannot be used, `attempts` times over.
    """
    rows = []
    for line in read_utf8(Path(questions), "questions.jsonl of a run").splitlines():
        row = json.loads(line)
        senses = [Sense(0, key, "") for key in row["key"].split(" | ")]
        rows.append(
            {"key": row["key"], "answers": [_asked(model, row["question"], senses, attempts) for _ in range(repeats)]}
        )
    write_bytes(answers, jsonl(rows))


def _asked(model: LanguageModel, text: str, senses: Sequence[Sense], attempts: int) -> str:
    for attempt in range(attempts):
        answer = model(text)
        try:
            read_answer(answer, senses)
            return answer
        except AudiokdError as e:
            if attempt == attempts - 1:
                raise AudiokdError(f"no answer that can be used, {attempts} times; the last: {e.what}", fix=FORM) from e
    raise AudiokdError(f"{attempts} attempts: one at least is due")

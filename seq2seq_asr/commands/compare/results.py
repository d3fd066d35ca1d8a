"""What finished runs have left: transcripts with references, learning curves, costs."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.grid import Run
from seq2seq_asr.commands.compare.stages import decode_folder, is_classification, read_cost
from seq2seq_asr.commands.significance.reading import SCORES, read_decoding
from seq2seq_asr.errors import CheckpointError, UsageError
from seq2seq_asr.evaluation.wer import ErrorCounts, character_errors, utterance_errors, word_errors
from seq2seq_asr.training.criterion import ACCURACY, CER, WER, Choice, Criterion, find_criterion
from seq2seq_asr.training.metrics import read_rows
from seq2seq_asr.training.run_folder import RunFolder

_COUNT: Final[dict[Criterion, Callable[[str, str], ErrorCounts]]] = {
    WER: word_errors,
    CER: character_errors,
    ACCURACY: utterance_errors,
}


@dataclass(frozen=True, kw_only=True)
class ScoredSet:
    """The utterances that every run has decoded."""

    ids: tuple[str, ...]
    references: tuple[str, ...]
    speakers: tuple[str | None, ...]
    criterion: Criterion
    """What the systems are judged by."""
    lengths: Float[np.ndarray, " B"]
    """Words, or characters, of each reference; 1 in classification, where a label is one thing to get right."""

    @property
    def unit(self) -> str:
        """What the length of a text is counted in."""
        return "characters" if self.criterion == CER else "words"

    @property
    def speaker_count(self) -> int:
        """Distinct speakers, 0 where one is unknown."""
        return len(set(self.speakers)) if all(self.speakers) else 0


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run."""

    run: Run
    test: ScoredSet
    errors: Float[np.ndarray, " B"]
    """Word or character errors, or wrong labels, of each utterance."""
    curve: Sequence[Mapping[str, str]]
    """Rows of metrics.csv."""
    cost: Mapping[str, Any]
    """What each stage took."""
    real_time_factor: float | None
    """Of decoding."""

    @property
    def rate(self) -> float:
        """Errors per reference word or character, or share of wrong labels."""
        return float(self.errors.sum() / max(1.0, self.test.lengths.sum()))

    @property
    def minutes(self) -> float:
        """Of training and validation, without start-up."""
        return sum(float(row["seconds"] or 0) for row in self.curve) / 60

    @property
    def steps(self) -> int:
        """Updates."""
        return int(float(self.curve[-1]["step"])) if self.curve else 0


def asked_for(runs: Sequence[Run]) -> Choice:
    """The error rate that the configs of all runs ask for; ``auto`` where they do not agree."""
    choices = {run.config.trainer.criterion for run in runs}
    return choices.pop() if len(choices) == 1 else "auto"


def read_result(run: Run, config: CompareConfig, choice: Choice = "auto") -> RunResult:
    """Read a finished run.

    Args:
        run: The run.
        config: Which of its decodings.
        choice: Error rate to judge recognisers by.

    Raises:
        CheckpointError: Its scores or its figures are missing or damaged.
        ManifestError: Its transcripts are.
    """
    folder, labels = decode_folder(run, config), is_classification(run)
    try:
        scores = json.loads((folder / SCORES[labels]).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: no complete results ({error})") from error
    scored = read_decoding(folder).scored
    references = tuple(one.reference for one in scored)
    criterion = ACCURACY if labels else find_criterion(choice, references)
    counts = [_COUNT[criterion](one.reference, one.hypothesis) for one in scored]
    test = ScoredSet(
        ids=tuple(one.id for one in scored),
        references=references,
        speakers=tuple(one.speaker for one in scored),
        criterion=criterion,
        lengths=np.array([float(one.reference_length) for one in counts]),
    )
    return RunResult(
        run=run,
        test=test,
        errors=np.array([float(one.errors) for one in counts]),
        curve=_curve(run),
        cost=read_cost(run.path),
        real_time_factor=scores.get("real_time_factor"),
    )


def _curve(run: Run) -> list[dict[str, str]]:
    """A row of figures for every epoch."""
    path = RunFolder(run.path).metrics
    rows = read_rows(path) if path.is_file() else []
    if [row["epoch"] for row in rows] != [str(epoch) for epoch in range(run.config.trainer.epochs)]:
        raise CheckpointError(f"{path}: damaged, it has not a row for each of {run.config.trainer.epochs} epochs")
    try:
        [(float(row["step"]), float(row["seconds"])) for row in rows]
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged, a row lacks its steps or seconds ({error})") from error
    return rows


def check_same_test(results: Sequence[RunResult]) -> None:
    """Paired tests take the same utterances with the same references.

    Raises:
        UsageError: A run has others.
    """
    first = results[0]
    for one in results[1:]:
        if one.test.ids != first.test.ids or one.test.references != first.test.references:
            raise UsageError(
                f"{one.run.path} was scored on other utterances or references than {first.run.path}: "
                "configs of one comparison need the same test set and text normalisation"
            )
        if one.test.criterion != first.test.criterion:
            raise UsageError(f"{one.run.path}: classification and recognition cannot be compared with each other")

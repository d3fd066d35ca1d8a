"""Settings of ``significance``."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import tyro

from seq2seq_asr.errors import UsageError

MOST: Final = 40
"""Folders that are compared at once."""


@dataclass(frozen=True, kw_only=True)
class SignificanceConfig:
    """Is the difference between decodings of the same utterances real, or may it be chance?

    A folder is one that `decode` wrote, or has ref.trn and hyp.trn of another toolkit, as sclite reads them: a line
    `words (speaker-id)` an utterance. The speaker is what stands before the first hyphen; `(id)` or `(unknown-id)` is
    one of an unknown speaker. Ids and references must be the same in all folders.

    Every pair is tested twice: by Student's t and by exchanging errors (matched pairs), both over speakers; over
    utterances where speakers are unknown, or only one. Where the speakers that differ are too few for an exchange to
    reach 5 %, utterances are exchanged instead. A pair counts as significant where the larger p-value, corrected for
    all pairs (Holm), is 0.05 or less. It cannot be told where only exchanged utterances say that they differ, and where
    utterances are too few or all differ alike.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders with ref.trn and hyp.trn, 2 to 40."""
    unit: Literal["auto", "words", "characters", "utterances"] = "auto"
    """What errors are counted in; auto: words, characters where no spaces part the words, utterances of classifiers."""
    by: Literal["speaker"] | None = None
    """Print the error rate of each speaker too."""
    common: bool = False
    """Compare what all folders have, where some lack utterances, such as those that `decode` skipped."""
    out: Path | None = None
    """Folder for systems.csv, pairs.csv, speakers.csv (fractions, not percent) and differences.png."""
    seed: int = 0
    """Seed of the bootstrap intervals, and of the exchanges where there are too many to try them all."""

    def __post_init__(self) -> None:
        if len(self.folders) < 2:
            raise UsageError("folders: give two or more, such as `significance one/decode_test another/decode_test`")
        if len(self.folders) > MOST:
            raise UsageError(f"folders: at most {MOST}; corrected for so many pairs, hardly anything is significant")
        seen: dict[str, Path] = {}
        for folder in self.folders:
            if (place := os.path.realpath(folder)) in seen:
                raise UsageError(f"{folder}: given twice")
            seen[place] = folder
        if self.seed < 0:
            raise UsageError("seed: must be 0 or more")

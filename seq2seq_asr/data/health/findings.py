"""What may be wrong with a corpus, and how much it matters."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
Concerns = Literal["one", "several", "sentences"]


class Check(NamedTuple):
    """Something that is looked for."""

    severity: Severity
    """An error stops training, cannot be learnt or decoded, or makes a score untrue; a warning may be meant."""
    concerns: Concerns
    """One utterance, several, or sentences of several: the last means nothing where the texts are a few classes."""
    meaning: str
    """What was found, and what it does."""


CHECKS: Final[dict[str, Check]] = {
    "unreadable": Check("error", "one", "cannot be read: training stops there, decoding skips it"),
    "input": Check("error", "one", "not what the model reads: audio, or features of so many bins"),
    "duration": Check("error", "one", "the manifest's duration is not the file's: what lies beyond it is never heard"),
    "ctc": Check("error", "one", "more tokens than encoded frames: CTC finds no path and learns nothing from it"),
    "contradiction": Check("error", "several", "the same audio with different texts in one set"),
    "audio_leak": Check("error", "several", "the same audio is trained and tested on: scores are too good"),
    "no_text": Check("error", "one", "nothing is left of the text once it is normalised"),
    "label": Check("error", "one", "a class that does not occur in training: `fit` and `decode` refuse it"),
    "text_leak": Check("warning", "sentences", "the same speaker says the same text in training and in a test"),
    "speaker_overlap": Check("warning", "several", "speakers are trained and tested on: scores are not for new voices"),
    "duplicate_audio": Check("warning", "several", "the same audio twice in one set"),
    "rate": Check(
        "warning", "several", "a rate of its own, or one below the model's: bands are missing, which may tell sources"
    ),
    "clipping": Check("warning", "one", "samples stand at the limit for three or more in a row"),
    "loud": Check(
        "warning", "one", "samples beyond full scale: the utterance is made softer as a whole when it is read"
    ),
    "silence": Check("warning", "one", "barely audible, or nearly all of it is silence"),
    "unknown": Check("warning", "one", "characters that the tokenizer does not know"),
    "empty_text": Check(
        "warning", "one", "no text, where others have one: `fit` refuses it as dev, and every word is an error"
    ),
    "composition": Check(
        "warning", "several", "letters with marks are one character here and two there (Unicode NFC and NFD)"
    ),
    "text_overlap": Check(
        "note", "sentences", "texts are trained and tested on, by whomever: scores are not for new sentences"
    ),
    "duplicate_text": Check("note", "sentences", "the same text more than once in one set"),
}
"""Every check by name, the worst first."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One instance of what a check looks for."""

    check: str
    """Name in `CHECKS`."""
    set: str
    """The set it was found in: ``train`` or a test set."""
    ids: tuple[str, ...]
    """The utterances that are concerned."""
    detail: str
    """Figures and paths."""

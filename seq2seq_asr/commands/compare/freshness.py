"""Whether what a run's folder holds was made of the data that there are now."""

import functools
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from seq2seq_asr.commands.compare.budget import Corpora
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.grid import Run
from seq2seq_asr.commands.decode.marks import made_of, mark_of
from seq2seq_asr.commands.fit.targets import load_targets
from seq2seq_asr.data.splits import existing_split
from seq2seq_asr.data.utterance import Split, Utterance
from seq2seq_asr.errors import CheckpointError, ManifestError
from seq2seq_asr.evaluation.trn import TrnLine, as_read, read_trn
from seq2seq_asr.training.checkpoint import read_checkpoint
from seq2seq_asr.training.run_folder import RunFolder


class Saved(NamedTuple):
    """What a run's last checkpoint tells of its training."""

    epochs: int
    """Done."""
    data: MappingProxyType[str, str]
    """Digests of the utterances trained and validated on, by split; none where it does not tell."""


def saved(run: Run) -> Saved:
    """What the last checkpoint tells; no epoch where there is none, or it is damaged."""
    path = RunFolder(run.path).last
    try:
        state = path.stat()
        return _saved(path, state.st_mtime_ns, state.st_size)
    except (OSError, CheckpointError):
        return Saved(0, MappingProxyType({}))


@functools.cache
def _saved(path: Path, changed: int, size: int) -> Saved:
    """The same of a checkpoint, read once as long as the file is the same."""
    checkpoint = read_checkpoint(path)
    data = checkpoint["seq2seq_asr"].get("data", {})
    return Saved(int(checkpoint["Feeding"]["epoch"]), MappingProxyType(dict(data)))


def other_corpus(run: Run, config: CompareConfig, corpora: Corpora) -> str:
    """A setting whose manifests hold other utterances than the run was trained on; empty where there is none.

    Those of validation count where they have chosen the weights.
    """
    before = saved(run).data
    chosen: tuple[Split, ...] = ("train", "dev") if config.checkpoint == "best" else ("train",)
    for name in chosen:
        if name in before and before[name] != corpora.digest(name, run.config.data):
            return f"data.{name} (it held other utterances)"
    return ""


def is_current(folder: Path, run: Run, config: CompareConfig, corpora: Corpora) -> bool:
    """Whether a run's transcripts are of its weights, utterances and references as they are now.

    Args:
        folder: Where they stand; what does not tell what they were made of is let pass.
        run: The run.
        config: Which of its checkpoints, and of its splits.
        corpora: Utterances as they are now.

    Raises:
        AsrError: These, or the checkpoint, cannot be read.
    """
    if not mark_of(folder):
        return True
    utterances = corpora.split(existing_split(config.split, run.config.data), run.config.data)
    return made_of(folder, run.path, config.checkpoint, utterances) and _same_references(folder, run, utterances)


def _same_references(folder: Path, run: Run, utterances: list[Utterance]) -> bool:
    targets = load_targets(RunFolder(run.path))
    said = [(one.id, targets.normalise(one.text), one.speaker) for one in utterances if one.text]
    now = [as_read(TrnLine(id=id, text=text, speaker=speaker)) for id, text, speaker in said]
    try:
        return read_trn(folder / "ref.trn") == now
    except ManifestError:
        return False

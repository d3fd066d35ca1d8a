"""Where a resumed run goes on: its newest complete training state, which is the last one unless that is damaged."""

from pathlib import Path
from typing import Any

from seq2seq_asr.console import say
from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.training.checkpoint import read_checkpoint
from seq2seq_asr.training.processes import is_main_process
from seq2seq_asr.training.run_folder import RunFolder


def newest_complete(run: RunFolder) -> tuple[Path, dict[str, Any]]:
    """The state to go on from, and what is in it; says loudly when it is an older one.

    Raises:
        CheckpointError: None is complete.
    """
    try:
        return run.last, read_checkpoint(run.last)
    except CheckpointError as error:
        problem = str(error)
    older = [found for path in (run.previous, run.best) if (found := _complete(path)) is not None]
    if not older:
        raise CheckpointError(f"{problem}; neither {run.previous.name} nor {run.best.name} is complete either")
    path, checkpoint = max(older, key=lambda found: found[1].get("global_step", 0))
    if is_main_process():
        step = checkpoint.get("global_step")
        say(f"WARNING: {problem}; going on from the older {path}, step {step}: what came after is trained again")
    return path, checkpoint


def _complete(path: Path) -> tuple[Path, dict[str, Any]] | None:
    try:
        return path, read_checkpoint(path)
    except CheckpointError:
        return None


def set_aside(run: RunFolder) -> Path | None:
    """Rename a damaged last state, so that the next save does not put it in the place of a good one."""
    if not run.last.exists():
        return None
    aside = run.last.with_name(f"{run.last.name}.damaged")
    try:
        run.last.replace(aside)
    except OSError as error:
        raise CheckpointError(f"{run.last}: cannot be renamed ({error.strerror})") from error
    return aside

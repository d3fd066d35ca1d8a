"""Train a recogniser or classifier: ``python -m seq2seq_asr.fit [--config configs/NAME.yaml] [--flags]``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from seq2seq_asr.command_line import parse
from seq2seq_asr.config import FitConfig
from seq2seq_asr.console import run_entry_point, say
from seq2seq_asr.errors import UsageError
from seq2seq_asr.training.claim import run_of_this_job
from seq2seq_asr.training.processes import is_main_process
from seq2seq_asr.training.run_folder import RunFolder

if TYPE_CHECKING:
    from seq2seq_asr.commands.progress import ProgressLine


def main(argv: list[str]) -> int:
    """Parse, train, and say what comes next."""
    from seq2seq_asr.commands.progress import ProgressLine

    config = parse_fit(argv)
    with ProgressLine() as progress:
        run = fit(config, progress)
    if is_main_process():
        search = " --beam 8" if config.model.task == "recognise" else ""
        print(f"next: python -m seq2seq_asr.decode --run {run.path}{search}")
    return 0


def parse_fit(argv: list[str]) -> FitConfig:
    """The configuration that flags and file give; a resumed run starts from its own file.

    A job that SLURM has restarted resumes by itself, as its command cannot change in between, or begins anew where it
    had saved nothing.
    """
    config = parse(FitConfig, argv, "fit")
    begun = None if config.resume else run_of_this_job(config.checkpoints, config.name)
    if begun is not None and begun.config.is_file() and begun.saved:
        return parse_fit([*argv, "--resume", "--name", begun.name])
    if not config.resume or any(flag.split("=")[0] == "--config" for flag in argv):
        return config
    own = RunFolder(config.checkpoints / config.name).config
    if not own.is_file():
        raise UsageError(f"--resume: no run to resume, {own} does not exist")
    # The folder may have been moved since: where it is found now counts, not what its file says.
    here = ["--name", config.name, "--checkpoints", str(config.checkpoints)]
    return parse(FitConfig, ["--config", str(own), *argv, *here], "fit")


def fit(config: FitConfig, progress: ProgressLine | None = None) -> RunFolder:
    """Train as configured and return the run's folder."""
    # Lightning takes seconds to import: only once it is sure that there is something to train.
    from seq2seq_asr.commands.fit.preparation import prepare_session
    from seq2seq_asr.nn.allocation import keep_freed_memory
    from seq2seq_asr.nn.quiet_threads import start_quiet_threads
    from seq2seq_asr.training.session import train

    keep_freed_memory()
    started = time.monotonic()
    session = prepare_session(config, progress)
    if session.finished:
        say(f"{session.run.path}: all {session.epochs_done} epochs are done; more with --trainer.epochs")
        return session.run
    start_quiet_threads()
    train(session, resume=config.resume)
    if is_main_process():
        say(f"{session.run.path}: trained in {(time.monotonic() - started) / 60:.1f} min")
    return session.run


if __name__ == "__main__":
    run_entry_point(main)

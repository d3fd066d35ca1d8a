"""What ends a training, in words that name the utterances and the setting to change."""

import subprocess
from typing import Any

import torch

from seq2seq_asr.console import Interrupted
from seq2seq_asr.errors import AsrError, AudioError, TrainingError
from seq2seq_asr.nn.device import is_out_of_memory
from seq2seq_asr.training.datamodule import Feeding
from seq2seq_asr.training.module import Recognition

NAMED = 16
"""Most utterances that an error names."""


def explained(error: BaseException, failed: int, module: Recognition, feeding: Feeding) -> BaseException:
    """What to tell instead of an error that Lightning, the loader or the allocator words in its own way.

    Args:
        error: What ended the training.
        failed: How many child processes have failed.
        module: Knows the batch.
        feeding: Knows what the workers read.
    """
    if isinstance(error, RuntimeError | MemoryError) and is_out_of_memory(error):
        return out_of_memory(module.batch_ids, feeding)
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader"):
        return reading_failed(error, feeding)
    return clearer_error(error, failed)


def clearer_error(error: BaseException, failed: int) -> BaseException:
    """What to tell instead of an error that Lightning or the data loader has wrapped.

    Args:
        error: What ended the training.
        failed: How many child processes have failed.
    """
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
        return Interrupted()  # Lightning ends the program with exit code 1
    if isinstance(error, AsrError) and str(error).startswith("Caught "):
        return type(error)(str(error).strip().splitlines()[-1].partition(": ")[2])  # from a data worker, with its trace
    if isinstance(error, RuntimeError) and failed:
        return TrainingError(f"{failed} of the other training processes failed, see above")
    return error


def out_of_memory(ids: tuple[str, ...], feeding: Feeding) -> TrainingError:
    """Memory ran out over these utterances."""
    batching = feeding.config.batching
    return TrainingError(
        f"out of memory; batch: {' '.join(ids[:NAMED])}{' …' if len(ids) > NAMED else ''}; "
        f"lower data.batching.batch_seconds (now {batching.batch_seconds:g}) or data.batching.max_utterances "
        f"(now {batching.max_utterances})"
    )


def reading_failed(error: RuntimeError, feeding: Feeding) -> AudioError:
    """A data worker has died, or answers no more; the workers are ended."""
    message = str(error).splitlines()[0].rstrip(".")
    id = feeding.suspect(message)
    feeding.kill_workers()
    read = f"{id}: being read when a data worker failed" if id else "a data worker failed between two utterances"
    return AudioError(f"{read} ({message}); data.workers 0 reads in the training process")


def stop_children(trainer: Any) -> int:
    """End the processes that Lightning started, after a moment to end by themselves; returns how many had failed."""
    failed = 0
    for process in getattr(trainer.strategy.launcher, "procs", []):
        try:
            failed += process.wait(timeout=3.0) != 0
        except subprocess.TimeoutExpired:
            pass
        process.kill()
    return failed


def release(module: torch.nn.Module) -> None:
    """Forget the gradients, and what they took of a GPU's memory."""
    module.zero_grad(set_to_none=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

"""Lightning's checkpoint plugin over our own files."""

from pathlib import Path
from typing import Any

from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.training.checkpoint import read_checkpoint, write_atomically
from seq2seq_asr.training.run_folder import RunFolder


class SafeCheckpointIO(CheckpointIO):
    """Atomic, synced writes beside the target, and reads that run no code.

    Lightning's own writes through ``$TMPDIR``, without fsync, and says nothing of an unwritable folder.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write ``checkpoint`` whole or not at all; what was the run's newest state becomes its previous one."""
        run = RunFolder(Path(path).parent)
        write_atomically(checkpoint, Path(path), keep=run.previous if Path(path) == run.last else None)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint of ours onto the CPU."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Nothing is ever removed: files are replaced.

        Raises:
            CheckpointError: Always.
        """
        raise CheckpointError(f"{path}: refusing to remove a checkpoint")

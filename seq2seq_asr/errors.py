"""Errors a user can mend: each prints as one line and carries the exit code of the command that met it."""

from typing import ClassVar


class AsrError(Exception):
    """Base of every error that is the input's fault, not the program's."""

    exit_code: ClassVar[int] = 1


class UsageError(AsrError):
    """A flag, a config file or a combination of settings that cannot be used."""

    exit_code = 2


class ManifestError(AsrError):
    """A manifest, transcript or corpus folder that cannot be used; the text names the file, and a line that is bad."""


class AudioError(AsrError):
    """Audio or precomputed features that are missing, damaged, silent or too short; the text names the file."""


class TokenizerError(AsrError):
    """A tokenizer that cannot be trained, is not ours, or does not belong to the checkpoint."""


class CheckpointError(AsrError):
    """A run folder or checkpoint that is missing, damaged, not ours, or cannot be written."""


class TrainingError(AsrError):
    """Training that cannot go on, such as too many non-finite gradients in a row."""

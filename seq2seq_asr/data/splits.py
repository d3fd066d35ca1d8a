"""From settings to manifests: the corpus on disk, the embedded one, or strings joined from single words."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seq2seq_asr.data.corpora.connected import ConnectedConfig, folder_name, make_connected
from seq2seq_asr.data.corpora.spoken import cache_folder, make_spoken
from seq2seq_asr.data.loading import DataConfig, read_split

Progress = Callable[[str, int, int], None]
"""Told what is made, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Splits:
    """Manifests of a corpus."""

    train: tuple[Path, ...]
    dev: tuple[Path, ...]
    test: tuple[Path, ...]

    def named(self, name: str) -> tuple[Path, ...]:
        """The manifests of ``train``, ``dev`` or ``test``."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]


def resolve_splits(config: DataConfig, progress: Progress = lambda *_: None) -> Splits:
    """The manifests to use, made first where they are synthetic; what was made before is found again.

    Raises:
        ManifestError: With ``data.root``, a manifest that cannot be read or names a file outside of it.
    """
    if not config.train:
        made = make_spoken(config.spoken, progress=lambda done, total: progress("spoken corpus", done, total))
        return Splits((made["train"],), (made["dev"],), (made["test"],))
    if config.root is not None:  # before anything is made of them
        for given in (config.train, config.dev, config.test):
            read_split(given, allow_empty_text=True, root=config.root)
    counts = (config.connect.train, config.connect.dev, config.connect.test)
    cuts = (config.connect.cut, 0.0, 0.0)
    train, dev, test = (
        tuple(_connected(path, count, cut, config, progress) for path in paths)
        for paths, count, cut in zip((config.train, config.dev, config.test), counts, cuts, strict=True)
    )
    return Splits(train, dev, test or dev)


def _connected(source: Path, count: int, cut: float, config: DataConfig, progress: Progress) -> Path:
    """A manifest of ``count`` strings made of the words of ``source``; with a count of 0, ``source`` itself."""
    if count == 0:
        return source
    connect = config.connect
    settings = ConnectedConfig(
        source=source,
        count=count,
        min_words=connect.min_words,
        max_words=connect.max_words,
        trim=connect.trim,
        cut=cut,
    )
    folder = cache_folder() / "connected" / folder_name(settings)
    return make_connected(settings, folder, lambda done, total: progress(folder.name, done, total))

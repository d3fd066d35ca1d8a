"""From settings to manifests: the corpus on disk, the embedded one, or strings joined from single words."""

from pathlib import Path

from seq2seq_asr.console import Progress
from seq2seq_asr.data.corpora.connected import ConnectedConfig, folder_name, make_connected
from seq2seq_asr.data.corpora.spoken import cache_folder, make_spoken
from seq2seq_asr.data.loading import DataConfig, read_split
from seq2seq_asr.data.utterance import Split


def existing_split(name: Split, config: DataConfig) -> Split:
    """The split, or ``dev`` in place of a ``test`` that the corpus does not have."""
    return "dev" if name == "test" and config.train and not config.test else name


def resolve_split(name: Split, config: DataConfig, progress: Progress = lambda *_: None) -> tuple[Path, ...]:
    """The manifests of a split, made first where they are synthetic; what was made before is found again.

    Of a ``test`` that is not there, `existing_split` takes the place.

    Raises:
        ManifestError: With ``data.root``, a manifest of any split that cannot be read or names a file outside of it.
    """
    if not config.train:
        made = make_spoken(config.spoken, progress=lambda done, total: progress("spoken corpus", done, total))
        return (made[name],)
    if config.root is not None:  # before anything is made of them
        for given in (config.train, config.dev, config.test):
            read_split(given, allow_empty_text=True, root=config.root)
    connect = config.connect
    paths, count, cut = {
        "train": (config.train, connect.train, connect.cut),
        "dev": (config.dev, connect.dev, 0.0),
        "test": (config.test, connect.test, 0.0),
    }[existing_split(name, config)]
    return tuple(_connected(path, count, cut, config, progress) for path in paths)


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

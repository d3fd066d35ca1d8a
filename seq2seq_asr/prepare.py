"""Turn a corpus on disk into manifests: ``python -m seq2seq_asr.prepare <corpus> --raw FOLDER --out FOLDER``.

``connected`` makes strings out of a manifest of isolated words, ``spoken`` synthesises sentences; both need no corpus.
"""

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from seq2seq_asr.command_line import faults_in_one_line
from seq2seq_asr.console import run_entry_point, say
from seq2seq_asr.data.corpora.connected import ConnectedConfig, make_connected
from seq2seq_asr.data.corpora.spoken import SpokenConfig, make_spoken
from seq2seq_asr.data.manifest import read_manifest

CORPORA = {
    "librispeech": "LibriSpeech: FLAC by speaker and chapter; every split that is there.",
    "an4": "CMU AN4: spelled words, names and numbers; train and test.",
    "fsdd": "Free Spoken Digit Dataset; takes 0 to 4 are the test.",
    "speech_commands": "Speech Commands: one word a recording; train, dev and test.",
    "aishell1": "AISHELL-1: Mandarin; train, dev and test.",
    "timit": "TIMIT: 39 phones as words; train, dev and core test.",
    "commonvoice": "Common Voice, one language; train, dev and test.",
}
"""The corpora that can be read, each with a line of help; the file of the same name in ``data/corpora`` reads it."""

Commands = dict[str, Callable[..., dict[str, Path]]]


def main(argv: list[str]) -> int:
    """Prepare the corpus that `argv` names and print one line a split: name, manifest, utterances and hours."""
    commands: Commands = {name: _corpus(name, text) for name, text in CORPORA.items()}
    commands |= {"connected": _connected, "spoken": _spoken}
    with faults_in_one_line():
        prepare: Callable[[], dict[str, Path]] = tyro.extras.subcommand_cli_from_dict(
            {name: _chosen(command) for name, command in commands.items()},
            prog="python -m seq2seq_asr.prepare",
            description=__doc__ or "",
            args=argv,
            sort_subcommands=False,
        )
    for split, path in prepare().items():
        utterances = read_manifest(path)
        hours = sum(utterance.duration for utterance in utterances) / 3600
        print(f"{split}: {path}, {len(utterances)} utterances, {hours:.2f} h")
    return 0


def _chosen(command: Callable[..., dict[str, Path]]) -> Callable[..., Callable[[], dict[str, Path]]]:
    """The same command, to be called once its flags are understood: what it says is no fault of theirs."""

    @functools.wraps(command)
    def with_flags(*args: Any, **flags: Any) -> Callable[[], dict[str, Path]]:
        return functools.partial(command, *args, **flags)

    return with_flags


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where a corpus lies and where its manifests go."""

    raw: Path
    """Folder the corpus was unpacked to."""
    out: Path
    """Folder for the manifests, one a split."""


def _corpus(name: str, text: str) -> Callable[..., dict[str, Path]]:
    def prepare(folders: Annotated[Folders, tyro.conf.arg(name="")]) -> dict[str, Path]:
        # The name is one of CORPORA: nothing else is ever imported.
        module = importlib.import_module(f"seq2seq_asr.data.corpora.{name}")
        manifests: dict[str, Path] = module.prepare(folders.raw, folders.out)
        return manifests

    prepare.__doc__ = text
    return prepare


def _connected(config: Annotated[ConnectedConfig, tyro.conf.arg(name="")], out: Path) -> dict[str, Path]:
    """Strings of one speaker's isolated words, joined with short pauses.

    Args:
        config: What to make.
        out: Folder for the audio and its manifest.
    """
    return {"connected": make_connected(config, out, _report)}


def _spoken(config: Annotated[SpokenConfig, tyro.conf.arg(name="")], out: Path) -> dict[str, Path]:
    """Synthetic sentences spoken by eSpeak NG.

    Args:
        config: What to make.
        out: Folder for the audio and its manifests.
    """
    return make_spoken(config, out, progress=_report)


def _report(done: int, total: int) -> None:
    """Tell progress about twenty times in all."""
    if done == total or done % max(total // 20, 1) == 0:
        say(f"{done} of {total} made")


if __name__ == "__main__":
    run_entry_point(main)

"""From a configuration to a session that is ready to train: folder, manifests, tokenizer, model."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from seq2seq_asr.config import FitConfig
from seq2seq_asr.console import say
from seq2seq_asr.data.dataset import SpeechDataset, collate
from seq2seq_asr.data.batching import Item
from seq2seq_asr.data.loading import read_split, within_limits
from seq2seq_asr.data.splits import resolve_splits
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.progress import ProgressLine
from seq2seq_asr.strict_yaml import to_mapping, to_yaml
from seq2seq_asr.training.checkpoint import load_matching, read_checkpoint
from seq2seq_asr.training.reading import input_reader
from seq2seq_asr.training.run_folder import RunFolder, create_run, open_run
from seq2seq_asr.training.session import Session

RUN_VARIABLE = "SEQ2SEQ_ASR_RUN"
"""Tells processes that Lightning starts which folder the first one made."""
STATISTICS_UTTERANCES = 1000
"""Training utterances from which global mean and variance are measured."""
TOKEN_LAYERS = ("decoder.embedding.", "decoder.output.", "ctc.")
"""Weights that mean nothing under another tokenizer."""


def prepare_session(config: FitConfig, progress: ProgressLine | None = None) -> Session:
    """Make or find everything that training needs.

    Raises:
        AsrError: Data, tokenizer or folder cannot be used; the text says which and why.
    """
    progress = progress or ProgressLine()
    run, first = claim_run(config)
    splits = resolve_splits(config.data, progress)
    progress.stop()
    train = within_limits(read_split(splits.train), config.data)
    dev = read_split(splits.dev)
    tokenizer = find_tokenizer(config, run, train, first)
    torch.manual_seed(config.seed)
    model = Seq2Seq(config.model, len(tokenizer))
    if config.model.features.normalisation == "global" and not config.resume:
        measure_features(model, train, tokenizer)
    if config.init_from is not None:
        initialise(model, tokenizer, config.init_from)
    if first:
        warn_of_short_audio(model, train, tokenizer)
        describe(config, run, model, tokenizer, train, dev)
        run.config.write_text(to_yaml(config), encoding="utf-8")
    return Session(
        run=run,
        model=model,
        tokenizer=tokenizer,
        train=train,
        dev=dev,
        data=config.data,
        optimizer=config.optimizer,
        trainer=config.trainer,
        logging=config.logging,
        seed=config.seed,
        record={"config": to_mapping(config), "tokenizer": tokenizer.hash},
    )


def claim_run(config: FitConfig) -> tuple[RunFolder, bool]:
    """The run's folder, and whether this process is the one that fills it."""
    if config.resume:
        run = open_run(config.checkpoints / config.name)
        if not run.last.is_file():
            raise CheckpointError(f"{run.path}: no last.ckpt to resume from")
        return run, os.environ.get("LOCAL_RANK", "0") == "0"
    if RUN_VARIABLE in os.environ:
        return wait_for(RunFolder(Path(os.environ[RUN_VARIABLE]))), False
    if int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1) > 1:
        return claim_shared_run(config.checkpoints / config.name)
    run = create_run(config.checkpoints, config.name)
    os.environ[RUN_VARIABLE] = str(run.path)
    return run, True


def claim_shared_run(path: Path) -> tuple[RunFolder, bool]:
    """Under torchrun or SLURM all processes start at once: rank 0 makes the folder, the others wait for it."""
    run = RunFolder(path)
    if int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0) > 0:
        return wait_for(run), False
    if run.config.exists():
        raise CheckpointError(f"{path}: exists already; use --resume, or another --name")
    path.mkdir(parents=True, exist_ok=True)
    return run, True


def wait_for(run: RunFolder, seconds: float = 600.0) -> RunFolder:
    """Wait until the first process has prepared the run; its config.yaml is written last."""
    for _ in range(int(seconds * 10)):
        if run.config.is_file():
            return run
        time.sleep(0.1)
    raise CheckpointError(f"{run.path}: the first process did not prepare the run within {seconds:.0f} s")


def find_tokenizer(config: FitConfig, run: RunFolder, train: Sequence[Utterance], first: bool) -> Tokenizer:
    """The run's tokenizer, trained on the training transcripts when it is new."""
    if config.resume or not first:
        return Tokenizer.load(run.tokenizer)
    tokenizer = Tokenizer.train((utterance.text for utterance in train), config.tokenizer)
    tokenizer.save(run.tokenizer)
    return tokenizer


def measure_features(model: Seq2Seq, train: Sequence[Utterance], tokenizer: Tokenizer) -> None:
    """Set the global mean and variance from training utterances spread over the corpus."""
    chosen = list(train[:: max(1, len(train) // STATISTICS_UTTERANCES)])
    dataset = SpeechDataset(chosen, tokenizer, input_reader(model.features))
    batches = (collate([dataset[Item(index, 0)]]) for index in range(len(chosen)))
    model.features.fit_global((batch.inputs, batch.lengths) for batch in batches)


def initialise(model: Seq2Seq, tokenizer: Tokenizer, source: Path) -> None:
    """Take over another run's weights where names and shapes agree."""
    run = open_run(source)
    path = run.best if run.best.is_file() else run.last
    checkpoint = read_checkpoint(path)
    same = checkpoint["seq2seq_asr"].get("tokenizer") == tokenizer.hash
    taken, own = load_matching(model, checkpoint, skip=() if same else TOKEN_LAYERS)
    if not taken:
        raise CheckpointError(f"{path}: no weight agrees with this model in name and shape")
    say(f"initialised {taken} tensors from {path}" + (f"; new: {', '.join(own)}" if own else ""))


def warn_of_short_audio(model: Seq2Seq, train: Sequence[Utterance], tokenizer: Tokenizer) -> None:
    """Name utterances with more tokens than encoded frames, which CTC cannot align."""
    short = [one.id for one in train if len(tokenizer.encode(one.text)) > one.duration / model.frame_shift]
    if short:
        say(f"warning: {len(short)} utterances have more tokens than encoded frames, such as {', '.join(short[:3])}")


def describe(
    config: FitConfig,
    run: RunFolder,
    model: Seq2Seq,
    tokenizer: Tokenizer,
    train: Sequence[Utterance],
    dev: Sequence[Utterance],
) -> None:
    """Say what is going to be trained on what."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    hours = sum(utterance.duration for utterance in train) / 3600
    say(f"run {run.path}: {parameters / 1e6:.2f} M parameters, {len(tokenizer)} pieces, {config.trainer.epochs} epochs")
    say(f"train {len(train)} utterances, {hours:.2f} h; dev {len(dev)} utterances")
    unknown = tokenizer.unknown_rate(utterance.text for utterance in dev)
    if unknown > 0:
        say(f"warning: {100 * unknown:.2f} % of the pieces of dev are unknown to the tokenizer")

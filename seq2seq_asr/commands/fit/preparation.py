"""From a configuration to a session that is ready to train: folder, manifests, tokenizer, model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch

from seq2seq_asr.commands.fit.idle import refuse_idle_settings
from seq2seq_asr.commands.fit.resuming import (
    as_recorded,
    check_corpus,
    check_resumable,
    resumed_run,
    with_start_of,
)
from seq2seq_asr.commands.fit.targets import learn_targets, load_targets, with_settings_that_hold, with_tokenizer_of
from seq2seq_asr.commands.progress import ProgressLine
from seq2seq_asr.config import FitConfig
from seq2seq_asr.console import say
from seq2seq_asr.data.batching import Item
from seq2seq_asr.data.dataset import SpeechDataset, collate
from seq2seq_asr.data.labels import Labels
from seq2seq_asr.data.loading import read_split, within_limits
from seq2seq_asr.data.noise import find_audio
from seq2seq_asr.data.splits import resolve_split
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance, corpus_digest
from seq2seq_asr.errors import CheckpointError, UsageError
from seq2seq_asr.nn import classifier
from seq2seq_asr.nn.classifier import Model
from seq2seq_asr.nn.fbank import FRAME_SHIFT
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.strict_yaml import to_yaml
from seq2seq_asr.training.checkpoint import load_matching, model_weights, named_as_in, read_checkpoint
from seq2seq_asr.training.claim import claimed_run, held
from seq2seq_asr.training.devices import find_devices
from seq2seq_asr.training.processes import is_main_process
from seq2seq_asr.training.reading import input_reader
from seq2seq_asr.training.run_folder import RunFolder, open_run
from seq2seq_asr.training.session import Session
from seq2seq_asr.training.state import misfits, require_state, told
from seq2seq_asr.whole_file import write_whole

STATISTICS_UTTERANCES = 1000
"""Training utterances from which global mean and variance are measured."""
TOKEN_LAYERS = ("decoder.embedding.", "decoder.output.", "ctc.", "output.")
"""Weights that mean nothing under another tokenizer or other labels."""
SEARCHED = ("encoder.", "decoder.")
"""Weights that an attention search needs trained."""


@dataclass(frozen=True)
class Corpus:
    """What is trained and validated on."""

    train: list[Utterance]
    dev: list[Utterance]

    @property
    def digests(self) -> dict[str, str]:
        """What a checkpoint tells of either, so that a resumed run notices others."""
        return {"train": corpus_digest(self.train), "dev": corpus_digest(self.dev)}


def prepare_session(config: FitConfig, progress: ProgressLine | None = None) -> Session:
    """Make or find everything that training needs.

    Raises:
        AsrError: Data, devices, tokenizer or folder cannot be used; the text says which and why.
    """
    find_devices(config.trainer)  # what is not there is told before anything is made
    if config.resume:
        run = resumed_run(config.checkpoints / config.name)
        config = with_start_of(run, config)
        return _resumed_session(config, run, _read_corpus(config, progress))
    config = start_of(config)
    with claimed_run(config.checkpoints, config.name) as run:
        return _new_session(replace(config, name=run.name), run, _read_corpus(config, progress))


def start_of(config: FitConfig) -> FitConfig:
    """A new run's configuration; one that takes a tokenizer that there is has its settings too.

    Raises:
        UsageError: What needs a trained run to start from has none, or its tokenizer another normaliser; or a setting
            would do nothing.
        CheckpointError: It cannot be read.
        TokenizerError: The tokenizer to use cannot be read.
    """
    refuse_idle_settings(config)
    if config.tokenizer.model is not None:
        config = with_settings_that_hold(config, Tokenizer.load(config.tokenizer.model, config.tokenizer.normaliser))
    if config.init_from is None:
        for name, asked in (("keep_tokenizer", config.keep_tokenizer), ("mwer.nbest", config.mwer.nbest > 0)):
            if asked:
                raise UsageError(f"{name}: needs a trained run to start from, --init_from RUN")
    elif config.keep_tokenizer:
        return with_tokenizer_of(open_run(config.init_from), config)
    return config


def _read_corpus(config: FitConfig, progress: ProgressLine | None) -> Corpus:
    progress = progress or ProgressLine()
    for folder in config.data.noise.folders:
        find_audio(folder)  # a wrong folder is told before anything is made
    manifests, held_out = (resolve_split(name, config.data, progress) for name in ("train", "dev"))
    progress.stop()
    features = config.model.features.kind == "precomputed"
    train = within_limits(read_split(manifests, features=features), config.data)
    dev = read_split(held_out, features=features)
    if config.model.task == "classify":
        Labels.of(one.text for one in train).check(dev, ", ".join(map(str, held_out)))
    return Corpus(train, dev)


def _resumed_session(config: FitConfig, run: RunFolder, corpus: Corpus) -> Session:
    with held(run):  # found out before the folder is touched; training takes it again
        tokenizer = load_targets(run)
    config = with_settings_that_hold(config, tokenizer)
    path, checkpoint = check_resumable(config, run, tokenizer)
    model = build_model(config, tokenizer)  # its weights and statistics come out of the checkpoint
    require_state(checkpoint, model, config.optimizer, path)
    check_corpus(path, checkpoint, corpus.digests)
    session = _session(config, run, corpus, tokenizer, model)
    session = replace(session, resume_from=path, epochs_done=int(checkpoint["Feeding"]["epoch"]))
    if not session.finished:
        with held(run):
            write_settings(config, session)
    return session


def _new_session(config: FitConfig, run: RunFolder, corpus: Corpus) -> Session:
    tokenizer = learn_targets(config, corpus.train, run) if is_main_process() else load_targets(run)
    model = build_model(config, tokenizer)
    if config.init_from is not None:
        anew = initialise(model, tokenizer, config.init_from)
        if config.mwer.nbest > 0 and (untrained := [name for name in anew if name.startswith(SEARCHED)]):
            raise UsageError(
                f"mwer.nbest: needs the whole model that {config.init_from} has trained, with its tokenizer "
                f"(--keep_tokenizer); begun anew would be {told(untrained)}"
            )
    if not model.features.normalise.fitted:
        measure_features(model, corpus.train, tokenizer)
    elif config.model.features.normalisation == "global" and is_main_process():
        say(f"features keep the mean and variance of {config.init_from}, which its weights were trained with")
    session = _session(config, run, corpus, tokenizer, model)
    write_settings(config, session)
    return session


def _session(config: FitConfig, run: RunFolder, corpus: Corpus, tokenizer: Targets, model: Model) -> Session:
    session = Session(
        run=run,
        model=model,
        tokenizer=tokenizer,
        train=corpus.train,
        dev=corpus.dev,
        data=config.data,
        optimizer=config.optimizer,
        trainer=config.trainer,
        logging=config.logging,
        seed=config.seed,
        mwer=config.mwer,
        record={"config": as_recorded(config), "tokenizer": tokenizer.hash, "data": corpus.digests},
    )
    if is_main_process():
        warn_of_short_audio(model, corpus.train, tokenizer)
        describe(session)
    return session


def write_settings(config: FitConfig, session: Session) -> None:
    """Write config.yaml, from the main process; whoever calls it holds the run."""
    if is_main_process():
        resolved = ", ".join(f"{name} {value}" for name, value in session.resolved.items())
        write_whole(session.run.config, f"# Trained with {resolved}.\n{to_yaml(replace(config, resume=False))}")


def build_model(config: FitConfig, tokenizer: Targets) -> Model:
    """The model as its seed makes it."""
    torch.manual_seed(config.seed)
    return classifier.build_model(config.model, len(tokenizer))


def measure_features(model: Model, train: Sequence[Utterance], tokenizer: Targets) -> None:
    """Set the global mean and variance from training utterances spread over the corpus."""
    chosen = list(train[:: max(1, len(train) // STATISTICS_UTTERANCES)])
    dataset = SpeechDataset(chosen, tokenizer, input_reader(model.features))
    batches = (collate([dataset[Item(index, 0)]]) for index in range(len(chosen)))
    model.features.fit_global((batch.inputs, batch.lengths) for batch in batches)


def initialise(model: Model, tokenizer: Targets, source: Path) -> list[str]:
    """Take over another run's weights where names and shapes agree; the others are named.

    Layers of tokens are begun anew where that run has another tokenizer, or other labels.

    Returns:
        Names of what is begun anew.

    Raises:
        CheckpointError: No weight agrees.
    """
    run = open_run(source)
    path = run.best if run.best.is_file() else run.last
    checkpoint = read_checkpoint(path)
    same = checkpoint["seq2seq_asr"].get("tokenizer") == tokenizer.hash
    taken, own = load_matching(model, checkpoint, skip=() if same else TOKEN_LAYERS)
    if not taken:
        raise CheckpointError(f"{path}: no weight agrees with this model in name and shape")
    if is_main_process():
        say(f"initialised {taken} tensors from {path}" + (f"; new: {', '.join(own)}" if own else ""))
        found = named_as_in(model, model_weights(checkpoint))
        if other := misfits({name: found[name] for name in own if name in found}, model.state_dict()):
            say(f"warning: of another shape in {path}, and begun anew: {told(other)}")
    return own


def warn_of_short_audio(model: Model, train: Sequence[Utterance], tokenizer: Targets) -> None:
    """Name utterances with fewer encoded frames than CTC needs: one a token, and a blank between two equal ones."""
    if not isinstance(model, Seq2Seq) or model.ctc is None:
        return
    rate = 1 / FRAME_SHIFT if model.features.fbank is None else model.features.config.rate
    frames = [model.features.frame_count(round(one.duration * rate)) for one in train]
    encoded = model.encoder.encoded_lengths(torch.tensor(frames, dtype=torch.long)).tolist()
    targets = (tokenizer.encode(one.text) for one in train)
    needed = (len(tokens) + sum(a == b for a, b in pairwise(tokens)) for tokens in targets)
    short = [one.id for one, there, least in zip(train, encoded, needed, strict=True) if there < least]
    if short:
        say(f"warning: {len(short)} utterances have too few encoded frames for CTC, such as {', '.join(short[:3])}")


def describe(session: Session) -> None:
    """Say what is going to be trained on what, and what it is judged by."""
    parameters = sum(parameter.numel() for parameter in session.model.parameters())
    hours = sum(utterance.duration for utterance in session.train) / 3600
    targets = f"{len(session.tokenizer)} {'pieces' if isinstance(session.model, Seq2Seq) else 'classes'}"
    size = f"{parameters / 1e6:.2f} M parameters, {targets}"
    where = "{devices} x {accelerator}, {precision}".format(**session.resolved)
    say(f"run {session.run.path}: {size}, {session.trainer.epochs} epochs on {where}")
    dev = f"dev {len(session.dev)} utterances, judged by {session.criterion.name}"
    say(f"train {len(session.train)} utterances, {hours:.2f} h; {dev}")
    speed = session.data.speed
    if speed.probability == 0 and speed.factors != type(speed).factors:
        say("warning: no speed of data.speed.factors is drawn, data.speed.probability is 0")
    unknown = session.tokenizer.unknown_rate(utterance.text for utterance in session.dev)
    if unknown > 0:
        say(f"warning: {100 * unknown:.2f} % of the pieces of dev are unknown to the tokenizer")

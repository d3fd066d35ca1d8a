"""What ``fit_lm`` does: read text, train a language model, keep the epoch of the lowest perplexity."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from seq2seq_asr.commands.fit_lm.config import FitLmConfig
from seq2seq_asr.console import say
from seq2seq_asr.data.lines import read_lines
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.errors import ManifestError, TrainingError
from seq2seq_asr.nn.device import find_device
from seq2seq_asr.nn.lm import LanguageModel
from seq2seq_asr.nn.losses import cross_entropy, shift_targets
from seq2seq_asr.recognizer.restoring import load_tokenizer
from seq2seq_asr.search.language_model import language_model_record
from seq2seq_asr.training.checkpoint import FORMAT, write_atomically
from seq2seq_asr.training.room import check_room
from seq2seq_asr.training.run_folder import chosen_run
from seq2seq_asr.training.schedule import OptimizerConfig, build_optimizer, build_scheduler
from seq2seq_asr.vocabulary import BLANK

HELD_OUT = 20
"""Every so manieth line measures the perplexity, when there is no text for it."""
LARGEST_NORM = 1.0
"""Gradients longer than this are shortened to it."""


class Perplexity(NamedTuple):
    """How well a language model predicts a text; the ends of the sentences count."""

    pieces: float
    words: float


def fit_lm(config: FitLmConfig) -> int:
    """Train as configured; returns the exit code."""
    run = chosen_run(config.run, config.checkpoints)
    tokenizer = load_tokenizer(run)
    train, dev = read_texts(config.text, config.dev)
    report_unknown(tokenizer, [*train, *dev])
    device = find_device(config.device)
    torch.manual_seed(config.seed)
    model = LanguageModel(config.model, len(tokenizer)).to(device)
    path = config.out or run.path / "lm.ckpt"
    say(f"{len(train)} sentences to learn from, {len(dev)} to measure; {run.tokenizer}, {len(tokenizer)} pieces")
    best, words = math.inf, sum(len(tokenizer.normalise(text).split()) + 1 for text in dev)
    sentences, measured = encode(tokenizer, train), encode(tokenizer, dev)
    check_room(path.parent, sum(weight.nbytes for weight in model.state_dict().values()))
    earlier: Path | None = path.with_name(f"{path.stem}.previous{path.suffix}")
    for epoch in epochs(model, sentences, config):
        found = perplexity(model, measured, words, config.sentences)
        say(f"epoch {epoch}: perplexity {found.pieces:.3f} a piece, {found.words:.2f} a word")
        if found.pieces < best:
            best, kept = found.pieces, found
            record = {"format": FORMAT, **language_model_record(model, tokenizer.hash)}
            write_atomically({"seq2seq_asr": record, "state_dict": model.state_dict()}, path, keep=earlier)
            earlier = None  # the best of before this training, not of its own epochs
    if best == math.inf:
        raise TrainingError("the perplexity was never finite; lower --lr")
    print(f"perplexity {kept.pieces:.3f} a piece, {kept.words:.2f} a word\n{path}")
    return 0


def read_texts(text: Sequence[Path], held_out: Path | None) -> tuple[list[str], list[str]]:
    """Sentences to learn from and to measure on; without text for the latter, every 20th line of the former.

    Raises:
        ManifestError: A file cannot be read, or too little is left on one side.
    """
    lines = [line for path in text for _, line in read_lines(path)]
    if held_out is not None:
        train, dev = lines, [line for _, line in read_lines(held_out)]
    else:
        dev = lines[HELD_OUT - 1 :: HELD_OUT]
        train = [line for number, line in enumerate(lines, start=1) if number % HELD_OUT]
    if not train or not dev:
        names = ", ".join(map(str, (*text, *([held_out] if held_out else []))))
        raise ManifestError(f"{names}: {len(lines)} sentences are too few; give more, or --dev")
    return train, dev


def report_unknown(tokenizer: Tokenizer, texts: Sequence[str]) -> None:
    """Say how much of the text the recogniser could never write."""
    rate = tokenizer.unknown_rate(texts)
    if rate:
        say(
            f"warning: {100 * rate:.2f} % of the pieces are unknown to the tokenizer; normalise the text as in training"
        )


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Tensor]:
    """Piece ids of sentences."""
    return [torch.tensor(tokenizer.encode(text), dtype=torch.long) for text in texts]


def epochs(model: LanguageModel, sentences: Sequence[Tensor], config: FitLmConfig) -> Iterator[int]:
    """Train; yields the number of each epoch when it is done."""
    settings = OptimizerConfig(lr=config.lr, warmup=0.1)
    optimizer = build_optimizer(model, settings)
    steps = config.epochs * math.ceil(len(sentences) / config.sentences)
    schedule = build_scheduler(optimizer, settings, steps)
    shuffle = torch.Generator().manual_seed(config.seed)
    for epoch in range(1, config.epochs + 1):
        model.train()
        order = torch.randperm(len(sentences), generator=shuffle).tolist()
        for start in range(0, len(order), config.sentences):
            batch = [sentences[place] for place in order[start : start + config.sentences]]
            loss = losses(model, batch).sum() / sum(len(tokens) + 1 for tokens in batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
            optimizer.step()
            schedule.step()
        yield epoch


def losses(model: LanguageModel, sentences: Sequence[Tensor]) -> Tensor:
    """Negative log probability of each sentence and its end, in nats."""
    device = model.output.weight.device
    lengths = torch.tensor([len(tokens) for tokens in sentences], device=device)
    tokens = pad_sequence(list(sentences), batch_first=True, padding_value=BLANK).to(device)
    read, say_next = shift_targets(tokens, lengths)
    return cross_entropy(model(read), say_next, lengths + 1, 0.0)


@torch.inference_mode()
def perplexity(model: LanguageModel, sentences: Sequence[Tensor], words: int, size: int) -> Perplexity:
    """Perplexity of sentences that hold this many words, ends included."""
    model.eval()
    ordered = sorted(sentences, key=len)
    batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    total = sum(float(losses(model, batch).double().sum()) for batch in batches)
    pieces = sum(len(tokens) + 1 for tokens in sentences)
    return Perplexity(*(_exp(total / count) for count in (pieces, words)))


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf

"""What ``fit_ngram`` does: read text, estimate the model, write it, measure it as it was written."""

import gzip
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from seq2seq_asr.commands.fit_lm.run import read_texts, report_unknown
from seq2seq_asr.commands.fit_ngram.config import FitNgramConfig
from seq2seq_asr.commands.fit_ngram.kneser_ney import END, START, UNKNOWN, arpa_lines, estimate
from seq2seq_asr.commands.progress import ProgressLine
from seq2seq_asr.console import say
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.errors import ManifestError
from seq2seq_asr.recognizer.restoring import load_tokenizer
from seq2seq_asr.search.arpa import Arpa, read_arpa
from seq2seq_asr.search.ngram import BackOff
from seq2seq_asr.training.run_folder import chosen_run
from seq2seq_asr.whole_file import probe, write_whole, writing


class Measured(NamedTuple):
    """How well a model predicts a text; the ends of the sentences count as words."""

    perplexity: float
    """A word that the model knows, or an end."""
    known: int
    """Words and ends that it is the mean of."""
    unknown: int
    """Words left out."""


def fit_ngram(config: FitNgramConfig) -> int:
    """Estimate as configured; returns the exit code."""
    run = chosen_run(config.run, config.checkpoints)
    tokenizer = load_tokenizer(run)
    path = config.out or run.path / "ngram.arpa"
    with writing(path):
        probe(path)
    texts = read_texts(config.text, config.dev)
    report_unknown(tokenizer, [line for lines in texts for line in lines])
    train, dev = ([_words(line, tokenizer) for line in lines] for lines in texts)
    with ProgressLine() as progress:
        model = estimate(_shown(train, progress), config.order)
    _write(path, "\n".join([*arpa_lines(model, config.order), ""]))
    say(f"{len(train)} sentences to learn from, {len(dev)} to measure; {len(model)} n-grams")

    found = measure(read_arpa(path), dev)
    print(f"perplexity {found.perplexity:.2f} a word; {found.unknown} of {found.known + found.unknown} words unknown")
    print(path)
    return 0


def measure(arpa: Arpa, sentences: Sequence[Sequence[str]]) -> Measured:
    """Perplexity over known words and the ends; an unknown word is still what the next one follows."""
    numbers = {word: number for number, word in enumerate(arpa.words)}
    model = BackOff(arpa, torch.device("cpu"))
    total, known, unknown = 0.0, 0, 0
    context = torch.full((len(sentences),), model.start)
    longest = max(map(len, sentences))
    for place in range(longest + 1):
        said = [one[place] if place < len(one) else END for one in sentences]
        words = torch.tensor([numbers.get(word, model.unknown) for word in said])
        counted = torch.tensor([place <= len(one) for one in sentences])
        log_prob, context = model.score(words, context)
        new = counted & (words == model.unknown)
        total += float(log_prob[counted & ~new].sum())
        known += int((counted & ~new).sum())
        unknown += int(new.sum())
    return Measured(math.exp(min(-total / known, 700.0)), known, unknown)


def _shown(sentences: Sequence[list[str]], progress: ProgressLine) -> Iterator[list[str]]:
    for done, sentence in enumerate(sentences, start=1):
        if done % 10_000 == 0:
            progress("counting", done, len(sentences))
        yield sentence


def _words(line: str, tokenizer: Tokenizer) -> list[str]:
    words = tokenizer.normalise(line).split()
    special = [word for word in words if word in (START, END, UNKNOWN)]
    if special:
        raise ManifestError(f"{special[0]} stands in the text: an n-gram model uses it for itself")
    return words


def _write(path: Path, text: str) -> None:
    """Write the file whole or not at all, compressed where its name ends in ``.gz``; what it replaces is kept."""
    contents = gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode()
    write_whole(path, contents, keep=path.with_name(f"{path.stem}.previous{path.suffix}"))

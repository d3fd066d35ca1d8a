"""A trained recogniser as one object: ``Recognizer.load(run).transcribe(audio)``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seq2seq_asr.console import say
from seq2seq_asr.data.sources import read_seconds
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.nn.device import find_device
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.recognizer.belonging import load_calibration, load_tuned
from seq2seq_asr.recognizer.confidence import CALIBRATION
from seq2seq_asr.recognizer.language_models import LanguageModels, load_language_models, load_tuned_models
from seq2seq_asr.recognizer.restoring import restore, restore_others
from seq2seq_asr.recognizer.searcher import Searcher
from seq2seq_asr.recognizer.transcriber import Transcriber
from seq2seq_asr.recognizer.transcript import Transcript
from seq2seq_asr.recognizer.tuned import TUNED, Tuned
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.training.run_folder import CheckpointChoice


class Recognizer(Transcriber):
    """A trained model with its tokenizer, and how it is searched.

    Args:
        searcher: The model and all that joins its search.
    """

    model: Seq2Seq
    tokenizer: Tokenizer
    tuned: Tuned | None = None
    """What `tune` found best; ``transcribe`` searches so unless told otherwise."""

    def __init__(self, searcher: Searcher) -> None:
        super().__init__(searcher.model, searcher.tokenizer, searcher.device)
        self.searcher = searcher
        self._warned = False  # once is enough, however many batches there are

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        checkpoint: CheckpointChoice = "best",
        device: str = "auto",
        lm: Path | None = None,
        hotwords: Sequence[str] = (),
        ngram: Path | None = None,
        tuned: bool = True,
        calibrate: bool = True,
        ensemble: Sequence[str | Path] = (),
    ) -> "Recognizer":
        """The recogniser of a run folder, or of a folder that ``export`` made.

        Args:
            run: Folder such as ``checkpoints/spoken``.
            checkpoint: Which weights; ``best`` falls back to ``last`` in a run that was never validated.
            device: ``cpu``, ``cuda``, or ``auto`` for a GPU when there is one.
            lm: Language model that ``fit_lm`` made for this tokenizer.
            hotwords: Words to expect.
            ngram: n-gram model of words in an ARPA file, such as `fit_ngram` writes.
            tuned: Search as `tune` found best, where it wrote that into the folder, with the language models of then
                unless others are given; where they cannot be had, a warning says so and the search is the usual one.
            calibrate: Map word confidences as `tune` found out, where it wrote that into the folder.
            ensemble: Runs of the same tokenizer whose models decode with this one's, each with the same say.

        Raises:
            CheckpointError: The folder or checkpoint is missing, damaged or not ours.
            TokenizerError: The tokenizer is damaged or not ours.
            UsageError: There is no such device, models do not go together, or the hot words are no list of words.
            ManifestError: The n-gram model is no ARPA file, or not of this tokenizer's words.
        """
        chosen = find_device(device)
        model, tokenizer = restore(Path(run), checkpoint)
        best = load_tuned(Path(run) / TUNED, tokenizer.hash, checkpoint) if tuned else None
        if best is None or lm is not None or ngram is not None:
            models = load_language_models(lm, ngram, tokenizer, chosen)
        elif (own := load_tuned_models(best, tokenizer, chosen)) is not None:
            models = own
        else:
            best, models = None, LanguageModels(None, None)
        others = restore_others([Path(one) for one in ensemble], checkpoint, model, tokenizer)
        recognizer = cls(Searcher(model, tokenizer, chosen, models.pieces, hotwords, models.words, others))
        recognizer.tuned = best
        if calibrate:
            recognizer.searcher.calibration = load_calibration(Path(run) / CALIBRATION, tokenizer.hash, checkpoint)
        return recognizer

    @property
    def default_search(self) -> BeamConfig:
        """How to search when nobody says: as `tune` found best for this run, else as `BeamConfig` says."""
        return BeamConfig() if self.tuned is None else self.tuned.search

    def warm_up(self, search: BeamConfig | None = None) -> None:
        """Search a second of noise: what is compiled, loaded or recorded at a first search is there at the next.

        Args:
            search: How the next will be; default `default_search`.
        """
        features = self.model.config.features
        shape = (100, features.bins) if features.kind == "precomputed" else (features.rate,)
        noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32) / 10
        chosen = search or self.default_search
        self.searcher.transcripts([""], self.searcher.encode([noise], chosen.speeds), chosen, [1.0])

    def _warn_of_raw_confidences(self, search: BeamConfig) -> None:
        line = self.searcher.calibration
        if line is not None and not self.searcher.is_calibrated(search) and not self._warned:
            fitted = f"ctc_weight {line.ctc_weight:g} and speeds {line.speeds}"
            alone = " of one model" if len(self.searcher.members) > 1 else ""
            say(f"warning: word confidences stay raw: calibrated with {fitted}{alone}")
            self._warned = True

    def _decode(self, inputs: Sequence[tuple[str, np.ndarray]], search: BeamConfig) -> list[Transcript]:
        self._warn_of_raw_confidences(search)
        hearings = self.searcher.encode([samples for _, samples in inputs], search.speeds)
        seconds = [read_seconds(samples, self.reader) for _, samples in inputs]
        return self.searcher.transcripts([id for id, _ in inputs], hearings, search, seconds)

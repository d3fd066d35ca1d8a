"""A trained recogniser as one object: ``Recognizer.load(run).transcribe(audio)``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from seq2seq_asr.config import FitConfig
from seq2seq_asr.data.audio import audio_duration, check_length
from seq2seq_asr.data.batching import BatchingConfig, plan_in_order
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AsrError, CheckpointError
from seq2seq_asr.nn.model import Encoded, Seq2Seq
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.ctc_prefix import CtcPrefixScorer
from seq2seq_asr.search.hypothesis import Hypothesis
from seq2seq_asr.search.scorer import Weighted
from seq2seq_asr.strict_yaml import from_mapping
from seq2seq_asr.training.checkpoint import load_weights, read_checkpoint
from seq2seq_asr.training.reading import input_reader
from seq2seq_asr.training.run_folder import RunFolder, open_run


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What was said, how sure the model is, and when each piece was said."""

    id: str
    """Id of the utterance, or the audio file's path."""
    text: str
    """Transcript; empty when nothing was recognised."""
    score: float
    """The figure transcripts are ranked by."""
    log_prob: float
    """Natural-log probability under the attention decoder, the end of the sentence included."""
    pieces: tuple[str, ...]
    """SentencePiece pieces of the text."""
    times: tuple[float, ...]
    """Seconds from the start at which the attention peaked for each piece."""
    ended: bool
    """False when the search was cut at its maximum length."""
    scores: dict[str, float]
    """Unweighted total of every scorer."""
    nbest: tuple["Transcript", ...] = ()
    """All transcripts found, best first, this one included; empty within the list itself."""


class Recognizer:
    """A trained model with its tokenizer.

    Args:
        model: The model; it is put into evaluation mode.
        tokenizer: The tokenizer it was trained with.
        device: Where to compute.
    """

    def __init__(self, model: Seq2Seq, tokenizer: Tokenizer, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.model = model.eval().to(self.device)
        self.tokenizer = tokenizer
        self.reader = input_reader(model.features)

    @classmethod
    def load(cls, run: str | Path, *, checkpoint: Literal["best", "last"] = "best", device: str = "auto") -> "Recognizer":
        """The recogniser of a run folder.

        Args:
            run: Folder such as ``checkpoints/spoken``.
            checkpoint: Which weights; ``best`` falls back to ``last`` in a run that was never validated.
            device: ``cpu``, ``cuda``, or ``auto`` for a GPU when there is one.

        Raises:
            CheckpointError: The folder or checkpoint is missing, damaged or not ours.
        """
        folder = open_run(Path(run))
        path = checkpoint_path(folder, checkpoint)
        contents = read_checkpoint(path)
        config = from_mapping(FitConfig, contents["seq2seq_asr"]["config"])
        tokenizer = Tokenizer.load(folder.tokenizer)
        if tokenizer.hash != contents["seq2seq_asr"]["tokenizer"]:
            raise CheckpointError(f"{folder.tokenizer}: not the tokenizer {path.name} was trained with")
        model = Seq2Seq(config.model, len(tokenizer))
        load_weights(model, contents, path)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(model, tokenizer, device)

    def transcribe(
        self, audio: Sequence[str | Path | np.ndarray | Utterance], search: BeamConfig | None = None
    ) -> list[Transcript]:
        """Transcribe files, samples or utterances.

        Args:
            audio: Audio files of any format and rate that soundfile reads, float32 samples ``(N,)`` at the model's
                rate, or manifest utterances.
            search: How to search; default `BeamConfig`.

        Returns:
            One transcript each, in the order given; the same whatever else is in the list.

        Raises:
            AudioError: A file cannot be read, is silent or too short.
        """
        found: dict[int, Transcript] = {}
        for places, results in self.stream(audio, search or BeamConfig()):
            for place, result in zip(places, results, strict=True):
                if isinstance(result, AsrError):
                    raise result
                found[place] = result
        return [found[place] for place in range(len(audio))]

    def stream(
        self,
        audio: Sequence[str | Path | np.ndarray | Utterance],
        search: BeamConfig,
        batching: BatchingConfig | None = None,
    ) -> Iterator[tuple[list[int], list[Transcript | AsrError]]]:
        """Transcribe batch by batch, longest first; what cannot be read comes back as its error.

        Yields:
            Places in ``audio`` and, for each, the transcript or the error.
        """
        sources = [self._source(one) for one in audio]
        plan = plan_in_order(np.array([self._seconds(source) for source in sources]), batching or BatchingConfig())
        for batch in plan:
            places = [int(index) for index in batch]
            inputs = [self._read(sources[place]) for place in places]
            readable = [place for place, one in zip(places, inputs, strict=True) if isinstance(one, np.ndarray)]
            ids = [getattr(sources[place], "id", str(place)) for place in readable]
            arrays = [one for one in inputs if isinstance(one, np.ndarray)]
            transcripts = iter(self._decode(ids, arrays, search) if arrays else [])
            yield places, [one if isinstance(one, AsrError) else next(transcripts) for one in inputs]

    def _source(self, one: str | Path | np.ndarray | Utterance) -> np.ndarray | Utterance | AsrError:
        if isinstance(one, np.ndarray | Utterance):
            return one
        try:
            return utterance_of_file(Path(one))
        except AsrError as error:
            return error

    def _seconds(self, source: np.ndarray | Utterance | AsrError) -> float:
        if isinstance(source, Utterance):
            return source.duration
        return len(source) / self.reader.rate if isinstance(source, np.ndarray) else 0.0

    def _read(self, source: np.ndarray | Utterance | AsrError) -> np.ndarray | AsrError:
        try:
            if isinstance(source, AsrError):
                return source
            if isinstance(source, Utterance):
                return self.reader(source)
            check_length(source, self.reader.smallest, Path("samples"))
            return source.astype(np.float32)
        except AsrError as error:
            return error

    @torch.inference_mode()
    def _decode(self, ids: Sequence[str], inputs: Sequence[np.ndarray], search: BeamConfig) -> list[Transcript]:
        tensors = [torch.from_numpy(one) for one in inputs]
        padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True).to(self.device)
        lengths = torch.tensor([len(one) for one in inputs], device=self.device)
        encoded = self.model.encode(padded, lengths)
        found = beam_search(scorers_of(self.model, encoded, search), encoded.lengths, search)
        return [self._transcript(id, hypotheses) for id, hypotheses in zip(ids, found, strict=True)]

    def _transcript(self, id: str, hypotheses: Sequence[Hypothesis]) -> Transcript:
        nbest = tuple(self._single(id, hypothesis) for hypothesis in hypotheses)
        return replace(nbest[0], nbest=nbest)

    def _single(self, id: str, hypothesis: Hypothesis) -> Transcript:
        return Transcript(
            id=id,
            text=self.tokenizer.decode(hypothesis.tokens),
            score=hypothesis.score,
            log_prob=hypothesis.log_prob,
            pieces=tuple(self.tokenizer.pieces(hypothesis.tokens)),
            times=tuple(round((frame + 0.5) * self.model.frame_shift, 3) for frame in hypothesis.frames),
            ended=hypothesis.ended,
            scores=hypothesis.scores,
        )


def utterance_of_file(path: Path) -> Utterance:
    """A whole audio file as an utterance named by its path."""
    return Utterance(id=str(path), text="", duration=audio_duration(path), audio=path)


def scorers_of(model: Seq2Seq, encoded: Encoded, search: BeamConfig) -> list[Weighted]:
    """The attention decoder and, when it has weight, the CTC prefix score."""
    attention = AttentionScorer(model.decoder, model.memory(encoded))
    if search.ctc_weight == 0 or model.ctc is None:
        return [Weighted("attention", attention, 1.0)]
    ctc = CtcPrefixScorer(model.ctc_log_probs(encoded), encoded.lengths)
    return [Weighted("attention", attention, 1 - search.ctc_weight), Weighted("ctc", ctc, search.ctc_weight)]


def checkpoint_path(run: RunFolder, name: Literal["best", "last"]) -> Path:
    """The named checkpoint; the last one where there is no best."""
    return run.best if name == "best" and run.best.is_file() else run.last

"""A trained recogniser as one object: ``Recognizer.load(run).transcribe(audio)``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from seq2seq_asr.data.batching import BatchingConfig, plan_in_order
from seq2seq_asr.data.sources import Source, read_source, source_id, source_seconds
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AsrError, AudioError, CheckpointError, UsageError
from seq2seq_asr.nn.device import find_device, full_precision, is_out_of_memory
from seq2seq_asr.nn.model import Encoded, ModelConfig, Seq2Seq
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.ctc_prefix import CtcPrefixScorer
from seq2seq_asr.search.hypothesis import Hypothesis
from seq2seq_asr.search.scorer import Weighted, joint_scorers
from seq2seq_asr.strict_yaml import from_mapping
from seq2seq_asr.training.checkpoint import load_weights, read_checkpoint
from seq2seq_asr.training.reading import input_reader
from seq2seq_asr.training.run_folder import RunFolder, open_run

Choice = Literal["best", "last"]
"""Weights of a run: those with the lowest validation WER, or the newest."""
DECODING_BATCHES = BatchingConfig(batch_seconds=100.0, max_utterances=1000)
"""Nothing is kept for a backward pass: only the seconds limit a batch."""


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What was said, how sure the model is, and when each piece was said."""

    id: str
    """Id of the utterance, the audio file's path, or the place of samples in the list."""
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
    def load(
        cls, run: str | Path, *, checkpoint: Literal["best", "last"] = "best", device: str = "auto"
    ) -> "Recognizer":
        """The recogniser of a run folder.

        Args:
            run: Folder such as ``checkpoints/spoken``.
            checkpoint: Which weights; ``best`` falls back to ``last`` in a run that was never validated.
            device: ``cpu``, ``cuda``, or ``auto`` for a GPU when there is one.

        Raises:
            CheckpointError: The folder or checkpoint is missing, damaged or not ours.
            TokenizerError: The tokenizer is damaged or not ours.
            UsageError: There is no such device.
        """
        chosen = find_device(device)
        folder = open_run(Path(run))
        path = folder.best if available(folder, checkpoint) == "best" else folder.last
        contents = read_checkpoint(path)
        tokenizer = Tokenizer.load(folder.tokenizer)
        if tokenizer.hash != contents["seq2seq_asr"].get("tokenizer"):
            raise CheckpointError(f"{folder.tokenizer}: not the tokenizer {path.name} was trained with")
        model = Seq2Seq(model_config(contents, path), len(tokenizer))
        load_weights(model, contents, path)
        return cls(model, tokenizer, chosen)

    def transcribe(self, audio: Sequence[Source], search: BeamConfig | None = None) -> list[Transcript]:
        """Transcribe files, samples or utterances.

        Args:
            audio: Audio files of any format and rate that soundfile reads, samples ``(N,)`` in [-1, 1] at the model's
                rate, or manifest utterances.
            search: How to search; default `BeamConfig`.

        Returns:
            One transcript each, in the order given; the same whatever else is in the list.

        Raises:
            AudioError: A file cannot be read, is silent, too short, or too long for the memory.
            UsageError: Not a list.
        """
        if isinstance(audio, str | Path | np.ndarray | Utterance):
            raise UsageError(f"transcribe takes a list, such as [{type(audio).__name__}], even for a single one")
        found: dict[int, Transcript] = {}
        for places, results in self.stream(audio, search or BeamConfig()):
            for place, result in zip(places, results, strict=True):
                if isinstance(result, AsrError):
                    raise result
                found[place] = result
        return [found[place] for place in range(len(audio))]

    def stream(
        self, audio: Sequence[Source], search: BeamConfig, batching: BatchingConfig = DECODING_BATCHES
    ) -> Iterator[tuple[list[int], list[Transcript | AsrError]]]:
        """Transcribe batch by batch, longest first; what cannot be read comes back as its error.

        Yields:
            Places in ``audio`` and, for each, the transcript or the error.
        """
        seconds: dict[int, float] = {}
        for place, source in enumerate(audio):
            try:
                seconds[place] = source_seconds(source, self.reader)
            except AsrError as error:
                yield [place], [error]
        known = np.array(list(seconds), dtype=np.int64)
        for batch in plan_in_order(np.array([*seconds.values()]), batching):
            places = known[batch].tolist()
            inputs = [self._read(audio[place]) for place in places]
            ids = [source_id(audio[place], place) for place in places]
            readable = [(id, one) for id, one in zip(ids, inputs, strict=True) if isinstance(one, np.ndarray)]
            results = iter(self._decode_within_memory(readable, search))
            yield places, [one if isinstance(one, AsrError) else next(results) for one in inputs]

    def _read(self, source: Source) -> np.ndarray | AsrError:
        try:
            return read_source(source, self.reader)
        except AsrError as error:
            return error

    def _decode_within_memory(
        self, inputs: Sequence[tuple[str, np.ndarray]], search: BeamConfig
    ) -> list[Transcript | AsrError]:
        """Decode together, or in halves where the memory does not hold all; one that it cannot hold is an error."""
        if not inputs:
            return []
        try:
            return [*self._decode(inputs, search)]
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler: its traceback would keep the tensors.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(inputs) == 1:
            return [AudioError(f"{inputs[0][0]}: too long for the memory of the {self.device.type}")]
        half = len(inputs) // 2
        return [
            part for inputs in (inputs[:half], inputs[half:]) for part in self._decode_within_memory(inputs, search)
        ]

    @torch.inference_mode()
    def _decode(self, inputs: Sequence[tuple[str, np.ndarray]], search: BeamConfig) -> list[Transcript]:
        tensors = [torch.from_numpy(one) for _, one in inputs]
        padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True).to(self.device)
        lengths = torch.tensor([len(one) for one in tensors], device=self.device)
        with full_precision():
            encoded = self.model.encode(padded, lengths)
            found = beam_search(scorers_of(self.model, encoded, search), encoded.lengths, search)
        return [self._transcript(id, nbest) for (id, _), nbest in zip(inputs, found, strict=True)]

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


def scorers_of(model: Seq2Seq, encoded: Encoded, search: BeamConfig) -> tuple[Weighted, ...]:
    """The attention decoder and, when it has weight and the model a CTC head, the CTC prefix score."""
    attention = AttentionScorer(model.decoder, model.memory(encoded))
    if search.ctc_weight == 0 or model.ctc is None:
        return joint_scorers(attention)
    return joint_scorers(attention, CtcPrefixScorer(model.ctc_log_probs(encoded), encoded.lengths), search.ctc_weight)


def available(run: RunFolder, wanted: Choice) -> Choice:
    """The checkpoint to take: the last one where there is no best."""
    return "best" if wanted == "best" and run.best.is_file() else "last"


def model_config(contents: dict[str, Any], path: Path) -> ModelConfig:
    """The model's configuration as a checkpoint records it: it must fit the weights, whatever config.yaml says now.

    Raises:
        CheckpointError: It is missing, or from a version that knew other settings.
    """
    config = contents["seq2seq_asr"].get("config")
    try:
        return from_mapping(ModelConfig, config["model"])
    except (UsageError, TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: its model cannot be built ({type(error).__name__}: {error})") from error

"""What ``decode`` does: transcribe files, or decode a manifest, score what has a reference and write the results."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from seq2seq_asr.commands.decode.classes import load_classifier, write_class_scores
from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.commands.decode.hotwords import read_hotwords
from seq2seq_asr.commands.decode.marks import free_folder
from seq2seq_asr.commands.decode.results import write_scores
from seq2seq_asr.commands.decode.shortcomings import report_shortcomings
from seq2seq_asr.commands.decode.transcribing import Decoded, decode_all
from seq2seq_asr.commands.progress import ProgressLine
from seq2seq_asr.config import FitConfig
from seq2seq_asr.console import say
from seq2seq_asr.data.confinement import Confinement
from seq2seq_asr.data.loading import read_split
from seq2seq_asr.data.splits import existing_split, resolve_split
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.layout import printable
from seq2seq_asr.evaluation.report import Scored, format_report, make_report
from seq2seq_asr.nn.allocation import keep_freed_memory
from seq2seq_asr.nn.quiet_threads import start_quiet_threads
from seq2seq_asr.recognizer import Recognizer, SpeechClassifier, Transcriber, is_classifier
from seq2seq_asr.strict_yaml import load_yaml
from seq2seq_asr.training.portable import is_portable
from seq2seq_asr.training.run_folder import RunFolder, chosen_run


def decode(config: DecodeConfig) -> int:
    """Decode as configured; returns the exit code."""
    keep_freed_memory()
    start_quiet_threads()
    require_confined(config)
    run = find_run(config)
    config = replace(config, run=run.path)
    recognizer: Transcriber = load_classifier(config) if is_classifier(run.path) else load_recognizer(config, run)
    decoded = transcribe_files(recognizer, config) if config.audio else decode_set(recognizer, config, run)
    return 0 if not decoded.errors or (config.allow_skips and decoded.transcripts) else 1


def require_confined(config: DecodeConfig) -> None:
    """Audio files of the command line lie in the data root, as those of a manifest do.

    Raises:
        UsageError: One leads elsewhere.
    """
    confinement = Confinement(config.data_root)
    for path in config.audio:
        try:
            confinement.require(path)
        except ValueError as error:
            raise UsageError(str(error)) from error


def load_recognizer(config: DecodeConfig, run: RunFolder) -> Recognizer:
    """The run's recogniser, with language models and hot words.

    Raises:
        UsageError: A form of output needs times of words, which nothing tells, or the search an attention's weights.
    """
    hotwords = () if config.hotwords is None else read_hotwords(config.hotwords, Tokenizer.load(run.tokenizer))
    if config.search.ilm_weight > 0 and config.lm is None and config.ngram is None:
        say("warning: ilm_weight takes the decoder's own language model away; --lm or --ngram should take its place")
    recognizer = Recognizer.load(
        run.path,
        checkpoint=config.checkpoint,
        device=config.device,
        lm=config.lm,
        hotwords=hotwords,
        ngram=config.ngram,
        tuned=False,  # it stands in the settings by now, unless flags took it out
        ensemble=config.ensemble,
    )
    timed = [name for name in config.formats if name != "txt"]
    if timed and not recognizer.searcher.aligns:
        raise UsageError(f"--formats {timed[0]}: {run.path} has neither attention nor CTC: no word has a time")
    recognizer.searcher.require_possible(config.search)
    return recognizer


def find_run(config: DecodeConfig) -> RunFolder:
    """The run to decode with, or the folder that ``export`` made.

    Raises:
        CheckpointError: There is none.
        UsageError: An exported recogniser was given, but nothing to decode.
    """
    if config.run is None or not is_portable(config.run):
        return chosen_run(config.run, config.checkpoints)
    if not config.audio and config.manifest is None:
        raise UsageError(f"{config.run}: an exported recogniser has no test set: give audio files or --manifest")
    return RunFolder(config.run)


def transcribe_files(recognizer: Transcriber, config: DecodeConfig) -> Decoded:
    """Print one line a file, in the order given: its path, a tab, its transcript."""
    decoded = Decoded()
    try:
        decode_all(recognizer, config.audio, config, config.out, decoded)
        report_shortcomings(decoded, config.audio)
    finally:  # an interruption loses only what was not yet transcribed
        for _, transcript in sorted(decoded.transcripts.items()):
            print(f"{printable(transcript.id)}\t{printable(transcript.text)}")
    return decoded


def decode_set(recognizer: Transcriber, config: DecodeConfig, run: RunFolder) -> Decoded:
    """Decode a manifest or a split of the run's corpus; print its scores and the results' folder."""
    utterances, name = find_utterances(config, run)
    search, mark = f"beam {config.search.beam}", f"_beam{config.search.beam}"
    if config.ensemble:
        search, mark = f"{search}, {len(config.ensemble)} more models", f"{mark}_models{1 + len(config.ensemble)}"
    if isinstance(recognizer, SpeechClassifier):
        recognizer.tokenizer.check(utterances, str(config.manifest or f"{name} of {run.path}"))
        search, mark = "no search", ""
    folder = config.out or free_folder(run.path / f"decode_{name}{mark}", utterances)
    say(f"decoding {len(utterances)} utterances of {name} with {run.path}, {search}")
    decoded = Decoded()
    decode_all(recognizer, utterances, config, folder, decoded)
    report_shortcomings(decoded, utterances)
    report = score(folder, recognizer, utterances, decoded, config.seed)
    if report is not None:
        print(report)
    print(folder)
    return decoded


def score(
    folder: Path, recognizer: Transcriber, utterances: Sequence[Utterance], decoded: Decoded, seed: int
) -> str | None:
    """Score what was decoded and has a reference, normalised as in training; None when nothing is left.

    Returns:
        The report as text.
    """
    if not decoded.transcripts:
        return None
    scored = [
        Scored(
            id=utterance.id,
            reference=recognizer.tokenizer.normalise(utterance.text),
            hypothesis=decoded.transcripts[place].text,
            speaker=utterance.speaker,
        )
        for place, utterance in enumerate(utterances)
        if place in decoded.transcripts and utterance.text
    ]
    if len(scored) < len(decoded.transcripts):
        say(f"{len(decoded.transcripts) - len(scored)} utterances have no reference text: transcribed, not scored")
    heard = sum(utterances[place].duration for place in decoded.transcripts if place not in decoded.kept)
    factor = decoded.seconds / heard if heard else None
    if not scored:
        say("real-time factor " + ("not measured" if factor is None else f"{factor:.3g}"))
        return None
    if isinstance(recognizer, SpeechClassifier):
        return write_class_scores(folder, scored, recognizer.tokenizer.names, factor, seed, len(decoded.errors))
    report = make_report(scored, real_time_factor=factor, seed=seed)
    write_scores(folder, scored, report, len(decoded.errors))
    return format_report(report)


def find_utterances(config: DecodeConfig, run: RunFolder) -> tuple[list[Utterance], str]:
    """What to decode, and the name of the set; a manifest may leave texts empty, as there is no need to score."""
    manifest = config.manifest
    if manifest is None:
        fit = load_yaml(run.config, FitConfig)
        with ProgressLine() as progress:
            data = replace(fit.data, root=config.data_root or fit.data.root)
            split = existing_split(config.split, data)
            if split != config.split:
                say(f"warning: {run.path} has no {config.split} set (data.{config.split}): {split} takes its place")
            return read_split(resolve_split(split, data, progress)), split
    utterances = read_split([manifest], allow_empty_text=True, root=config.data_root)
    name = manifest.resolve().name if manifest.is_dir() else manifest.stem
    # Another corpus's test.jsonl is not this run's test set: its results must not take their name.
    own = name in ("train", "dev", "test")
    return utterances, f"{manifest.resolve().parent.name}_{name}" if own else name

"""From finished runs to ``comparison.html``, ``comparison.csv`` and ``runs.csv``; ``comparison_dev.html`` … of dev."""

from collections.abc import Sequence
from pathlib import Path

from seq2seq_asr.commands.compare.alignments import AttentionExample, attention_example, typical
from seq2seq_asr.commands.compare.budget import Corpora, Measured
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.cost import flops_a_second
from seq2seq_asr.commands.compare.grid import Run
from seq2seq_asr.commands.compare.page import Comparison, write_page
from seq2seq_asr.commands.compare.pool import Failure
from seq2seq_asr.commands.compare.ranking import Ranking, rank
from seq2seq_asr.commands.compare.results import RunResult, asked_for, check_same_test, read_result
from seq2seq_asr.commands.compare.stages import another_setting, decoded, is_classification, trained
from seq2seq_asr.commands.compare.tables import write_tables
from seq2seq_asr.commands.compare.words import answer
from seq2seq_asr.console import say
from seq2seq_asr.data.loading import read_split
from seq2seq_asr.data.splits import resolve_split
from seq2seq_asr.errors import AsrError
from seq2seq_asr.nn.classifier import build_model
from seq2seq_asr.training.criterion import Choice


def report(
    config: CompareConfig,
    source: Path | None,
    measured: Sequence[Measured],
    runs: Sequence[Run],
    corpora: Corpora,
    failures: list[Failure],
) -> str:
    """Rank what is finished and write the report; returns what to print, nothing where no run is finished.

    Runs whose results are damaged are left out, and added to the failures.

    Raises:
        AsrError: Results are of different test sets, or the folder cannot be written.
    """
    done = [run for run in runs if trained(run) and decoded(run, config, corpora)]
    finished = [run for run in done if _as_planned(run, config, corpora)]
    found = _results(finished, config, asked_for(runs), failures)
    if not found:
        say("no run is finished: there is nothing to report yet")
        return ""
    check_same_test([one for some in found.values() for one in some])
    ranking = rank([one.system for one in measured], found)
    by_name = {one.system.name: one for one in measured}
    looks, reference, notes = attention_of(config, ranking)
    comparison = Comparison(
        config=config,
        source=source,
        ranking=ranking,
        measured=by_name,
        flops=operations(ranking, by_name),
        missing=[run.name for run in runs if run not in finished],
        failures=failures,
        looks=looks,
        reference=reference,
        notes=notes,
    )
    folder = config.checkpoints / config.name
    suffix = "" if config.split == "test" else f"_{config.split}"
    write_tables(folder, ranking, by_name, comparison.flops, suffix)
    path = folder / f"comparison{suffix}.html"
    write_page(path, comparison)
    return f"{answer(ranking)}\n{path}"


def _results(
    runs: Sequence[Run], config: CompareConfig, choice: Choice, failures: list[Failure]
) -> dict[str, list[RunResult]]:
    """Results of the runs of each system; where they are damaged, that is added to the failures."""
    found: dict[str, list[RunResult]] = {}
    for run in runs:
        try:
            result = read_result(run, config, choice)
        except AsrError as error:
            failures.append(Failure(run.name, "results", error.exit_code, str(error)))
        else:
            found.setdefault(run.system, []).append(result)
    return found


def _as_planned(run: Run, config: CompareConfig, corpora: Corpora) -> bool:
    """Whether a finished run was trained as the others; `only` may have left it out when settings changed."""
    change = another_setting(run, config, corpora)
    if change:
        say(f"{run.path}: left out of the ranking, it was trained with another {change}")
    return not change


def operations(ranking: Ranking, measured: dict[str, Measured]) -> dict[str, float]:
    """Floating-point operations a second of audio, of every system."""
    counted = {}
    for one in ranking.standings:
        known = measured[one.system.name]
        model = build_model(known.system.config.model, known.vocabulary)
        counted[one.system.name] = flops_a_second(model, known.tokens_a_second)
    return counted


def attention_of(config: CompareConfig, ranking: Ranking) -> tuple[list[AttentionExample], str, list[str]]:
    """What every system sees of one utterance, its text, and what went wrong."""
    first = ranking.best.runs[0].run
    if is_classification(first):
        return [], "", []
    try:
        manifests = resolve_split(config.split, first.config.data)
        utterance = typical(read_split(manifests))
        looks = [attention_example(one, utterance, config.checkpoint) for one in ranking.standings]
    except AsrError as error:
        return [], "", [f"Attention is not shown: {error}"]
    place = ranking.test.ids.index(utterance.id) if utterance.id in ranking.test.ids else None
    text = utterance.text if place is None else ranking.test.references[place]
    return [one for one in looks if one is not None], text, []

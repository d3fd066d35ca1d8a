"""``comparison.html``: one file that says who is best, by how much, whether that is certain, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from seq2seq_asr.commands.compare.alignments import AttentionExample
from seq2seq_asr.commands.compare.budget import Measured
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.pool import Failure
from seq2seq_asr.commands.compare.probing import gradients_section, health_section
from seq2seq_asr.commands.compare.ranking import Ranking
from seq2seq_asr.commands.compare.sections import (
    attention_section,
    cost_section,
    curves_section,
    length_section,
    ranking_section,
)
from seq2seq_asr.commands.compare.style import SCRIPT, STYLE
from seq2seq_asr.commands.compare.words import answer, budget_words, method_words
from seq2seq_asr.strict_yaml import to_yaml
from seq2seq_asr.whole_file import write_whole


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that the report shows."""

    config: CompareConfig
    source: Path | None
    """File that the comparison came from."""
    ranking: Ranking
    measured: Mapping[str, Measured]
    flops: Mapping[str, float]
    missing: Sequence[str] = ()
    """Runs that are not finished."""
    failures: Sequence[Failure] = ()
    looks: Sequence[AttentionExample] = ()
    """Attention of every system over one utterance."""
    reference: str = ""
    """Text of that utterance."""
    notes: Sequence[str] = field(default_factory=tuple)
    """What could not be shown, and why."""


def write_page(path: Path, comparison: Comparison) -> None:
    """Write the report; the file appears whole or not at all.

    Raises:
        CheckpointError: It cannot be written.
    """
    write_whole(path, page(comparison))


def page(comparison: Comparison) -> str:
    """The report as HTML."""
    name = escape(comparison.config.name)
    body = "\n".join(part for part in _sections(comparison) if part)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{name}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _sections(comparison: Comparison) -> list[str]:
    config, ranking = comparison.config, comparison.ranking
    return [
        f"<header><h1>{escape(config.name)}</h1>"
        f'<p class="quiet">{escape(budget_words(config, ranking, comparison.measured))}</p></header>',
        f'<p class="answer">{escape(answer(ranking))}</p>',
        _warnings(comparison),
        ranking_section(ranking),
        curves_section(ranking),
        cost_section(ranking, comparison.measured, comparison.flops),
        attention_section(comparison.looks, comparison.reference),
        length_section(ranking),
        gradients_section(ranking, config.checkpoint),
        health_section(ranking),
        _method(comparison),
    ]


def _warnings(comparison: Comparison) -> str:
    lines = [f"{one.task} failed in {one.stage}: {one.line}" for one in comparison.failures]
    failed = {one.task for one in comparison.failures}
    left = [name for name in comparison.missing if name not in failed]
    if left:
        lines.append(f"Not finished, and left out: {', '.join(left)}.")
    lines += comparison.notes
    return "".join(f'<p class="worse">{escape(line)}</p>' for line in lines)


def _method(comparison: Comparison) -> str:
    source = comparison.source or Path("COMPARISON.yaml")
    return (
        "<h2>How this was measured</h2>"
        + "".join(f"<p>{escape(line)}</p>" for line in method_words(comparison.config, comparison.ranking))
        + f"<pre>python -m seq2seq_asr.compare {escape(str(source))}</pre>"
        + f"<details><summary class='quiet'>All settings of the comparison</summary>"
        f"<pre>{escape(to_yaml(comparison.config))}</pre></details>"
    )

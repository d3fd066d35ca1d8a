"""A corpus's health as one object, as text for people and as plain JSON values."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from seq2seq_asr.data.health.across import check_composition, check_doubles, check_leaks
from seq2seq_asr.data.health.examine import ExaminedSet
from seq2seq_asr.data.health.findings import CHECKS, Finding, Severity
from seq2seq_asr.data.health.single import check_kinds, check_utterances
from seq2seq_asr.data.health.summary import Summary, summarise
from seq2seq_asr.data.health.target import Target

_EXAMPLES: Final = 5
_BAR: Final = 40


@dataclass(frozen=True, kw_only=True)
class Health:
    """Everything that was found."""

    summaries: tuple[Summary, ...]
    """Of the training set and of each test set."""
    findings: tuple[Finding, ...]
    """The worst first."""

    def count(self, severity: Severity) -> int:
        """Findings of a severity."""
        return sum(CHECKS[finding.check].severity == severity for finding in self.findings)


def diagnose(train: ExaminedSet, tests: Sequence[ExaminedSet], target: Target) -> Health:
    """Run every check over what was examined."""
    findings: list[Finding] = []
    for examined in (train, *tests):
        findings += check_utterances(examined, target)
        findings += check_kinds(examined, target)
        findings += check_doubles(examined)
    for test in tests:
        findings += check_leaks(train, test)
    findings += check_composition([train, *tests])
    if target.classifies:
        findings = [finding for finding in findings if CHECKS[finding.check].concerns != "sentences"]
    order = list(CHECKS)
    return Health(
        summaries=tuple(summarise(examined) for examined in (train, *tests)),
        findings=tuple(sorted(findings, key=lambda finding: order.index(finding.check))),
    )


def health_json(health: Health) -> dict[str, Any]:
    """All figures and all findings, as strict JSON can hold them."""
    found = {name: [one for one in health.findings if one.check == name] for name in CHECKS}
    return {
        "errors": health.count("error"),
        "warnings": health.count("warning"),
        "notes": health.count("note"),
        "sets": [asdict(summary) for summary in health.summaries],
        "checks": {
            name: {
                "severity": check.severity,
                "meaning": check.meaning,
                "count": len(found[name]),
                "findings": [{"set": one.set, "ids": list(one.ids), "detail": one.detail} for one in found[name]],
            }
            for name, check in CHECKS.items()
        },
    }


def format_health(health: Health) -> str:
    """The report for a terminal, ending in a line break; it names a few utterances of each kind."""
    lines = [line for summary in health.summaries for line in (*_describe(summary), "")]
    for name, check in CHECKS.items():
        for examined in (summary.name for summary in health.summaries):
            found = [one for one in health.findings if (one.check, one.set) == (name, examined)]
            if found:
                lines.append(f"{check.severity}: {examined}: {len(found)} x {name}: {check.meaning}")
                lines += [f"    {_instance(one)}" for one in found[:_EXAMPLES]]
                lines += [f"    … and {len(found) - _EXAMPLES} more"] * (len(found) > _EXAMPLES)
    counts = f"{health.count('error')} errors, {health.count('warning')} warnings, {health.count('note')} notes"
    return "\n".join([*lines, *[""] * bool(health.findings), counts]) + "\n"


def _instance(finding: Finding) -> str:
    text = f"{finding.ids[0]}: {finding.detail}" if CHECKS[finding.check].concerns == "one" else finding.detail
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _describe(summary: Summary) -> list[str]:
    unreadable = summary.utterances - summary.readable
    kinds = ", ".join(f"{count:,} of {kind}" for kind, count in summary.kinds.items())
    unknown = f"{100 * summary.unknown_rate:.3f} % unknown"
    lines = [
        f"{summary.name}: {summary.utterances:,} utterances, {summary.seconds / 3600:.2f} h"
        + (f", {unreadable:,} unreadable" if unreadable else ""),
        f"  speakers  {summary.speakers:,}"
        + (f", {summary.without_speaker:,} utterances of unknown ones" if summary.without_speaker else ""),
        f"  texts     {summary.texts:,} different, {summary.tokens:,} pieces, {unknown}"
        + (f", {summary.without_text:,} utterances without" if summary.without_text else ""),
        f"  signal    {kinds or 'none'}; {100 * summary.clipped:.3f} % clipped, {100 * summary.quiet:.1f} % quiet",
        f"  length    {summary.shortest:.2f} to {summary.longest:.2f} s, median {summary.median:.2f} s",
    ]
    most = max(summary.histogram.values(), default=1)
    for name, count in summary.histogram.items():
        lines.append(f"  {name:>7} s  {'#' * -(-_BAR * count // most):{_BAR}} {count:,}")
    return lines

"""The results as text: systems, pairs with their verdicts, speakers, and what the figures mean."""

from collections.abc import Sequence

from seq2seq_asr.commands.significance.pairs import Pair
from seq2seq_asr.commands.significance.systems import System, Unit
from seq2seq_asr.evaluation.layout import bounds, display_width, percent, plural, printable
from seq2seq_asr.evaluation.report import method_of
from seq2seq_asr.evaluation.significance import LEVEL, smallest_corrected

RATES: dict[Unit, str] = {"words": "WER", "characters": "CER", "utterances": "SER"}
"""What the error rate of each unit is called."""
HINT = "These are decodings, not recipes: whether two of those differ, `compare` tells, with several seeds of each."
_GAP = "  "


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell: the first is set left, others right, and the last stands as it is."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first + " " * (widths[0] - display_width(first))]
        cells += [
            " " * (width - display_width(cell)) + cell for cell, width in zip(others[:-1], widths[1:-1], strict=True)
        ]
        lines.append(_GAP.join([*cells, others[-1]]).rstrip())
    return lines


def systems_table(systems: Sequence[System], unit: Unit) -> list[str]:
    """A row a system, in the order given."""
    rows = [["system", unit, RATES[unit], "95 % interval", "errors", "sub", "del", "ins", "wrong utterances"]]
    for one in systems:
        total = one.total
        counts = [total.errors, total.substitutions, total.deletions, total.insertions]
        wrong = f"{one.wrong:,} ({percent(one.sentence_error_rate)})"
        rate = [percent(total.rate), bounds(one.interval)]
        rows.append([one.name, f"{total.reference_length:,}", *rate, *(f"{count:,}" for count in counts), wrong])
    return table(rows)


def pairs_table(pairs: Sequence[Pair], unit: Unit) -> list[str]:
    """A row a pair, with those tests that were made."""
    kind = pairs[0].student.interval.unit
    heading = ["second – first", RATES[unit], "95 % interval", f"t, {kind}s"]
    exchanges = {"speakers": [one.over_speakers for one in pairs], "utterances": [one.over_utterances for one in pairs]}
    made = {f"exchange, {name}": found for name, found in exchanges.items() if any(p is not None for p in found)}
    rows = [[*heading, *made, *["p, corrected"] * (len(pairs) > 1), "verdict"]]
    for place, pair in enumerate(pairs):
        interval, found = pair.student.interval, [pair.student.p_value, *(column[place] for column in made.values())]
        found += [pair.p_value] * (len(pairs) > 1)
        ends = f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f}" if interval.known else "unknown"
        rows.append(
            [
                f"{pair.second.name} – {pair.first.name}",
                f"{100 * pair.student.difference:+.2f}",
                ends,
                *("–" if one is None else p_value(one) for one in found),
                pair.verdict + (f": {pair.reason}" if pair.reason else ""),
            ]
        )
    return table(rows)


def speakers_table(systems: Sequence[System], unit: Unit) -> list[str]:
    """A row a speaker: utterances, reference length, and the error rate under each system."""
    told = [one.by_speaker() for one in systems]
    rows = [["speaker", "utterances", unit, *(one.name for one in systems), ""]]
    for name, (utterances, counts) in told[0].items():
        rates = [percent(one[name][1].rate, infinite="–") for one in told]
        rows.append([name or "(unknown)", f"{utterances:,}", f"{counts.reference_length:,}", *rates, ""])
    total = [len(systems[0].counts), systems[0].total.reference_length]
    rows.append(["all", *(f"{count:,}" for count in total), *(percent(one.total.rate) for one in systems), ""])
    return table(rows)


def heading(systems: Sequence[System], unit: Unit) -> str:
    """What the systems were compared on."""
    first = systems[0]
    known = sorted({one for one in first.speakers if one})
    who = f"{plural(len(known), 'speaker')}" if all(first.speakers) else "unknown speakers"
    length = "" if unit == "utterances" else f", {plural(first.total.reference_length, unit.removesuffix('s'))}"
    return f"{plural(len(first.counts), 'utterance')} of {who}{length}"


def remarks(systems: Sequence[System], pairs: Sequence[Pair]) -> list[str]:
    """How to read the tables: what was tested, and what such data cannot tell."""
    interval = pairs[0].student.interval
    kind, units = interval.unit, plural(interval.units, interval.unit)
    methods = {method_of(one.interval): one.name for one in systems}
    lines = [f"Intervals of rates: {', '.join(methods)}."]
    lines += ["Differences are in points, below 0 where the second is better."]
    lines += [f"t: Student's over {units}, with its 95 % interval; exchange: matched pairs, a permutation test."]
    corrected = f", the larger corrected for {len(pairs)} pairs (Holm)" if len(pairs) > 1 else ""
    lines += [f"Significant: t and the exchange are both at most {LEVEL:g}{corrected}."]
    if kind == "utterance":
        lines += ["Speakers are unknown, or only one: utterances are tested, which says nothing of other speakers."]
        limit = smallest_corrected(interval.units, len(pairs))
        if interval.units > 1 and limit > LEVEL:
            lines += [f"Exchanging {units} gives no p-value below {limit:.3g}."]
    elif any(pair.over_utterances is not None for pair in pairs):
        lines += [
            f"Where those who differ are too few for an exchange of speakers to reach {LEVEL:g}, utterances count."
        ]
    return [*lines, HINT]


def p_value(value: float) -> str:
    """Two digits, three near `LEVEL`, and nothing smaller than 0.001."""
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if abs(value - LEVEL) < 0.005 else f"{value:.2g}"

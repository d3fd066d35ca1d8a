"""What each part of the search brings: one run, one test set, a row a search, with intervals and paired tests.

    python tools/table_decoding.py --run checkpoints/spoken --lm checkpoints/spoken/lm.ckpt --ngram 3.arpa --out table

Every row is a real ``python -m seq2seq_asr.decode``; its results stay below ``--out``. A row is compared with that of
the default search on the same utterances: paired permutation of speakers' (or utterances') errors, p-values after Holm.
Rows without CTC have no guards either, for these replace a degenerate transcript by what CTC says.
Printed is a Markdown table; ``--out/table.csv`` has the same figures.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seq2seq_asr.evaluation.significance import LEVEL, holm, paired_permutation
from seq2seq_asr.evaluation.trn import read_trn
from seq2seq_asr.evaluation.wer import word_errors

DEFAULT = "beam 8, CTC"
"""What the others are compared with."""


class Row(NamedTuple):
    """What one search gave."""

    name: str
    rate: float
    low: float
    high: float
    real_time_factor: float
    errors: np.ndarray
    speakers: list[str | None]


def main() -> None:
    options = read_options()
    rows = [decode(name, flags, options) for name, flags in searches(options).items()]
    default = next(row for row in rows if row.name == DEFAULT)
    others = [row for row in rows if row is not default]
    tests = [paired_permutation(default.errors, row.errors, known(row.speakers)) for row in others]
    p_values = dict(zip([row.name for row in others], holm(tests), strict=True))
    write(rows, p_values, options.out)
    print("| search | WER | 95 % interval | real-time factor | against the default |\n|---|---|---|---|---|")
    for row in rows:
        rate, interval = f"{100 * row.rate:.2f} %", f"{100 * row.low:.2f} – {100 * row.high:.2f}"
        print(f"| {row.name} | {rate} | {interval} | {row.real_time_factor:.4f} | {verdict(p_values.get(row.name))} |")


def read_options() -> argparse.Namespace:
    """What to decode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    parser.add_argument("--split", default="test", help="split of the run's corpus")
    parser.add_argument("--ctc_weight", type=float, default=0.2, help="weight of CTC in all rows with CTC")
    parser.add_argument("--lm", type=Path, help="language model of pieces")
    parser.add_argument("--lm_weight", type=float, default=0.3)
    parser.add_argument("--ngram", type=Path, help="ARPA file")
    parser.add_argument("--ngram_weight", type=float, default=0.3)
    parser.add_argument("--ilm_weight", type=float, default=0.1)
    parser.add_argument("--out", type=Path, required=True, help="folder for all results")
    return parser.parse_args()


def searches(options: argparse.Namespace) -> dict[str, list[str]]:
    """Name and flags of every row."""
    ctc, without = ["--ctc_weight", str(options.ctc_weight)], ["--ctc_weight", "0", "--guards", "off"]
    lm = ["--lm", str(options.lm), "--lm_weight", str(options.lm_weight)] if options.lm else []
    ngram = ["--ngram", str(options.ngram), "--ngram_weight", str(options.ngram_weight)] if options.ngram else []
    rows = {
        "greedy": ["--beam", "1", *without],
        "beam 8": ["--beam", "8", *without],
        DEFAULT: ["--beam", "8", *ctc],
        "beam 32, CTC": ["--beam", "32", *ctc],
    }
    if lm:
        rows["beam 8, CTC, LSTM LM"] = ["--beam", "8", *ctc, *lm]
    if ngram:
        rows["beam 8, CTC, n-gram"] = ["--beam", "8", *ctc, *ngram]
    more = [
        "--coverage_weight",
        "0.1",
        *lm,
        *ngram,
        *(["--ilm_weight", str(options.ilm_weight)] if lm or ngram else []),
    ]
    rows["beam 8, everything"] = ["--beam", "8", *ctc, *more]
    return rows


def decode(name: str, flags: list[str], options: argparse.Namespace) -> Row:
    """Decode once and read what was written."""
    folder = options.out / name.replace(", ", "_").replace(" ", "")
    command = [sys.executable, "-m", "seq2seq_asr.decode", "--run", str(options.run), "--split", options.split]
    subprocess.run([*command, "--no_tuned", "--out", str(folder), *flags], check=True, stdout=subprocess.DEVNULL)
    scores = json.loads((folder / "wer.json").read_text(encoding="utf-8"))
    said = {line.id: line.text for line in read_trn(folder / "hyp.trn")}
    references = read_trn(folder / "ref.trn")
    errors = np.array([word_errors(line.text, said[line.id]).errors for line in references], dtype=float)
    (low, high), speakers = scores["words"]["interval"], [line.speaker for line in references]
    return Row(name, scores["words"]["rate"], low, high, scores["real_time_factor"], errors, speakers)


def known(speakers: list[str | None]) -> list[str | None] | None:
    """Speakers, where all are known."""
    return speakers if all(speakers) else None


def verdict(p_value: float | None) -> str:
    """A test in words."""
    if p_value is None:
        return "the default"
    return f"{'significant' if p_value < LEVEL else 'not significant'} (p = {p_value:.3f})"


def write(rows: list[Row], p_values: dict[str, float], out: Path) -> None:
    """The same as CSV."""
    with (out / "table.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["search", "wer", "low", "high", "real_time_factor", "p_value"])
        for row in rows:
            table.writerow([row.name, row.rate, row.low, row.high, row.real_time_factor, p_values.get(row.name, "")])


if __name__ == "__main__":
    main()

"""Tables of the report."""

from collections.abc import Sequence
from html import escape
from typing import Final

VERDICT: Final = "against the best"
"""Head of the column that holds words."""

Cell = tuple[str, str | float | int]
"""What is shown, and what is sorted by."""


def table(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[Cell]]]) -> str:
    """A table that sorts on a click.

    Args:
        heads: Names of the columns.
        rows: A style for each row, then text and sorting value of each cell; the first cell names the system.
    """
    top = "".join(f'<th class="{"words" if head == VERDICT else ""}">{escape(head)}</th>' for head in heads)
    body = []
    for kind, cells in rows:
        parts = []
        for place, (text, value) in enumerate(cells):
            words = f"words {kind if kind == 'worse' else ''}" if heads[place] == VERDICT else ""
            parts.append(f'<td class="{words.strip()}" data-value="{escape(str(value))}">{escape(text)}</td>')
        anchor = f' id="system-{escape(cells[0][0])}"' if VERDICT in heads else ""
        body.append(f'<tr class="{kind if kind == "best" else ""}"{anchor}>{"".join(parts)}</tr>')
    return (
        f'<div class="wide"><table class="sortable"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )

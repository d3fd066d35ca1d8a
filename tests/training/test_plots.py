import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from seq2seq_asr.training import plots
from seq2seq_asr.training.criterion import ACCURACY


def alignment(tokens, frames):
    """Every token attends to its share of the frames, in order."""
    weights = np.zeros((tokens, frames), dtype=np.float32)
    for token in range(tokens):
        weights[token, token * frames // tokens : (token + 1) * frames // tokens] = 1.0
    return weights


def labels(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def png_of(figure, path):
    plots.save_figure(figure, path)
    return imread(path)


def test_pieces_run_down_and_seconds_run_right():
    pieces = ["▁he", "▁hop", "ed", "</s>"]
    figure = plots.attention_figure(alignment(4, 50), pieces, 0.04, "he hoped")
    axes = figure.axes[0]
    assert labels(figure) == pieces
    assert axes.get_xlim() == pytest.approx((0.0, 50 * 0.04))
    assert axes.transData.transform((0, 0))[1] > axes.transData.transform((0, 3))[1]
    assert axes.get_title(loc="left") == "he hoped"
    assert axes.get_xlabel() == "time (s)"


def test_the_picture_shows_the_weights_where_they_are(tmp_path):
    figure = plots.attention_figure(alignment(3, 30), ["a", "b", "c"], 0.1)
    picture = png_of(figure, tmp_path / "attention.png")
    axes, (height, width) = figure.axes[0], picture.shape[:2]

    def darkness(seconds, row):
        # The picture has another resolution than the figure, and its first row is at the top.
        x, y = figure.transFigure.inverted().transform(axes.transData.transform((seconds, row)))
        return 1 - picture[int((1 - y) * height), int(x * width), 0]

    seen = np.array([[darkness(0.5 + column, row) for column in range(3)] for row in range(3)])
    assert (seen.diagonal() > 0.8).all()
    assert (seen[~np.eye(3, dtype=bool)] < 0.1).all()


PIECES = ["你好", "안녕", "🦜", "$x_{", r"\frac", "a\nb", "\x00", "\ud800", "", " ", "▁", "ёж", "e\u0301", "\uffff"]


@pytest.mark.parametrize("title", ["", "$x_{$", *PIECES[::5], " ".join(PIECES)])
def test_no_piece_or_title_raises_or_warns(tmp_path, title):
    pieces = [*PIECES, *(9 * piece for piece in PIECES)]
    figure = plots.attention_figure(alignment(len(pieces), 60), pieces, 0.04, title)
    assert len(labels(figure)) == len(pieces), "every piece is drawn"
    assert png_of(figure, tmp_path / "odd.png").std() > 0


def test_a_character_without_a_glyph_is_shown_by_its_code_point(monkeypatch, tmp_path):
    only = tuple(pair for pair in plots._fonts() if pair[0] == "DejaVu Sans")
    monkeypatch.setattr(plots, "_fonts", lambda: only)
    figure = plots.attention_figure(alignment(2, 9), ["▁你", "x$y$"], 0.04)
    assert labels(figure) == ["▁\\u4f60", "x$y$"]
    plots.save_figure(figure, tmp_path / "missing.png")


@pytest.mark.parametrize("shape", [(0, 20), (3, 0), (0, 0), (1, 1), (2, 1)])
def test_degenerate_alignments_are_drawn(tmp_path, shape):
    figure = plots.attention_figure(np.zeros(shape), ["a"] * shape[0], 0.04, "")
    assert png_of(figure, tmp_path / "small.png").size > 0


def test_weights_that_are_not_finite_are_drawn_as_none(tmp_path):
    figure = plots.attention_figure(np.array([[np.nan, 0.5], [np.inf, -np.inf]]), ["a", "b"], 0.04)
    plots.save_figure(figure, tmp_path / "nan.png")
    assert figure.axes[0].images[0].get_clim() == (0.0, 0.5)


def test_long_utterances_keep_a_bounded_size_and_their_labels_apart(tmp_path):
    figure = plots.attention_figure(alignment(120, 500), [f"w{i}" for i in range(120)], 0.04, "word " * 300)
    picture = png_of(figure, tmp_path / "long.png")
    assert max(picture.shape) <= 2400
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(upper.y0 >= lower.y0 + 0.6 * lower.height for upper, lower in zip(boxes, boxes[1:], strict=False))
    assert labels(figure)[0] == "w0"


def test_one_piece_is_wanted_for_each_row():
    with pytest.raises(ValueError, match="2 pieces for an alignment of 3 tokens"):
        plots.attention_figure(alignment(3, 9), ["a", "b"], 0.04)


def test_figures_leave_no_global_state(tmp_path):
    before = dict(matplotlib.rcParams)
    had_pyplot = "matplotlib.pyplot" in sys.modules
    plots.save_figure(plots.attention_figure(alignment(2, 9), ["a", "b"], 0.04), tmp_path / "a.png")
    plots.save_figure(plots.learning_curves_figure([]), tmp_path / "b.png")
    assert dict(matplotlib.rcParams) == before
    if had_pyplot:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []
    else:
        assert "matplotlib.pyplot" not in sys.modules


def curves(figure):
    """The points of each labelled line, panel by panel."""
    named = [line for axes in figure.axes for line in axes.lines if not line.get_label().startswith("_")]
    return [list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in named]


def test_learning_curves_show_every_epoch_and_the_best(tmp_path):
    """Counted from 1, as the log counts."""
    # Text as csv.DictReader gives it; the second epoch was not validated.
    rows = [
        {"epoch": "0", "train_loss": "3.0", "val_loss": "3.5", "val_wer": "0.9"},
        {"epoch": "1", "train_loss": "2.0", "val_loss": "", "val_wer": None},
        {"epoch": "2", "train_loss": "1.0", "val_loss": "1.5", "val_wer": "0.25"},
        {"epoch": "3", "train_loss": "nan", "val_loss": "1.75", "val_wer": "0.5"},
    ]
    figure = plots.learning_curves_figure(rows)
    train, validation, errors = curves(figure)
    assert train == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert validation == [(1, 3.5), (3, 1.5), (4, 1.75)]
    assert errors == [(1, 90.0), (3, 25.0), (4, 50.0)]
    assert "25.00 in epoch 3" in figure.axes[1].get_title(loc="left")
    assert png_of(figure, tmp_path / "curves.png").std() > 0


def test_learning_curves_of_a_classifier_mark_the_highest_accuracy():
    rows = [{"epoch": epoch, "val_accuracy": rate, "val_wer": ""} for epoch, rate in ((0, 0.5), (1, 0.75), (2, 0.25))]
    figure = plots.learning_curves_figure(rows, ACCURACY)
    assert curves(figure) == [[(1, 50.0), (2, 75.0), (3, 25.0)]]
    assert figure.axes[1].get_title(loc="left") == "Validation accuracy (%), best 75.00 in epoch 2"


def test_the_confusion_matrix_shows_shares_of_its_rows_and_counts(tmp_path):
    matrix, names = np.array([[3, 1], [0, 0]]), ["数字", "a$b$" + "c" * 40]
    figure = plots.confusion_figure(matrix, names)
    axes = figure.axes[0]
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 0.0]]
    assert [(text.get_position(), text.get_text()) for text in axes.texts] == [((0, 0), "3"), ((1, 0), "1")]
    assert axes.get_title(loc="left") == "3 of 4 right"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert labels(figure) == [label.get_text() for label in axes.get_xticklabels()]
    assert labels(figure)[1].startswith("a$b$ccc") and len(labels(figure)[1]) < 20
    assert png_of(figure, tmp_path / "confusion.png").std() > 0


def test_a_large_confusion_matrix_has_a_bounded_size_and_no_numbers():
    figure = plots.confusion_figure(np.eye(300, dtype=int), [f"class{place}" for place in range(300)])
    assert max(figure.get_size_inches()) <= 24
    assert not figure.axes[0].texts and len(labels(figure)) <= 80


def test_a_resumed_epoch_counts_once_with_its_last_value():
    rows = [{"epoch": epoch, "val_wer": rate} for epoch, rate in ((1, 0.5), (0, 0.75), (1, 0.25))]
    assert curves(plots.learning_curves_figure(rows)) == [[(1, 75.0), (2, 25.0)]]


@pytest.mark.parametrize("rows", [[], [{}], [{"epoch": 0, "train_loss": 1.0}], [{"epoch": 0, "val_wer": 0.0}]])
def test_little_to_show_is_drawn(tmp_path, rows):
    assert png_of(plots.learning_curves_figure(rows), tmp_path / "few.png").size > 0


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    figure = plots.learning_curves_figure([])
    with pytest.raises(OSError, match="none"):
        plots.save_figure(figure, tmp_path / "none" / "a.png")

    def fail(path, **options):
        path.write_bytes(b"half")
        raise OSError("disk full")

    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plots.save_figure(figure, tmp_path / "a.png")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.png", b"old")]

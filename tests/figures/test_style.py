import io
import subprocess
import sys

import matplotlib.image
import pytest

from ecgcls.evaluation.predictions import Predictions
from ecgcls.figures.confusion import draw_confusion_matrices, draw_confusion_matrix
from ecgcls.figures.curves import draw_pr_curves, draw_reliability_curves, draw_roc_curves, draw_training_curves
from ecgcls.figures.style import choose_grid
from tests.figures.examples import make, make_history, png


def test_the_grid_has_room_for_every_class_and_no_empty_row():
    for n_classes in range(1, 72):
        n_rows, n_columns = choose_grid(n_classes)
        assert n_columns * (n_rows - 1) < n_classes <= n_columns * n_rows
        assert n_rows <= n_columns + 1


@pytest.mark.parametrize(
    "draw",
    [
        lambda: draw_pr_curves(make(), title="t"),
        lambda: draw_roc_curves(make(), title="t"),
        lambda: draw_reliability_curves(make(), title="t"),
        lambda: draw_confusion_matrix(make(), "C3_", threshold=0.5, title="t"),
        lambda: draw_confusion_matrices(make(7), threshold=0.5, title="t"),
        lambda: draw_training_curves(make_history(), best_epoch=3, title="cnn1d"),
    ],
)
def test_equal_figures_are_equal_files(draw, tmp_path):
    first = png(draw(), tmp_path / "figures" / "a.png")
    assert first == png(draw(), tmp_path / "b.png")
    assert b"matplotlib" not in first.lower()  # no version in the file
    figure = draw()
    assert png(figure, tmp_path / "c.png") == png(figure, tmp_path / "d.png") == first
    image = matplotlib.image.imread(io.BytesIO(first))
    width, height = figure.get_size_inches()
    assert image.shape[:2] == (int(height * 150), int(width * 150))


def test_pyplot_is_not_imported():
    code = "import sys, ecgcls.figures.curves; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_class_name_with_dollar_signs_is_shown_verbatim(tmp_path):
    predictions = Predictions([1, 2], [1, 2], [1, 1], ["val"] * 2, [[1], [0]], [[0.9], [0.1]], (r"$\bad$",))
    for draw in (draw_pr_curves, draw_roc_curves, draw_reliability_curves):
        assert png(draw(predictions, title=r"$\bad$"), tmp_path / "figure.png")
    assert png(draw_confusion_matrices(predictions, threshold=0.5, title=r"$\bad$"), tmp_path / "figure.png")
    one = draw_confusion_matrix(predictions, r"$\bad$", threshold=0.5, title=r"$\bad$")
    assert png(one, tmp_path / "figure.png")

import pandas as pd
import pytest

from ecgcls.figures.certainty import draw_certainty


def test_the_bars_are_the_shares_of_the_records_with_either_label():
    table = pd.DataFrame({
        "class": ["MI", "CD"],
        "coverage_positive": [0.9, 0.8], "not_certain_positive": [0.3, 0.0],
        "coverage_negative": [1.0, 0.95], "not_certain_negative": [1.0, 0.15],
    })  # fmt: skip
    figure = draw_certainty(table, error_rate=0.1, title="t")
    widths = [[[bar.get_width() for bar in bars] for bars in axes.containers] for axes in figure.axes]
    assert widths[0] == [pytest.approx([0.6, 0.8]), pytest.approx([0.3, 0.0]), pytest.approx([0.1, 0.2])]
    assert widths[1] == [pytest.approx([0.0, 0.8]), pytest.approx([1.0, 0.15]), pytest.approx([0.0, 0.05])]
    assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [0.9]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["MI", "CD"]

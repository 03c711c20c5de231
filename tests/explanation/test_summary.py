"""Summaries of maps worked by hand."""

import numpy as np
import pytest

from ecgcls.explanation.summary import summarize_maps, tabulate_beats, tabulate_leads

RATE_HZ = 100


def test_shares_and_mean_beats_by_hand():
    values, signal_mv = np.zeros((3, 2, 200)), np.zeros((3, 2, 200))
    values[0, 0, 100], values[0, 1, 80] = 3, -1  # on the QRS of lead 0, on the P of lead 1
    values[1, 0, [60, 140]] = 1  # on both QRS
    signal_mv[0, :, 100], signal_mv[1, :, [60, 140]] = 0.5, 2.0  # the third record has an empty map
    found = summarize_maps(values, signal_mv, [[100], [60, 140], [100]], sampling_rate_hz=RATE_HZ)
    assert (found.n_records, found.n_beats) == (2, 3)
    assert found.lead_shares == pytest.approx([(0.75 + 1) / 2, 0.25 / 2])
    at_peak = found.times_s.tolist().index(0)
    assert found.attribution[0, at_peak] == pytest.approx((3 + 1 + 1) / 3)
    assert found.attribution[1, at_peak - 20] == pytest.approx(-1 / 3)
    assert found.signal_mv[:, at_peak] == pytest.approx([(0.5 + 2 + 2) / 3] * 2)
    assert found.phase_shares == pytest.approx({"P": 0.25 / 2, "QRS": 1.75 / 2, "ST-T": 0, "rest": 0})
    assert found.phase_times["QRS"] == pytest.approx((12 + 24) / 200 / 2)


def test_empty_maps_and_records_without_beats_have_a_row_all_the_same():
    values = np.ones((1, 2, 200))
    nothing = summarize_maps(np.zeros((1, 2, 200)), values, [[100]], sampling_rate_hz=RATE_HZ)
    beatless = summarize_maps(values, values, [[]], sampling_rate_hz=RATE_HZ)
    summaries = {("saliency", "MI"): nothing, ("saliency", "NORM"): beatless}
    by_lead = tabulate_leads(summaries, ["I", "II"])
    assert by_lead.to_numpy().tolist() == [
        ["saliency", "MI", "I", 0, 0], ["saliency", "MI", "II", 0, 0],
        ["saliency", "NORM", "I", 0.5, 1], ["saliency", "NORM", "II", 0.5, 1],
    ]  # fmt: skip
    assert tabulate_beats(summaries)[["n_records", "n_beats"]].to_numpy().tolist() == [[0, 0], [1, 0]]
    assert list(tabulate_leads({}, ["I"])) == ["method", "class", "lead", "share", "n_records"]

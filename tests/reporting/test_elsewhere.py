"""External validation on the page."""

from ecgcls.reporting.elsewhere import Elsewhere
from ecgcls.runs.find import open_configuration


def test_a_line_says_what_was_learned_there_by_names_that_the_page_can_read(configuration):
    one = open_configuration(configuration)
    source = {"data_root": "data/there", "data": "Challenge", "n_known_left_out": 1, "n_own_test_records": 0}
    source |= {"classes_not_scored": [], "classes_broader": []}
    source |= {"local_update": {"method": "intercept", "n_records": 9}}
    scores = {"by_class": {name: {} for name in one.info.class_names}, "overall": {"n_records": 20, "roc_auc": 0.5}}
    line = Elsewhere(0, one, configuration / "evaluate" / "there", {"source": source, "test": scores}).summarize()
    assert line["learned"] == "intercept, on 9 records that are not scored"
    assert not line.keys() & {*dir(dict)}  # in a template `line.update` would be the method

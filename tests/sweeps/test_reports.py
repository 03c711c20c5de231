import json

import pytest

from ecgcls.sweeps.reports import Report, list_reports

FINISHED = Report(number=10, overrides=["fold=0", "seed=1"], status="finished", run="outputs/run", objective=0.7)
FAILED = Report(number=2, overrides=["fold=9"], status="failed", error="no ä", traceback="Traceback\n  line")


def test_reports_are_read_as_they_were_written_by_number(tmp_path):
    for report in (FINISHED, FAILED):
        report.write(tmp_path)
    assert list_reports(tmp_path) == [FAILED, FINISHED]
    assert [path.name for path in sorted((tmp_path / "jobs").iterdir())] == ["10.json", "2.json"]  # nothing temporary
    assert FINISHED.typed == "fold=0 seed=1"


def test_a_report_that_another_process_is_writing_is_not_there_yet(tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / ".0.json.7.tmp").write_text('{"number": 0, "over')
    assert list_reports(tmp_path) == list_reports(tmp_path / "nowhere") == []


def test_a_report_of_unknown_content_is_an_error(tmp_path):
    FAILED.write(tmp_path)
    path = tmp_path / "jobs" / "2.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mood": "bad"}))
    with pytest.raises(TypeError, match="mood"):
        list_reports(tmp_path)

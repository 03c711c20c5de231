import pytest

from ecgcls.data.synthetic.plan import plan_records

SUPERCLASSES = ["NORM", "MI", "STTC", "CD", "HYP"]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n_records", [50, 53, 64])
def test_with_few_records_every_superclass_is_in_training(n_records, seed):
    records = plan_records(n_records, seed)
    assert len(records) == n_records
    folds_of_patient: dict[int, set[int]] = {}
    for record in records:
        folds_of_patient.setdefault(record.spec.patient_id, set()).add(record.patient.strat_fold)
    assert all(len(folds) == 1 for folds in folds_of_patient.values())
    for val_and_test in ({1, 2, 3}, {3, 4, 5}, {5, 6, 7}, {7, 8, 9}, {9, 10, 1}):
        for name in SUPERCLASSES:
            assert any(
                name in record.patient.superclasses and record.patient.strat_fold not in val_and_test
                for record in records
            )

import numpy as np
import pytest
import torch

from ecgcls.errors import DataError
from ecgcls.training.metadata import MetadataScaler


def test_columns_are_standardized_and_unknown_values_are_the_median():
    scaler = MetadataScaler(["age", "sex"])
    scaler.fit(np.array([[20.0, 0.0], [40.0, 1.0], [90.0, 1.0], [np.nan, 0.0]]))
    # By hand: of 20, 40, 90 the median is 40, the mean 50, the variance (900 + 100 + 1600) / 3; of 0, 1, 1, 0 the
    # median, mean and standard deviation are 0.5. Only the age was ever unknown.
    sd = (2600 / 3) ** 0.5
    found = scaler(torch.tensor([[50.0, 1.0], [torch.nan, 0.0], [90.0, torch.nan]]))
    expected = torch.tensor([[0.0, 1.0, 0.0, 0.0], [-10 / sd, -1.0, 1.0, 0.0], [40 / sd, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(found, expected)


def test_a_column_that_is_always_the_same_is_only_centered():
    scaler = MetadataScaler(["age"])
    scaler.fit(np.full((3, 1), 7.0))
    assert scaler(torch.tensor([[9.0]])).tolist() == [[2.0, 0.0]]


def test_a_column_without_a_number_is_refused():
    with pytest.raises(DataError, match=r"model\.metadata: sex holds no number in the training set"):
        MetadataScaler(["age", "sex"]).fit(np.array([[1.0, np.nan], [2.0, np.nan]]))

import torch

from ecgcls.training.standardizer import Standardizer


def test_standardizer_gives_zero_mean_and_unit_sd():
    signal = torch.randn(50, 12, 200, dtype=torch.float64) * torch.arange(1, 13)[:, None] + 5
    mean, sd = signal.mean(dim=(0, 2)), signal.std(dim=(0, 2), correction=0)
    standardized = Standardizer(mean, sd)(signal)
    torch.testing.assert_close(standardized.mean(dim=(0, 2)), torch.zeros(12, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(
        standardized.std(dim=(0, 2), correction=0), torch.ones(12, dtype=torch.float64), atol=1e-9, rtol=0
    )


def test_standardizer_only_centers_a_lead_that_is_always_flat():
    assert Standardizer(torch.tensor([2.0]), torch.tensor([0.0]))(torch.full((1, 1, 4), 2.5)).tolist() == [[[0.5] * 4]]

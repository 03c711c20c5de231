import numpy as np
import pytest

from tests.figures.examples import RATE_HZ


@pytest.fixture
def signal_mv():
    """Ten seconds in which every lead has a level and a slope of its own."""
    times_s = np.arange(1000) / RATE_HZ
    return np.array([0.05 * lead * np.sin(times_s + lead) for lead in range(1, 13)])

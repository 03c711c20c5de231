import resource

import pytest
import torch

from ecgcls.command.interruption import is_disk_full
from ecgcls.training.checkpoints import AtomicCheckpointIO


def test_a_checkpoint_that_does_not_fit_leaves_the_former_one(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weight": torch.ones(10)}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match=r"last\.ckpt") as caught:
            AtomicCheckpointIO().save_checkpoint({"weight": torch.ones(10_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert is_disk_full(caught.value)
    assert torch.load(path, weights_only=True)["weight"].tolist() == [1.0] * 10
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]

import torch
import torch.multiprocessing

from ecgcls.training.gathering import average, gather_rows, leave_group


def share(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    rows = torch.arange(5)[rank::2]  # three of them and two
    torch.save(gather_rows(rows, rows[:, None] * 10.0), f"{folder}/{rank}.pt")
    assert average(torch.tensor([2.0, 5.0][rank]), [3, 1][rank]).item() == 2.75  # (3 x 2 + 1 x 5) / 4
    leave_group()


def test_rows_of_two_processes_are_put_in_order(tmp_path):
    torch.multiprocessing.spawn(share, args=(tmp_path,), nprocs=2)
    for rank in range(2):
        rows, values = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        assert rows.tolist() == [0, 1, 2, 3, 4]
        assert values.tolist() == [[0.0], [10.0], [20.0], [30.0], [40.0]]


def test_one_process_keeps_what_it_has():
    rows, values = gather_rows(torch.tensor([3, 1]), torch.tensor([0.3, 0.1]))
    assert (rows.tolist(), values.shape) == ([3, 1], (2,))
    assert average(torch.tensor(2.0), 3).item() == 2.0

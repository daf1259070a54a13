import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from common.steps.iteration import average_gradients


def _worker(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    weight = torch.nn.Parameter(torch.ones(2, 3))
    untouched = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight, untouched], lr=1.0)
    (weight * (rank + 1.0)).sum().backward()
    average_gradients(optimizer)
    torch.save({"weight": weight.grad, "untouched": untouched.grad}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_end_up_with_the_mean_of_their_gradients(tmp_path):
    mp.spawn(_worker, (str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        gradients = torch.load(tmp_path / f"{rank}.pt")
        assert torch.equal(gradients["weight"], torch.full((2, 3), 1.5))
        assert gradients["untouched"] is None


def test_a_single_process_keeps_its_gradients():
    weight = torch.nn.Parameter(torch.ones(2))
    (weight * 3).sum().backward()
    average_gradients(torch.optim.SGD([weight], lr=1.0))
    assert weight.grad.tolist() == [3, 3]

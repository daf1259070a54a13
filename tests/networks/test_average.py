import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from common.networks.average import warming_average


def averages(decay, values):
    """What the average of a network of one weight is after each of these values."""
    network = nn.Linear(1, 1, bias=False)
    average = AveragedModel(network, multi_avg_fn=warming_average(decay))
    seen = []
    for value in values:
        nn.init.constant_(network.weight, value)
        average.update_parameters(network)
        seen.append(average.module.weight.item())
    return seen


def test_without_decay_the_average_is_the_network():
    assert averages(0.0, [1, 5, -2]) == [1, 5, -2]


def test_it_starts_short_and_never_forgets_slower_than_the_decay():
    first, second, third = averages(0.9, [0, 1, 1])

    assert first == 0
    assert second == pytest.approx(1 - 2 / 11)
    assert third == pytest.approx(1 - 2 / 11 * 3 / 12)
    late = averages(0.5, [0] * 50 + [1])
    assert late[-1] == pytest.approx(0.5)


def test_it_goes_on_from_its_state():
    network = nn.Linear(3, 2)
    whole, parts = (AveragedModel(network, multi_avg_fn=warming_average(0.9)) for _ in range(2))
    for number in range(6):
        nn.init.constant_(network.weight, number)
        whole.update_parameters(network)
        if number == 3:
            state = parts.state_dict()
            parts = AveragedModel(network, multi_avg_fn=warming_average(0.9))
            parts.load_state_dict(state)
        parts.update_parameters(network)

    assert torch.equal(whole.module.weight, parts.module.weight)

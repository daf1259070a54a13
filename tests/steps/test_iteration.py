import pytest
import torch
from monai.data import MetaTensor
from monai.engines import Trainer
from torch import nn

from common.steps.iteration import fetch, frozen, one_hot, split, update


def engine():
    trainer = Trainer(torch.device("cpu"), max_epochs=1, data_loader=[], iteration_update=lambda *_: {})
    trainer.state.epoch, trainer.state.iteration = 3, 47
    return trainer


def test_one_hot_marks_the_label_and_nothing_else():
    label_map = torch.randint(0, 5, (2, 1, 7, 8), dtype=torch.uint8)

    channels = one_hot(label_map, 5)

    assert channels.shape == (2, 5, 7, 8)
    assert channels.dtype == torch.float32
    assert torch.equal(channels.argmax(1, keepdim=True), label_map.long())
    assert (channels.sum(1) == 1).all()


def test_one_hot_of_several_slices_gives_the_labels_of_each_in_turn():
    slices = torch.randint(0, 5, (2, 3, 7, 8), dtype=torch.uint8)

    channels = one_hot(slices, 5)

    assert torch.equal(channels, torch.cat([one_hot(slices[:, place : place + 1], 5) for place in range(3)], 1))
    assert channels.is_contiguous(memory_format=torch.channels_last)


def test_batches_lose_their_meta_data():
    fetched = fetch(engine(), {"image": MetaTensor(torch.rand(2, 3))}, "image")

    assert type(fetched) is torch.Tensor


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(value):
    network = nn.Linear(3, 1)
    before = network.weight.clone()
    loss = network(torch.rand(2, 3)).sum() * value

    with pytest.raises(FloatingPointError, match=r"d_loss is (nan|-?inf) in epoch 3, iteration 47.*last\.pt"):
        update(engine(), torch.optim.Adam(network.parameters()), "d_loss", loss)
    assert torch.equal(network.weight, before)


def test_frozen_lets_gradients_through_and_thaws_what_was_trainable():
    network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    network[0].requires_grad_(False)
    x = torch.rand(4, 3, requires_grad=True)

    with frozen(network):
        network(x).sum().backward()

    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [parameter.requires_grad for parameter in network.parameters()] == [False, False, True, True]


def test_parts_hold_a_batch_once_and_none_is_empty():
    batch = torch.arange(5)

    parts = [*split(3, batch, 2 * batch)]

    assert [share for share, *_ in parts] == [0.4, 0.4, 0.2]
    assert torch.equal(torch.cat([part for _, part, _ in parts]), batch)
    assert all(torch.equal(double, 2 * part) for _, part, double in parts)
    assert [len(part) for _, part, _ in split(7, batch, batch)] == [1] * 5


def test_a_loss_in_parts_updates_once_and_as_a_whole():
    x, updates = torch.rand(5, 3), []
    networks = [nn.Linear(3, 1), nn.Linear(3, 1)]
    networks[1].load_state_dict(networks[0].state_dict())
    optimizers = [torch.optim.SGD(network.parameters(), 0.5) for network in networks]
    optimizers[1].register_step_post_hook(lambda *_: updates.append(1))

    whole = update(engine(), optimizers[0], "loss", networks[0](x).square().mean())
    parts = update(engine(), optimizers[1], "loss", (s * networks[1](p).square().mean() for s, p in split(2, x)))

    assert parts == pytest.approx(whole)
    assert updates == [1]
    assert torch.allclose(networks[0].weight, networks[1].weight, atol=1e-6)

"""ReLU and dropout in one."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from common.networks.relu_dropout import ReluDropout

DROPOUT = 0.02


@pytest.fixture
def x(rng):
    values = torch.from_numpy(rng.standard_normal((2, 16, 12, 12, 8)).astype("float32"))
    return values.contiguous(memory_format=torch.channels_last_3d).requires_grad_()


def test_what_is_kept_is_the_scaled_relu_and_gradients_follow_it(x):
    y = ReluDropout(DROPOUT)(x)
    y.backward(torch.full_like(y, 3.0))

    kept = y > 0
    torch.testing.assert_close(y[kept], F.relu(x)[kept] / (1 - DROPOUT))
    torch.testing.assert_close(x.grad, 3 * kept.float() / (1 - DROPOUT))
    assert y.is_contiguous(memory_format=torch.channels_last_3d)


def test_every_value_is_dropped_with_the_probability_asked_for_and_alone():
    torch.manual_seed(0)
    layer, ones, draws = ReluDropout(DROPOUT), torch.ones(1000), 2000
    dropped = torch.stack([layer(ones) == 0 for _ in range(draws)]).double()

    deviation = math.sqrt(DROPOUT * (1 - DROPOUT) / dropped.numel())
    assert dropped.mean() == pytest.approx(DROPOUT, abs=4 * deviation)
    # Independent places: the number of dropped values varies as a binomial one does, and each place as often as others.
    assert dropped.sum(1).var() == pytest.approx(1000 * DROPOUT * (1 - DROPOUT), rel=0.15)
    assert dropped.mean(0).var() == pytest.approx(DROPOUT * (1 - DROPOUT) / draws, rel=0.2)


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "with gaps"])
def test_layout_in_memory_changes_nothing_but_the_draw(x, layout):
    values = {"contiguous": x.contiguous(), "channels last": x, "with gaps": torch.cat([x, x])[::2]}[layout].detach()
    y = ReluDropout(DROPOUT)(values)

    assert y.shape == values.shape
    assert torch.equal(y > 0, (values > 0) & (y > 0))
    share = 1 - (y > 0).float().sum() / (values > 0).float().sum()
    assert share == pytest.approx(DROPOUT, abs=0.01)


def test_nothing_is_dropped_in_evaluation_nor_with_probability_0(x):
    assert torch.equal(ReluDropout(DROPOUT).eval()(x.detach().clone()), F.relu(x))
    assert torch.equal(ReluDropout(0.0)(x), F.relu(x))


def test_it_survives_torchscript(x):
    scripted = torch.jit.script(ReluDropout(DROPOUT).eval())

    assert torch.equal(scripted(x.detach().clone()), F.relu(x))

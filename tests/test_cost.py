"""Predicted costs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from common.arithmetic import CountFlops
from common.cost import predict_training

SIZE = [32, 32, 16]
SMALL = {"size": SIZE, "precision": "fp32"}
UNET = {**SMALL, "channels": [4, 8], "dropout": 0.0}


def test_operations_are_counted_forward_backward_and_through_gradients_of_gradients():
    a, b = torch.randn(3, 4, requires_grad=True), torch.randn(4, 5)
    with CountFlops() as counter:
        (a @ b).sum().backward()
    assert counter.total == 2 * 2 * 3 * 4 * 5  # the product, and the gradient of a

    x, w = torch.randn(1, 2, 6, 6, requires_grad=True), torch.randn(3, 2, 3, 3, requires_grad=True)
    with CountFlops() as counter:
        (gradient,) = torch.autograd.grad(F.conv2d(x, w).square().sum(), x, create_graph=True)
        gradient.square().sum().backward()
    assert counter.total > 2 * 2 * (3 * 4 * 4) * (2 * 3 * 3)


def test_operations_grow_with_the_batch_and_weights_do_not():
    one, two = (predict_training("stroke_unet", [], {**UNET, "batch_size": batch}, cases=8) for batch in (1, 2))

    assert two.step_flops == 2 * one.step_flops
    assert two.weights == one.weights
    assert two.memory_gb > one.memory_gb
    assert two.steps == one.steps / 2
    assert two.seconds == pytest.approx(one.seconds)


def test_the_unet_counts_three_times_its_forward_pass():
    cost = predict_training("stroke_unet", [], {**UNET, "batch_size": 1, "epochs": 1}, cases=1)
    full, half = 32 * 32 * 16, 16 * 16 * 8
    macs = full * 27 * (1 * 4 + 4 * 4) + half * 27 * (4 * 8 + 8 * 8)  # down
    macs += half * 8 * (8 * 4) + full * 27 * (8 * 4 + 4 * 4) + full * 4 * 2  # up, merge, head

    image = full * 27 * 1 * 4  # nobody asks for the gradient of the image
    assert cost.step_flops == 2 * (3 * macs - image)


def test_what_is_kept_for_the_backward_pass_shrinks_with_accumulation():
    whole = predict_training("stroke_unet", [], {**UNET, "batch_size": 4}, cases=8)
    parts = predict_training("stroke_unet", [], {**UNET, "batch_size": 4, "accumulate": 4}, cases=8)

    assert parts.step_flops == whole.step_flops
    assert parts.memory_gb < whole.memory_gb


@pytest.mark.parametrize(
    ("bundle", "settings"),
    [
        ("pix2pix_itm", {"filters": 4}),
        ("spade_itm", {"channels": [4, 4, 4]}),
        ("cyclegan_itm", {"filters": 4}),
        ("lesion_wgan", {"channels": [8, 8, 8], "critic_filters": 1}),
    ],
)
def test_every_bundle_has_a_price(bundle, settings):
    cost = predict_training(bundle, [], {**SMALL, **settings}, cases=100)

    assert cost.seconds == cost.step_seconds * cost.steps > 0
    assert cost.memory_gb > 1.5


def test_twice_the_speed_halves_the_time_and_an_unknown_device_is_refused():
    a100 = predict_training("stroke_unet", [], UNET, cases=8)
    faster = predict_training("stroke_unet", [], UNET, cases=8, efficiency=0.5)

    assert faster.seconds == pytest.approx(a100.seconds / 2)
    with pytest.raises(ValueError, match=r"device 'abacus' is not known; expected one of A100"):
        predict_training("stroke_unet", [], UNET, cases=8, device="abacus")

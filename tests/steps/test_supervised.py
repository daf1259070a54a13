import pytest
import torch
from monai.engines.utils import IterationEvents
from torch import nn

from common.losses import DiceCrossEntropy
from common.networks.unet3d import UNet3D
from common.steps.supervised import SupervisedStep


def batch():
    label = torch.zeros(2, 1, 16, 12, 8)
    label[0, :, 4:9, 3:8, 2:5] = 1
    label[1, :, 8:12, 5:10, 1:6] = 1
    return {"image": label * 1.5 - 0.8 + 0.2 * torch.randn_like(label), "label": label}


def step_of(network, precision):
    return SupervisedStep(network, torch.optim.Adam(network.parameters(), 2e-2), DiceCrossEntropy(), precision)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_batch_can_be_overfitted(train, precision):
    data = batch()
    network = UNet3D(1, 2, dropout=0.0, channels=(4, 8, 8))

    outputs = train(step_of(network, precision), [data] * 80)

    assert outputs[-1]["loss"] < 0.2 < outputs[0]["loss"]
    prediction = network.eval()(data["image"]).argmax(1, keepdim=True)
    assert 2 * (prediction * data["label"]).sum() / (prediction.sum() + data["label"].sum()) > 0.9


def test_handlers_see_the_result_of_the_iteration(train):
    seen = []
    network = nn.Conv3d(1, 2, 1)
    handler = (IterationEvents.MODEL_COMPLETED, lambda engine: seen.append(engine.state.output["loss"]))

    outputs = train(step_of(network, "fp32"), [batch()] * 2, [handler])

    assert seen == [output["loss"] for output in outputs]
    assert len(seen) == 2


def test_a_network_left_in_eval_mode_by_a_validation_trains_on(train):
    network = UNet3D(1, 2, dropout=0.0, channels=(4, 8)).eval()

    train(step_of(network, "fp32"), [batch()])

    assert network.training


def test_a_batch_in_parts_gives_the_update_of_the_whole(train):
    data = batch()
    weights, losses = [], []
    for accumulate in (1, 2):
        torch.manual_seed(1)
        network = nn.Conv3d(1, 2, 3, padding=1)
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        step = SupervisedStep(network, optimizer, DiceCrossEntropy(batch_dice=False), "fp32", accumulate=accumulate)
        losses.append([output["loss"] for output in train(step, [data] * 3)])
        weights.append(network.weight)

    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert torch.allclose(*weights, atol=1e-6)

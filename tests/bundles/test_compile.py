"""The knob `compile`, with a backend that needs no compiler."""

from __future__ import annotations

import pytest
import torch

from common.bundles import configured
from common.steps.iteration import bare_engine

pytestmark = pytest.mark.slow

SMALL = {
    "stroke_unet": {"channels": [2, 4], "dropout": 0.0},
    "pix2pix_itm": {"filters": 2, "dropout": 0.0},
    "spade_itm": {"channels": [2, 2]},
}


def trained(bundle, backend):
    torch.manual_seed(0)
    knobs = {"size": [16, 16, 16], "device": torch.device("cpu"), "precision": "fp32", "compile": backend}
    parser = configured(bundle, [], {**SMALL[bundle], **knobs})
    step, network = parser.get_parsed_content("train#step"), parser.get_parsed_content("network")
    edges = (16, 16, 16) if bundle == "stroke_unet" else (16, 16)
    label = torch.randint(0, 2, (2, 1, *edges), dtype=torch.uint8)
    batch = {"image": torch.rand(2, 1, *edges), "label": label.float(), "label_map": label}
    torch.manual_seed(1)
    losses = [step(bare_engine(), batch)["loss"] for _ in range(2)]
    return losses, network.state_dict()


@pytest.mark.parametrize("bundle", SMALL)
def test_a_compiled_network_trains_the_same_weights_under_the_same_names(bundle):
    losses, weights = trained(bundle, None)
    compiled_losses, compiled_weights = trained(bundle, "aot_eager")

    assert compiled_losses == pytest.approx(losses, rel=1e-4)
    for name, value in weights.items():
        torch.testing.assert_close(compiled_weights[name], value, rtol=1e-3, atol=1e-4)

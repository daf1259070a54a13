import pytest
import torch
from ignite.engine import Events
from monai.engines import Trainer


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def train():
    """Run a step on a list of batches in MONAI's Trainer; gives what each iteration returned."""

    def train(step, batches, handlers=()):
        trainer = Trainer(
            torch.device("cpu"), max_epochs=1, data_loader=batches, iteration_update=step, decollate=False
        )
        trainer.logger.setLevel("CRITICAL")
        outputs = []
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output))
        for event, handler in handlers:
            trainer.add_event_handler(event, handler)
        trainer.run()
        return outputs

    return train


@pytest.fixture
def gradients_at_each_update():
    """Record, whenever an optimiser steps, which of the named networks hold gradients."""

    def watch(optimizers, networks):
        seen = []
        for name, optimizer in optimizers.items():
            optimizer.register_step_pre_hook(
                lambda *_, name=name: seen.append(
                    (name, {n for n, net in networks.items() if any(p.grad is not None for p in net.parameters())})
                )
            )
        return seen

    return watch

import pytest
import torch
from torch import nn

from common.networks.lesion_gan import Critic, LesionGenerator
from common.steps.wgan import WassersteinStep

SIZE = (16, 8, 4)


def lesions(count):
    masks = torch.zeros(count, 1, *SIZE)
    for index, mask in enumerate(masks):
        mask[:, 2 + index % 5 : 8 + index % 3, 2:5, 1:3] = 1
    return masks


def networks():
    return LesionGenerator(6, SIZE, (8, 4)), Critic(SIZE, filters=2)


def step_of(generator, critic, **options):
    g_optimizer, c_optimizer = (
        torch.optim.Adam(network.parameters(), 2e-3, betas=(0.5, 0.999)) for network in (generator, critic)
    )
    options = {"latent_size": 6, "n_critic": 3, "penalty_weight": 10, "precision": "fp32"} | options
    return WassersteinStep(generator, critic, g_optimizer, c_optimizer, **options)


def test_each_update_has_gradients_for_its_own_network_only(train, gradients_at_each_update):
    generator, critic = networks()
    step = step_of(generator, critic)
    seen = gradients_at_each_update({"g": step.g_optimizer, "c": step.c_optimizer}, {"g": generator, "c": critic})
    for optimizer, network in ((step.g_optimizer, generator), (step.c_optimizer, critic)):
        optimizer.register_step_post_hook(lambda *_, network=network: network.zero_grad(set_to_none=True))

    train(step, [{"lesion": lesions(6)}] * 2)

    assert seen == [*[("c", {"c"})] * 3, ("g", {"g"})] * 2
    assert all(p.grad is None for p in critic.parameters())


@pytest.mark.parametrize("resting", ["g", "c"])
def test_a_network_whose_optimiser_rests_does_not_change(train, resting):
    pair = dict(zip("gc", networks()))
    step = step_of(*pair.values())
    setattr(step, f"{resting}_optimizer", torch.optim.SGD(pair[resting].parameters(), lr=0.0))
    before = {name: [p.clone() for p in network.parameters()] for name, network in pair.items()}

    train(step, [{"lesion": lesions(6)}])

    changed = {n: any(not torch.equal(a, b) for a, b in zip(before[n], pair[n].parameters())) for n in "gc"}
    assert changed == {resting: False, ({"g", "c"} - {resting}).pop(): True}


def test_every_critic_update_gets_masks_and_noise_of_its_own(train):
    seen = []

    class Listening(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(2 * 16 * 8 * 4, 1)

        def forward(self, masks):
            seen.append(masks.detach())
            return self.dense(masks.flatten(1))

    data = lesions(7)
    train(step_of(networks()[0], Listening()), [{"lesion": data}])

    pairs = seen[:-1:2]  # every other call is the penalty's, the last one the generator's
    real = torch.cat([pair[: len(pair) // 2] for pair in pairs])
    fake = torch.cat([pair[len(pair) // 2 :] for pair in [*pairs, torch.cat([seen[-1]] * 2)]])
    assert torch.equal(real[:, 1:], data)
    assert torch.equal(real.sum(1, keepdim=True), torch.ones_like(data))
    assert len(fake.flatten(1).unique(dim=0)) == len(fake)


def test_critic_learns_to_score_real_masks_above_generated_ones(train):
    generator, critic = networks()
    step = step_of(generator, critic)
    step.g_optimizer = torch.optim.SGD(generator.parameters(), lr=0.0)

    outputs = train(step, [{"lesion": lesions(12)}] * 20)

    assert outputs[-1]["loss"] > outputs[0]["loss"] + 0.5  # the estimated distance, real minus generated
    with torch.no_grad():
        real = torch.cat([1 - lesions(4), lesions(4)], 1)
        assert critic(real).mean() > critic(generator(torch.randn(4, 6))).mean()


def test_critic_loss_is_minus_the_distance_plus_the_weighted_penalty(train):
    (output,) = train(step_of(*networks(), penalty_weight=7), [{"lesion": lesions(6)}])

    assert output["c_loss"] == pytest.approx(-output["loss"] + 7 * output["penalty"], rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_critic_stays_fp32(train, precision):
    generator, critic = networks()
    types = set()
    for layer in critic.layers:
        layer.register_forward_hook(lambda module, inputs, output: types.add(output.dtype))

    train(step_of(generator, critic, precision=precision), [{"lesion": lesions(6)}])

    assert types == {torch.float32}


def test_generator_comes_to_draw_the_only_mask_there_is(train):
    generator, critic = networks()
    mask = lesions(1)

    train(step_of(generator, critic), [{"lesion": mask.expand(12, -1, -1, -1, -1)}] * 60)

    with torch.no_grad():
        drawn = generator(torch.randn(4, 6))[:, 1:]
    assert drawn[mask.expand_as(drawn) > 0].mean() > drawn[mask.expand_as(drawn) == 0].mean() + 0.5


def test_too_few_masks_for_the_critic_are_refused(train):
    with pytest.raises(ValueError, match="3 critic updates need as many masks per iteration, this batch holds 2"):
        train(step_of(*networks()), [{"lesion": lesions(2)}])


def test_a_batch_in_parts_gives_the_updates_of_the_whole(train):
    """With one mask for all noise, and a critic of the same slope everywhere, so that no draw differs."""

    class Mask(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.randn(1, 2, *SIZE))

        def forward(self, noise):
            return self.logits.softmax(1).expand(len(noise), -1, -1, -1, -1)

    data, ends = [{"lesion": lesions(6)}] * 3, []
    for accumulate in (1, 2):
        torch.manual_seed(1)
        pair = Mask(), nn.Sequential(nn.Flatten(), nn.Linear(2 * SIZE[0] * SIZE[1] * SIZE[2], 1))
        step = step_of(*pair, n_critic=2, accumulate=accumulate)
        for name, network in zip("gc", pair):
            setattr(step, f"{name}_optimizer", torch.optim.SGD(network.parameters(), 0.01))
        ends.append((train(step, data), [p for network in pair for p in network.parameters()]))

    for whole, parts in zip(ends[0][0], ends[1][0]):
        assert whole == pytest.approx(parts, rel=1e-4, abs=1e-5)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ends[0][1], ends[1][1]))

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common.losses import hinge, least_squares, log_loss
from common.networks.patchgan import MultiScaleDiscriminator, PatchDiscriminator
from common.networks.pix2pix import UNetGenerator
from common.networks.spade import SpadeGenerator
from common.steps.paired import PairedStep

LABELS = 5


def batch(size=(24, 16)):
    """Images that follow from their label maps: one grey value per label."""
    label_map = torch.randint(0, LABELS, (3, 1, *[edge // 4 for edge in size]), dtype=torch.uint8)
    label_map = label_map.repeat_interleave(4, 2).repeat_interleave(4, 3)
    return {"label_map": label_map, "image": label_map.float() / LABELS * 1.6 - 0.8}


def networks(size=(24, 16)):
    generator = UNetGenerator(2, LABELS, 1, size, dropout=0.0, filters=8)
    return generator, PatchDiscriminator(LABELS + 1, filters=(4, 6, 8))


def step_of(generator, discriminator, loss=least_squares, lr=2e-3, **options):
    g_optimizer, d_optimizer = (
        torch.optim.Adam(network.parameters(), lr, betas=(0.5, 0.999)) for network in (generator, discriminator)
    )
    options = {"l1_weight": 10, "precision": "fp32"} | options
    return PairedStep(generator, discriminator, g_optimizer, d_optimizer, loss, num_labels=LABELS, **options)


def test_each_update_has_gradients_for_its_own_network_only(train, gradients_at_each_update):
    generator, discriminator = networks()
    step = step_of(generator, discriminator)
    seen = gradients_at_each_update(
        {"g": step.g_optimizer, "d": step.d_optimizer}, {"g": generator, "d": discriminator}
    )
    step.d_optimizer.register_step_post_hook(lambda *_: discriminator.zero_grad(set_to_none=True))
    step.g_optimizer.register_step_post_hook(lambda *_: generator.zero_grad(set_to_none=True))

    train(step, [batch()] * 2)

    assert seen == [("d", {"d"}), ("g", {"g"})] * 2
    assert all(p.grad is None for p in discriminator.parameters())


@pytest.mark.parametrize("frozen_part", ["g", "d"])
def test_a_network_whose_optimiser_rests_does_not_change(train, frozen_part):
    generator, discriminator = networks()
    step = step_of(generator, discriminator)
    resting, other = (generator, discriminator) if frozen_part == "g" else (discriminator, generator)
    setattr(step, f"{frozen_part}_optimizer", torch.optim.SGD(resting.parameters(), lr=0.0))
    before = [[p.clone() for p in network.parameters()] for network in (resting, other)]

    train(step, [batch()])

    assert all(torch.equal(a, b) for a, b in zip(before[0], resting.parameters()))
    assert all(not torch.equal(a, b) for a, b in zip(before[1], other.parameters()) if a.ndim > 1)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_batch_can_be_overfitted(train, precision):
    outputs = train(step_of(*networks(), precision=precision), [batch()] * 60)

    assert outputs[-1]["g_l1"] < 0.3 * outputs[0]["g_l1"]


@pytest.mark.parametrize("loss", [least_squares, log_loss, hinge])
def test_discriminator_learns_to_score_real_above_fake(train, loss):
    generator, discriminator = networks()
    step = step_of(generator, discriminator, loss)
    step.g_optimizer = torch.optim.SGD(generator.parameters(), lr=0.0)

    outputs = train(step, [batch()] * 20)

    assert outputs[-1]["d_real"] > outputs[-1]["d_fake"] + 0.5
    assert outputs[-1]["d_loss"] < outputs[0]["d_loss"]


def test_generator_gains_the_score_of_a_discriminator_that_rests(train):
    generator, discriminator = networks()
    step = step_of(generator, discriminator, l1_weight=0)
    step.d_optimizer = torch.optim.SGD(discriminator.parameters(), lr=0.0)

    outputs = train(step, [batch()] * 20)

    assert outputs[-1]["g_adversarial"] < outputs[0]["g_adversarial"]
    assert outputs[-1]["loss"] == pytest.approx(outputs[-1]["g_adversarial"])


def test_without_adversarial_weight_the_discriminator_is_left_alone(train):
    generator, discriminator = networks()
    before = [p.clone() for p in discriminator.parameters()]

    outputs = train(step_of(generator, discriminator, adversarial_weight=0), [batch()])

    assert outputs[0].keys() == {"loss", "g_l1"}
    assert outputs[0]["loss"] == pytest.approx(10 * outputs[0]["g_l1"])
    assert all(torch.equal(a, b) for a, b in zip(before, discriminator.parameters()))


def test_loss_is_the_weighted_sum_of_its_terms(train):
    (output,) = train(step_of(*networks(), l1_weight=100, adversarial_weight=0.5), [batch()])

    assert output["loss"] == pytest.approx(0.5 * output["g_adversarial"] + 100 * output["g_l1"], rel=1e-5)


def test_discriminator_sees_the_label_map_of_each_image(train):
    pairs = []

    class Listening(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, image, label_map):
            pairs.append((image.detach(), label_map))
            return image * self.weight

    data = batch()
    train(step_of(networks()[0], Listening()), [data])

    (both, labels), (fake, fake_labels) = pairs
    assert torch.equal(both[:3], data["image"])
    assert torch.equal(both[3:], fake)
    for seen in (labels[:3], labels[3:], fake_labels):
        assert torch.equal(seen.argmax(1, keepdim=True), data["label_map"].long())


def test_the_average_follows_the_generator(train):
    generator, discriminator = networks()
    average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(0.5))

    train(step_of(generator, discriminator, average=average), [batch()] * 3)

    assert average.n_averaged == 3
    assert not torch.equal(average.module.head[0].weight, generator.head[0].weight)


def test_without_adversarial_weight_the_optimiser_of_the_discriminator_never_steps(train):
    step = step_of(*networks(), adversarial_weight=0)
    steps = []
    step.d_optimizer.register_step_pre_hook(lambda *_: steps.append(1))

    train(step, [batch()] * 3)

    assert steps == []
    assert step.d_optimizer.state_dict()["state"] == {}


def test_volumes_are_learned_as_slices_are(train):
    size = (16, 24, 16)
    label_map = torch.randint(0, LABELS, (1, 1, 4, 6, 4), dtype=torch.uint8)
    for axis in (2, 3, 4):
        label_map = label_map.repeat_interleave(4, axis)
    data = {"label_map": label_map, "image": label_map.float() / LABELS * 1.6 - 0.8}
    generator = UNetGenerator(3, LABELS, 1, size, dropout=0.0, filters=4)
    discriminator = PatchDiscriminator(LABELS + 1, filters=(4, 6, 8), spatial_dims=3)

    outputs = train(step_of(generator, discriminator), [data] * 30)

    assert outputs[-1]["g_l1"] < 0.6 * outputs[0]["g_l1"]
    assert outputs[-1]["loss"] < outputs[0]["loss"]


def test_the_context_reaches_the_networks_slice_by_slice(train):
    seen = []

    class Listening(nn.Module):
        def __init__(self):
            super().__init__()
            self.level = nn.Parameter(torch.zeros(()))

        def forward(self, label):
            seen.append(label)
            return self.level.expand(len(label), 1, *label.shape[2:])

    below, middle, above = (torch.randint(0, 29, (2, 1, 6, 7), dtype=torch.uint8) for _ in range(3))
    middle[..., :3] = 28
    data = {"label_map": torch.cat([below, middle, above], 1), "image": torch.ones(2, 1, 6, 7)}
    generator = Listening()
    optimizers = [torch.optim.SGD(generator.parameters(), 0.0) for _ in range(2)]
    step = PairedStep(
        generator, nn.Identity(), *optimizers, least_squares, l1_weight=1, num_labels=29, adversarial_weight=0,
        precision="fp32", lesion_weight=5,
    )  # fmt: skip

    (output,) = train(step, [data])

    assert seen[0].shape == (2, 87, 6, 7)
    for place, label_map in enumerate((below, middle, above)):
        assert torch.equal(seen[0][:, 29 * place : 29 * (place + 1)].argmax(1, keepdim=True), label_map.long())
    # Lesions of the neighbours do not weigh; those of the slice do.
    share = (middle == 28).float().mean().item()
    assert output["g_l1"] == pytest.approx(1 + 4 * share)


def test_lesion_pixels_weigh_as_much_as_they_are_told_to(train):
    class Grey(nn.Module):
        def __init__(self):
            super().__init__()
            self.level = nn.Parameter(torch.zeros(()))

        def forward(self, label):
            return self.level.expand(len(label), 1, *label.shape[2:])

    label_map = torch.full((1, 1, 2, 4), 3, dtype=torch.uint8)
    label_map[..., 0] = 28  # a quarter lesion
    data = {"label_map": label_map, "image": torch.ones(1, 1, 2, 4)}

    generator = Grey()
    optimizers = [torch.optim.SGD(generator.parameters(), 0.0) for _ in range(2)]
    step = PairedStep(
        generator, nn.Identity(), *optimizers, least_squares, l1_weight=1, num_labels=29, adversarial_weight=0,
        precision="fp32", lesion_weight=5,
    )  # fmt: skip
    assert train(step, [data])[0]["g_l1"] == pytest.approx(0.75 + 5 * 0.25)


def modern(size=(32, 32)):
    """SPADE and the discriminator of its overlay `modern`."""
    generator = SpadeGenerator(LABELS, 1, size, channels=(16, 8, 8), full_resolution=True)
    return generator, MultiScaleDiscriminator(2, LABELS + 1, (4, 6, 8), "spectral")


MODERN = {"loss": hinge, "feature_weight": 10}


@pytest.mark.parametrize("options", [MODERN, {}], ids=["modern", "paper"])
def test_spade_can_overfit_one_batch(train, options):
    outputs = train(step_of(*modern(), lr=8e-3, **options), [batch((32, 32))] * 30)

    assert outputs[-1]["g_l1"] < 0.3 * outputs[0]["g_l1"]


def test_feature_matching_moves_the_generator_and_not_the_discriminator(train):
    generator, discriminator = modern()
    step = step_of(generator, discriminator, hinge, l1_weight=0, adversarial_weight=1e-9, feature_weight=10)
    step.d_optimizer = torch.optim.SGD(discriminator.parameters(), lr=0.0)
    step.d_optimizer.register_step_post_hook(lambda *_: discriminator.zero_grad(set_to_none=True))
    before = [p.clone() for p in discriminator.parameters()]

    outputs = train(step, [batch((32, 32))] * 10)

    assert all(p.grad is None and torch.equal(p, old) for p, old in zip(discriminator.parameters(), before))
    assert outputs[-1]["g_features"] < 0.8 * outputs[0]["g_features"]


def test_loss_with_feature_matching_is_the_weighted_sum_of_its_terms(train):
    (output,) = train(step_of(*modern(), l1_weight=3, adversarial_weight=0.5, **MODERN), [batch((32, 32))])

    parts = 0.5 * output["g_adversarial"] + 3 * output["g_l1"] + 10 * output["g_features"]
    assert output["loss"] == pytest.approx(parts, rel=1e-5)


class Judge(nn.Module):
    """A discriminator of pairs without statistics of the batch."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(LABELS + 1, 1, 3)

    def forward(self, image, label):
        return self.layer(torch.cat([image, label], 1))


def test_a_batch_in_parts_gives_the_updates_of_the_whole(train):
    data, ends = [batch()] * 3, []
    for accumulate in (1, 2):
        torch.manual_seed(1)
        pair = nn.Sequential(nn.Conv2d(LABELS, 1, 3, padding=1), nn.Tanh()), Judge()
        step = step_of(*pair, accumulate=accumulate)
        for name, network in zip("gd", pair):
            setattr(step, f"{name}_optimizer", torch.optim.SGD(network.parameters(), 0.05))
        ends.append((train(step, data), [p for network in pair for p in network.parameters()]))

    for whole, parts in zip(ends[0][0], ends[1][0]):
        assert whole == pytest.approx(parts, rel=1e-4)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ends[0][1], ends[1][1]))


def test_feature_matching_without_a_discriminator_that_learns_is_refused():
    with pytest.raises(ValueError, match="set adversarial_weight above 0"):
        step_of(*networks(), feature_weight=1.0, adversarial_weight=0.0)

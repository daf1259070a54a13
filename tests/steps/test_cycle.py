import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common.networks.patchgan import PatchDiscriminator
from common.networks.pix2pix import UNetGenerator
from common.steps.cycle import CycleStep, straight_through
from common.steps.iteration import one_hot
from common.steps.pool import ImagePool

LABELS = 5
SIZE = (24, 16)
NAMES = ("generator", "reverse", "image_discriminator", "label_discriminator")


def blocks(count):
    label_map = torch.randint(0, LABELS, (count, 1, *[edge // 4 for edge in SIZE]), dtype=torch.uint8)
    return label_map.repeat_interleave(4, 2).repeat_interleave(4, 3)


def image_of(label_map):
    """One grey value per label."""
    return label_map.float() / LABELS * 1.6 - 0.8


def batch():
    own = blocks(3)
    return {"label_map": blocks(3), "image": image_of(own), "image_label_map": own}


def networks(label_loss="l1"):
    return {
        "generator": UNetGenerator(2, LABELS, 1, SIZE, dropout=0.0, filters=8),
        "reverse": UNetGenerator(2, 1, LABELS, SIZE, dropout=0.0, filters=8, tanh=label_loss == "l1"),
        "image_discriminator": PatchDiscriminator(1, filters=(4, 6, 8)),
        "label_discriminator": PatchDiscriminator(LABELS, filters=(4, 6, 8)),
    }


def step_of(parts, lr=2e-3, **options):
    pairs = [[*parts[a].parameters(), *parts[b].parameters()] for a, b in (NAMES[:2], NAMES[2:])]
    g_optimizer, d_optimizer = (torch.optim.Adam(parameters, lr, betas=(0.5, 0.999)) for parameters in pairs)
    options = {"cycle_weight": 10, "precision": "fp32", "num_labels": LABELS} | options
    return CycleStep(
        **parts, g_optimizer=g_optimizer, d_optimizer=d_optimizer, image_pool=ImagePool(4), label_pool=ImagePool(4),
        **options,
    )  # fmt: skip


class Brightness(nn.Module):
    """The perfect translation of one-hot label maps: the grey value of each label."""

    def __init__(self):
        super().__init__()
        self.grey = nn.Parameter(image_of(torch.arange(LABELS)))

    def forward(self, label):
        return torch.einsum("l,blhw->bhw", self.grey, label)[:, None]


class Reading(nn.Module):
    """The inverse of `Brightness`: one-hot values, or as sure logits."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, image):
        nearest = ((image - image_of(torch.arange(LABELS)).view(1, -1, 1, 1)).abs()).argmin(1, keepdim=True)
        return self.scale * one_hot(nearest, LABELS)


@pytest.mark.parametrize(("label_loss", "scale"), [("l1", 1.0), ("balanced", 100.0)])
def test_generators_that_undo_each_other_pay_nothing_for_the_cycle(train, label_loss, scale):
    parts = networks() | {"generator": Brightness(), "reverse": Reading(scale)}

    (output,) = train(step_of(parts, label_loss=label_loss, supervised_weight=1, l1_weight=1), [batch()])

    for name in ("cycle_image", "cycle_label", "supervised", "g_l1"):
        assert output[name] == pytest.approx(0, abs=1e-5)


def test_generators_that_do_not_undo_each_other_pay(train):
    (output,) = train(step_of(networks() | {"generator": Brightness()}), [batch()])

    assert output["cycle_label"] > 0.1
    assert output["cycle_image"] > 0.1


@pytest.mark.parametrize(
    "options", [{}, {"label_loss": "balanced", "straight_through": True, "supervised_weight": 1.0}]
)
def test_each_update_has_gradients_for_its_own_networks_only(train, gradients_at_each_update, options):
    parts = networks(options.get("label_loss", "l1"))
    step = step_of(parts, **options)
    seen = gradients_at_each_update({"g": step.g_optimizer, "d": step.d_optimizer}, parts)
    step.g_optimizer.register_step_post_hook(lambda *_: [parts[name].zero_grad() for name in NAMES])
    step.d_optimizer.register_step_post_hook(lambda *_: [parts[name].zero_grad() for name in NAMES])

    train(step, [batch()] * 2)

    assert seen == [("g", set(NAMES[:2])), ("d", set(NAMES[2:]))] * 2


@pytest.mark.parametrize("resting", ["g_optimizer", "d_optimizer"])
def test_networks_whose_optimiser_rests_do_not_change(train, resting):
    parts = networks()
    step = step_of(parts)
    still = NAMES[:2] if resting == "g_optimizer" else NAMES[2:]
    setattr(step, resting, torch.optim.SGD([p for name in still for p in parts[name].parameters()], lr=0.0))
    before = {name: [p.clone() for p in parts[name].parameters()] for name in NAMES}

    train(step, [batch()])

    for name in NAMES:
        same = [torch.equal(a, b) for a, b in zip(before[name], parts[name].parameters()) if a.ndim > 1]
        assert all(same) if name in still else not any(same)


def test_cycles_become_shorter_and_discriminators_learn(train):
    data = batch()

    outputs = train(step_of(networks()), [data] * 40)

    assert outputs[-1]["cycle_image"] < 0.5 * outputs[0]["cycle_image"]
    assert outputs[-1]["cycle_label"] < 0.9 * outputs[0]["cycle_label"]
    assert outputs[-1]["d_loss"] < outputs[0]["d_loss"]


def test_the_paper_needs_no_pairs(train):
    data = batch()
    del data["image_label_map"]

    (output,) = train(step_of(networks()), [data])

    assert set(output) == {"loss", "g_adversarial", "cycle_image", "cycle_label", "d_loss"}
    assert output["loss"] == pytest.approx(
        output["g_adversarial"] + 10 * (output["cycle_image"] + output["cycle_label"]), rel=1e-5
    )


@pytest.mark.parametrize(("supervised_weight", "alike"), [(0.0, False), (1.0, True)])
def test_a_supervised_reverse_network_learns_nothing_from_generated_images(train, supervised_weight, alike):
    parts, data, gradients = networks("balanced"), batch(), []
    for label_map in (data["label_map"], blocks(3)):
        step = step_of(parts, lr=0.0, label_loss="balanced", supervised_weight=supervised_weight)
        step.g_optimizer.register_step_post_hook(
            lambda *_: gradients.append([[p.grad.clone() for p in parts[name].parameters()] for name in NAMES[:2]])
        )
        train(step, [data | {"label_map": label_map}])

    (generator, reverse), (other_generator, other_reverse) = gradients
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(reverse, other_reverse)) == alike
    assert not all(torch.allclose(a, b, atol=1e-7) for a, b in zip(generator, other_generator))


def test_noise_meets_the_generated_image_on_its_way_back_only(train):
    seen = []

    class Listening(Reading):
        def forward(self, image):
            seen.append(image.detach())
            return super().forward(image)

    data = batch()
    step = step_of(networks() | {"generator": Brightness(), "reverse": Listening()}, code_noise=0.03)
    train(step, [data])

    real, fake = seen
    assert torch.equal(real, data["image"])
    assert 0.025 < (fake - image_of(data["label_map"])).std() < 0.035


def test_straight_through_gives_one_hot_values_and_the_gradient_of_the_probabilities():
    logits = torch.randn(2, LABELS, 3, 4, requires_grad=True)
    weight = torch.randn(2, LABELS, 3, 4)

    hard = straight_through(logits.softmax(1))
    (gradient,) = torch.autograd.grad((hard * weight).sum(), logits)
    (soft,) = torch.autograd.grad((logits.softmax(1) * weight).sum(), logits)

    torch.testing.assert_close(hard, one_hot(logits.argmax(1, keepdim=True), LABELS))
    torch.testing.assert_close(gradient, soft)


@pytest.mark.parametrize("options", [{"label_loss": "l2"}, {"straight_through": True}])
def test_settings_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match="label_loss"):
        step_of(networks(), **options)


@pytest.mark.parametrize("options", [{}, {"label_loss": "l1", "supervised_weight": 1.0, "l1_weight": 10.0}])
def test_a_batch_in_parts_gives_the_updates_of_the_whole(train, options):
    data, ends = [batch()] * 3, []
    for accumulate in (1, 2):
        torch.manual_seed(1)
        shapes = {"generator": (LABELS, 1), "reverse": (1, LABELS), "image_discriminator": (1, 1)}
        shapes["label_discriminator"] = (LABELS, 1)
        parts = {name: nn.Conv2d(*shape, 3, padding=1) for name, shape in shapes.items()}  # no statistics of the batch
        step = step_of(parts, accumulate=accumulate, **options)
        step.image_pool = step.label_pool = ImagePool(0)  # what it draws depends on the order
        for name, pair in (("g", NAMES[:2]), ("d", NAMES[2:])):
            parameters = [p for network in pair for p in parts[network].parameters()]
            setattr(step, f"{name}_optimizer", torch.optim.SGD(parameters, 0.01))
        ends.append((train(step, data), [p for network in parts.values() for p in network.parameters()]))

    for whole, part in zip(ends[0][0], ends[1][0]):
        assert whole == pytest.approx(part, rel=1e-4)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ends[0][1], ends[1][1]))


def test_the_average_follows_the_generator_that_is_published(train):
    parts = networks()
    average = AveragedModel(parts["generator"], multi_avg_fn=get_ema_multi_avg_fn(0.5))
    start = [p.clone() for p in parts["generator"].parameters()]

    train(step_of(parts, average=average), [batch()] * 2)

    for first, mean, last in zip(start, average.module.parameters(), parts["generator"].parameters()):
        if first.ndim > 1:  # two updates: the first is taken over, then half of the way to the second
            assert not torch.equal(mean, first)
            assert not torch.equal(mean, last)

import pytest
import torch
from torch import nn

from common.losses import (
    DiceCrossEntropy,
    balanced_loss,
    class_weights,
    critic_loss,
    feature_matching,
    gradient_penalty,
    hinge,
    least_squares,
    log_loss,
)

ADVERSARIAL = [least_squares, log_loss, hinge]


@pytest.mark.parametrize("loss", ADVERSARIAL)
def test_a_real_looking_fake_costs_the_discriminator_more_and_the_generator_less(loss):
    poor, good = torch.full((2, 1, 3, 4), 0.1), torch.full((2, 1, 3, 4), 0.9)

    assert loss(good, is_real=False) > loss(poor, is_real=False)
    assert loss(good, is_real=True) < loss(poor, is_real=True)
    assert loss(good, is_real=True, for_generator=True) < loss(poor, is_real=True, for_generator=True)


@pytest.mark.parametrize("loss", [least_squares, log_loss])
def test_a_generator_pays_what_a_discriminator_pays_for_real_samples(loss):
    logits = torch.randn(2, 1, 3, 4)

    assert torch.equal(loss(logits, True, for_generator=True), loss(logits, True))


def test_hinge_by_hand():
    logits = torch.tensor([-2.0, 0.5, 3.0])

    assert hinge(logits, is_real=True).item() == pytest.approx((3 + 0.5 + 0) / 3)
    assert hinge(logits, is_real=False).item() == pytest.approx((0 + 1.5 + 4) / 3)
    assert hinge(logits, is_real=True, for_generator=True).item() == pytest.approx(-0.5)


def test_hinge_leaves_a_sure_discriminator_alone_but_not_its_generator():
    logits = torch.tensor([2.0, 5.0], requires_grad=True)

    assert not torch.autograd.grad(hinge(logits, is_real=True), logits)[0].any()
    assert torch.equal(torch.autograd.grad(hinge(logits, True, for_generator=True), logits)[0], torch.full((2,), -0.5))


def test_feature_matching_adds_layers_and_averages_scales():
    ones, zeros = torch.ones(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)

    assert feature_matching([[ones, ones]], [[zeros, -ones]]) == 3
    assert feature_matching([[ones, ones], [ones, ones]], [[zeros, -ones], [ones, ones]]) == 1.5


def test_feature_matching_moves_the_generated_features_only():
    fake, real = torch.rand(2, 3, requires_grad=True), torch.rand(2, 3, requires_grad=True)
    feature_matching([[fake]], [[real]]).backward()

    assert fake.grad.abs().sum() > 0
    assert real.grad is None


def test_least_squares_aims_at_one_for_real_and_zero_for_fake():
    logits = torch.tensor([-3.0, 0.0, 1.0])

    assert least_squares(logits, is_real=True).item() == pytest.approx((16 + 1 + 0) / 3)
    assert least_squares(logits, is_real=False).item() == pytest.approx((9 + 0 + 1) / 3)


def test_a_discriminator_that_says_one_to_everything_does_not_win():
    always_one = torch.ones(2, 1, 3, 4)
    assert least_squares(always_one, is_real=True) + least_squares(always_one, is_real=False) == 1


def test_log_loss_is_minus_the_log_of_the_right_answer():
    logits = torch.tensor([-1.5, 0.3])

    torch.testing.assert_close(log_loss(logits, True), -logits.sigmoid().log().mean())
    torch.testing.assert_close(log_loss(logits, False), -(1 - logits.sigmoid()).log().mean())
    assert torch.isfinite(log_loss(torch.tensor([-200.0]), True))


def test_log_loss_does_not_saturate_for_the_generator():
    logits = torch.tensor([-20.0], requires_grad=True)
    log_loss(logits, is_real=True).backward()

    assert logits.grad.item() == pytest.approx(-1, abs=1e-3)


def test_critic_loss_falls_when_real_scores_rise():
    low, high = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])

    assert critic_loss(real=high, fake=low) == -2
    assert critic_loss(real=low, fake=high) == 2


def test_gradient_penalty_of_a_linear_critic_is_its_slope_minus_one_squared():
    weight = torch.randn(2, 5, 6, 7)
    real, fake = torch.rand(2, 3, 2, 5, 6, 7)

    penalty = gradient_penalty(lambda volume: (volume * weight).flatten(1).sum(1), real, fake)

    torch.testing.assert_close(penalty, (weight.norm() - 1).square())


def test_gradient_penalty_of_a_slope_of_one_is_zero():
    weight = nn.functional.normalize(torch.randn(2 * 5 * 6 * 7), dim=0)
    real, fake = torch.rand(2, 3, 2, 5, 6, 7)

    assert gradient_penalty(lambda volume: volume.flatten(1) @ weight, real, fake) < 1e-10


def test_gradient_penalty_mixes_each_pair_with_one_share_of_its_own():
    seen = []

    def critic(volume):
        seen.append(volume)
        return volume.sum((1, 2, 3))

    gradient_penalty(critic, torch.ones(4, 5, 6, 7), torch.zeros(4, 5, 6, 7))

    shares = seen[0].flatten(1)
    assert (shares == shares[:, :1]).all()
    assert len(shares[:, 0].unique()) == 4
    assert ((shares >= 0) & (shares <= 1)).all()


def test_gradient_penalty_trains_the_critic_and_stays_fp32_under_autocast():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(30, 1))
    real, fake = torch.rand(2, 3, 1, 5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        penalty = gradient_penalty(critic, real.bfloat16(), fake.requires_grad_())
    penalty.backward()

    assert penalty.dtype == torch.float32
    assert critic[1].weight.grad.abs().sum() > 0
    assert fake.grad is None


def test_gradient_penalty_of_a_flat_critic_is_one_with_a_finite_gradient():
    critic = nn.Linear(5, 1)
    nn.init.zeros_(critic.weight)
    penalty = gradient_penalty(critic, torch.rand(3, 5), torch.rand(3, 5))
    penalty.backward()

    assert penalty == 1
    assert torch.isfinite(critic.weight.grad).all()


def _answer(label, confidence=20.0):
    lesion = torch.where(label > 0, confidence, -confidence)
    return torch.cat([-lesion, lesion], 1)


def _label(rng_seed=0):
    return (torch.rand(3, 1, 7, 8, 9, generator=torch.Generator().manual_seed(rng_seed)) > 0.8).float()


def test_dice_ce_is_zero_for_a_perfect_answer_and_falls_towards_it():
    label, loss = _label(), DiceCrossEntropy()

    assert loss(_answer(label), label) < 1e-4
    assert loss(_answer(label, 2.0), label) < loss(_answer(label, 0.5), label) < loss(_answer(1 - label, 0.5), label)


@pytest.mark.parametrize("batch_dice", [True, False])
def test_dice_ce_is_equations_two_and_three(batch_dice):
    label, logits = _label(), torch.randn(3, 2, 7, 8, 9)
    probability = logits.softmax(1)[:, 1:]
    axes = (0, 1, 2, 3, 4) if batch_dice else (1, 2, 3, 4)
    dice = 2 * (probability * label).sum(axes) / (probability.sum(axes) + label.sum(axes))
    cross_entropy = -torch.where(label > 0, probability, 1 - probability).log().mean()

    torch.testing.assert_close(DiceCrossEntropy(batch_dice)(logits, label), 1 - dice.mean() + cross_entropy)


def test_a_volume_without_lesion_gives_a_finite_loss_and_gradient():
    logits = torch.randn(2, 2, 4, 5, 6, requires_grad=True)
    loss = DiceCrossEntropy()(logits, torch.zeros(2, 1, 4, 5, 6))
    loss.backward()

    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_class_weights_are_inverse_frequencies_and_capped():
    label = torch.zeros(2, 4, 5, 10)
    label[:, 0] = 1
    label[0, :2, 0, 0] = torch.tensor([0.0, 1.0])  # one pixel of a hundred
    label[0, :3, 0, 1:6] = torch.tensor([0.0, 0.0, 1.0]).view(3, 1)  # five

    weights = class_weights(label, cap=10)

    assert weights[0] == pytest.approx(100 / 3 / 94)
    assert weights[1] == 10  # 33 without the cap
    assert weights[2] == pytest.approx(100 / 3 / 5)
    assert weights.max() == 10  # also of the class that is not there


def test_the_balanced_loss_is_zero_for_the_truth_and_dear_where_a_small_class_is_missed():
    label = torch.zeros(1, 3, 10, 10)
    label[:, 1] = 1
    label[:, :, 0, 0] = torch.tensor([0.0, 0.0, 1.0])
    missed = torch.zeros(1, 3, 10, 10)
    missed[:, 1] = 1

    assert balanced_loss(label * 100, label, cap=10) == pytest.approx(0, abs=1e-4)
    assert balanced_loss(missed * 10, label, cap=10) > 1
    assert (missed - label).abs().mean() < 0.01  # what an L1 cycle pays for it


def test_the_balanced_loss_of_an_empty_slice_is_finite():
    label = torch.zeros(1, 3, 4, 5)
    label[:, 0] = 1
    logits = torch.randn(1, 3, 4, 5, requires_grad=True)

    balanced_loss(logits, label, cap=10).backward()

    assert logits.grad.isfinite().all()

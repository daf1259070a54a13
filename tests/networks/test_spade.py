import pytest
import torch
from monai.inferers import SliceInferer
from torch.nn import functional as F

from common.labels import LESION
from common.networks.spade import Spade, SpadeGenerator
from common.translation import translate_volume

SIZE = (16, 24)
LABELS = 29


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def small(size=SIZE, **options):
    """Weights are larger than at the start of a training, so that everything matters."""
    network = SpadeGenerator(LABELS, 1, size, channels=(8, 6, 4), latent_size=16, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2)
    return network.eval()


def maps(count=3, size=SIZE):
    ids = torch.randint(0, LESION, (count, *[edge // 4 for edge in size]))
    ids = ids.repeat_interleave(4, 1).repeat_interleave(4, 2)
    return F.one_hot(ids, LABELS).movedim(-1, 1).float()


def with_lesion(label_map, rows=slice(5, 7), columns=slice(9, 11)):
    painted = label_map.clone()
    painted[:, :, rows, columns] = 0
    painted[:, LESION, rows, columns] = 1
    return painted


@pytest.mark.parametrize(("options", "count"), [({}, 1_253_137), ({"head_kernel": 7}, 1_253_457)])
def test_parameters_are_those_of_the_paper_and_of_its_code(options, count):
    network = SpadeGenerator(LABELS, 1, (128, 128), **options)

    assert sum(p.numel() for p in network.parameters()) == count
    assert sum(p.numel() for p in network.dense.parameters()) == 264_192
    blocks = [sum(p.numel() for p in block.parameters()) for block in network.blocks]
    assert blocks == [429_312, 352_192, 130_016, 53_488, 23_864]


@pytest.mark.parametrize(("size", "start"), [((128, 128), (128, 4, 4)), ((64, 128), (128, 2, 4))])
def test_the_first_map_follows_from_the_size(size, start):
    assert SpadeGenerator(5, 1, size).start == start


@pytest.mark.parametrize("size", [(100, 128), (32, 32)])
def test_a_size_that_does_not_fit_is_refused(size):
    with pytest.raises(ValueError, match=r"does not fit 5 blocks.*multiples of 32"):
        SpadeGenerator(5, 1, size)


def test_spade_scales_and_shifts_each_pixel_by_its_label():
    spade, x = Spade(2, num_labels=3), torch.randn(1, 2, 4, 6)
    label_map = torch.zeros(1, 3, 4, 6)
    label_map[:, 1, :, 3:] = 1
    with torch.no_grad():
        spade.modulation.weight.zero_()
        spade.modulation.bias.zero_()
        spade.modulation.weight[:, 1, 1, 1] = torch.tensor([1.0, 2.0, 30.0, 40.0])  # gamma of two maps, beta of two
    normal = F.instance_norm(x)

    result = spade(x, label_map)

    torch.testing.assert_close(result[..., :3], normal[..., :3])
    torch.testing.assert_close(result[:, 0, :, 3:], 2 * normal[:, 0, :, 3:] + 30)
    torch.testing.assert_close(result[:, 1, :, 3:], 3 * normal[:, 1, :, 3:] + 40)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("full_resolution", [True, False])
def test_an_image_depends_neither_on_its_batch_mates_nor_on_the_mode(training, full_resolution):
    network, label_map, noise = small(full_resolution=full_resolution), maps(), torch.randn(3, 16)

    alone = network(label_map[1:2], noise[1:2])

    torch.testing.assert_close(network.train(training)(label_map, noise)[1:2], alone)


def test_noise_changes_the_image():
    network, label_map = small(), maps(1)

    images = [network(label_map, network.draw_noise(1, torch.Generator().manual_seed(seed))) for seed in (1, 2, 1)]

    assert (images[0] - images[1]).abs().mean() > 0.01
    assert torch.equal(images[0], images[2])


def test_noise_reaches_the_image_at_the_start_of_a_training():
    network, label_map = SpadeGenerator(LABELS, 1, SIZE, channels=(8, 6, 4)), maps(1)

    images = [network(label_map, torch.randn(1, 128)) for _ in range(2)]

    assert (images[0] - images[1]).std() > 0.3 * images[0].std()


def test_slices_of_a_volume_share_their_noise():
    noise = small().draw_noise(5, torch.Generator().manual_seed(3))

    assert noise.shape == (5, 16)
    assert (noise == noise[:1]).all()
    assert noise[0].unique().numel() == 16


def test_without_noise_training_draws_one_per_image_and_evaluation_always_takes_the_same():
    network, label_map = small(), maps(1).repeat(2, 1, 1, 1)

    first, second = network.train()(label_map)
    assert (first - second).abs().mean() > 0.01
    first, second = network.eval()(label_map)
    assert torch.equal(first, second)
    assert torch.equal(network(label_map)[0], first)


def test_a_slice_inferer_gives_a_volume_of_one_noise():
    network, slices = small(), maps(1).repeat(4, 1, 1, 1)
    volume = slices.movedim(0, -1)[None]  # (1, L, H, W, 4), the same slice four times

    made = SliceInferer(roi_size=(-1, -1), spatial_dim=2, sw_batch_size=3, progress=False)(volume, network)

    assert made.shape == (1, 1, *SIZE, 4)
    torch.testing.assert_close(made, made[..., :1].expand_as(made))
    torch.testing.assert_close(made[..., 0], network(slices[:1]))


def test_a_translated_volume_has_one_noise_which_follows_from_the_seed():
    network = small()
    volume = maps(1).argmax(1)[0, ..., None].expand(*SIZE, 4).numpy().clip(1)  # the same slice four times

    first, again, other = (translate_volume(network, volume, LABELS, "fp32", seed=seed) for seed in (1, 1, 2))

    assert (first == again).all()
    assert abs(first - other).mean() > 0.01
    assert abs(first - first[..., :1]).max() < 1e-5


def test_weights_carry_over_to_a_network_that_draws_the_same_images():
    network, other = small(), small()
    other.load_state_dict(network.state_dict())
    label_map = maps(2)

    assert torch.equal(other(label_map), network(label_map))


@pytest.mark.parametrize("full_resolution", [True, False])
def test_the_label_map_steers_the_image(full_resolution):
    size = (32, 48)
    network, label_map = small(size, full_resolution=full_resolution), maps(8, size)

    change = (network(label_map) - network(with_lesion(label_map, slice(8, 12), slice(16, 20)))).abs().mean((0, 1))

    assert change[8:12, 16:20].mean() > 0.05
    assert change[8:12, 16:20].mean() > 2 * change[16:, 24:].mean()


def test_a_lesion_of_one_pixel_is_seen():
    network, label_map = small(), maps(1)
    one = with_lesion(label_map, slice(5, 6), slice(9, 10))  # odd: nearest sampling would skip it

    assert (network(label_map) - network(one)).abs().max() > 0.05


def test_the_last_spade_knows_pixels_that_halved_maps_cannot_tell_apart():
    left = with_lesion(maps(1), slice(6, 7), slice(10, 11))
    right = left.clone()
    right[:, :, 6, 10:12] = left[:, :, 6, 10:12].flip(-1)  # lesion and other swap within a square of 2x2
    plain, full = small(), small(full_resolution=True)

    assert torch.equal(F.max_pool2d(left, 2), F.max_pool2d(right, 2))
    assert torch.equal(plain(left), plain(right))
    assert not torch.equal(full(left), full(right))


@pytest.mark.parametrize("full_resolution", [True, False])
def test_images_stay_in_range_and_every_parameter_is_used(full_resolution):
    network = small(full_resolution=full_resolution)

    image = network(maps(), torch.randn(3, 16))
    image.square().sum().backward()

    assert image.shape == (3, 1, *SIZE)
    assert image.abs().max() <= 1
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_it_can_be_scripted():
    network, label_map, noise = small(full_resolution=True), maps(2), torch.randn(2, 16)
    scripted = torch.jit.script(network)

    torch.testing.assert_close(scripted(label_map), network(label_map))
    torch.testing.assert_close(scripted(label_map, noise), network(label_map, noise))

import numpy as np
import torch

from common.labels import LESION, MIRROR
from common.transforms import (
    EmptyLesiond,
    LabelMapd,
    RandIntensityd,
    RandMirrord,
    RandSliced,
    RandTissueNoised,
    SliceContextd,
)

SHAPE = (1, 7, 8, 9)


def test_a_lesion_free_case_gets_an_empty_mask_on_the_images_grid():
    item = EmptyLesiond()({"image": torch.ones(SHAPE)})
    assert item["label"].shape == SHAPE
    assert not item["label"].any()


def test_an_existing_mask_is_left_alone():
    label = torch.ones(SHAPE)
    assert EmptyLesiond()({"image": torch.zeros(SHAPE), "label": label})["label"] is label


def test_the_lesion_is_painted_into_parenchyma_only_when_clipping():
    anatomy = torch.tensor([0, 1, 5, 27]).reshape(1, 2, 2)  # background, white matter, ventricle, CSF
    item = {"anatomy": anatomy, "label": torch.ones(1, 2, 2)}
    assert LabelMapd(clip=True)(item)["label_map"].flatten().tolist() == [0, LESION, 5, 27]
    assert LabelMapd(clip=False)(item)["label_map"].flatten().tolist() == [0, LESION, LESION, LESION]


def test_a_flip_swaps_the_sides_of_a_label_map_and_keeps_it_aligned_with_the_image():
    label_map = torch.zeros(SHAPE, dtype=torch.uint8)
    label_map[:, :3] = 1  # left white matter at low x
    label_map[:, 4:] = 2
    image = label_map.float() + torch.rand(SHAPE)
    flipped = RandMirrord(["image", "label_map"], "label_map", prob=1.0)({"image": image, "label_map": label_map})
    assert torch.equal(flipped["image"], image.flip(1))
    assert (flipped["label_map"][:, :3] == 1).all()  # left is still on the left
    assert torch.equal(flipped["label_map"], torch.as_tensor(MIRROR)[label_map.flip(1).long()])


def test_no_flip_changes_nothing():
    item = {"image": torch.rand(SHAPE), "label_map": torch.randint(0, 28, SHAPE, dtype=torch.uint8)}
    same = RandMirrord(["image", "label_map"], "label_map", prob=0.0)(item)
    assert all(torch.equal(same[key], item[key]) for key in item)


def test_all_keys_are_cut_at_the_same_slice():
    volume = torch.arange(9.0).expand(SHAPE).clone()
    cut = RandSliced(["image", "label_map"]).set_random_state(1)({"image": volume, "label_map": volume.clone()})
    assert cut["image"].shape == SHAPE[:-1]
    assert torch.equal(cut["image"], cut["label_map"])


def test_the_lesion_share_decides_how_often_a_lesion_slice_is_cut():
    label_map = torch.zeros(SHAPE, dtype=torch.uint8)
    label_map[0, 3, 3, 4] = LESION
    transform = RandSliced("label_map", lesion_share=0.6).set_random_state(2)
    hits = np.mean([bool((transform({"label_map": label_map})["label_map"] == LESION).any()) for _ in range(600)])
    assert abs(hits - (0.6 + 0.4 / 9)) < 0.06


def numbered():
    """A label map whose label is its slice number, and an image that says the same."""
    label_map = torch.arange(9, dtype=torch.uint8).expand(SHAPE).contiguous()
    return {"image": label_map.float(), "label_map": label_map}


def test_a_label_map_is_cut_with_its_neighbours_and_the_image_alone():
    transform = RandSliced(["image", "label_map"], context=2).set_random_state(1)
    seen = set()
    for _ in range(60):
        cut = transform(numbered())
        assert cut["image"].shape == SHAPE[:-1]
        z = int(cut["image"][0, 0, 0])
        assert cut["label_map"].shape == (5, *SHAPE[1:3])
        assert cut["label_map"][:, 0, 0].tolist() == [min(max(z + step, 0), 8) for step in (-2, -1, 0, 1, 2)]
        seen.add(z)
    assert seen == set(range(9))


def test_the_context_changes_nothing_of_the_draw():
    cuts = [RandSliced(["image", "label_map"], context=k).set_random_state(4)(numbered()) for k in (0, 1)]
    assert torch.equal(cuts[0]["image"], cuts[1]["image"])
    assert torch.equal(cuts[0]["label_map"], cuts[1]["label_map"][1:2])


def test_slices_of_a_volume_get_the_channels_of_their_neighbours():
    one_hot = torch.eye(9)[:, None, None, :].expand(9, 7, 8, 9)  # channel c is 1 in slice c
    wide = SliceContextd("image", context=1)({"image": one_hot})["image"]
    assert wide.shape == (27, 7, 8, 9)
    for z in range(9):
        assert wide[:, 0, 0, z].reshape(3, 9).argmax(1).tolist() == [max(z - 1, 0), z, min(z + 1, 8)]
    assert torch.equal(SliceContextd("image", context=0)({"image": one_hot})["image"], one_hot)


def test_intensities_change_in_order_within_the_range_and_the_background_stays():
    image = torch.linspace(-1, 1, 50).reshape(1, 50)
    changed = RandIntensityd("image", scale=0.4, gamma=0.4).set_random_state(3)({"image": image})["image"]
    assert changed[0, 0] == -1
    assert changed.max() <= 1
    assert (changed.diff() >= 0).all()
    assert not torch.allclose(changed, image, atol=0.05)


def test_no_intensity_range_changes_nothing():
    image = torch.linspace(-1, 1, 50).reshape(1, 50)
    assert torch.allclose(RandIntensityd("image", scale=0.0, gamma=0.0)({"image": image})["image"], image, atol=1e-6)


def test_noise_is_added_in_the_brain_and_not_behind_it():
    image = torch.rand(1, 24, 25, 26) - 0.5
    image[:, :5] = -1
    transform = RandTissueNoised("image", sigma=0.2).set_random_state(1)
    changes = []
    for _ in range(40):
        noisy = transform({"image": image})["image"]
        assert torch.equal(noisy[:, :5], image[:, :5])
        changes.append(float((noisy - image)[:, 5:].std()))
    assert 0 < min(changes) < max(changes) < 0.21
    assert abs(np.mean(changes) - 0.1) < 0.03
    assert torch.equal(RandTissueNoised("image", sigma=0.0)({"image": image})["image"], image)

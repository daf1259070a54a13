import torch

from common.steps.pool import ImagePool


def numbered(first, count=1):
    """Images whose only value is their number."""
    return torch.arange(first, first + count, dtype=torch.float).view(-1, 1, 1, 1).expand(-1, 2, 3, 4)


def test_the_first_fifty_come_back_as_they_are():
    pool = ImagePool(50)

    for first in range(0, 50, 5):
        assert torch.equal(pool(numbered(first, 5)), numbered(first, 5))


def test_afterwards_half_of_what_comes_back_is_older():
    pool = ImagePool(50)
    pool(numbered(0, 50))

    returned = pool(numbered(50, 2000))[:, 0, 0, 0]

    older = returned < torch.arange(50, 2050)
    assert 0.45 < older.float().mean() < 0.55
    assert len(pool.images) == 50
    assert len(returned.unique()) == 2000  # what was handed out has left the pool


def test_a_pool_of_none_returns_what_it_is_given():
    assert torch.equal(ImagePool(0)(numbered(0, 3)), numbered(0, 3))


def test_a_kept_image_does_not_keep_its_batch_in_memory():
    pool = ImagePool(2)
    pool(torch.rand(2, 1, 3, 3))
    pool(torch.rand(64, 1, 3, 3))
    assert all(image.untyped_storage().nbytes() == 9 * 4 for image in pool.images)


def test_no_gradient_passes_the_pool():
    images = torch.rand(4, 1, 3, 3, requires_grad=True)

    assert not ImagePool(2)(images * 2).requires_grad


def test_its_state_survives_a_round_trip(tmp_path):
    pool, other = ImagePool(6), ImagePool(6)
    pool(numbered(0, 9))
    torch.save(pool.state_dict(), tmp_path / "pool.pt")
    other.load_state_dict(torch.load(tmp_path / "pool.pt", weights_only=True))

    returned = []
    for restored in (pool, other):
        torch.manual_seed(5)
        returned.append(restored(numbered(9, 40)))
    assert torch.equal(*returned)
    assert torch.equal(pool.state_dict()["images"], other.state_dict()["images"])


def test_an_empty_pool_has_a_state_as_well():
    pool = ImagePool(3)
    pool.load_state_dict(ImagePool(3).state_dict())

    assert torch.equal(pool(numbered(7, 3)), numbered(7, 3))

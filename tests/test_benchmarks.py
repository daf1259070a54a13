"""The benchmarks' own arithmetic; what they measure is measured by `make bench`, never by a test."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.benchmarks import harness, running, scores
from common.benchmarks.baselines import ReferenceUNet, literal, pix2pix_step, plain_step
from common.networks.lesion_gan import Critic
from common.networks.patchgan import PatchDiscriminator
from common.networks.pix2pix import UNetGenerator
from common.networks.unet3d import UNet3D
from scripts.bench import NAMES, main


@pytest.fixture
def clock(monkeypatch):
    """Time passes only where a job says so."""
    now = [0.0]
    monkeypatch.setattr(harness.time, "perf_counter", lambda: now[0])
    return now


def job(clock, seconds, answer):
    def run():
        clock[0] += seconds
        return answer

    return run


def compared(clock, ours=1.0, theirs=3.0, **goals):
    return harness.compare(
        "job", job(clock, ours, 1), job(clock, theirs, 1), "baseline", lambda a, b: f"{a} and {b}", **goals
    )


def test_a_comparison_is_the_ratio_of_medians_of_alternating_rounds(clock):
    one = compared(clock)

    assert (one.seconds, one.baseline_seconds, one.ratio, one.spread) == (1, 3, 3, 0)
    assert one.agreement == "1 and 1"
    assert one.limit_share is None


@pytest.mark.parametrize(("goal", "kept"), [(3.0, True), (3.7, True), (3.8, False)])
def test_the_gate_closes_a_fifth_below_the_goal(clock, goal, kept):
    assert compared(clock, goal=goal).kept == kept


def test_the_share_of_the_limit_is_operations_by_time_by_speed(clock, monkeypatch):
    monkeypatch.setattr(harness, "matrix_product_limit", lambda: 100.0)

    assert compared(clock, flops=50.0).limit_share == 0.5
    assert compared(clock, flops=50.0, limit_goal=0.6).kept
    assert not compared(clock, flops=50.0, limit_goal=0.7).kept


def test_no_time_counts_where_the_answers_differ(clock):
    def differ(a, b):
        raise ValueError("the answers differ")

    with pytest.raises(ValueError, match="the answers differ"):
        harness.compare("job", job(clock, 1, 1), job(clock, 1, 2), "baseline", differ)


def test_tables_go_between_their_marks_and_nowhere_else(tmp_path, clock):
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- scores -->\nold\n<!-- /scores -->\nafter\n")
    table = harness.Table("Sizes", [{"size": 1, "s": 0.5}], kept=False)

    running.put_into_docs("scores", running.markdown([compared(clock, goal=2.0), table]), page)

    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n<!-- scores -->\n| job |")
    assert text.endswith("\n<!-- /scores -->\nafter\n")
    assert "| job | baseline | 1 ± 0% | 3 | 3.0 (goal 2) |" in text
    assert "Sizes (not kept):\n\n| size | s |\n| --- | --- |\n| 1 | 0.5 |" in text
    with pytest.raises(ValueError, match="has no <!-- memory -->"):
        running.put_into_docs("memory", "", page)


def test_every_benchmark_has_its_place_in_the_docs_and_an_unknown_one_is_refused():
    page = running.DOCS.read_text()

    assert [name for name in NAMES if f"<!-- {name} -->" not in page] == []
    with pytest.raises(ValueError, match="'speed' is not a benchmark; expected one of segmenter"):
        main("speed")


def test_the_literal_networks_compute_what_ours_do():
    torch.manual_seed(0)
    generator = UNetGenerator(2, 5, 1, (16, 16), dropout=0.0, filters=4).eval()
    label = torch.rand(2, 5, 16, 16)

    torch.testing.assert_close(literal(generator).eval()(label), generator(label), atol=1e-6, rtol=1e-5)
    critic, mask = Critic((16, 16, 8), 2), torch.rand(2, 2, 16, 16, 8)
    torch.testing.assert_close(literal(critic)(mask), critic(mask))
    unet, image = UNet3D(1, 2, dropout=0.1, channels=(2, 4), instance_norm=True).eval(), torch.rand(1, 1, 8, 8, 4)
    torch.testing.assert_close(literal(unet).eval()(image), unet(image))


def test_the_references_generator_has_as_many_parameters_as_the_papers():
    count = sum(parameter.numel() for parameter in ReferenceUNet(29).parameters())

    assert count == pytest.approx(41.85e6, rel=0.002)
    assert ReferenceUNet(5, levels=4, filters=4).eval()(torch.rand(1, 5, 16, 16)).shape == (1, 1, 16, 16)


def test_the_plain_steps_learn():
    torch.manual_seed(0)
    image, label = torch.rand(1, 1, 16, 16, 8), (torch.rand(1, 1, 16, 16, 8) > 0.7).float()
    step = plain_step(literal(UNet3D(1, 2, dropout=0.0, channels=(4, 8))), 1e-2)
    losses = [step(image, label) for _ in range(8)]
    assert losses[-1] < losses[0]

    label_map, real = torch.rand(2, 5, 16, 16), torch.rand(2, 1, 16, 16)
    step = pix2pix_step(ReferenceUNet(5, 4, 4), PatchDiscriminator(6, (4, 4, 4)), 10.0, 1e-2)
    losses = [step(label_map, real) for _ in range(8)]
    assert losses[-1] < losses[0]


def test_predictions_of_the_metrics_benchmark_lie_near_and_far(monkeypatch, tmp_path):
    truth = np.zeros((32, 32, 16), bool)
    truth[10:16, 10:16, 6:10] = True
    monkeypatch.setattr(scores, "_lesions", lambda folder: [truth])

    ((_, prediction),) = scores._pairs(tmp_path)

    assert (prediction & truth).sum() > 0.4 * truth.sum()
    far = prediction.copy()
    far[5:21, 5:21, 3:13] = False
    assert far.any()

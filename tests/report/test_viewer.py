from __future__ import annotations

import numpy as np

from common.report.viewer import FALSE, FOUND, MISSED, overlay


def test_overlay_tells_found_missed_and_false_apart():
    truth = np.array([[[True, True, False, False]]])
    found = np.array([[[True, False, True, False]]])

    assert overlay(truth, found).ravel().tolist() == [FOUND, MISSED, FALSE, 0]

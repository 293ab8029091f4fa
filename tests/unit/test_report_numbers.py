"""What a report computes itself: the slider's counts, rows of its table, which patches it shows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pcam_kit.html_report.choice import choose_disagreements, choose_patches
from pcam_kit.html_report.thresholds import slider, threshold_rows
from pcam_kit.metrics import confusion
from pcam_kit.workflows.report_patches import outlines_of


def answers(n: int = 800, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels int8 and probabilities float32, some of which are 0, 1 or equal."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n).astype(np.int8)
    p = 1 / (1 + np.exp(-rng.normal(4 * labels - 2, 3)))
    p[:5], p[5:10] = 0, 1
    return labels, np.round(p, 3).astype(np.float32)


def test_the_slider_counts_as_the_metrics_do() -> None:
    labels, p = answers()
    chosen = 0.4371234567891
    values = json.loads(json.dumps(slider(labels, p, chosen)))
    assert values["t"][values["chosen"]] == chosen
    assert values["t"] == sorted(set(values["t"]))
    assert {0.0, 0.5, 1.0} <= set(values["t"])
    for i in [*range(0, len(values["t"]), 37), values["chosen"]]:
        counts = confusion(labels, p, values["t"][i])
        assert (values["tp"][i], values["fp"][i]) == (counts.tp, counts.fp)
    assert values["positive"] == int(labels.sum())
    assert len(json.dumps(values)) < 40_000


def test_the_rows_keep_what_they_promise() -> None:
    labels, p = answers()
    rows = {row.name: row for row in threshold_rows(labels, p, 0.3)}
    assert rows["chosen"].threshold == 0.3
    sensitive, specific = rows["sensitivity 95%"], rows["specificity 95%"]
    assert sensitive.counts.sensitivity is not None
    assert sensitive.counts.sensitivity >= 0.95
    above = confusion(labels, p, float(np.nextafter(sensitive.threshold, 2)))
    assert above.sensitivity is not None
    assert above.sensitivity < 0.95, "it is the highest such threshold"
    assert specific.counts.specificity is not None
    assert specific.counts.specificity >= 0.95
    below = confusion(labels, p, float(np.nextafter(specific.threshold, -1)))
    assert below.specificity is not None
    assert below.specificity < 0.95, "it is the lowest such threshold"


@pytest.mark.parametrize("n", [2, 3, 20])
def test_few_patches_have_rows_too(n: int) -> None:
    labels = (np.arange(n) % 2).astype(np.int8)
    assert len(threshold_rows(labels, np.full(n, 0.5, np.float32), 0.5)) == 4


def test_the_surest_errors_come_first() -> None:
    labels, p = answers()
    threshold = 0.4
    chosen = {choice.key: choice for choice in choose_patches(labels, p, threshold, most=7)}
    wrong_high = np.sort(p[(labels == 0) & (p >= threshold)])[::-1][:7]
    wrong_low = np.sort(p[(labels == 1) & (p < threshold)])[:7]
    assert p[chosen["false-positives"].rows].tolist() == wrong_high.tolist()
    assert p[chosen["false-negatives"].rows].tolist() == wrong_low.tolist()
    assert chosen["false-positives"].total == confusion(labels, p, threshold).fp
    assert np.abs(p[chosen["uncertain"].rows] - threshold).max() < 0.05
    for key, label in (("typical-tumour", 1), ("typical-normal", 0)):
        rows = chosen[key].rows
        right = p[(labels == label) & ((p >= threshold) == label)]
        assert (labels[rows] == label).all()
        assert abs(np.median(right) - np.median(p[rows])) < 0.02


def test_a_run_without_errors_has_empty_galleries() -> None:
    labels = np.array([0, 0, 1, 1], np.int8)
    p = np.array([0.1, 0.2, 0.8, 0.9], np.float32)
    totals = {choice.key: choice.total for choice in choose_patches(labels, p, 0.5)}
    assert (totals["false-positives"], totals["false-negatives"]) == (0, 0)
    assert (totals["typical-tumour"], totals["typical-normal"]) == (2, 2)


def test_several_runs_show_where_they_err_together_and_where_they_differ() -> None:
    labels = np.array([0, 1, 1, 0, 0], np.int8)
    first = np.array([0.9, 0.2, 0.9, 0.1, 0.8], np.float32)
    second = np.array([0.7, 0.3, 0.6, 0.2, 0.1], np.float32)
    wrong, differ = choose_disagreements(labels, [first, second], [0.5, 0.5])
    assert wrong.rows.tolist() == [0, 1]
    assert differ.rows.tolist() == [4]
    wrong, differ = choose_disagreements(labels, [first, second], [0.5, 0.65])
    assert differ.rows.tolist() == [4, 2], "each at its own threshold, the larger difference first"


@pytest.mark.parametrize(
    ("patch", "crop", "expected"),
    [
        (32, 32, []),
        (96, 96, [("label", 32)]),
        (96, 32, [("label", 32)]),
        (96, 64, [("label", 32), ("seen", 64)]),
        (32, 24, [("seen", 24)]),
    ],
)
def test_what_decides_the_label_and_what_the_network_saw_are_outlined(
    patch: int, crop: int, expected: list[tuple[str, int]]
) -> None:
    outlines = outlines_of(patch, crop)
    assert [(outline.kind, outline.side) for outline in outlines] == expected
    words = " ".join(outline.text for outline in outlines)
    assert ("all that the network saw" in words) == (crop == 32 < patch)

"""What logits mean: classes, names, probabilities."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.models import random_model


@pytest.fixture(scope="module")
def model():
    scale = np.array([1.0, 0.5, 0.25, 1.0], np.float32)
    return replace(random_model(seed=1, classes=4, depth=1), logit_scale=scale, labels=("cat", "dog", "owl", "fox"))


def test_classify(model):
    """Accumulators have scales of their own: 4 * 0.5 is less than 3 * 1."""
    logits = np.array([[3, 4, 0, -1], [-(1 << 31), (1 << 31) - 1, 0, 0]], np.int32)
    first, second = model.classify(logits, top=2)
    assert [(c.index, c.name, c.logit) for c in first] == [(0, "cat", 3.0), (1, "dog", 2.0)]
    shares = np.exp([3, 2, 0, -1])
    np.testing.assert_allclose([c.probability for c in first], shares[:2] / shares.sum())
    assert (second[0].name, second[0].probability) == ("dog", 1.0)
    assert second[1].index == 2


def test_all_classes_sum_up_to_one(model):
    (best,) = model.classify(np.array([[5, -7, 9, 0]], np.int32), top=9)
    assert sum(candidate.probability for candidate in best) == pytest.approx(1)
    assert sorted(candidate.index for candidate in best) == [0, 1, 2, 3]
    assert [c.probability for c in best] == sorted((c.probability for c in best), reverse=True)


def test_first_is_argmax(model):
    logits = np.random.default_rng(0).integers(-20, 20, (500, 4)).astype(np.int32)
    expected = (logits * model.logit_scale).argmax(1)
    assert [best[0].index for best in model.classify(logits, top=1)] == expected.tolist()


def test_without_labels_numbers_are_names(model):
    (best,) = replace(model, labels=()).classify(np.array([[0, 0, 0, 9]], np.int32))
    assert [candidate.name for candidate in best] == ["3", "0", "1", "2"]


def test_refusals(model):
    with pytest.raises(ValueError, match=r"logits must be \[n, 4\], not \[4\]"):
        model.classify(np.zeros(4, np.int32))
    with pytest.raises(ValueError, match="top must be at least 1, not 0"):
        model.classify(np.zeros((1, 4), np.int32), top=0)

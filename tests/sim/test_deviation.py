"""The published deviations are what the vectors give."""

from sim import deviation


def test_document_is_up_to_date():
    text = deviation.DOCUMENT.read_text()
    assert deviation.document(text) == text


def test_models_agree_but_not_bit_for_bit():
    """Seven of eight classes at least, logits within half a deviation, and no model untouched by float32."""
    for name, (images, same, worst) in deviation.measure_models().items():
        assert same >= 7 / 8 * images, name
        assert 0 < worst < 0.5, name


def test_only_flooring_operators_deviate():
    measured = deviation.measure()
    exact = {kind for kind, (_, _, wrong, _) in measured.items() if not wrong}
    assert exact == {"conv", "linear", "matmul", "quantact", "layernorm 8"}
    assert sum(files for files, *_ in measured.values()) == 47  # layernorm counted before and after requantization

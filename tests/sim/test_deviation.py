"""The published deviations are what the vectors give."""

from sim import deviation


def test_document_is_up_to_date():
    text = deviation.DOCUMENT.read_text()
    assert deviation.document(text) == text


def test_only_flooring_operators_deviate():
    measured = deviation.measure()
    exact = {kind for kind, (_, _, wrong, _) in measured.items() if not wrong}
    assert exact == {"conv", "linear", "matmul", "quantact", "layernorm 8"}
    assert sum(files for files, *_ in measured.values()) == 47  # layernorm counted before and after requantization

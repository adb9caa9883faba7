"""The enable, the valid bits and the registers of a pipeline: the one place where a stall is decided."""

from amaranth.hdl import Cat, Signal, Value

__all__ = ["Pipe", "delay"]

_CHAIN = 32  # registers of one shift-register LUT; longer chains do not place everywhere


def delay(m, value, steps, name, *, step=None, init=0):
    """`value`, of its own shape, `steps` steps later, in registers ``{name}_0``... without reset.

    A step is a cycle in which `step` is high, or every cycle. Without an enable or with one, such registers become
    shift-register LUTs on FPGAs that have them. The last one powers up as `init`: synthesis merges equal registers, but
    not those that begin differently.
    """
    value = Value.cast(value)
    for number in range(steps):
        last = number == steps - 1
        register = Signal(value.shape(), name=f"{name}_{number}", init=init if last else 0, reset_less=True)
        if step is None:
            m.d.sync += register.eq(value)
        else:
            with m.If(step):
                m.d.sync += register.eq(value)
        value = register
    return value


class Pipe:
    """A pipeline of `stages` registers between two streams that moves as a whole.

    It moves (``step``) while its output is taken or there is none, so a bubble closes only at the end, nothing is lost
    and nothing is reordered. Rate: one item per step. Latency: `stages`. Only the valid bits have a reset.

    Parameters
    ----------
    m : Module
    i, o : streams
        As seen from inside the unit. Their ``valid`` and ``ready`` are driven here, payloads by the unit.
    stages : int

    Attributes
    ----------
    step : Signal
        Enable of every register of the unit.
    valid : Signal
        Bit k: there is an item behind stage k.
    """

    def __init__(self, m, i, o, stages):
        self._m, self._i, self._o, self.stages = m, i, o, stages
        self.step = Signal(name="step")
        self.valid = Signal(stages, name="valid")
        m.d.comb += [self.step.eq(o.ready | ~o.valid), i.ready.eq(self.step), o.valid.eq(self.valid[-1])]
        with m.If(self.step):
            m.d.sync += self.valid.eq(Cat(i.valid, self.valid))

    def hold(self, value, name, *, steps=1):
        """`value` a step later, or `steps`. See :func:`delay`."""
        return delay(self._m, value, steps, name, step=self.step)

    def carry(self, field="tag"):
        """Takes a field of ``i`` to ``o``, where the unit has it: side data that leaves with its item."""
        if field not in self._i.p.shape().members:
            return
        value = Value.cast(self._i.p[field])
        for number in range(self.stages):
            # A reset keeps the ends of a long chain out of the shift registers before and behind it.
            end = self.stages >= _CHAIN and number in (0, self.stages - 1)
            register = Signal(value.shape(), name=f"{field}_{number}", reset_less=not end)
            with self._m.If(self.step):
                self._m.d.sync += register.eq(value)
            value = register
        self._m.d.comb += Value.cast(self._o.p[field]).eq(value)

"""The step of non-restoring division, of SquareRoot and Reciprocal, for all integers.

It is R' = 2R + d - s, or + s where R < 0, of the dividend's next bit d; a digit is R' >= 0. That the hardware does
this step is proved of each unit.
"""

import z3

from tests.support.formal import follows


def test_the_step_divides():
    """What has been taken of a dividend is the digits' worth and the remainder r, from 0 to s - 1, of which R tells.

    The worth is the quotient times s by Horner's rule. So the digits are the quotient's when all bits are taken.
    """
    s, taken, worth, rest, bit = z3.Ints("s taken worth rest bit")

    def state(rest, worth, taken):
        return z3.And(rest >= -s, rest < s, worth + rest + z3.If(rest < 0, s, 0) == taken)

    after = 2 * rest + bit + z3.If(rest < 0, s, -s)
    more = 2 * worth + z3.If(after >= 0, s, 0)
    step = state(after, more, 2 * taken + bit)
    assert follows(step, s >= 1, bit >= 0, bit <= 1, state(rest, worth, taken))
    assert not follows(step, s >= 1, bit >= 0, bit <= 2, state(rest, worth, taken))
    assert follows(state(taken, 0, taken), taken >= 0, taken < s)  # it may begin with bits that are less than s

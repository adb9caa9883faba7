"""Mutants of the gateware's source, each against the tests of its unit: how much of what could be wrong is noticed.

Neither cosmic-ray nor mutmut fits: what is to be mutated is Amaranth (conditions of m.If, dropped statements, widths
and resets of Signal), a mutant lives in a private copy of the tree (the benches start processes of their own), goes
through rings of tests, and one that only runs out of time is not killed. What would be left of them is their store.
"""

"""What a run of ``flow search`` looks for; a module of its own because the command line's grammar imports nothing slow.

``joint``: network and accelerator together.  ``nested``: the network, with the mapper's best accelerator on all of the
board that may be used.  ``hw-aware``: the network, its accelerator's share of the board given.  ``nas``: the network
for accuracy alone, then its accelerators.  ``sequential``: half the candidates as ``nas``, the other half accelerators
for what that found.  ``hw-only``: accelerators for a network that is given (``flow.tailor``).
"""

MODES = ("joint", "nested", "hw-aware", "hw-only", "nas", "sequential")

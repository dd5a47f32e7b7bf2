"""Performance models of the field as their papers and code state them, kept apart from our own.

``roofline`` (FPGA'15), ``tiled`` (FNAS, Super-LIP, HotNAS; weight sharing between two boards), ``pipeline`` (FNAS's
tile overlap and DSP split, Co-Exploration's pipeline over boards), ``grid`` (HotNAS's hardware grid, answered exactly).
They answer "what would the paper say"; designs are estimated by ``flow.estimate``.  Equations are facts from the
papers; where published code departs from its paper, the departure is a switch (``tiled.Rules``).
"""

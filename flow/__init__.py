"""coexplore: search networks and FPGA accelerators together, and prove what the accelerators compute."""

__version__ = "0.1.0"

"""Chains: tiled engines and streaming stages as one pipeline, each on its segment of consecutive layers."""

from flow.chain.design import Chain, Joint, part_images
from flow.chain.platforms import solve_platform
from flow.chain.solve import solve

__all__ = ["Chain", "Joint", "part_images", "solve", "solve_platform"]

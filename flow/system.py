"""Placeholder until written."""

from flow.design import Design


def files(design: Design) -> dict[str, bytes]:
    return {}

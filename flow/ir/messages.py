"""How refusals of models are worded: one printable line, names from outside quoted and escaped."""

from __future__ import annotations

from onnx import NodeProto


class ModelError(ValueError):
    """A model that is damaged, unsafe or unsupported: one line naming file or node, the limit and the way out."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message, 600))


def one_line(text: str, limit: int = 200) -> str:
    """``text`` as one printable line: control and non-ASCII characters escaped, the rest cut at ``limit``."""
    clean = "".join(c if c.isascii() and c.isprintable() else ascii(c)[1:-1] for c in text[: 4 * limit].strip())
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def shown(name: str) -> str:
    """A name from outside, quoted and escaped for a message."""
    return f"'{one_line(name, 60)}'"


def node_label(node: NodeProto) -> str:
    """How messages name a node: its name, or else its output, and its operator."""
    name = node.name or (node.output[0] if node.output else "")
    return f"node {shown(name)} ({one_line(node.op_type, 40)})"

"""The network as a value: integer operators, the graph of them, ONNX in and out, the reference interpreter."""

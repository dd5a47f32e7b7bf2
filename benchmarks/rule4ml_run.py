"""Run by another interpreter, the one that has rule4ml: networks as JSON on standard input, its predictions on output.

One network: ``{"name", "input": [...], "layers": [...], "board", "strategy", "precision", "reuse_factor", "tool"}``.
"""

import json
import os
import sys
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def model(net: dict[str, Any]) -> Any:
    """A Keras model; rule4ml knows no LeakyReLU, so ReLU stands for it."""
    import keras
    from keras import layers

    x = inputs = keras.Input(shape=tuple(net["input"]))
    for layer in net["layers"]:
        kind = layer[0]
        if kind == "conv":
            x = layers.Conv2D(layer[1], tuple(layer[2]), padding=layer[3])(x)
        elif kind == "dense":
            x = layers.Dense(layer[1])(x)
        elif kind == "pool":
            x = layers.MaxPooling2D(layer[1])(x)
        elif kind == "flatten":
            x = layers.Flatten()(x)
        else:
            x = layers.Activation(kind)(x)
    made = keras.Model(inputs, x, name=net["name"])
    made.build((None, *net["input"]))
    for layer in made.layers[1:]:  # rule4ml reads what each was built for, which Keras 3 keeps only with weights
        if getattr(layer, "_build_shapes_dict", None) is None:
            layer._build_shapes_dict = {"input_shape": tuple(layer.input.shape)}
    return made


def main() -> None:
    import torch_geometric  # noqa: F401  before TensorFlow: the other way round it crashes without a GPU
    from rule4ml.models.wrappers import MultiModelWrapper

    estimator = MultiModelWrapper()
    estimator.load_default_models()
    found = []
    for net in json.load(sys.stdin):
        config = {"board": net["board"], "model": {k: net[k] for k in ("strategy", "precision", "reuse_factor")}}
        row = estimator.predict(
            model(net), hls_configs=[config], hls4ml_versions=[net["hls4ml"]], vivado_versions=[net["tool"]]
        ).iloc[0]
        keys = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram18": "BRAM"}
        keys |= {"latency_cycles": "CYCLES", "interval_cycles": "INTERVAL"}
        found.append({k: float(row[c]) for k, c in keys.items()})
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()

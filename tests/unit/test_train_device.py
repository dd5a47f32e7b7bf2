"""Choice of processor and number format."""

import pytest

from flow.train.device import DeviceError, bfloat16, pick


@pytest.mark.parametrize(
    ("name", "cuda", "chosen"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_auto_takes_a_gpu_where_there_is_one(name: str, cuda: bool, chosen: str) -> None:
    assert pick(name, lambda: cuda) == chosen


def test_a_missing_gpu_is_one_line() -> None:
    with pytest.raises(DeviceError, match=r"--device cuda: .*; take --device auto") as e:
        pick("cuda", lambda: False)
    assert "\n" not in str(e.value)
    with pytest.raises(DeviceError, match="no device 'tpu'"):
        pick("tpu")


@pytest.mark.parametrize(
    ("name", "flags", "used"),
    [
        ("auto", "fpu avx512f avx512_bf16", True),
        ("auto", "fpu avx512f", False),
        ("auto", "", False),
        ("bfloat16", "", True),
        ("float32", "amx_bf16", False),
    ],
)
def test_bfloat16_where_the_processor_multiplies_it(name: str, flags: str, used: bool) -> None:
    assert bfloat16(name, "cpu", lambda: flags) is used


def test_unknown_precision() -> None:
    with pytest.raises(DeviceError, match="no precision 'fp8'"):
        bfloat16("fp8", "cpu")

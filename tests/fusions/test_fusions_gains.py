"""What a site gains, in figures: by its literal sizes, counted as torch counts; none where a size is no literal."""

import pytest
from torch import nn

from fuselight.analysis import Analysis

MODEL = """\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self, dim=16):
        super().__init__()
        {init}

    def forward(self, x):
        {forward}
"""


def gains(code: str, init: str, forward: str) -> tuple[str, ...]:
    text = MODEL.format(init=init.replace("; ", "\n        "), forward=forward.replace("; ", "\n        "))
    analysis = Analysis(text)
    (finding,) = [finding for finding in analysis.findings if finding.code == code]
    return analysis.gains(finding)


QKV = "self.q = nn.Linear({0}, {1}); self.k = nn.Linear({0}, {2}); self.v = nn.Linear({0}, {3})"


def test_sibling_linears() -> None:
    found = gains("FUS201", QKV.format(256, 256, 64, 64), "return self.q(x) + self.k(x).sum() + self.v(x).sum()")
    assert found == (
        "3 layers of 65,792 + 16,448 + 16,448 parameters become one of 98,688.",
        "Kernels: 1 matrix product in place of 3.",
        "The input is read once in place of 3 times: 2,048 bytes less a row in float32.",
    )
    count = sum(one.numel() for one in nn.Linear(256, 384).parameters())
    assert f"{count:,}" in found[0]


@pytest.mark.parametrize(
    ("layer", "real"),
    [
        ("nn.Conv2d(8, 6, 3, padding=1)", nn.Conv2d(8, 6, 3)),
        ("nn.Conv2d(8, 6, (3, 5), bias=False)", nn.Conv2d(8, 6, (3, 5), bias=False)),
        ("nn.Conv1d(8, 6, kernel_size=5)", nn.Conv1d(8, 6, 5)),
        ("nn.Linear(8, 2 * 3)", nn.Linear(8, 6)),
        ("nn.Embedding(8, 6)", nn.Embedding(8, 6)),
    ],
)
def test_parameters_are_counted_as_torch_has_them(layer: str, real: nn.Module) -> None:
    code = "FUS203" if "Embedding" in layer else "FUS202" if "Conv" in layer else "FUS201"
    found = gains(code, f"self.a = {layer}; self.b = {layer}", "return self.a(x) * self.b(x)")
    count = sum(one.numel() for one in real.parameters())
    assert f"{count:,} + {count:,} parameters become one of {2 * count:,}" in found[0]


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("", "64 bytes less a row in float32"),
        (", dtype=torch.bfloat16", "32 bytes less a row in bfloat16"),
        (", dtype=torch.float64", "128 bytes less a row in float64"),
    ],
)
def test_bytes_are_those_of_the_dtype(dtype: str, said: str) -> None:
    layer = f"nn.Linear(16, 8{dtype})"
    assert said in gains("FUS201", f"self.a = {layer}; self.b = {layer}", "return self.a(x) * self.b(x)")[2]


def test_concatenated_outputs_are_not_copied() -> None:
    init = "self.a = nn.Linear(16, 3); self.b = nn.Linear(16, 1)"
    found = gains("FUS204", init, "return torch.cat([self.a(x), self.b(x)], -1)")
    assert found[1:] == (
        "Kernels: 1 matrix product in place of 2 and a copy.",
        "The input is read once in place of 2 times: 64 bytes less a row in float32; the outputs, 16 bytes a row, are"
        " not copied.",
    )


@pytest.mark.parametrize(
    ("init", "forward"),
    [
        ("self.conv = nn.Conv2d(3, 64, 3); self.bn = nn.BatchNorm2d(64)", "return self.bn(self.conv(x))"),
        ("self.net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64))", "return self.net(x)"),
    ],
)
def test_a_dropped_bias(init: str, forward: str) -> None:
    (said,) = gains("FUS101", init, forward)
    assert said == "64 parameters less: 256 bytes in float32, and as much again for their gradient."


def test_rows_that_a_layer_does_not_see() -> None:
    (said,) = gains("FUS701", "self.head = nn.Linear(768, 50257)", "return self.head(x)[:, -1]")
    assert "768 x 50,257 = 38,597,376 multiply-adds and 201,028 bytes of output in float32" in said


def test_elementwise_steps_behind_a_layer() -> None:
    found = gains("FUS401", "self.up = nn.Linear(256, 512)", "h = self.up(x); return h * torch.sigmoid(h)")
    assert found == (
        "Kernels: 1 in place of 2, where the code is not compiled.",
        "1 intermediate value of 2,048 bytes a row in float32 less to write and to read again.",
    )


@pytest.mark.parametrize(
    ("code", "init", "forward"),
    [
        ("FUS201", QKV.format("dim", 8, 8, 8), "return self.q(x) + self.k(x) + self.v(x)"),
        ("FUS201", QKV.format(16, "dim", "dim", 8), "return self.q(x).sum() + self.k(x).sum() + self.v(x)"),
        (
            "FUS201",
            "self.a = nn.Linear(16, 8, dtype=self.kind); self.b = nn.Linear(16, 8, dtype=self.kind)",
            "return self.a(x) + self.b(x)",
        ),
        ("FUS101", "self.c = nn.Conv2d(3, dim, 3); self.bn = nn.BatchNorm2d(dim)", "return self.bn(self.c(x))"),
        ("FUS202", "self.a = nn.Conv2d(3, 8, dim); self.b = nn.Conv2d(3, 8, dim)", "return self.a(x) + self.b(x)"),
        ("FUS401", "self.up = nn.Linear(dim, 512)", "h = x + 1; return h * torch.sigmoid(h)"),
        ("FUS401", "self.up = nn.Linear(8, dim)", "h = self.up(x); return h * torch.sigmoid(h)"),
        ("FUS701", "self.head = nn.Linear(dim, 5)", "return self.head(x)[:, -1]"),
        ("FUS701", "self.norm = nn.LayerNorm(16)", "return self.norm(x)[:, 0]"),
        ("FUS501", "self.a = 1", "return torch.log(F.softmax(x, dim=-1))"),
    ],
)
def test_nothing_is_said_where_a_size_is_no_literal(code: str, init: str, forward: str) -> None:
    assert gains(code, init, forward) == ()

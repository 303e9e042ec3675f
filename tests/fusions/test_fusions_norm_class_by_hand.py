"""FUS413: a hand-written norm becomes a thin class of torch's; the class, its signature and its checkpoints stay."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from equivalence.harness import equivalent, refused
from fuselight.analysis import Analysis
from fuselight.fusions.model import Safety

CODE = "FUS413"
CODES = frozenset({CODE})
HEAD = "import math\n\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
FLOAT32 = 1e-5
"""Where the class rounds float64 to float32, which the layer does not."""

WEIGHT = "self.weight = nn.Parameter(torch.ones(dim))"
BIAS = "self.bias = nn.Parameter(torch.zeros(dim))"
EPS = "self.eps = eps"
RMS = "return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight"
LN = """\
mean = x.mean(-1, keepdim=True)
var = x.var(-1, keepdim=True, unbiased=False)
return self.weight * (x - mean) / torch.sqrt(var + self.eps) + self.bias"""


def indented(lines: str, by: str) -> str:
    return "".join(f"{by}{line}\n" if line.strip() else "\n" for line in lines.strip("\n").split("\n"))


def norm(
    init: str,
    forward: str,
    *,
    arguments: str = "self, dim, eps=1e-6",
    takes: str = "self, x",
    made: str = "Norm(16)",
    between: str = "",
    tail: str = "",
    head: str = "",
    base: str = "nn.Module",
    body: str = "",
    call: str = "self.norm(x)",
) -> str:
    """A file with a class `Norm`, and `M` which uses it."""
    return (
        HEAD
        + (f"\n\n{head.strip(chr(10))}\n" if head else "")
        + f"\n\nclass Norm({base}):\n"
        + (indented(body, "    ") + "\n" if body else "")
        + f"    def __init__({arguments}):\n        super().__init__()\n"
        + indented(init, "        ")
        + (f"\n{indented(between, '    ')}" if between else "")
        + f"\n    def forward({takes}):\n"
        + indented(forward, "        ")
        + "\n\nclass M(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        + f"        self.norm = {made}\n\n    def forward(self, x):\n        return {call}\n"
        + (f"\n\n{tail.strip(chr(10))}\n" if tail else "")
    )


@dataclass
class Case:
    """A class, what must stand in its place, and how safe that is."""

    id: str
    text: str
    after: str = "        super().__init__(dim, eps=eps)\n"
    safety: Safety = Safety.NUMERICS
    tolerance: float = 1e-9


def rms(id: str, forward: str, after: str = "super().__init__(dim, eps=eps)", tolerance: float = 1e-9) -> Case:
    return Case(id, norm(f"{WEIGHT}\n{EPS}", forward), after, tolerance=tolerance)


RMS_NORMS = [
    rms("plain", RMS),
    rms("in steps", "ms = x.pow(2).mean(-1, keepdim=True)\nx = x * torch.rsqrt(ms + self.eps)\nreturn self.weight * x"),
    rms("a square", "return self.weight * x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + self.eps)"),
    rms(
        "a sum by the size",
        "return self.weight * x * torch.rsqrt((x ** 2).sum(-1, keepdim=True) / x.shape[-1] + self.eps)",
    ),
    rms(
        "as in Llama",
        "dtype = x.dtype\nx = x.to(torch.float32)\nvariance = x.pow(2).mean(-1, keepdim=True)\n"
        "x = x * torch.rsqrt(variance + self.eps)\nreturn self.weight * x.to(dtype)",
        tolerance=FLOAT32,
    ),
    rms(
        "the weight in float32",
        "dtype = x.dtype\nx = x.float()\nvariance = x.pow(2).mean(-1, keepdim=True)\n"
        "x = x * torch.rsqrt(variance + self.eps)\nreturn (self.weight.float() * x).to(dtype)",
        tolerance=FLOAT32,
    ),
    rms(
        "float32 by promotion",
        "dtype = x.dtype\nvariance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)\n"
        "x = x * torch.rsqrt(variance + self.eps)\nreturn (self.weight * x).to(dtype)",
        tolerance=FLOAT32,
    ),
    rms("the call", "return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)"),
    Case(
        "as in Llama 2",
        norm(
            f"{EPS}\n{WEIGHT}",
            "output = self._norm(x.float()).type_as(x)\nreturn output * self.weight",
            between="def _norm(self, x):\n    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)\n",
        ),
        tolerance=FLOAT32,
    ),
    Case(
        "a function of the file",
        norm(
            f"{EPS}\n{WEIGHT}",
            "return rms(x, self.weight, eps=self.eps)",
            head="def rms(h, w, eps=1e-5):\n    ms = (h * h).mean(-1, keepdim=True)\n"
            "    return w * h * torch.rsqrt(ms + eps)\n",
        ),
    ),
    Case(
        "another name for eps, a representation",
        norm(
            f"{WEIGHT}\nself.variance_epsilon = eps",
            RMS.replace("self.eps", "self.variance_epsilon"),
            between='def extra_repr(self):\n    return f"{tuple(self.weight.shape)}, eps={self.variance_epsilon}"',
        ),
    ),
    Case(
        "eps in forward",
        norm(WEIGHT, RMS.replace("self.eps", "1e-5"), arguments="self, dim"),
        "super().__init__(dim, eps=1e-5)",
    ),
    Case(
        "eps is a constant of the module",
        norm(WEIGHT, RMS.replace("self.eps", "EPS"), arguments="self, dim", head="EPS = 1e-5"),
        "super().__init__(dim, eps=EPS)",
    ),
    Case(
        "eps is set to a number",
        norm(f"{WEIGHT}\nself.eps = 1e-8", RMS, arguments="self, dim"),
        "super().__init__(dim, eps=1e-8)",
    ),
    Case(
        "sizes of a configuration",
        norm(
            "self.weight = nn.Parameter(torch.ones(config.hidden_size))\nself.eps = config.rms_norm_eps",
            RMS,
            arguments="self, config",
            made="Norm(Config())",
            head="class Config:\n    hidden_size = 16\n    rms_norm_eps = 1e-5\n",
        ),
        "super().__init__(config.hidden_size, eps=config.rms_norm_eps)",
    ),
    Case(
        "a size that is kept",
        norm(
            f"self.dim = dim\n{EPS}\nself.weight = nn.Parameter(torch.ones(self.dim))", RMS, tail="SIZE = M().norm.dim"
        ),
        "        super().__init__(dim, eps=eps)\n        self.dim = dim\n",
    ),
    Case(
        "a size that forward reads",
        norm(f"self.dim = dim\n{EPS}\n{WEIGHT}", "return F.rms_norm(x, (self.dim,), weight=self.weight, eps=self.eps)"),
        "        super().__init__(dim, eps=eps)\n\n\n",
        Safety.EXACT,
    ),
    Case(
        "a device and a dtype",
        norm(
            f"self.weight = nn.Parameter(torch.ones(dim, device=device, dtype=dtype))\n{EPS}",
            RMS,
            arguments="self, dim, eps=1e-6, device=None, dtype=None",
        ),
        "super().__init__(dim, eps=eps, device=device, dtype=dtype)",
    ),
    Case(
        "filled later",
        norm(f"self.weight = nn.Parameter(torch.empty(dim))\n{EPS}\nnn.init.ones_(self.weight)", RMS),
        "        super().__init__(dim, eps=eps)\n        nn.init.ones_(self.weight)\n",
    ),
    Case(
        "reset_parameters",
        norm(
            f"self.weight = nn.Parameter(torch.empty(dim))\n{EPS}\nself.reset_parameters()",
            RMS,
            between="def reset_parameters(self):\n    nn.init.ones_(self.weight)",
        ),
        "        super().__init__(dim, eps=eps)\n        self.reset_parameters()\n",
    ),
    Case("a tuple of one", norm(f"self.weight = nn.Parameter(torch.ones((dim,)))\n{EPS}", RMS)),
    Case(
        "the call by torch.mul",
        norm(
            f"{WEIGHT}\n{EPS}",
            RMS.replace(" * self.weight", "").replace("return x * torch.rsqrt", "x = x * torch.rsqrt")
            + "\nreturn torch.mul(self.weight, x)",
        ),
    ),
    Case(
        "docstrings and comments",
        norm(
            f"{WEIGHT}  # gain\n# how small\n{EPS}",
            f'"""x: (..., dim)"""\n# in one line\n{RMS}  # done',
            body='"""A norm."""',
            arguments="self, dim: int, eps: float = 1e-6",
        ),
    ),
    Case(
        "a subclass that adds nothing",
        norm(f"{WEIGHT}\n{EPS}", RMS, made="Other(16)").replace(
            "\n\nclass M", "\n\nclass Other(Norm):\n    pass\n\n\nclass M"
        ),
    ),
    Case("tabs", norm(f"{WEIGHT}\n{EPS}", RMS).replace("    ", "\t"), "\t\tsuper().__init__(dim, eps=eps)\n"),
    Case(
        "windows line ends", norm(f"{WEIGHT}\n{EPS}", RMS).replace("\n", "\r\n"), "super().__init__(dim, eps=eps)\r\n"
    ),
    Case(
        "the old super",
        norm(f"{WEIGHT}\n{EPS}", RMS).replace(
            "        super().__init__()\n", "        super(Norm, self).__init__()\n", 1
        ),
    ),
    Case(
        "the base itself",
        norm(f"{WEIGHT}\n{EPS}", RMS).replace("        super().__init__()\n", "        nn.Module.__init__(self)\n", 1),
    ),
    Case("torch.nn alone", norm(f"{WEIGHT}\n{EPS}", RMS, base="torch.nn.Module")),
    Case(
        "one long line",
        norm(
            "self.weight = nn.Parameter(torch.ones(number_of_the_features))\n"
            "self.variance_epsilon = very_small_number_added",
            RMS.replace("self.eps", "self.variance_epsilon"),
            arguments="self, number_of_the_features, very_small_number_added=1e-6",
        ),
        "super().__init__(number_of_the_features, eps=very_small_number_added)",
    ),
]

RENAMED = [
    Case(
        "gamma",
        norm(f"self.gamma = nn.Parameter(torch.ones(dim))\n{EPS}", RMS.replace("weight", "gamma")),
        "self.register_load_state_dict_pre_hook(_rename_parameters_of_norm)",
        Safety.CHECKPOINT,
    ),
    Case(
        "normalize",
        norm(
            "self.scale = dim ** 0.5\nself.g = nn.Parameter(torch.ones(dim))",
            "return F.normalize(x, dim=-1) * self.scale * self.g",
            arguments="self, dim",
        ),
        "super().__init__(dim, eps=1e-24)",
        Safety.CHECKPOINT,
    ),
    Case(
        "gamma and beta",
        norm(
            f"self.gamma = nn.Parameter(torch.ones(dim))\nself.beta = nn.Parameter(torch.zeros(dim))\n{EPS}",
            LN.replace("weight", "gamma").replace(".bias", ".beta"),
        ),
        '(("gamma", "weight"), ("beta", "bias"))',
        Safety.CHECKPOINT,
    ),
    Case(
        "past load hooks",
        norm(f"self.gamma = nn.Parameter(torch.ones(dim))\n{EPS}", RMS.replace("weight", "gamma"))
        .replace("import torch\n", "import torch\nfrom collections import OrderedDict as safetensors\n", 1)
        .replace("from collections import OrderedDict as safetensors", "from torch.distributed.checkpoint import load"),
        "super().__init__(dim, eps=eps)",
        Safety.BREAKING,
    ),
]

LAYER_NORMS = [
    Case("plain", norm(f"{WEIGHT}\n{BIAS}\n{EPS}", LN)),
    Case(
        "the variance by hand",
        norm(
            f"{WEIGHT}\n{BIAS}\n{EPS}",
            "u = x.mean(-1, keepdim=True)\ns = (x - u).pow(2).mean(-1, keepdim=True)\n"
            "x = (x - u) / torch.sqrt(s + self.eps)\nreturn self.weight * x + self.bias",
        ),
    ),
    Case(
        "without a bias",
        norm(f"{WEIGHT}\n{EPS}", LN.replace(" + self.bias", "")),
        "super().__init__(dim, eps=eps, bias=False)",
    ),
    Case(
        "as in nanoGPT",
        norm(
            f"{WEIGHT}\nself.bias = nn.Parameter(torch.zeros(dim)) if bias else None",
            "return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)",
            arguments="self, dim, bias",
            made="Norm(16, bias=True)",
        ),
        "super().__init__(dim, eps=1e-5, bias=bias)",
        Safety.EXACT,
    ),
    Case(
        "the call",
        norm(
            f"{WEIGHT}\n{BIAS}\n{EPS}\nself.normalized_shape = (dim,)",
            "return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)",
        ),
        "        super().__init__(dim, eps=eps)\n\n\n",
        Safety.EXACT,
    ),
    Case(
        "the call with its default",
        norm(
            f"{WEIGHT}\n{BIAS}", "return F.layer_norm(x, (x.size(-1),), self.weight, self.bias)", arguments="self, dim"
        ),
        "        super().__init__(dim)\n",
        Safety.EXACT,
    ),
    Case(
        "the call of a shape",
        norm(
            "self.weight = nn.Parameter(torch.ones(shape))\nself.bias = nn.Parameter(torch.zeros(shape))",
            "return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)",
            arguments="self, shape",
            made="Norm((3, 16))",
        ),
        "super().__init__(shape, eps=1e-5)",
        Safety.EXACT,
    ),
    Case(
        "the call without parameters",
        norm(
            "self.normalized_shape = (dim,)",
            "return F.layer_norm(x, self.normalized_shape, None, None, eps=1e-5)",
            arguments="self, dim",
        ),
        "super().__init__(dim, eps=1e-5, elementwise_affine=False)",
        Safety.EXACT,
    ),
    Case(
        "the call in float32",
        norm(
            f"{WEIGHT}\n{BIAS}\n{EPS}",
            "y = F.layer_norm(x.float(), self.weight.shape, self.weight.float(), self.bias.float(), self.eps)\n"
            "return y.type_as(x)",
        ),
        tolerance=FLOAT32,
    ),
]

IMAGE = """\
u = x.mean(1, keepdim=True)
s = (x - u).pow(2).mean(1, keepdim=True)
x = (x - u) / torch.sqrt(s + self.eps)
return self.weight[:, None, None] * x + self.bias[:, None, None]"""
IMAGES = [
    Case("as in ConvNeXt", norm(f"{WEIGHT}\n{BIAS}\n{EPS}", IMAGE), "return x.permute(0, 3, 1, 2).contiguous()"),
    Case(
        "by views, and a variance",
        norm(
            f"{WEIGHT}\n{BIAS}\n{EPS}",
            "# per pixel\nmean = x.mean(dim=1, keepdim=True)\nvar = x.var(dim=1, keepdim=True, unbiased=False)\n"
            "y = (x - mean) / (var + self.eps).sqrt()  # normalised\n"
            "return y * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)",
        ),
        "super().__init__(dim, eps=eps)",
    ),
    Case(
        "gamma and beta of images",
        norm(
            f"self.gamma = nn.Parameter(torch.ones(dim))\nself.beta = nn.Parameter(torch.zeros(dim))\n{EPS}",
            IMAGE.replace("weight", "gamma").replace("bias", "beta"),
        ),
        "self.weight, self.bias",
        Safety.CHECKPOINT,
    ),
]

POSITIVES = RMS_NORMS + RENAMED + LAYER_NORMS


@pytest.mark.parametrize("case", IMAGES, ids=lambda case: case.id)
def test_images(case: Case) -> None:
    result = equivalent(case.text, ((2, 16, 3, 4),), codes=CODES, tolerance=1e-9, line_length=120)
    assert [finding.safety for finding in result.applied] == [case.safety]
    assert "shape (N, C, H, W)" in result.applied[0].title
    assert case.after in result.text, result.text


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: case.id)
def test_replaced(case: Case) -> None:
    result = equivalent(case.text, ((2, 3, 16),), codes=CODES, tolerance=case.tolerance, deep=case in RENAMED)
    assert [finding.code for finding in result.applied] == [CODE]
    expected = Safety.EXACT if case.id == "the call" else case.safety
    assert result.applied[0].safety is expected, result.applied[0].title
    assert case.after in result.text, result.text
    assert "class Norm(nn." in result.text or "class Norm(torch.nn." in result.text


def test_the_layer_computes_what_the_class_did_in_every_dtype() -> None:
    import torch

    from equivalence.harness import executed, rewritten

    text = RMS_NORMS[5].text
    with executed(text) as before, executed(rewritten(text, codes=CODES).text) as after:
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            old, new = before.M().to(dtype), after.M().to(dtype)
            x = torch.randn(5, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
            for scale in (0.0, 1e-3, 1.0, 300.0):
                wanted, found = old(x * scale), new(x * scale)
                assert found.dtype == wanted.dtype
                assert torch.equal(found, wanted)


@dataclass
class Negative:
    """A text in which nothing is offered, and a part of the reason."""

    id: str
    text: str
    reason: str = ""


PLAIN = norm(f"{WEIGHT}\n{EPS}", RMS)
WITH_VARIANCE = norm(f"{WEIGHT}\nself.variance_epsilon = eps", RMS.replace("self.eps", "self.variance_epsilon"))


def with_(init: str = f"{WEIGHT}\n{EPS}", forward: str = RMS, **options: str) -> str:
    return norm(init, forward, **options)


NEGATIVES = [
    Negative(
        "weights of images of their own shape",
        norm(
            "self.weight = nn.Parameter(torch.ones(1, dim, 1, 1))\n"
            f"self.bias = nn.Parameter(torch.zeros(1, dim, 1, 1))\n{EPS}",
            IMAGE.replace("[:, None, None]", ""),
        ),
        "",
    ),
    Negative("images, weights over the rows", norm(f"{WEIGHT}\n{BIAS}\n{EPS}", IMAGE.replace("None, None]", "None]"))),
    Negative(
        "handed on in __init__",
        with_(f"{WEIGHT}\n{EPS}\nREGISTRY.append(self)", head="REGISTRY = []"),
        "may do anything",
    ),
    Negative(
        "one plus the weight", with_(forward=RMS.replace("self.weight", "(1 + self.weight)")), "added to its weight"
    ),
    Negative(
        "one plus the weight, as in Gemma",
        norm(
            f"self.weight = nn.Parameter(torch.zeros(dim))\n{EPS}",
            "y = self._norm(x.float())\ny = y * (1.0 + self.weight.float())\nreturn y.type_as(x)",
            between="def _norm(self, x):\n    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)\n",
        ),
        "added to its weight",
    ),
    Negative("zeros", with_(f"self.weight = nn.Parameter(torch.zeros(dim))\n{EPS}"), "starts at 0"),
    Negative("another start", with_(f"self.weight = nn.Parameter(torch.full((dim,), 0.1))\n{EPS}"), "starts at 0.1"),
    Negative("random", with_(f"self.weight = nn.Parameter(torch.rand(dim))\n{EPS}"), "is not made of one size"),
    Negative(
        "frozen", with_(f"self.weight = nn.Parameter(torch.ones(dim), requires_grad=False)\n{EPS}"), "is not made"
    ),
    Negative("two dimensions", with_(f"self.weight = nn.Parameter(torch.ones(1, 1, dim))\n{EPS}"), "one dimension"),
    Negative("a buffer", with_(f"self.register_buffer('weight', torch.ones(dim))\n{EPS}"), ""),
    Negative(
        "eps outside",
        with_(forward="return self.weight * x / (x.pow(2).mean(-1, keepdim=True).sqrt() + self.eps)"),
        "eps",
    ),
    Negative(
        "no eps", with_(WEIGHT, "return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True))"), "no eps"
    ),
    Negative("a sum", with_(forward=RMS.replace("mean", "sum")), ""),
    Negative("another dimension", with_(forward=RMS.replace("-1", "1")), "dimension"),
    Negative(
        "the dimension is a setting",
        with_(f"{WEIGHT}\n{EPS}\nself.dim = -1", RMS.replace("mean(-1", "mean(self.d")),
        "",
    ),
    Negative("eps is a parameter", with_(f"{WEIGHT}\nself.eps = nn.Parameter(torch.tensor(1e-6))"), "number"),
    Negative(
        "the Annotated Transformer's",
        norm(
            "self.a_2 = nn.Parameter(torch.ones(dim))\nself.b_2 = nn.Parameter(torch.zeros(dim))\nself.eps = eps",
            "mean = x.mean(-1, keepdim=True)\nstd = x.std(-1, keepdim=True)\n"
            "return self.a_2 * (x - mean) / (std + self.eps) + self.b_2",
        ),
        "unbiased",
    ),
    Negative("an unbiased variance", norm(f"{WEIGHT}\n{BIAS}\n{EPS}", LN.replace(", unbiased=False", "")), "unbiased"),
    Negative("gated", with_(forward=f"{RMS} * F.silu(x)"), ""),
    Negative("two inputs", with_(takes="self, x, gate=None", forward=RMS), ""),
    Negative("a part of the features", with_(forward="h, r = x.chunk(2, -1)\n" + RMS.replace("x", "h")), ""),
    Negative("a branch", with_(forward=f"if self.training:\n    return x\n{RMS}"), ""),
    Negative("another step", with_(forward=f"print(x.shape)\n{RMS}"), ""),
    Negative("kept", with_(forward="self.last = x\n" + RMS), ""),
    Negative("written to", with_(forward="x.mul_(2)\n" + RMS), ""),
    Negative("a dropout behind it", with_(forward=RMS.replace("return ", "return F.dropout(") + ")"), ""),
    Negative(
        "the dtype of the weight",
        norm(
            f"{WEIGHT}\n{EPS}",
            "variance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)\nx = x * torch.rsqrt(variance + self.eps)\n"
            "if self.weight.dtype in [torch.float16, torch.bfloat16]:\n    x = x.to(self.weight.dtype)\n"
            "return self.weight * x",
        ),
        "the dtype of its weight",
    ),
    Negative("stays in float32", with_(forward="x = x.float()\n" + RMS), ""),
    Negative("a decorated class", PLAIN.replace("class Norm", "@torch.compile\nclass Norm"), "decorator"),
    Negative(
        "a decorated forward",
        PLAIN.replace(
            "    def forward(self, x):\n        return x",
            "    @torch.no_grad()\n    def forward(self, x):\n        return x",
            1,
        ),
        "",
    ),
    Negative("class attributes", with_(body="eps_is = 'small'"), "class attributes"),
    Negative("two bases", with_(base="nn.Module, object"), ""),
    Negative("another base", with_(base="nn.LayerNorm"), ""),
    Negative(
        "a subclass with methods",
        PLAIN.replace(
            "\n\nclass M",
            "\n\nclass Other(Norm):\n    def forward(self, x):\n        return super().forward(x) + 1\n\n\nclass M",
        ),
        "inherits",
    ),
    Negative("a buffer more", with_(f"{WEIGHT}\n{EPS}\nself.register_buffer('n', torch.zeros(1))"), "may do anything"),
    Negative("a layer more", with_(f"{WEIGHT}\n{EPS}\nself.drop = nn.Dropout(0.1)"), "layers of its own"),
    Negative(
        "a parameter more", with_(f"{WEIGHT}\n{EPS}\nself.other = nn.Parameter(torch.ones(3))"), "layers of its own"
    ),
    Negative("a weight under a condition", with_(f"if dim:\n    {WEIGHT}\n{EPS}"), "assigned once"),
    Negative("a weight made twice", with_(f"{WEIGHT}\n{WEIGHT}\n{EPS}"), ""),
    Negative("sizes rebound", with_(f"dim = dim * 1\n{WEIGHT}\n{EPS}"), "at hand"),
    Negative("eps rebound", with_(f"{WEIGHT}\neps = eps or 1e-6\n{EPS}"), "at hand"),
    Negative(
        "the bias first",
        norm(f"{BIAS}\n{WEIGHT}\n{EPS}", LN),
        "before its weight",
    ),
    Negative("sizes that differ", norm(f"{WEIGHT}\nself.bias = nn.Parameter(torch.zeros(1))\n{EPS}", LN), ""),
    Negative("eps set from outside", PLAIN + "\n\ndef soften(model):\n    model.norm.eps = 1e-3\n", "number"),
    Negative(
        "isinstance",
        PLAIN + "\n\ndef find(model):\n    return [m for m in model.modules() if isinstance(m, nn.RMSNorm)]\n",
        "asks whether",
    ),
    Negative(
        "isinstance of a tuple elsewhere",
        PLAIN
        + "\n\nKINDS = (nn.RMSNorm, nn.Linear)\n\n\ndef find(model):\n"
        + "    return [m for m in model.modules() if isinstance(m, KINDS)]\n",
        "may ask",
    ),
    Negative("called by a keyword", with_(call="self.norm(x=x)"), "as a keyword"),
    Negative("forward is replaced", PLAIN + "\n\nNorm.forward = lambda self, x: x\n", "used elsewhere"),
    Negative(
        "its helper is used elsewhere",
        norm(
            f"{EPS}\n{WEIGHT}",
            "return self._norm(x) * self.weight",
            between="def _norm(self, x):\n    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)\n",
            tail="def bare(norm, x):\n    return norm._norm(x)\n",
        ),
        "used elsewhere",
    ),
    Negative(
        "gamma in a string",
        norm(
            f"self.gamma = nn.Parameter(torch.ones(dim))\n{EPS}",
            RMS.replace("weight", "gamma"),
            tail='DECAY = ("gamma", "beta")',
        ),
        "string",
    ),
    Negative(
        "gamma is read",
        norm(
            f"self.gamma = nn.Parameter(torch.ones(dim))\n{EPS}",
            RMS.replace("weight", "gamma"),
            tail="def f(m):\n    return m.gamma.sum()",
        ),
        "used elsewhere",
    ),
    Negative(
        "a checkpoint method",
        with_(between="def _load_from_state_dict(self, *args):\n    super()._load_from_state_dict(*args)\n"),
        "checkpoints its own way",
    ),
    Negative("an early return", with_(f"{WEIGHT}\n{EPS}\nif dim == 0:\n    return"), "leave early"),
    Negative("a tuple is handed over", with_(made="Norm((3, 16))"), "several dimensions"),
    Negative("a reference", PLAIN.replace("Norm", "ReferenceNorm"), "reference"),
    Negative(
        "in place of the layer",
        HEAD + "\n\nif hasattr(nn, 'RMSNorm'):\n    Norm = nn.RMSNorm\nelse:\n\n    class Norm(nn.Module):\n"
        "        def __init__(self, dim, eps=1e-6):\n            super().__init__()\n"
        f"            {WEIGHT}\n            {EPS}\n\n        def forward(self, x):\n            {RMS}\n",
        "inside something else",
    ),
    Negative(
        "a class inside a function",
        HEAD
        + "\n\ndef make():\n    class Norm(nn.Module):\n        def __init__(self, dim, eps=1e-6):\n"
        + f"            super().__init__()\n            {WEIGHT}\n            {EPS}\n\n"
        + f"        def forward(self, x):\n            {RMS}\n\n    return Norm(4)\n",
        "inside something else",
    ),
    Negative(
        "autocast, and a result that is converted",
        norm(
            f"{WEIGHT}\n{EPS}",
            "h = x.float()\nh = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + self.eps)\n"
            "return (self.weight * h).type_as(x)",
            head="from torch import autocast",
        ),
        "autocast",
    ),
    Negative("autocast", with_(head="from torch import autocast"), "autocast"),
    Negative(
        "a reset that draws",
        norm(
            f"self.weight = nn.Parameter(torch.empty(dim))\n{EPS}\nself.reset_parameters()",
            RMS,
            between="def reset_parameters(self):\n    nn.init.normal_(self.weight)",
        ),
        "reset_parameters",
    ),
]


@pytest.mark.parametrize("case", NEGATIVES, ids=lambda case: case.id)
def test_refused(case: Negative) -> None:
    reasons = refused(case.text, CODE)
    if case.reason:
        assert any(case.reason in reason for reason in reasons), reasons


def test_what_reads_an_attribute_of_the_old_class_goes_on_reading_it() -> None:
    text = WITH_VARIANCE + "\n\ndef show(norm):\n    return norm.variance_epsilon\n"
    result = equivalent(text, ((2, 16),), codes=CODES, tolerance=1e-9, deep=False)
    assert "self.variance_epsilon = eps" in result.text


def test_the_class_covers_the_expression_in_it() -> None:
    found = [finding.code for finding in Analysis(PLAIN).findings]
    assert found == [CODE]

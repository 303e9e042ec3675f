"""Both sides of a rewritten attention, executed: outputs and gradients, in bfloat16, and over many draws of a dropout.

Other than in `equivalence.harness`, the buffers of a module stay what `__init__` makes them (a causal mask is one), and
a program is called with masks, which need no gradient.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from equivalence.attentions import Program
from equivalence.harness import close, executed, tensors_of

DRAWS = 600
"""How often a program with dropout is run to compare its mean."""

Made = Callable[..., object]


def made(namespace: object, dtype: torch.dtype = torch.float64) -> Made:
    """What a program defines; the parameters of a module are not those of a fresh one, its buffers are."""
    function = getattr(namespace, "f", None)
    if function is not None:
        return function
    torch.manual_seed(0)
    module: nn.Module = namespace.M().to(dtype)  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    return module


@dataclass
class Ran:
    outputs: list[torch.Tensor]
    gradients: dict[str, torch.Tensor | None]


def ran(function: Made, call: tuple[torch.Tensor, ...], dtype: torch.dtype = torch.float64) -> Ran:
    """One call; the gradients of its inputs, where they are asked for, and of all parameters."""
    leaves = [one.detach().clone() for one in call]
    leaves = [one.to(dtype) if one.is_floating_point() else one for one in leaves]
    for leaf, one in zip(leaves, call, strict=True):
        leaf.requires_grad_(one.requires_grad)
    if isinstance(function, nn.Module):
        function.zero_grad(set_to_none=True)
    outputs = list(tensors_of(function(*(one.clone() for one in leaves))))
    weights = torch.Generator().manual_seed(3)
    loss = sum(
        (one.double() * torch.randn(one.shape, generator=weights, dtype=torch.float64)).sum()
        for one in outputs
        if one.requires_grad
    )
    if isinstance(loss, torch.Tensor):
        loss.backward()
    gradients = {str(number): leaf.grad for number, leaf in enumerate(leaves) if leaf.requires_grad}
    if isinstance(function, nn.Module):
        gradients |= {name: parameter.grad for name, parameter in function.named_parameters()}
    return Ran([one.detach() for one in outputs], gradients)


def same(one: Ran, other: Ran, tolerance: float, what: str) -> None:
    assert len(one.outputs) == len(other.outputs), what
    for wanted, found in zip(one.outputs, other.outputs, strict=True):
        close(found, wanted, tolerance, what)
    assert one.gradients.keys() == other.gradients.keys(), what
    for name, wanted in one.gradients.items():
        found = other.gradients[name]
        wanted = torch.zeros(()) if wanted is None else wanted
        found = torch.zeros_like(wanted) if found is None else found
        if wanted.dim() == 0 and found.dim():
            wanted = torch.zeros_like(found)
        close(found, wanted, tolerance * 10, f"{what}: gradient of {name}")


def modes(function: Made, program: Program) -> Iterator[str]:
    if not isinstance(function, nn.Module):
        yield "a call"
        return
    function.eval()
    yield "eval mode"
    if not program.dropout:
        function.train()
        yield "training mode"


def compare(program: Program, after: str) -> None:
    """Both sides compute the same, on the parameters and buffers of the old one."""
    with executed(program.text) as first, executed(after) as second:
        old, new = made(first), made(second)
        if isinstance(old, nn.Module) and isinstance(new, nn.Module):
            new.load_state_dict({key: value.clone() for key, value in old.state_dict().items()})
        for call in program.calls:
            for what, _ in zip(modes(old, program), modes(new, program), strict=True):
                same(ran(old, call), ran(new, call), program.tolerance, f"{what}, {len(call)} arguments")


def compare_halves(program: Program, after: str) -> bool:
    """In bfloat16 the fused call takes what the other took, to a few digits. Whether that could be executed."""
    with executed(program.text) as first, executed(after) as second:
        old, new = made(first, torch.bfloat16), made(second, torch.bfloat16)
        if isinstance(old, nn.Module) and isinstance(new, nn.Module):
            new.load_state_dict(old.state_dict())
            old.eval()
            new.eval()
        for call in program.calls:
            try:
                wanted = ran(old, call, torch.bfloat16)
            except RuntimeError:
                return False  # its own code mixes dtypes
            if not all(bool(one.isfinite().all()) for one in wanted.outputs):
                return False
            found = ran(new, call, torch.bfloat16)
            for one, other in zip(wanted.outputs, found.outputs, strict=True):
                close(other.double(), one.double(), 0.06, "bfloat16")
                assert one.dtype == other.dtype, f"{other.dtype} in place of {one.dtype}"
    return True


def compare_draws(program: Program, after: str) -> None:
    """With dropout in training mode: the same mean and spread over many draws."""
    with executed(program.text) as first, executed(after) as second:
        old, new = made(first), made(second)
        assert isinstance(old, nn.Module)
        assert isinstance(new, nn.Module)
        new.load_state_dict(old.state_dict())
        call = tuple(one.detach() for one in program.calls[0])
        drawn: list[torch.Tensor] = []
        for module in (old.train(), new.train()):
            torch.manual_seed(1)
            with torch.no_grad():
                drawn.append(torch.stack([next(tensors_of(module(*call))) for _ in range(DRAWS)]))
        (wanted, found), spread = drawn, drawn[0].std(0)
        assert float(spread.max()) > 0, "no dropout in training mode"
        error = (found.mean(0) - wanted.mean(0)).abs() / (spread * (2 / DRAWS) ** 0.5 + 1e-9)
        assert float(error.max()) < 6, f"another mean: off by {float(error.max()):.1f} standard errors"
        ratio = (found.std(0).square().mean() / spread.square().mean()).sqrt()
        assert 0.9 < float(ratio) < 1.1, f"another spread: {float(ratio):.2f} times"


def fused_calls(after: str) -> list[ast.Call]:
    """The fused calls of a text."""
    calls = [node for node in ast.walk(ast.parse(after)) if isinstance(node, ast.Call)]
    return [one for one in calls if ast.unparse(one.func).endswith("scaled_dot_product_attention")]


def check_calls(after: str) -> None:
    """`attn_mask` together with `is_causal` is an error of the fused call, although a kernel for CPUs takes both."""
    for call in fused_calls(after):
        names = {one.arg for one in call.keywords if ast.unparse(one.value) not in ("None", "False")}
        assert not {"attn_mask", "is_causal"} <= names, after
        assert len(call.args) <= 3, after

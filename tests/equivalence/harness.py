"""What every test of a rewrite checks, so that none has to remember: the text, the fixed point, and torch itself.

`rewritten` applies the fixes of a text one by one and as a whole, with every check of the texts; `compare` executes two
texts in torch on the same weights; `equivalent` does both.
"""

from __future__ import annotations

import ast
import copy
import difflib
import io
import itertools
import re
import sys
import tokenize
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import black
import torch
from torch import nn

from fuselight.analysis import Analysis, FixedText, fix_all
from fuselight.fusions.model import Finding, Fix, Safety

EVERY_SAFETY = frozenset(Safety)
EXACT = 1e-11
"""Relative tolerance in float64 where only the order of a sum may differ by what one matrix product does."""
REORDERED = 1e-9
"""Relative tolerance in float64 where the rewrite adds up in another order."""

_CALLS = ((11, False), (12, True), (13, True), (14, False))
"""Seed and mode of the calls that are compared, one after the other on one module."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_NEWLINES = re.compile(r"\r\n|\r|\n")

Shape = tuple[int, ...]
Inputs = Sequence[Shape | torch.Tensor]


# -- texts


def fixes(analysis: Analysis) -> list[tuple[Finding, Fix]]:
    """Every finding of `analysis` that has an edit, with it."""
    found = [(finding, analysis.fix(finding)) for finding in analysis.findings]
    return [(finding, fix) for finding, fix in found if fix is not None]


def rewritten(
    before: str,
    *,
    allow: frozenset[Safety] = EVERY_SAFETY,
    codes: frozenset[str] | None = None,
    line_length: int = 88,
    layout: bool = False,
) -> FixedText:
    """`before` with everything applied that `allow` and `codes` let through; each step, and each fix alone, checked.

    Args:
        layout: Also check that a text that black and isort leave alone is still one.
    """
    analysis = Analysis(before, line_length=line_length, codes=codes)
    for _, fix in fixes(analysis):
        check_edit(before, fix)
    result = fix_all(analysis, allow, codes)
    step = analysis
    for applied in result.applied:
        finding = next(one for one in step.findings if (one.code, one.span) == (applied.code, applied.span))
        fix = step.fix(finding)
        assert fix is not None
        after = check_edit(step.text, fix)
        if layout:
            check_layout(step.text, after, line_length)
        step = step.updated(after)
        same_as_fresh(step)
    assert step.text == result.text
    left = [
        finding
        for finding in result.analysis.findings
        if finding.safety in allow and (codes is None or finding.code in codes) and finding.withheld is None
    ]
    assert not left, f"not at the fixed point: {[finding.title for finding in left]}"
    return result


def check_layout(before: str, after: str, line_length: int = 88) -> None:
    """What black would leave alone before, it leaves alone afterwards."""
    mode = black.Mode(line_length=line_length, target_versions={black.TargetVersion.PY311})
    if before.startswith("\ufeff") or "\t" in before:
        return  # black decodes a file first, and has no tabs
    if black.format_str(before, mode=mode) == before:
        laid_out = black.format_str(after, mode=mode)
        assert after == laid_out, "".join(difflib.unified_diff(after.splitlines(True), laid_out.splitlines(True)))


def same_as_fresh(analysis: Analysis) -> None:
    """An analysis that took over what did not change says what one from scratch says."""
    fresh = Analysis(analysis.text, line_length=analysis.line_length, codes=analysis.codes)
    assert [_told(one) for one in analysis.findings] == [_told(one) for one in fresh.findings]
    assert [_told(one) for one in analysis.refusals] == [_told(one) for one in fresh.refusals]


def _told(finding: Finding) -> tuple[object, ...]:
    return finding.code, finding.title, finding.message, finding.safety, finding.scope, finding.span, finding.refused


def check_edit(before: str, fix: Fix) -> str:
    """The text after `fix`, which must parse, keep all comments, and touch no more than it changes."""
    after = fix.apply(before)
    ast.parse(after.removeprefix("\ufeff"))
    end = 0
    for edit in fix.edits:
        assert end <= edit.start <= edit.end <= len(before), f"edits overlap or are out of order: {fix.edits}"
        end = edit.end
        old = before[edit.start : edit.end]
        assert old != edit.content, f"an edit changes nothing: {edit}"
        assert not _shares_whole_lines(old, edit.content), f"an edit rewrites lines that stay: {old!r} {edit.content!r}"
        for line in _NEWLINES.split(edit.content)[:-1]:
            assert line == line.rstrip(), f"trailing whitespace in what is inserted: {edit.content!r}"
    lost = comments(before) - comments(after)
    assert not lost, f"comments are lost: {sorted(lost)}\n{after}"
    assert set(_NEWLINES.findall(after)) <= (set(_NEWLINES.findall(before)) or {"\n"}), "another newline style"
    assert after.startswith("\ufeff") == before.startswith("\ufeff")
    assert after.endswith(("\n", "\r")) == before.endswith(("\n", "\r")), "the end of the file changed"
    if "\n    " not in before and "\n\t" in before:
        assert "\n    " not in after, f"spaces in a file of tabs:\n{after}"
    return after


def _shares_whole_lines(old: str, new: str) -> bool:
    """Whether a replacement begins or ends with a whole line of what it replaces."""
    old_lines = [line for line in _LINE.findall(old) if line]
    new_lines = [line for line in _LINE.findall(new) if line]
    if not old_lines or not new_lines:
        return False
    head = old_lines[0] == new_lines[0] and old_lines[0].endswith(("\n", "\r"))
    tail = old_lines[-1] == new_lines[-1] and len(old_lines) > 1 and len(new_lines) > 1
    return head or tail


def comments(text: str) -> Counter[str]:
    """Every comment of a Python text, and how often it stands there."""
    lines = io.StringIO(_NEWLINES.sub("\n", text.removeprefix("\ufeff")))
    tokens = tokenize.generate_tokens(lines.readline)
    return Counter(token.string.rstrip() for token in tokens if token.type == tokenize.COMMENT)


# -- execution


_numbers = itertools.count()


@contextmanager
def executed(text: str) -> Iterator[types.ModuleType]:
    """`text` as an imported module: importable by its name, as pickles of its classes want it."""
    name = f"equivalence_{next(_numbers)}"
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        exec(compile(text.removeprefix("\ufeff"), f"<{name}>", "exec", dont_inherit=True), module.__dict__)
        yield module
    finally:
        del sys.modules[name]


@dataclass
class Run:
    """What one call of a module or function yields, gradients included."""

    outputs: list[torch.Tensor]
    input_gradients: list[torch.Tensor | None]
    gradients: dict[str, torch.Tensor]
    buffers: dict[str, torch.Tensor]


def run(function: Callable[..., object], inputs: list[torch.Tensor], seed: int, module: nn.Module | None) -> Run:
    """Call `function` on fresh leaves, and go backward from a fixed random weighting of its outputs."""
    leaves = [one.clone().requires_grad_(one.is_floating_point()) for one in inputs]
    if module is not None:
        module.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    # A function may write to its input, which a leaf does not let it do.
    outputs = list(tensors_of(function(*(leaf.clone() for leaf in leaves))))
    weights = torch.Generator().manual_seed(seed)
    loss = torch.zeros((), dtype=torch.float64)
    for output in outputs:
        if output.requires_grad:
            loss = loss + (output * torch.randn(output.shape, generator=weights, dtype=torch.float64)).sum()
    if loss.requires_grad:
        loss.backward()
    gradients: dict[str, torch.Tensor] = {}
    buffers: dict[str, torch.Tensor] = {}
    if module is not None:
        for name, parameter in module.named_parameters():
            gradients[name] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    found = [leaf.grad for leaf in leaves]
    return Run([one.detach().clone() for one in outputs], found, gradients, buffers)


def tensors_of(value: object) -> Iterator[torch.Tensor]:
    """Every tensor in nested tuples, lists and dicts, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from tensors_of(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_of(one)


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float, what: str) -> None:
    assert found.shape == wanted.shape, f"{what}: {tuple(found.shape)} in place of {tuple(wanted.shape)}"
    assert found.dtype == wanted.dtype, f"{what}: {found.dtype} in place of {wanted.dtype}"
    if not wanted.numel():
        return
    if not wanted.is_floating_point():
        assert torch.equal(found, wanted), what
        return
    assert torch.equal(found.isnan(), wanted.isnan()), f"{what}: NaN in other places"
    scale = wanted.nan_to_num().abs().max().item()
    error = (found - wanted).nan_to_num().abs().max().item()
    assert error <= tolerance * max(scale, 1.0), f"{what}: off by {error:.3g} at a scale of {scale:.3g}"


def compare(
    before: str, after: str, inputs: Inputs, *, tolerance: float = EXACT, entry: str | None = None, deep: bool = True
) -> None:
    """Both texts compute the same: outputs, gradients and updated buffers, in training and in eval mode.

    The class `M` is made without arguments, or the function `f` called (`entry`: another name). The new module gets
    the old one's state dict by a strict load.

    Args:
        deep: Also copy, pickle and nest the new module before loading, as training code does.
    """
    with executed(before) as old, executed(after) as new:
        name = entry or next(name for name in ("M", "f", *_defined(before)) if hasattr(old, name))
        given = _tensors(inputs)
        if isinstance(getattr(old, name), type):
            _compare_modules(getattr(old, name), getattr(new, name), given, tolerance, deep)
        else:
            one, other = (run(getattr(side, name), given, 1, None) for side in (old, new))
            _same_run(one, other, tolerance, name)


def runs(text: str, inputs: Inputs) -> bool:
    """Whether `compare` could execute a text with a class `M`: of one that raises as it is, nothing can be said."""
    with executed(text) as module:
        torch.manual_seed(0)
        made = module.M().double()
        perturb(made)
        given = _tensors(inputs)
        try:
            for seed, training in _CALLS:
                run(made.train(training), given, seed, made)
        except (RuntimeError, ValueError, NameError, IndexError, TypeError):
            return False
    return True


def _defined(text: str) -> list[str]:
    return [node.name for node in ast.parse(text.removeprefix("\ufeff")).body if isinstance(node, ast.FunctionDef)]


def _tensors(inputs: Inputs) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [
        one if isinstance(one, torch.Tensor) else torch.randn(one, generator=generator, dtype=torch.float64)
        for one in inputs
    ]


def _compare_modules(
    old_class: type[nn.Module], new_class: type[nn.Module], inputs: list[torch.Tensor], tolerance: float, deep: bool
) -> None:
    torch.manual_seed(0)
    old = old_class().double()
    perturb(old)
    state = {key: value.clone() for key, value in old.state_dict().items()}
    torch.manual_seed(0)
    new = new_class().double()
    _load(new, state)
    _same_modules(old, new, inputs, tolerance)
    if deep:
        for way, made in _made_otherwise(new_class, state):
            made.eval()
            old_copy = copy.deepcopy(old)
            old_copy.load_state_dict(state)
            old_copy.eval()
            one, other = (run(side, inputs, 3, None) for side in (old_copy, made))
            _same_run(one, other, tolerance, way)


def _load(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """A strict load, which must leave the caller's dict and its tensors alone."""
    given = {key: value.clone() for key, value in state.items()}
    module.load_state_dict(given, strict=True)
    assert given.keys() == state.keys(), "loading changes the caller's dict"
    for key, value in state.items():
        assert torch.equal(given[key], value), f"loading changes the caller's {key}"


def _same_modules(old: nn.Module, new: nn.Module, inputs: list[torch.Tensor], tolerance: float) -> None:
    for seed, training in _CALLS:
        old.train(training)
        new.train(training)
        what = f"{'training' if training else 'eval'} mode, call {seed - 10}"
        one, other = run(old, inputs, seed, old), run(new, inputs, seed, new)
        _same_run(one, other, tolerance, what)
        _same_gradients(old, new, one, other, training, tolerance, what)
    # What was trained with the old code until now goes on with the new one.
    state = {key: value.clone() for key, value in old.state_dict().items()}
    later = copy.deepcopy(new)
    _load(later, state)
    for name, buffer in later.named_buffers():
        close(dict(new.named_buffers())[name], buffer, tolerance, f"buffer {name} after training")


def _same_run(one: Run, other: Run, tolerance: float, what: str) -> None:
    assert len(one.outputs) == len(other.outputs), f"{what}: another number of outputs"
    for number, (wanted, found) in enumerate(zip(one.outputs, other.outputs, strict=True)):
        close(found, wanted, tolerance, f"{what}: output {number}")
    for number, (wanted, found) in enumerate(zip(one.input_gradients, other.input_gradients, strict=True)):
        assert (wanted is None) == (found is None), f"{what}: gradient of input {number}"
        if wanted is not None and found is not None:
            close(found, wanted, tolerance, f"{what}: gradient of input {number}")


def _same_gradients(
    old: nn.Module, new: nn.Module, one: Run, other: Run, training: bool, tolerance: float, what: str
) -> None:
    """Gradients are mapped as parameters are: a load hook that concatenates parts concatenates their gradients too."""
    state = {key: torch.zeros_like(value) for key, value in old.state_dict().items()}
    mapped = copy.deepcopy(new)
    mapped.load_state_dict({**state, **one.gradients})
    for name, parameter in mapped.named_parameters():
        close(other.gradients[name], parameter.detach(), tolerance, f"{what}: gradient of {name}")
    if not training:
        return  # in eval mode a bias does act, as long as it is there
    kept = new.state_dict().keys()
    for name, gradient in one.gradients.items():
        if name not in kept and not _arrives(new, state, name):
            size = max(
                (abs(float(value.abs().max())) for value in one.gradients.values() if value.numel()), default=1.0
            )
            assert gradient.abs().max() <= tolerance * max(size, 1.0), f"{what}: {name} is dropped, but it does train"


def _arrives(new: nn.Module, state: dict[str, torch.Tensor], name: str) -> bool:
    """Whether an entry of an old checkpoint reaches a parameter."""
    marked = copy.deepcopy(new)
    marked.load_state_dict({**state, name: torch.full_like(state[name], torch.nan)})
    return any(bool(parameter.isnan().any()) for parameter in marked.parameters())


def _made_otherwise(cls: type[nn.Module], state: dict[str, torch.Tensor]) -> Iterator[tuple[str, nn.Module]]:
    """New modules that hold the old state, each by another way that training code takes."""
    made = copy.deepcopy(cls().double())
    _load(made, state)
    yield "a deep copy", made
    stored = io.BytesIO()
    torch.save(cls().double(), stored)
    stored.seek(0)
    restored = torch.load(stored, weights_only=False)
    _load(restored, state)
    yield "a pickle", restored
    parent = nn.ModuleDict({"inner": nn.ModuleList([nn.Identity(), cls().double()])})
    _load(parent, {f"inner.1.{key}": value for key, value in state.items()})
    yield "a nested module", parent["inner"][1]  # type: ignore[index]
    again = cls().double()
    _load(again, {key: value.clone() for key, value in made.state_dict().items()})
    yield "a checkpoint of the new code", again


def perturb(module: nn.Module) -> None:
    """Random values in all parameters and statistics: fresh ones (zeros, ones) would hide much."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in itertools.chain(module.named_parameters(), module.named_buffers()):
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else tensor + 0.5 * noise)


# -- both


def equivalent(
    before: str,
    inputs: Inputs,
    *,
    codes: frozenset[str] | None = None,
    allow: frozenset[Safety] = EVERY_SAFETY,
    tolerance: float = EXACT,
    line_length: int = 88,
    deep: bool = True,
) -> FixedText:
    """Rewrite `before` with all checks; each fix alone and all together must compute the same in torch."""
    result = rewritten(before, allow=allow, codes=codes, line_length=line_length, layout=True)
    afters = {result.text: None}
    analysis = Analysis(before, line_length=line_length, codes=codes)
    offered = [(finding, fix) for finding, fix in fixes(analysis) if codes is None or finding.code in codes]
    if len(offered) > 1:
        afters.update((fix.apply(before), None) for finding, fix in offered if finding.safety in allow)
    for after in afters:
        if after != before:
            compare(before, after, inputs, tolerance=tolerance, deep=deep)
    return result


def refused(text: str, code: str) -> list[str]:
    """The reasons for which `code` is refused in `text`, in which it must offer nothing."""
    analysis = Analysis(text, codes=frozenset({code}))
    offered = [finding for finding in analysis.findings if finding.code == code]
    assert not offered, f"{offered[0].title}\n{fixed_text(analysis, offered[0])}"
    return [finding.refused or "" for finding in analysis.refusals if finding.code == code]


def fixed_text(analysis: Analysis, finding: Finding) -> str:
    fix = analysis.fix(finding)
    return fix.apply(analysis.text) if fix is not None else ""


def module(init: str, forward: str, *, arguments: str = "self, x", head: str = "", tail: str = "") -> str:
    """A file with the class `M`, from the lines of its `__init__` and of its `forward`."""
    return (
        "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
        + (f"\n\n{head.strip(chr(10))}\n" if head else "")
        + "\n\nclass M(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        + _indented(init)
        + f"\n    def forward({arguments}):\n"
        + _indented(forward)
        + (f"\n\n{tail.strip(chr(10))}\n" if tail else "")
    )


def in_layers(init: str, forward: str) -> str:
    """A file with the class `M`, which does more than what `forward` says of `x`: it is no function made a class."""
    return module(f"self.first = nn.PReLU()\n{init}", f"x = self.first(x)\n{forward}")


def function(body: str, arguments: str = "x", *, head: str = "") -> str:
    """A file with the function `f`, from the lines of its body."""
    imports = "import math\n\nimport numpy as np\nimport torch\nimport torch.nn.functional as F\n"
    constants = f"\n{head.strip(chr(10))}\n" if head else ""
    return f"{imports}{constants}\n\ndef f({arguments}):\n{_indented(body, '    ')}"


def _indented(lines: str, by: str = "        ") -> str:
    kept = lines.strip("\n").split("\n")
    return "".join(f"{by}{line}\n" if line.strip() else "\n" for line in kept)

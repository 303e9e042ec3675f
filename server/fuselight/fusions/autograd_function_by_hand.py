"""A custom autograd function that computes an activation of torch, with its gradient by hand.

The memory-efficient swish of EfficientNet, from before torch had `silu`, saves its input alone and computes the sigmoid
again in `backward`. So does torch's own call, in one kernel forward and one backward.

## What it saves
Kernels: the hand-written backward of swish runs six, the call one. On a CPU, a float32 tensor of 3 million elements:
1.43x forward, 2.07x forward and backward. No memory: both keep the input alone. The call of mish is the slower one on a
CPU (FUS403). The calls also compile, differentiate twice and map with `torch.func`.

## Fix safety
`exact`: the same function, and `backward` is proven to be its gradient: both are worked out in numbers, at forty
places, and compared with the activation and its derivative. That is done with fuselight's own arithmetic on the source,
nothing of the file is executed. `numerics` where `exp` or `log` are written out, and overflow where the call does not;
and where a power or a softplus computes in float32 on a GPU under autocast (GELU by tanh, mish): the call does not.
Only the calls (`Swish.apply(x)`) change, the class stays for whoever imports it. What was cut off by
`once_differentiable` has second gradients afterwards.

## Refused when
- the gradient is another one, or holds a comparison, a branch, a step in place or a call that is not known: not proven;
- `forward` takes more than the tensor, or returns several;
- the class has a `symbolic` for ONNX, a `setup_context`, `jvp` or `vmap`, or a decorator such as `custom_fwd`;
- it is called in a test or a reference.

Source: `torch.nn.functional.silu`, `torch.autograd.Function`, torch 2.13.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.needs import widens_under_autocast
from fuselight.fusions.plan import Place, ReplaceExpression, Template
from fuselight.fusions.references import reads_as_reference
from fuselight.graph.classes import ClassInfo, local_names, resolve
from fuselight.graph.kinds import kind_of_function, kind_of_method
from fuselight.graph.mentions import Function
from fuselight.graph.module import Module, Scope

_FUNCTIONS = frozenset({"torch.autograd.Function", "torch.autograd.function.Function"})
_ONCE = frozenset({"torch.autograd.function.once_differentiable", "torch.autograd.once_differentiable"})


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _square(x: float) -> float:
    return x * x


def _rsqrt(x: float) -> float:
    return 1 / math.sqrt(x)


def _reciprocal(x: float) -> float:
    return 1 / x


_ROOT = math.sqrt(2 / math.pi)


def _gelu(x: float) -> float:
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def _gelu_slope(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2))) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _inner(x: float) -> float:
    return math.tanh(_ROOT * (x + 0.044715 * x**3))


def _gelu_tanh_slope(x: float) -> float:
    return 0.5 * (1 + _inner(x)) + 0.5 * x * (1 - _inner(x) ** 2) * _ROOT * (1 + 3 * 0.044715 * x * x)


def _mish_slope(x: float) -> float:
    bent = math.tanh(_softplus(x))
    return bent + x * _sigmoid(x) * (1 - bent * bent)


@dataclass(frozen=True, slots=True)
class _Activation:
    """A call of torch with what it computes, and its derivative."""

    template: str
    value: Callable[[float], float]
    slope: Callable[[float], float]

    @property
    def name(self) -> str:
        return self.template.partition("(")[0]


_ACTIVATIONS = (
    _Activation("silu(x)", lambda x: x * _sigmoid(x), lambda x: _sigmoid(x) * (1 + x * (1 - _sigmoid(x)))),
    _Activation("mish(x)", lambda x: x * math.tanh(_softplus(x)), _mish_slope),
    _Activation("gelu(x)", _gelu, _gelu_slope),
    _Activation('gelu(x, approximate="tanh")', lambda x: 0.5 * x * (1 + _inner(x)), _gelu_tanh_slope),
    _Activation("softplus(x)", _softplus, _sigmoid),
    _Activation("log_sigmoid(x)", lambda x: -_softplus(-x), lambda x: _sigmoid(-x)),
    _Activation("sigmoid(x)", _sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x)),
    _Activation("tanh(x)", math.tanh, lambda x: 1 - math.tanh(x) ** 2),
)

_PLACES = tuple(0.0371 + (number - 20) * 0.4127 for number in range(40))
"""Where functions are compared: from -8 to 8, at no round number. Two of the kinds read here that agree are one."""
_CLOSE = 1e-9

_UNARY: dict[str, Callable[[float], float]] = {
    "sigmoid": _sigmoid,
    "tanh": math.tanh,
    "exp": math.exp,
    "expm1": math.expm1,
    "log": math.log,
    "log1p": math.log1p,
    "sqrt": math.sqrt,
    "rsqrt": _rsqrt,
    "erf": math.erf,
    "square": _square,
    "reciprocal": _reciprocal,
    "neg": lambda x: -x,
    "softplus": _softplus,
    "silu": lambda x: x * _sigmoid(x),
    "cos": math.cos,
    "sin": math.sin,
}
_BINARY: dict[str, Callable[[float, float], float]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x**y if x > 0 or y == int(y) else math.nan,
}
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.Pow: "pow",
}
_IDENTITY = frozenset({"clone", "detach", "contiguous"})
_UNFOLDED = frozenset({"exp", "log", "log1p", "expm1"})


class _NotFollowed(Exception):
    """Something that is no plain arithmetic of one number."""


@dataclass(frozen=True, slots=True)
class _Proven:
    """What a function is proven to be; with why it is not, in the place of the activation."""

    activation: _Activation | None
    why_not: str = ""
    notes: tuple[str, ...] = ()


_FUNCTION = """\
import torch


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, i):
        ctx.save_for_backward(i)
        return i * torch.sigmoid(i)

    @staticmethod
    def backward(ctx, g):
        i, = ctx.saved_tensors
        s = torch.sigmoid(i)
        return g * (s * (1 + i * (1 - s)))


def f(x):
    return Swish.apply(x)
"""


def _near(reason: str, old: str, new: str) -> NearMiss:
    return NearMiss(_FUNCTION.replace(old, new), reason)


@fusion
class AutogradFunctionByHand(Fusion):
    __doc__ = __doc__

    code = "FUS415"
    name = "autograd-function-by-hand"
    words = (frozenset({"apply"}), frozenset({"backward"}), frozenset({"torch"}))
    examples = (
        Example(
            before="""\
import torch
import torch.nn.functional as F


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, i):
        ctx.save_for_backward(i)
        return i * torch.sigmoid(i)

    @staticmethod
    def backward(ctx, g):
        (i,) = ctx.saved_tensors
        s = torch.sigmoid(i)
        return g * (s * (1 + i * (1 - s)))


def f(x):
    return Swish.apply(x)
""",
            after="""\
import torch
import torch.nn.functional as F


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, i):
        ctx.save_for_backward(i)
        return i * torch.sigmoid(i)

    @staticmethod
    def backward(ctx, g):
        (i,) = ctx.saved_tensors
        s = torch.sigmoid(i)
        return g * (s * (1 + i * (1 - s)))


def f(x):
    return F.silu(x)
""",
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch
import torch.nn.functional as F
from torch import nn


def mish_backward(x, grad):
    bent = F.softplus(x).tanh()
    return grad.mul(bent + x * torch.sigmoid(x) * (1 - bent * bent))


class MishFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.mul(torch.tanh(F.softplus(x)))

    @staticmethod
    def backward(ctx, grad):
        x = ctx.saved_tensors[0]
        return mish_backward(x, grad)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, x):
        return MishFunction.apply(self.fc(x))
""",
            after="""\
import torch
import torch.nn.functional as F
from torch import nn


def mish_backward(x, grad):
    bent = F.softplus(x).tanh()
    return grad.mul(bent + x * torch.sigmoid(x) * (1 - bent * bent))


class MishFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.mul(torch.tanh(F.softplus(x)))

    @staticmethod
    def backward(ctx, grad):
        x = ctx.saved_tensors[0]
        return mish_backward(x, grad)


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, x):
        return F.mish(self.fc(x))
""",
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        _near("is not that of silu", "1 + i * (1 - s)", "1 + i * s"),
        _near("is not that of silu", "return g *", "return 2 * g *"),
        _near("not shown", "return g * (", "return g.clamp(-1, 1) * ("),
        _near("not shown", "s = torch.sigmoid(i)", "s = torch.sigmoid(i)\n        s.mul_(1)"),
        _near("", "return i * torch.sigmoid(i)", "return i * torch.sigmoid(1.702 * i)"),
        _near("", "return i * torch.sigmoid(i)", "return torch.where(i > 0, i, i * torch.sigmoid(i))"),
        _near(
            "symbolic",
            "    @staticmethod\n    def backward",
            "    @staticmethod\n    def symbolic(g, x):\n        return x\n\n    @staticmethod\n    def backward",
        ),
        _near("reads as a reference", "def f(x)", "def test_swish(x)"),
        _near("more than one argument", "Swish.apply(x)", "Swish.apply(x, 1)"),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        if "apply" not in scope.words:
            return
        for call, cls in _calls(module, scope):
            proven = _proven(module, cls)
            if proven is None:
                continue
            statement = scope.statement
            place = Place(statement, call)
            message = f"`{cls.name}` is an activation of torch with its gradient by hand"
            refusal = reads_as_reference(scope)
            if proven.activation is None:
                refusal = refusal or Refusal(proven.why_not, Place(cls.statement, cls.node))
            elif len(call.args) != 1 or call.keywords or isinstance(call.args[0], ast.Starred):
                refusal = refusal or Refusal("it is called with more than one argument", place)
            if refusal is not None or proven.activation is None:
                yield Match(type(self), scope.name, place, message, refused=refusal)
                continue
            name = proven.activation.name
            safety = Safety.NUMERICS if proven.notes else Safety.EXACT
            title = f"Replace `{' '.join(statement.source(call).split())[:80]}` by one call of {name}"
            if proven.notes:
                title += f" (numerics: {'; '.join(proven.notes)})"
            template = Template(proven.activation.template, {"x": statement.source(call.args[0])})
            action = ReplaceExpression(statement, call, template)
            yield Match(type(self), scope.name, place, message, title, safety, plan=lambda action=action: (action,))


def _calls(module: Module, scope: Scope) -> Iterator[tuple[ast.Call, ClassInfo]]:
    """The calls `<Function>.apply(...)` of a function itself, with the class of the file."""
    hidden = local_names(scope.function, scope.statement) | scope.enclosing if scope.name else frozenset[str]()
    stack: list[ast.AST] = list(scope.function.body)
    while stack:
        node = stack.pop()
        if isinstance(node, Function | ast.Lambda | ast.ClassDef):
            continue
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="apply")) if name not in hidden:
                local = module.names.local_class(name)
                found = [one for one in module.classes if one.top_level and one.name == name]
                module.mentions.has_word(name)
                if local is not None and len(found) == 1 and found[0].bases and found[0].bases[0] in _FUNCTIONS:
                    yield node, found[0]
            case _:
                pass
        stack += ast.iter_child_nodes(node)


def _proven(module: Module, cls: ClassInfo) -> _Proven | None:
    """What a custom function is, where its forward is an activation; with what stands against it."""
    forward, backward = cls.methods.get("forward"), cls.methods.get("backward")
    if forward is None or backward is None or len(forward.args.args) != 2 or len(cls.bases) != 1:
        return None
    reader = _Reader(module, cls)
    try:
        values = [reader.both(forward, backward, x, None)[0] for x in _PLACES]
    except _NotFollowed:
        return None
    activation = next((one for one in _ACTIVATIONS if _agree(values, [one.value(x) for x in _PLACES])), None)
    if activation is None:
        return None
    notes = ["finite where exp overflows"] if reader.kinds & _UNFOLDED else []
    if widens_under_autocast(reader.kinds):
        if module.mentions.has_word("autocast", "amp", "GradScaler"):
            return _Proven(None, "the file uses autocast, under which the result would have another dtype")
        notes.append("on a GPU under autocast in the dtype of its operand")
    others = sorted(cls.methods.keys() - {"forward", "backward"})
    if others:
        return _Proven(None, f"`{cls.name}` has a method `{others[0]}` beside its gradient")
    if cls.node.decorator_list or cls.node.keywords or cls.descendants:
        return _Proven(None, f"`{cls.name}` has a decorator or a subclass")
    for method in (forward, backward):
        for decorator in method.decorator_list:
            path = resolve(decorator, module.names)
            if not (isinstance(decorator, ast.Name) and decorator.id == "staticmethod") and path not in _ONCE:
                return _Proven(None, f"`{cls.name}.{method.name}` has the decorator `{ast.unparse(decorator)[:40]}`")
    try:
        slopes = [reader.both(forward, backward, x, 1.3 + x / 7)[1] for x in _PLACES]
    except _NotFollowed as problem:
        return _Proven(None, f"its gradient is not shown to be that of {activation.name}: {problem}")
    if not _agree(slopes, [(1.3 + x / 7) * activation.slope(x) for x in _PLACES]):
        return _Proven(None, f"its gradient is not that of {activation.name}")
    return _Proven(activation, notes=tuple(notes))


def _agree(found: list[float], wanted: list[float]) -> bool:
    return all(abs(one - other) <= _CLOSE * max(abs(other), 1e-6) for one, other in zip(found, wanted, strict=True))


@dataclass(slots=True, eq=False)
class _Context:
    """What a `ctx` holds between forward and backward."""

    saved: list[float] = field(default_factory=list[float])
    attributes: dict[str, float] = field(default_factory=dict[str, float])


_Known = float | tuple[float, ...] | _Context


class _Reader:
    """Works out plain arithmetic of one number from its source."""

    def __init__(self, module: Module, cls: ClassInfo) -> None:
        self.module = module
        self.cls = cls
        self.kinds: set[str] = set()

    def both(self, forward: Function, backward: Function, x: float, gradient: float | None) -> tuple[float, float]:
        """The value at `x`, and what `backward` makes of `gradient` there."""
        context = _Context()
        value = self._call(forward, [context, x], 0)
        if gradient is None:
            return value, math.nan
        return value, self._call(backward, [context, gradient], 0)

    def _call(self, function: Function, given: list[_Known], depth: int) -> float:
        arguments = function.args
        names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
        if depth > 3 or arguments.vararg or arguments.kwarg or arguments.kwonlyargs or len(names) != len(given):
            raise _NotFollowed(f"how `{function.name}` is called")
        known: dict[str, _Known] = dict(zip(names, given, strict=True))
        for statement in function.body:
            match statement:
                case ast.Expr(value=ast.Constant()):
                    pass
                case ast.Expr(
                    value=ast.Call(
                        func=ast.Attribute(value=ast.Name(id=name), attr="save_for_backward"), args=saved, keywords=[]
                    )
                ) if isinstance(context := known.get(name), _Context):
                    context.saved = [self._number(one, known, depth) for one in saved]
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    known[name] = self._value(value, known, depth)
                case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value):
                    values = self._value(value, known, depth)
                    if not isinstance(values, tuple) or len(values) != len(targets):
                        raise _NotFollowed(ast.unparse(statement)[:60])
                    for target, one in zip(targets, values, strict=True):
                        if not isinstance(target, ast.Name):
                            raise _NotFollowed(ast.unparse(statement)[:60])
                        known[target.id] = one
                case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=name), attr=attribute)], value=value) if (
                    isinstance(context := known.get(name), _Context)
                ):
                    context.attributes[attribute] = self._number(value, known, depth)
                case ast.Return(value=ast.Tuple(elts=[only])):
                    return self._number(only, known, depth)
                case ast.Return(value=ast.expr() as value):
                    return self._number(value, known, depth)
                case _:
                    raise _NotFollowed(ast.unparse(statement)[:60].partition("\n")[0])
        raise _NotFollowed("it returns nothing")

    def _number(self, node: ast.expr, known: dict[str, _Known], depth: int) -> float:
        value = self._value(node, known, depth)
        if not isinstance(value, float):
            raise _NotFollowed(ast.unparse(node)[:60])
        return value

    def _value(self, node: ast.expr, known: dict[str, _Known], depth: int) -> _Known:
        try:
            return self._worked_out(node, known, depth)
        except (ArithmeticError, ValueError):
            raise _NotFollowed(f"{ast.unparse(node)[:60]} overflows") from None

    def _worked_out(self, node: ast.expr, known: dict[str, _Known], depth: int) -> _Known:
        match node:
            case ast.Name(id=name) if name in known:
                return known[name]
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return float(number)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                kind = _OPERATORS[type(op)]
                self.kinds.add("reciprocal" if kind == "div" and isinstance(left, ast.Constant) else kind)
                return _BINARY[kind](self._number(left, known, depth), self._number(right, known, depth))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._number(operand, known, depth)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if isinstance(
                context := known.get(name), _Context
            ):
                if attribute in ("saved_tensors", "saved_variables"):
                    return tuple(context.saved)
                if attribute in context.attributes:
                    return context.attributes[attribute]
            case ast.Attribute() if (path := resolve(node, self.module.names)) in ("math.pi", "torch.pi", "math.e"):
                return math.e if path == "math.e" else math.pi
            case ast.Subscript(value=value, slice=ast.Constant(value=int() as index)):
                several = self._value(value, known, depth)
                if isinstance(several, tuple) and -len(several) <= index < len(several):
                    return several[index]
            case ast.Call():
                return self._called(node, known, depth)
            case _:
                pass
        raise _NotFollowed(ast.unparse(node)[:60])

    def _called(self, node: ast.Call, known: dict[str, _Known], depth: int) -> float:
        func = node.func
        if any(isinstance(one, ast.Starred) for one in node.args):
            raise _NotFollowed(ast.unparse(node)[:60])
        root = func
        while isinstance(root, ast.Attribute):
            root = root.value
        hidden = isinstance(root, ast.Name) and root.id in known
        path = resolve(func, self.module.names) if not hidden else None
        if path is not None:
            if path in ("math.sqrt", "math.exp", "math.log") and len(node.args) == 1 and not node.keywords:
                return {"math.sqrt": math.sqrt, "math.exp": math.exp, "math.log": math.log}[path](
                    self._number(node.args[0], known, depth)
                )
            kind = kind_of_function(path)
            return self._applied(kind, node, [self._number(one, known, depth) for one in node.args])
        if isinstance(func, ast.Attribute):
            receiver = self._number(func.value, known, depth)
            if func.attr in _IDENTITY and not node.args and not node.keywords:
                return receiver
            others = [self._number(one, known, depth) for one in node.args]
            return self._applied(kind_of_method(func.attr), node, [receiver, *others])
        function = self._function(func) if isinstance(func, ast.Name) and not hidden else None
        if function is None or node.keywords:
            raise _NotFollowed(ast.unparse(node)[:60])
        return self._call(function, [self._number(one, known, depth) for one in node.args], depth + 1)

    def _applied(self, kind: str | None, node: ast.Call, given: list[float]) -> float:
        if kind is not None and not node.keywords:
            if len(given) == 1 and kind in _UNARY:
                self.kinds.add(kind)
                return _UNARY[kind](given[0])
            if len(given) == 2 and kind in _BINARY:
                self.kinds.add(kind)
                return _BINARY[kind](given[0], given[1])
        raise _NotFollowed(ast.unparse(node)[:60])

    def _function(self, func: ast.Name) -> Function | None:
        """A plain function of the file, or one that `torch.jit.script` compiles."""
        found = [
            one
            for statement in self.module.mentions.statements_with(func.id)
            for one in statement.body
            if isinstance(one, Function) and one.name == func.id
        ]
        binding = self.module.names.bindings.get(func.id)
        if len(found) != 1 or binding is None or binding.local is not found[0]:
            return None
        for decorator in found[0].decorator_list:
            if resolve(decorator, self.module.names) not in ("torch.jit.script", "torch.compile"):
                return None
        return found[0] if isinstance(found[0], ast.FunctionDef) else None

"""An einsum that is a plain product: `torch.matmul`, `F.linear`, a transposition or a sum under its own name.

`torch.einsum("bij,bkj->bik", a, b)` is `torch.matmul(a, b.mT)`, `torch.einsum("...i,oi->...o", x, w)` is
`F.linear(x, w)`. Found with any letters, with spaces or an ellipsis, with the result left to torch
(`"ij,jk"`), with the operands in a list or in the other order; also `"i,j->ij"` (`torch.outer`), and of one operand
`"bij->bji"` (`transpose`, `permute`) and `"bij->bi"` (`sum`).

## What it saves
Time to read the equation and to permute the operands, a few microseconds a call: nothing that large operands show.
Measured on a CPU, forward: 2.7x to 5.1x for 2 x 8 x 16 (28 to 9 microseconds), 1.06x for 8 x 128 x 256, 1.0x for
8 x 512 x 512; forward and backward 1.4x to 1.7x, 1.03x to 1.14x and 1.0x. No memory is saved. What it computes is
easier to see, by readers and by the other fusions.

## Fix safety
An equation without an ellipsis says how many dimensions each operand has, and every letter where it stands: that the
call computes the same needs no further proof. Batches broadcast alike in both, dtypes are the same, under autocast too,
and the result has memory of its own in both (a transposition is a view in both).

One thing differs. Over a letter that is summed, einsum takes a dimension of size one for as many as the other operand
has; a matrix product raises an error there. Where the source does not show that the two sizes are one, or both more
than one, the edit is `numerics` and the title says so. It is `exact` where it does (two reshapes to the same last
size, linear layers whose width is written as a number, one tensor on both sides), and where nothing is multiplied and
summed: a transposition, a sum, an outer product.

## Refused when
- a letter stands twice in an operand (a diagonal), or is summed in one operand of two;
- the result or an operand has its letters in another order than a product makes or takes them, other than its last two
  exchanged, or a dimension would have to be added: the transpositions around it would be as long as the equation;
- several letters are summed, or none;
- it is a part of an attention, its scores or its weighted sum, which belong together in one call;
- the operands would have to be computed in the other order, and doing so may be seen;
- an operand may be changed in place behind it: the product may keep it where the einsum kept a copy;
- the file can do without torch, which it imports under a condition or inside functions;
- the function is a test's reference, or a gradient by hand.

Three and more operands, an equation that is worked out, and `einsum` of other libraries are left alone.

Source: `torch.einsum`, `torch.matmul`, `torch.nn.functional.linear`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from fuselight.fusions import sizes
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.model import Safety
from fuselight.fusions.plan import Action, Expression, Method, OnValue, Place, ReplaceExpression
from fuselight.fusions.references import reads_as_reference
from fuselight.fusions.writes import source_written_behind
from fuselight.graph.classes import Layer
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import literal_number, rank_of
from fuselight.graph.values import Graph, Value
from fuselight.source.names import import_bindings
from fuselight_emitter.ir import LogicalNode

_DOTS = "..."
_NOTE = "a summed dimension of size one is not broadcast"
_PRODUCTS = frozenset("matmul mm bmm einsum linear addmm baddbmm scaled_dot_product_attention".split())
_WEIGHTED = frozenset(
    f"torch.nn.{name}" for name in "Linear Conv1d Conv2d Conv3d Bilinear Embedding LSTM GRU MultiheadAttention".split()
)
_UNSEEN = frozenset({"call", "opaque", "instance"})
_SAME_SIZES = frozenset(
    "softmax log_softmax dropout relu gelu silu tanh sigmoid exp contiguous clone layer_norm rms_norm".split()
) | {f"method {name}" for name in "contiguous clone float double half bfloat16 to type type_as detach".split()} | {
    f"torch.nn.{name}" for name in "Dropout Softmax LayerNorm RMSNorm Identity ReLU GELU".split()
}  # fmt: skip
"""Kinds whose result has the sizes of their first input."""

Term = tuple[str, ...]
"""The letters of an operand, an ellipsis as one of them."""


@dataclass(frozen=True, slots=True)
class _Product:
    """A product of two operands: `swapped` where the second comes first, `turned` where one is transposed first."""

    kind: str
    swapped: bool = False
    turned: tuple[bool, bool] = (False, False)
    summed: str = ""


@dataclass(frozen=True, slots=True)
class _Methods:
    """Methods of the only operand."""

    methods: tuple[Method, ...]


def _function(equation: str, operands: str = "a, b") -> str:
    return f"import torch\n\n\ndef f({operands}):\n    return torch.einsum({equation!r}, {operands})\n"


@fusion
class EinsumThatIsMatmul(Fusion):
    __doc__ = __doc__

    code = "FUS606"
    name = "einsum-that-is-matmul"
    words = (frozenset({"einsum"}), frozenset({"torch"}))
    examples = (
        Example(
            before="""\
import torch


def f(queries, keys):
    return torch.einsum("bqd,bkd->bqk", queries, keys)
""",
            after="""\
import torch


def f(queries, keys):
    return torch.matmul(queries, keys.mT)
""",
            inputs=((3, 4, 6), (3, 5, 6)),
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 16))

    def forward(self, x):
        y = torch.einsum("...i,oi->...o", x, self.weight)  # the projection
        return F.relu(y)
""",
            after="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 16))

    def forward(self, x):
        y = F.linear(x, self.weight)  # the projection
        return F.relu(y)
""",
            safety=Safety.NUMERICS,
        ),
        Example(
            before="""\
import torch
from torch import einsum


def f(x, g):
    t = einsum("b h i j -> b h j i", x)
    return t, torch.einsum("bhij->bh", x), einsum("i,j->ij", g, g)
""",
            after="""\
import torch
from torch import einsum


def f(x, g):
    t = x.transpose(2, 3)
    return t, x.sum((2, 3)), torch.outer(g, g)
""",
            inputs=((2, 3, 4, 5), (6,)),
            safety=Safety.EXACT,
        ),
    )
    near_misses = (
        # diagonals and traces
        NearMiss(_function("ii->i", "a"), "twice"),
        NearMiss(_function("bii,bij->bij"), "twice"),
        # the heads come out in another place
        NearMiss(_function("bhid,bhjd->bihj"), "another order"),
        # the heads stand between
        NearMiss(_function("bqhd,bkhd->bhqk"), "another order"),
        NearMiss(_function("nhwc,oc->nohw"), "another order"),
        # a batch of dot products, a batch of outer products
        NearMiss(_function("bi,bi->b"), "a dimension would have to be added"),
        NearMiss(_function("bi,bj->bij"), "nothing is summed"),
        # two letters are summed
        NearMiss(_function("bij,kij->bk"), "several letters"),
        # one of them in one operand alone
        NearMiss(_function("bij,jk->bk"), "in one operand alone"),
        # three operands
        NearMiss(_function("ij,jk,kl->il", "a, b, c"), ""),
        # another library's
        NearMiss(
            "import numpy as np\nimport torch\n\n\ndef f(a, b):\n"
            "    return torch.from_numpy(np.einsum('ij,jk->ik', a, b))\n",
            "",
        ),
        # the scores of an attention
        NearMiss(
            "import torch\n\n\ndef f(q, k, v):\n    s = torch.einsum('bid,bjd->bij', q, k) * 0.25\n"
            "    p = s.softmax(-1)\n    return torch.einsum('bij,bjd->bid', p, v)\n",
            "attention",
        ),
        # draws random numbers in another order
        NearMiss(
            "import torch\nimport torch.nn.functional as F\n\n\ndef f(a, b):\n"
            "    return torch.einsum('bjk,bij->bik', F.dropout(a), F.dropout(b))\n",
            "the other order",
        ),
        # what a test compares with
        NearMiss(
            "import torch\n\n\ndef matmul_reference(a, b):\n    return torch.einsum('ij,jk->ik', a, b)\n",
            "reference",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        names = (name for name in module.names.bindings if module.names.origin(name) == "torch.einsum")
        if scope.words.isdisjoint({"einsum", *names}):
            return
        graph = module.graph(scope)
        if graph.opaque is not None:
            return
        for root in list(graph.of_kind("einsum")):
            given = _operands(root)
            equation = root.inputs[0].constant if root.inputs else None
            read = _read(equation) if isinstance(equation, str) else None
            if given is not None and read is not None and len(read[0]) == len(given) <= 2:
                yield self._match(module, scope, graph, root, given, *read)

    def _match(
        self,
        module: Module,
        scope: Scope,
        graph: Graph,
        root: Value,
        given: list[tuple[Value, ast.expr]],
        terms: list[Term],
        result: Term,
    ) -> Match:
        statement, node = scope.statement, root.node
        assert node is not None
        place = Place(statement, node)
        text = f"{','.join(map(''.join, terms))}->{''.join(result)}"
        found = _spelled(terms, result)
        refusal = found if isinstance(found, Refusal) else _refusal(module, scope, graph, root, given, found)
        if refusal is not None or isinstance(found, Refusal):
            message = f"the einsum `{text}` may be a plain product"
            why = refusal if refusal is not None else Refusal("it is none")
            return Match(type(self), scope.name, place, message, refused=Refusal(why.reason, why.at or place))
        if isinstance(found, _Methods):
            value = sizes.source(statement, given[0][1])
            names = " and ".join(f"`{one.name}`" for one in found.methods)
            methods = OnValue(value, found.methods)
            message = f"the einsum `{text}` is {names} of its operand"
            title = f"Replace the einsum `{text}` by {names}"
            return Match(
                type(self), scope.name, place, message, title,
                plan=lambda: (ReplaceExpression(statement, node, methods),),
            )  # fmt: skip
        call = _call(scope, found, given)
        safety = Safety.EXACT if _sizes_shown(graph, found, given, terms) else Safety.NUMERICS
        api = {"linear": "F.linear", "matmul": "torch.matmul", "torch.outer": "torch.outer"}[found.kind]
        title = f"Replace the einsum `{text}` by `{api}({', '.join(call.inputs)[:60]})`"
        if safety is not Safety.EXACT:
            title += f" ({safety.value}: {_NOTE})"

        def plan() -> tuple[Action, ...]:
            return (ReplaceExpression(statement, node, call),)

        return Match(
            type(self), scope.name, place, f"the einsum `{text}` is `{api}`", title, safety, plan=plan
        )  # fmt: skip


# -- the equation


def _read(equation: str) -> tuple[list[Term], Term] | None:
    """The operands and the result of an equation; None where torch takes none like it, or would refuse it."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [_letters(one) for one in left.split(",")]
    if any(term is None for term in terms):
        return None
    operands = [term for term in terms if term is not None]
    every = [letter for term in operands for letter in term]
    if arrow:
        result = _letters(right)
    else:
        # Source: `torch.einsum`: the ellipsis, then the letters that stand once, capitals before small ones.
        once = sorted(letter for letter in set(every) if every.count(letter) == 1 and letter != _DOTS)
        result = ((_DOTS,) if _DOTS in every else ()) + tuple(once)
    if result is None or len(set(result)) != len(result) or not set(result) <= set(every):
        return None
    return operands, result


def _letters(term: str) -> Term | None:
    before, dots, behind = term.partition(_DOTS)
    if not all(one.isascii() and (one.isalpha() or not one) for one in (before, behind)):
        return None
    return (*before, *((_DOTS,) if dots else ()), *behind)


def _spelled(terms: list[Term], result: Term) -> _Product | _Methods | Refusal:
    """The call that computes an equation, or why none does."""
    if any(len(set(term)) != len(term) for term in terms):
        return Refusal("a letter stands twice in an operand: it takes a diagonal")
    every = {letter for term in terms for letter in term}
    if (_DOTS in every) != (_DOTS in result):
        return Refusal("the dimensions of the ellipsis are summed")
    if len(terms) == 1:
        return _of_one(terms[0], result)
    first, second = terms
    summed = [letter for letter in first if letter in second and letter not in result]
    if any(letter not in result and letter not in summed for letter in every):
        return Refusal("a letter is summed that stands in one operand alone")
    if len(summed) > 1:
        return Refusal("several letters are summed")
    if not summed:
        if len(first) == len(second) == 1 and _DOTS not in every and first != second:
            return _Product("torch.outer", result[0] != first[0])
        return Refusal("nothing is summed: it is a product of elements, not of matrices")
    for swapped in (False, True):
        found = _product(second if swapped else first, first if swapped else second, result, summed[0])
        if found is not None:
            kind, turned = found
            return _Product(kind, swapped, turned, summed[0])
    plain = not any(_DOTS in term[1:] for term in terms)
    if plain and not (set(first) - set(second) and set(second) - set(first)):
        return Refusal("a dimension would have to be added to make it a product of matrices")
    return Refusal("an operand or the result has its dimensions in another order than a product of matrices")


def _product(a: Term, b: Term, result: Term, k: str) -> tuple[str, tuple[bool, bool]] | None:
    """How `a` times `b` gives `result` with `k` summed: `linear` or `matmul`, and which of the two is transposed."""
    if b == (k,):
        # A matrix, or many, times one vector.
        if a[-1] == k and result == a[:-1]:
            return "matmul", (False, False)
        turned = a[-2:-1] == (k,) and a[-1] != _DOTS
        return ("matmul", (True, False)) if turned and result == (*a[:-2], a[-1]) else None
    if a == (k,):
        # Only a vector in front of one matrix, or many.
        behind = b[-2:-1] == (k,) and b[-1] != _DOTS
        return ("matmul", (False, False)) if behind and result == (*b[:-2], b[-1]) else None
    if len(b) == 2 and _DOTS not in b and a[-1] == k:
        # One matrix for all rows of `a`, however many dimensions they are in.
        other = b[0] if b[1] == k else b[1]
        if result == (*a[:-1], other):
            if b[0] == k:
                return "matmul", (False, False)
            return ("linear", (False, False)) if len(a) != 2 or _DOTS in a else ("matmul", (False, True))
    if len(a) < 2 or len(b) < 2 or len(result) < 2 or k not in a[-2:] or k not in b[-2:]:
        return None
    m = a[-2] if a[-1] == k else a[-1]
    n = b[-2] if b[-1] == k else b[-1]
    if _DOTS in (m, n) or result[-2:] != (m, n):
        return None
    batch, of_a, of_b = result[:-2], a[:-2], b[:-2]
    if not (_ends(batch, of_a) and _ends(batch, of_b) and batch in (of_a, of_b)):
        return None
    return "matmul", (a[-1] != k, b[-1] == k)


def _ends(batch: Term, part: Term) -> bool:
    """Whether broadcasting, which goes from the right, puts each dimension of `part` where `batch` has it."""
    return not part or batch[-len(part) :] == part


def _of_one(term: Term, result: Term) -> _Methods | Refusal:
    """One operand: its dimensions in another order, or sums of some of them."""
    kept = tuple(letter for letter in term if letter in result)
    if kept != term:
        if kept != result:
            return Refusal("the sum has its dimensions in another order")
        dims = [_dim(term, at) for at, letter in enumerate(term) if letter not in result]
        if None in dims:
            return Refusal("the dimensions are counted from both sides of the ellipsis")
        if not kept:
            return _Methods((Method("sum"),))
        if dims == [len(term) - 1]:
            dims = [-1]
        text = str(dims[0]) if len(dims) == 1 else f"({', '.join(map(str, dims))})"
        return _Methods((Method("sum", {"arg_0": text}),))
    if term == result:
        return Refusal("it changes nothing but the tensor object")
    moved = [at for at, letter in enumerate(term) if result[at] != letter]
    if len(moved) == 2 and _DOTS not in (term[moved[0]], term[moved[1]]):
        dims = [_dim(term, at) for at in moved]
        if None not in dims:
            return _Methods((Method("transpose", {f"arg_{at}": str(dim) for at, dim in enumerate(dims)}),))
    if _DOTS in term:
        return Refusal("the dimensions of the ellipsis would have to be counted")
    order = {f"arg_{at}": str(term.index(letter)) for at, letter in enumerate(result)}
    return _Methods((Method("permute", order),))


def _dim(term: Term, at: int) -> int | None:
    """The number of a dimension: from the end where the ellipsis, of any length, stands before it."""
    if _DOTS not in term or at < term.index(_DOTS):
        return at
    return at - len(term)


# -- the operands


def _operands(root: Value) -> list[tuple[Value, ast.expr]] | None:
    """The operands behind the equation, with where each stands; they may stand in one list."""
    node = root.node
    if not isinstance(node, ast.Call) or root.keywords or len(node.args) != len(root.inputs):
        return None
    values, nodes = root.inputs[1:], node.args[1:]
    if len(nodes) == 1 and isinstance(nodes[0], ast.List | ast.Tuple):
        values, nodes = values[0].inputs, nodes[0].elts
    if len(values) != len(nodes):
        return None
    found = list(zip(values, nodes, strict=True))
    if any(isinstance(one, ast.Starred) or value.kind in ("container", "starred") for value, one in found):
        return None
    return found or None


def _refusal(
    module: Module,
    scope: Scope,
    graph: Graph,
    root: Value,
    given: list[tuple[Value, ast.expr]],
    found: _Product | _Methods,
) -> Refusal | None:
    refusal = reads_as_reference(scope)
    if refusal is not None or isinstance(found, _Methods):
        return refusal
    if not _imports_torch(module):
        return Refusal("the file imports torch under a condition, or inside a function")
    # One call does what scores, softmax and weighted sum do together: a part of them in plain words is in its way.
    if _in_attention(root):
        return Refusal("it is a part of an attention, which is one call as a whole")
    nodes = [node for _, node in given]
    if found.swapped and not _may_change_places(graph, *nodes):
        return Refusal("its operands would be computed in the other order")
    if found.kind == "torch.outer":
        return None
    for value, node in given:
        label = f"`{sizes.source(scope.statement, node)[:60]}`"
        refusal = refusal or source_written_behind(module, scope, graph, value, root, label)
    return refusal


def _imports_torch(module: Module) -> bool:
    """Whether torch is there wherever the file is: an import of its own would make it needed where it was not."""
    return any(
        binding.origin is not None and (binding.origin + ".").startswith("torch.")
        for statement in module.statements
        for node in statement.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for binding in import_bindings(node)
    )


def _may_change_places(graph: Graph, first: ast.expr, second: ast.expr) -> bool:
    """Whether nobody can tell which of two operands is computed first."""
    binding = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
    inside = {first: set(ast.walk(first)), second: set(ast.walk(second))}
    if any(isinstance(one, binding) for nodes in inside.values() for one in nodes):
        return False
    for node, other in ((first, second), (second, first)):
        if not any(isinstance(one, ast.Call) for one in inside[node]):
            unseen = any(value.node in inside[other] and value.kind in _UNSEEN for value in graph.values)
            return isinstance(node, ast.Name) or not unseen
    return False


def _in_attention(root: Value) -> bool:
    """Whether the einsum makes the scores of an attention, or sums values weighted by a softmax."""
    if any(_is_softmax(one) for value in root.inputs[1:] for one in _behind(value)):
        return True
    softmaxes = [one for one in _ahead(root) if _is_softmax(one)]
    return any(one.kind in _PRODUCTS for softmax in softmaxes for one in _ahead(softmax))


def _ahead(value: Value) -> Iterator[Value]:
    """What works on a value, up to the next products."""
    seen: set[Value] = set()
    stack = [value]
    while stack:
        for use in stack.pop().consumers:
            if use.by is not None and use.by not in seen:
                seen.add(use.by)
                yield use.by
                if not _is_product(use.by):
                    stack.append(use.by)


def _behind(value: Value) -> Iterator[Value]:
    """What a value comes from, up to the next products."""
    seen: set[Value] = set()
    stack = [value]
    while stack:
        one = stack.pop()
        if one not in seen and not _is_product(one):
            seen.add(one)
            yield one
            stack += one.inputs


def _is_product(value: Value) -> bool:
    return value.kind in _PRODUCTS or value.kind in _WEIGHTED


def _is_softmax(value: Value) -> bool:
    if value.kind in ("softmax", "torch.nn.Softmax"):
        return True
    name = ast.unparse(value.node.func) if value.kind == "call" and isinstance(value.node, ast.Call) else ""
    return "softmax" in name.lower() or "attend" in name.lower()


# -- the edit


def _call(scope: Scope, found: _Product, given: list[tuple[Value, ast.expr]]) -> Expression:
    order = (1, 0) if found.swapped else (0, 1)
    inputs: list[str] = []
    for at, turned in zip(order, found.turned, strict=True):
        node = given[at][1]
        text = sizes.source(scope.statement, node)
        if turned:
            tight = isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript)
            text = f"{text}.mT" if tight else f"({text}).mT"
        inputs.append(text)
    kind = found.kind if "." in found.kind else f"func_{found.kind}"
    return Expression(LogicalNode("product", kind, {}), tuple(inputs))


# -- whether a size of one can be broadcast


def _sizes_shown(graph: Graph, found: _Product, given: list[tuple[Value, ast.expr]], terms: list[Term]) -> bool:
    """Whether the two sizes of the summed letter are shown to be one size, or both more than one."""
    if not found.summed:
        return True
    extents = [
        _extent(graph, value, term.index(found.summed) - len(term))
        for (value, _), term in zip(given, terms, strict=True)
    ]
    if extents[0] == extents[1]:
        return True
    return all(isinstance(one, int) and one > 1 for one in extents)


def _extent(graph: Graph, value: Value, at: int) -> int | tuple[int | str, int]:
    """The size of a dimension, counted from the end: a number, or what it is the size of."""
    for _ in range(50):
        if value.kind in ("reshape", "method view"):
            given = value.inputs[1:]
            if len(given) == 1 and given[0].kind == "container":
                given = given[0].inputs
            if value.keywords or len(given) < -at or any(one.kind == "starred" for one in given):
                break
            if len(given) == 1 and value.inputs[1].kind != "container" and type(given[0].constant) is not int:
                break
            return _size(graph, given[at]) or (value.order, at)
        if value.kind in ("swapaxes", "permute"):
            moved = _moved(graph, value, at)
            if moved is None:
                break
            value, at = value.inputs[0], moved
        elif value.kind in _SAME_SIZES and value.inputs:
            value = value.inputs[0]
        elif value.kind == "torch.nn.Linear" and at == -1:
            width = _width(value.layer)
            return width if width is not None else (value.order, at)
        else:
            break
    return value.order, at


def _size(graph: Graph, given: Value) -> int | tuple[int | str, int] | None:
    """A size that a reshape is given; None for -1, which stands for what is left."""
    if given.constant is not None or given.kind == "neg":
        return given.constant if type(given.constant) is int and given.constant > 0 else None
    if given.kind == "attribute" and given.path is not None and isinstance(given.node, ast.Attribute):
        name = given.node.attr
        stored = (
            isinstance(one, ast.Attribute) and one.attr == name and not isinstance(one.ctx, ast.Load)
            for one in ast.walk(graph.function)
        )
        if not any(stored):
            return given.path, 0
    return given.order, 0


def _moved(graph: Graph, value: Value, at: int) -> int | None:
    """Which dimension of its input, counted from the end, a transposition puts at `at`."""
    if value.keywords:
        return None
    given = value.inputs[1:]
    if len(given) == 1 and given[0].kind == "container":
        given = given[0].inputs
    dims = [one.constant for one in given]
    numbers = [one for one in dims if type(one) is int]
    if len(numbers) != len(dims) or not numbers:
        return None
    if value.kind == "permute":
        rank = len(numbers)
        numbers = [one % rank - rank for one in numbers]
        return numbers[at] if -at <= rank else None
    rank = rank_of(graph, value.inputs[0]).exact
    if any(one >= 0 for one in numbers):
        if rank is None:
            return None
        numbers = [one - rank if one >= 0 else one for one in numbers]
    if len(numbers) != 2 or at not in numbers:
        return at
    return numbers[1] if at == numbers[0] else numbers[0]


def _width(layer: Layer | None) -> int | None:
    """The width of a linear layer, where it is written as a number."""
    if layer is None or layer.unknown is not None or layer.constructor is None:
        return None
    given = sizes.arguments(layer.constructor, sizes.LINEAR)
    return literal_number(given.get("out_features")) if given is not None else None

"""A product with one-hot rows: the rows of the table themselves.

`F.one_hot(i, n).float() @ table` writes a matrix of zeros with a single one in each row, and multiplies it by the
table, to read one row of the table for each index. `F.embedding(i, table)` reads it. Found as `@`, `matmul`, `mm`,
`einsum` and `F.linear`, with any conversion of the one-hot rows, nested or in variables of their own.

## What it saves
Memory and time that grow with the number of classes: the one-hot matrix, its conversion and a product of which all but
one term a row are zero. Measured on a CPU: 74x forward, 21x forward and backward, and 9.8 MB less kept for the backward
pass.

## Fix safety
`exact`: one term of each sum is left, the others are zero times something. That the table has as many rows as there are
classes needs no proof: otherwise the product raises. An index that is negative or too large raises in both. The result
has the dtype of the table, which is the one dtype in which the product could be made.

The table must have two dimensions, which `F.embedding` insists on. Where the source does not show it, but reads the
number of classes off the table, the edit is `numerics` and the title says so: a table of one dimension (a weight for
each class) or of three would raise.

Two things are better than they were: a row that holds `inf` or `nan` no longer spoils the results of other rows
(`0 * inf` is `nan`), and where products are rounded (TF32, float16 sums) the rows are not.

## Refused when
- the number of classes is left to the indices (`num_classes` omitted or -1): the shape depends on the batch;
- nothing in the source speaks for a table of two dimensions;
- the one-hot rows are used again, or the index may be changed before the product;
- what the rows are converted to cannot be told: `.to(y)`, where it may be another device;
- the file uses autocast, under which the product is rounded to half precision and the look-up is not;
- the number of classes, or the dtype, is worked out by a call;
- the function reads as a reference that something is compared with.

Source: `torch.nn.functional.one_hot`, `torch.nn.functional.embedding`, torch 2.13.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fuselight.fusions import sizes
from fuselight.fusions.base import Example, Fusion, Match, NearMiss, Refusal, fusion
from fuselight.fusions.exchange import reads_as_reference
from fuselight.fusions.matching import operands_of
from fuselight.fusions.model import Safety
from fuselight.fusions.one_hots import OneHot, held_by, one_hot_of, runs_under_autocast
from fuselight.fusions.plan import Action, Expression, Place, ReplaceExpression, ReplaceStatements
from fuselight.graph.classes import ClassInfo, local_names, resolve
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import rank_of
from fuselight.graph.values import Graph, Value
from fuselight.source.names import dotted
from fuselight_emitter.ir import LogicalNode

_PRODUCTS = ("matmul", "mm", "linear", "einsum")
_SAME_RANK = frozenset({"contiguous", "clone", "swapaxes"}) | {
    f"method {name}" for name in "float double half bfloat16 to type type_as t clone detach contiguous".split()
}
"""Kinds whose result has two dimensions where their input has."""
_MATRIX_LAYERS = frozenset({"torch.nn.Linear", "torch.nn.Embedding", "torch.nn.EmbeddingBag"})
_FILLED = frozenset(f"torch.{name}" for name in "zeros ones empty rand randn Tensor FloatTensor full".split())
_PASSES_ON = frozenset("torch.nn.Parameter torch.nn.Buffer torch.clone".split())


def _near(forward: str, init: str = "") -> str:
    lines = "".join(f"        {line}\n" for line in ("super().__init__()", *init.split("\n")) if line)
    body = "".join(f"        {line}\n" for line in forward.split("\n"))
    return f"""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
{lines}        self.table = nn.Parameter(torch.randn(10, 4))

    def forward(self, i):
{body}"""


@fusion
class OneHotMatmul(Fusion):
    __doc__ = __doc__

    code = "FUS601"
    name = "one-hot-matmul"
    words = (frozenset({"one_hot"}), frozenset({"torch"}))
    examples = (
        Example(
            before="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(10, 4))

    def forward(self, x):
        i = x.argmax(dim=-1)
        return F.one_hot(i, 10).to(self.table.dtype) @ self.table
""",
            after="""\
import torch
import torch.nn.functional as F
from torch import nn


class M(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(10, 4))

    def forward(self, x):
        i = x.argmax(dim=-1)
        return F.embedding(i, self.table)
""",
            inputs=((3, 5, 10),),
            safety=Safety.EXACT,
        ),
        Example(
            before="""\
import torch
import torch.nn.functional as F


def f(x, table):
    choice = x.argmax(dim=-1)
    # one row for each
    rows = F.one_hot(choice, num_classes=table.shape[0])
    rows = rows.to(table.dtype)
    return torch.matmul(rows, table)
""",
            after="""\
import torch
import torch.nn.functional as F


def f(x, table):
    choice = x.argmax(dim=-1)
    # one row for each
    return F.embedding(choice, table)
""",
            inputs=((5, 6), (6, 4)),
            safety=Safety.NUMERICS,
        ),
    )
    near_misses = (
        # as many classes as the batch happens to have
        NearMiss(_near("return F.one_hot(i).float() @ self.table"), "read off the indices"),
        NearMiss(_near("return F.one_hot(i, -1).float() @ self.table"), "read off the indices"),
        # the rows are returned too
        NearMiss(_near("rows = F.one_hot(i, 10).float()\nreturn rows @ self.table, rows"), "used again"),
        # a smoothed target is no row
        NearMiss(_near("return (F.one_hot(i, 10).float() * 0.9 + 0.01) @ self.table"), ""),
        # the other way round: columns of zeros and ones
        NearMiss(_near("return self.table @ F.one_hot(i, 4).float()"), ""),
        NearMiss(_near("return F.one_hot(i, 10).float().transpose(-1, -2) @ self.table"), ""),
        # counts, not rows
        NearMiss(_near("return F.one_hot(i, 10).float().sum(1) @ self.table"), ""),
        # under autocast the product is rounded
        NearMiss(_near('with torch.autocast("cuda"):\n    return F.one_hot(i, 10).float() @ self.table'), "autocast"),
        # the index changes in between
        NearMiss(_near("rows = F.one_hot(i, 10).float()\ni += 1\nreturn rows @ self.table"), "may be changed"),
        # another index by then
        NearMiss(_near("rows = F.one_hot(i, 10).float()\ni = i + 1\nreturn rows @ self.table, i"), "another value"),
        # a move to who knows where
        NearMiss(_near("return F.one_hot(i, 10).to(target) @ self.table"), "not known what"),
        # a weight for each class, or a matrix for each head
        NearMiss(
            _near("return F.one_hot(i, 10).float() @ self.w", "self.w = nn.Parameter(torch.ones(10))"),
            "two dimensions",
        ),
        NearMiss(
            _near("w = torch.randn(3, 10, 4)\nreturn F.one_hot(i, 10).float() @ w"),
            "two dimensions",
        ),
        # what a test compares with
        NearMiss(
            "import torch\nimport torch.nn.functional as F\n\n\ndef naive_lookup(i, table):\n"
            "    return F.one_hot(i, len(table)).to(table.dtype) @ table\n",
            "reads as a reference",
        ),
    )

    def matches(self, module: Module, scope: Scope) -> Iterator[Match]:
        if "one_hot" not in scope.words:
            return
        graph = module.graph(scope)
        if graph.opaque is not None or not graph.by_kind.get("one_hot"):
            return
        for kind in _PRODUCTS:
            for root in graph.of_kind(kind):
                found = _factors(root)
                rows = one_hot_of(scope, graph, found[0]) if found is not None else None
                if found is not None and rows is not None:
                    yield self._match(module, scope, graph, root, rows, *found[1:])

    def _match(
        self,
        module: Module,
        scope: Scope,
        graph: Graph,
        root: Value,
        rows: OneHot | Refusal,
        table: Value,
        node: ast.expr,
        turned: bool,
    ) -> Match:
        assert root.node is not None
        statement, replaced = scope.statement, root.node
        place = Place(statement, replaced)
        name = sizes.source(statement, node)
        message = f"one-hot rows pick rows of `{name[:60]}` by a product"
        shown = _shown(module, scope, graph, root, rows, table, node)
        held = shown if isinstance(shown, Refusal) else _held(module, scope, graph, root, rows)
        if isinstance(held, Refusal) or isinstance(rows, Refusal):
            why = held if isinstance(held, Refusal) else rows
            assert isinstance(why, Refusal)
            return Match(type(self), scope.name, place, message, refused=Refusal(why.reason, why.at or place))
        tight = isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript)
        text = (f"{name}.t()" if tight else f"({name}).t()") if turned else name
        safety = Safety.EXACT if shown else Safety.NUMERICS
        title = f"Look the rows of `{name[:60]}` up with `F.embedding`"
        if not shown:
            title += f" ({safety.value}: right for a table of two dimensions)"
        call = Expression(LogicalNode("embedding", "func_embedding", {}), (rows.argument(scope), text))
        others = [Place(statement, value.node) for value in rows.inner if value.node is not None]
        others += [Place(statement, one) for one in held]

        def plan() -> tuple[Action, ...]:
            put = ReplaceExpression(statement, replaced, call)
            return (ReplaceStatements(statement, held, (), root.statement), put) if held else (put,)

        return Match(type(self), scope.name, place, message, title, safety, tuple(others), plan)


def _factors(root: Value) -> tuple[Value, Value, ast.expr, bool] | None:
    """The two factors of a product, where the second stands, and whether its rows are its columns (`F.linear`)."""
    if root.keywords:
        return None
    if root.kind == "einsum":
        return _einsum(root)
    nodes = [one.node for one in operands_of(root) if one.node is not None]
    if len(root.inputs) != 2 or len(nodes) != 2 or any(isinstance(node, ast.Starred) for node in nodes):
        return None
    return *root.inputs, nodes[1], root.kind == "linear"


def _einsum(root: Value) -> tuple[Value, Value, ast.expr, bool] | None:
    """`torch.einsum("bn,nd->bd", rows, table)`"""
    equation = root.inputs[0].constant if root.inputs else None
    if not isinstance(equation, str) or len(root.inputs) != 3 or not isinstance(root.node, ast.Call):
        return None
    left, arrow, result = equation.replace(" ", "").partition("->")
    first, comma, second = left.partition(",")
    if not arrow or not comma or not (first + second).isalpha() or len(second) != 2 or len(set(first)) != len(first):
        return None
    summed, turned = first[-1], second[1] == first[-1]
    kept = second[0] if turned else second[1]
    if summed not in second or kept in first or result != first[:-1] + kept or len(root.node.args) != 3:
        return None
    return root.inputs[1], root.inputs[2], root.node.args[2], turned


def _held(
    module: Module, scope: Scope, graph: Graph, root: Value, rows: OneHot | Refusal
) -> tuple[ast.stmt, ...] | Refusal:
    if isinstance(rows, Refusal):
        return rows
    if reads_as_reference(scope):
        return Refusal(f"`{scope.name}` reads as a reference that something is compared with")
    if runs_under_autocast(module):
        return Refusal("the file uses autocast, under which the product is rounded and a look-up is not")
    return held_by(module, scope, graph, root, rows)


# -- how many dimensions the table has


def _shown(
    module: Module, scope: Scope, graph: Graph, root: Value, rows: OneHot | Refusal, table: Value, node: ast.expr
) -> bool | Refusal:
    """Whether the table is shown to have two dimensions; a refusal where nothing speaks for it."""
    if isinstance(rows, Refusal):
        return rows
    if root.kind in ("mm", "einsum") or _is_table(module, scope, graph, table, root):
        return True
    rank = rank_of(graph, table, root)
    name = ast.unparse(node)
    counted = ast.unparse(rows.classes) in (
        f"{name}.shape[0]", f"{name}.size(0)", f"{name}.size()[0]", f"{name}.size(dim=0)", f"len({name})",
    )  # fmt: skip
    if counted and rank.least <= 2 and (rank.most is None or rank.most >= 2) and root.kind != "linear":
        return False
    return Refusal(f"`{name}` is not shown to have two dimensions", Place(scope.statement, node))


def _is_table(module: Module, scope: Scope, graph: Graph, table: Value, root: Value) -> bool:
    """Whether a value surely has two dimensions."""
    if rank_of(graph, table, root).exact == 2:
        return True
    while table.kind in _SAME_RANK and table.inputs:
        table = table.inputs[0]
        if rank_of(graph, table, root).exact == 2:
            return True
    if table.kind == "attribute" and isinstance(table.node, ast.Attribute) and table.node.attr in ("T", "data"):
        return _is_table(module, scope, graph, table.inputs[0], root)
    owner = scope.owner
    path = dotted(table.node) if table.kind == "attribute" and table.node is not None else None
    if owner is None or path is None or not path.startswith("self."):
        return False
    attribute, _, rest = path.removeprefix("self.").partition(".")
    if not rest:
        return _is_made_with_two_sizes(module, owner, attribute)
    layer = owner.layers.get(attribute)
    return rest == "weight" and layer is not None and layer.unknown is None and layer.kind in _MATRIX_LAYERS


def _is_made_with_two_sizes(module: Module, owner: ClassInfo, attribute: str) -> bool:
    """Whether `self.<attribute>` is set once, to a tensor of two sizes."""
    if owner.unknown_base is not None:
        return False
    family = {member.node for member in owner.family}
    stores = [
        one
        for one in module.mentions.of_attribute(attribute)
        if not isinstance(one.node.ctx, ast.Load) and (one.owner is None or one.owner in family)
    ]
    layer = owner.layers.get(attribute)
    if layer is not None:
        alone = len(stores) == 1 and layer.unknown is None and layer.constructor is not None
        local = local_names(layer.init, layer.statement) | layer.owner.hidden
        return alone and _has_two_sizes(module, layer.constructor, local)
    found: list[bool] = []
    for called in module.mentions.calls_of("register_buffer", "register_parameter"):
        given = [*called.node.args, *(keyword.value for keyword in called.node.keywords)]
        if called.owner not in family or not given:
            continue
        if not isinstance(given[0], ast.Constant):
            return False
        if given[0].value == attribute:
            local = local_names(called.function, called.statement) if called.function is not None else set[str]()
            found.append(len(given) > 1 and _has_two_sizes(module, given[1], local))
    return not stores and len(found) == 1 and found[0]


def _has_two_sizes(module: Module, node: ast.expr | None, local: set[str]) -> bool:
    """Whether `torch.randn(10, 4)`, perhaps scaled, filled or made a parameter, is what an expression says."""
    match node:
        case ast.BinOp(op=ast.Mult() | ast.Div(), left=left, right=right):
            one, other = (left, right) if isinstance(left, ast.Call | ast.BinOp) else (right, left)
            return _is_number(other, one) and _has_two_sizes(module, one, local)
        case ast.Call(func=func, args=args):
            pass
        case _:
            return False
    path = resolve(func, module.names, local)
    if path is None and isinstance(func, ast.Attribute):
        filled = func.attr in ("normal_", "uniform_", "zero_", "fill_", "float", "clone", "detach", "requires_grad_")
        return filled and _has_two_sizes(module, func.value, local)
    if path is None or not args:
        return False
    if path in _PASSES_ON or path.startswith("torch.nn.init."):
        return _has_two_sizes(module, args[0], local)
    if path not in _FILLED:
        return False
    given = args[:1] if path == "torch.full" else args
    if len(given) == 1 and isinstance(given[0], ast.Tuple | ast.List):
        given = given[0].elts
    # A lone name may be a tuple of sizes, two names are two sizes.
    return len(given) == 2 and not any(isinstance(one, ast.Starred | ast.Tuple | ast.List) for one in given)


def _is_number(node: ast.expr, made: ast.expr) -> bool:
    """Whether a factor is a number: of constants, of `math`, and of names that are sizes in `made`."""
    known = sizes.names_in(made) | {"math"}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call | ast.Attribute):
            if not ast.unparse(inner).startswith("math."):
                return False
        elif isinstance(inner, ast.Name):
            if inner.id not in known:
                return False
        elif not isinstance(
            inner, ast.Constant | ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop | ast.expr_context
        ):
            return False
    return True

"""From logical nodes to LibCST statements: initialisers, calls, unpackings."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence

import libcst as cst

from fuselight_emitter.calls import Methods, arguments_of, behind, call_of, check_id, kind_of
from fuselight_emitter.dialects import RequiredImport, get_dialect
from fuselight_emitter.errors import EmitError
from fuselight_emitter.expressions import (
    argument,
    call,
    dotted,
    is_dotted_name,
    is_identifier,
    parse_expression,
    parse_function,
)
from fuselight_emitter.ir import LogicalNode
from fuselight_emitter.layout import lay_out
from fuselight_emitter.load_hooks import LoadHooks
from fuselight_emitter.names import NameResolver
from fuselight_emitter.templates import filled_template

_FOLDS = {
    "convolution": ("fuse_conv_bn_eval", ""),
    "transposed convolution": ("fuse_conv_bn_eval", ", transpose=True"),
    "linear": ("fuse_linear_bn_eval", ""),
}


class PythonSnippetEmitter:
    """Writes one framework's code, in the names of one file.

    Every `emit_*` method, those of `load_hooks` among them, returns a LibCST node, or raises `EmitError`; `render`
    turns a node into laid out source. A value, an input and every other text that is called an expression is source of
    exactly one expression, and its spelling is kept.

    Kinds. "Conv2d" and "torch.nn.Conv2d" are one kind, and so are "relu", "func_relu" and "torch.relu": what the
    dialect's tables hold is known to be a layer or a function. A bare kind that they do not hold is an error. A
    dotted one is emitted as written (through the file's imports where its first part is one of their names); it is a
    layer when its last part is in CapWords, as PEP 8 has class names, and a function when not.

    Args:
        framework: "torch", "flax_nnx" (or "flax"), "jax" or "keras".
        imports: The file's imports: from a local name to what it stands for, {"nn": "torch.nn"}. Without them the
            conventional names are used.
        taken: Further names of the file that no new import may shadow.
        line_length: The most columns that a rendered line has, where it can be broken at all.
        indent_unit: One level of indentation in what is rendered.

    Raises:
        EmitError: The framework is unknown.
    """

    def __init__(
        self,
        framework: str = "torch",
        *,
        imports: Mapping[str, str] | None = None,
        taken: Container[str] = (),
        line_length: int = 88,
        indent_unit: str = "    ",
    ) -> None:
        self._dialect = get_dialect(framework)
        self._names = NameResolver(self._dialect, imports, taken)
        self.load_hooks = LoadHooks(self._dialect.name, self._names, taken)
        self._line_length = line_length
        self._indent_unit = indent_unit

    @property
    def framework(self) -> str:
        return self._dialect.name

    @property
    def missing_imports(self) -> tuple[RequiredImport, ...]:
        """The imports that what was emitted so far needs and the file lacks, in the order they came up."""
        return self._names.missing

    def emit_init(self, node: LogicalNode) -> cst.SimpleStatementLine:
        """Emit `self.<id> = <Kind>(...)`.

        Flax NNX layers that draw random numbers get `rngs=rngs` unless the metadata has `rngs`.

        Raises:
            EmitError: The kind is a function or unknown, or a name or a value is malformed.
        """
        check_id(node)
        return _assign([dotted(f"self.{node.id}")], self.emit_constructor(node))

    def emit_constructor(self, node: LogicalNode) -> cst.Call:
        """Emit `<Kind>(...)`, what `emit_init` assigns.

        Raises:
            EmitError: As `emit_init`; the id is not looked at.
        """
        kind = kind_of(node, self._dialect, self._names)
        if not kind.stateful:
            raise EmitError("a function has nothing to initialise", node=node.id, text=node.kind)
        arguments = arguments_of(node)
        if kind.seeded and "rngs" not in node.metadata:
            # Behind the arguments that are spelled out, and before `**`, which is looked for at the end.
            before = sum(1 for given in arguments if given.star != "**")
            arguments.insert(before, argument(cst.Name("rngs"), name="rngs"))
        constructor = dotted(self._names.spell(kind.api) if kind.known else kind.api)
        return call(constructor, arguments)

    def emit_call(
        self,
        node: LogicalNode,
        input_vars: Sequence[str],
        output_var: str | Sequence[str],
        methods: Methods = (),
    ) -> cst.SimpleStatementLine:
        """Emit `<output_var> = self.<id>(<inputs>)`, or `<output_var> = func(<inputs>, ...)`.

        Args:
            node: A layer is called with the inputs alone (its metadata built it); a function also with its metadata.
            input_vars: Expressions, `*xs` among them.
            output_var: A name, or an attribute such as `self.cache`; a sequence of them takes a tuple apart.
            methods: Methods of the result that are called behind it, each with its arguments as metadata.

        Raises:
            EmitError: The kind is unknown or cannot be called, or a name or an expression is malformed.
        """
        several = not isinstance(output_var, str)
        targets = [_target(name, node.id) for name in ([output_var] if isinstance(output_var, str) else output_var)]
        if not targets:
            raise EmitError("nothing to assign to", node=node.id)
        return _assign(targets, self.emit_expression(node, input_vars, methods), unpack=several)

    def emit_expression(
        self, node: LogicalNode, input_vars: Sequence[str], methods: Methods = ()
    ) -> cst.BaseExpression:
        """Emit what `emit_call` assigns: `self.<id>(<inputs>)` or `func(<inputs>, ...)`, and `methods` behind it.

        Raises:
            EmitError: As `emit_call`.
        """
        return behind(self._call_of(node, input_vars), methods, node.id)

    def emit_template(self, template: str, operands: Mapping[str, str | None]) -> cst.BaseExpression:
        """Emit an expression in neutral kinds, `softmax(x, dim=d)`, with source in the place of its variables.

        Args:
            template: Python. A name that is called is a function's neutral kind, and its keywords are neutral
                parameter names; any other name is a variable. Operators, methods, attributes, subscripts and literals
                stand for themselves.
            operands: An expression for every variable; None where an argument is left out.

        Raises:
            EmitError: The template is malformed or holds an unknown kind or variable, or an expression is malformed.
        """
        return filled_template(template, operands, self._dialect, self._names)

    def emit_template_call(
        self, template: str, operands: Mapping[str, str | None], output_var: str | Sequence[str]
    ) -> cst.SimpleStatementLine:
        """Emit `<output_var> = <template>`; a sequence of names takes a tuple apart.

        Raises:
            EmitError: As `emit_template`, or an output is no name.
        """
        several = not isinstance(output_var, str)
        targets = [_target(name, "template") for name in ([output_var] if isinstance(output_var, str) else output_var)]
        return _assign(targets, self.emit_template(template, operands), unpack=several)

    def emit_attention(self, id: str, inputs: tuple[str, str, str]) -> cst.BaseExpression:
        """Emit `self.<id>(<query>, <key>, <value>, need_weights=False)[0]`, of a `torch.nn.MultiheadAttention`.

        Without the weights, which the second element of its result would be, torch takes the fused kernel.

        Raises:
            EmitError: The framework is not torch, or the id or an input is malformed.
        """
        if self.framework != "torch":
            raise EmitError(f"{self.framework} has no such layer", node=id, text=id)
        call_ = self._call_of(LogicalNode(id, "torch.nn.MultiheadAttention", {}), inputs)
        keyword = argument(cst.Name("False"), name="need_weights")
        first = cst.SubscriptElement(cst.Index(cst.Integer("0")))
        return cst.Subscript(call_.with_changes(args=[*call_.args, keyword]), [first])

    def emit_methods(self, value: str, methods: Methods) -> cst.BaseExpression:
        """Emit `<value>.<method>(...)`, perhaps with further methods behind it.

        Args:
            value: An expression; one that is no name, call or subscript gets parentheses.
            methods: Methods that are called one behind the other, each with its arguments as metadata.

        Raises:
            EmitError: A name or an expression is malformed, or there is no method.
        """
        if not methods:
            raise EmitError("there is no method to call", node="method", text=value)
        receiver = parse_expression(value, node=methods[0][0])
        primary = isinstance(receiver, cst.Name | cst.Attribute | cst.Call | cst.Subscript | cst.BaseString)
        if not (primary or receiver.lpar or isinstance(receiver, cst.BaseList | cst.BaseDict | cst.BaseSet)):
            receiver = receiver.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        return behind(receiver, methods, methods[0][0])

    def emit_unpack(
        self,
        node: LogicalNode,
        input_vars: Sequence[str],
        output_vars: Sequence[str],
        sizes: str | Sequence[str],
        dim: str = "-1",
    ) -> cst.SimpleStatementLine:
        """Emit the call of `node`, split along `dim` into pieces of `sizes`: `q, k = self.qk(x).split([8, 8], dim=-1)`.

        JAX and Keras split at offsets, which are summed up here: as numbers where the sizes are, else as sums.

        Args:
            node: As of `emit_call`.
            input_vars: As of `emit_call`.
            output_vars: One target a piece.
            sizes: An expression a piece, or one expression of them all (`self.qk_sizes`, or a list display).
            dim: An expression.

        Raises:
            EmitError: As `emit_call`; there are not as many sizes as targets; or the framework splits at offsets, and
                the sizes are one expression that is no list display.
        """
        if not output_vars:
            raise EmitError("nothing to unpack into", node=node.id)
        targets = [_target(name, node.id) for name in output_vars]
        axis = parse_expression(dim, node=node.id, bracketed=True)
        display = self._sizes(sizes, node)
        if isinstance(display, cst.List) and len(display.elements) != len(targets):
            count = f"{len(display.elements)} sizes for {len(targets)} targets"
            raise EmitError(count, node=node.id, text=", ".join(output_vars))
        if self.framework == "torch":
            split = cst.Attribute(self._call_of(node, input_vars), cst.Name("split"))
            pieces = call(split, [argument(display), argument(axis, name="dim")])
        else:
            if not isinstance(display, cst.List):
                raise EmitError(
                    f"{self.framework} splits at offsets, which need each size", node=node.id, text=str(sizes)
                )
            value = self._call_of(node, input_vars)
            split = dotted(self._names.spell(self._dialect.functions["split"].api))
            offsets = cst.List([cst.Element(offset) for offset in _offsets(display)])
            pieces = call(split, [argument(value), argument(offsets), argument(axis, name="axis")])
        return _assign(targets, pieces, unpack=True)

    def emit_attribute(self, id: str, value: str) -> cst.SimpleStatementLine:
        """Emit `self.<id> = <value>`; `value` is an expression.

        Raises:
            EmitError: The id or the value is malformed.
        """
        if not is_identifier(id):
            raise EmitError("an attribute's name has to be an identifier", node=id, text=id)
        return _assign([dotted(f"self.{id}")], parse_expression(value, node=id))

    def emit_return(self, value: str) -> cst.SimpleStatementLine:
        """Emit `return <value>`; `value` is an expression.

        Raises:
            EmitError: The value is malformed.
        """
        return cst.SimpleStatementLine([cst.Return(parse_expression(value, node="return"))])

    def emit_delete(self, names: Sequence[str]) -> cst.SimpleStatementLine:
        """Emit `del a, self.b`.

        Raises:
            EmitError: There is no name, or one is neither a name nor an attribute.
        """
        if not names:
            raise EmitError("nothing to delete")
        targets = [_target(name, name) for name in names]
        if len(targets) == 1:
            return cst.SimpleStatementLine([cst.Del(targets[0])])
        return cst.SimpleStatementLine([cst.Del(cst.Tuple([cst.Element(target) for target in targets], [], []))])

    def emit_linear_initialisation(self, id: str) -> cst.SimpleStatementLine:
        """Emit what fills the weight of the embedding `self.<id>` as `torch.nn.Linear` fills its own.

        A linear layer holds its weight transposed: what is the fan-in there is the fan-out here.

        Raises:
            EmitError: The framework is not torch, or the id is malformed.
        """
        if self.framework != "torch":
            raise EmitError(f"{self.framework} initialises otherwise", node=id, text=id)
        if not is_identifier(id):
            raise EmitError("an attribute's name has to be an identifier", node=id, text=id)
        fill = self._names.spell("torch.nn.init.kaiming_uniform_", {"self"})
        weight = f"self.{id}.weight"
        return cst.SimpleStatementLine(
            [cst.Expr(parse_expression(f'{fill}({weight}, a=5**0.5, mode="fan_out")', node=id))]
        )

    def emit_fuse_method(self, pairs: Sequence[tuple[str, str, str]]) -> cst.FunctionDef:
        """Emit a method `fuse` that folds batch norms into the layers before them, by torch's own functions.

        Args:
            pairs: The layer, its norm, each as an attribute or an element of one (`self.conv`, `self.net[0]`), and
                what the layer is: "convolution", "transposed convolution" or "linear".

        Raises:
            EmitError: The framework is not torch, there is no pair, or a pair is malformed.
        """
        if self.framework != "torch":
            raise EmitError(f"{self.framework} has no such function", node="fuse", text="fuse")
        if not pairs:
            raise EmitError("nothing to fuse", node="fuse")
        no_grad = self._names.spell("torch.no_grad", {"self"})
        identity = self._names.spell("torch.nn.Identity", {"self"})
        folds = ""
        for layer, norm, what in pairs:
            for path in (layer, norm):
                if not re.fullmatch(r"self(\.\w+|\[[0-9]+\])+", path):
                    raise EmitError("this is no attribute or element of one", node="fuse", text=path)
            if what not in _FOLDS:
                raise EmitError("nothing folds into a layer of this kind", node="fuse", text=what)
            function, more = _FOLDS[what]
            fold = self._names.spell(f"torch.nn.utils.{function}", {"self"})
            folds += f"""\
    if not isinstance({norm}, {identity}):
        {layer} = {fold}({layer}, {norm}{more})
        {norm} = {identity}()
"""
        source = f'''\
@{no_grad}()
def fuse(self):
    """Fold batch norms into the layers before them; new biases do not train."""
    if self.training:
        raise RuntimeError("fuse() is for inference: call eval() first")
{folds}    return self
'''
        return parse_function(source, "fuse")

    def emit_base(self, kind: str) -> cst.BaseExpression:
        """Emit a layer's class as the base of another: `nn.LayerNorm`.

        Raises:
            EmitError: The kind is no layer of the framework.
        """
        found = kind_of(LogicalNode("base", kind), self._dialect, self._names)
        if not found.stateful or not found.known:
            raise EmitError("a base has to be a layer", node="base", text=kind)
        return dotted(self._names.spell(found.api))

    def emit_super_init(self, arguments: Mapping[str, str] | None = None) -> cst.SimpleStatementLine:
        """Emit `super().__init__(<arguments>)`.

        Args:
            arguments: As a logical node's metadata.

        Raises:
            EmitError: A name or an expression is malformed.
        """
        given = arguments_of(LogicalNode("super", "super", dict(arguments or {})))
        init = cst.Attribute(call(cst.Name("super"), []), cst.Name("__init__"))
        return cst.SimpleStatementLine([cst.Expr(call(init, given))])

    def emit_init_method(self, arguments: Mapping[str, str] | None = None) -> cst.FunctionDef:
        """Emit an `__init__` without parameters that calls `super().__init__(<arguments>)`.

        Raises:
            EmitError: As `emit_super_init`.
        """
        parameters = cst.Parameters([cst.Param(cst.Name("self"))])
        return cst.FunctionDef(cst.Name("__init__"), parameters, cst.IndentedBlock([self.emit_super_init(arguments)]))

    def emit_pass(self) -> cst.SimpleStatementLine:
        """Emit `pass`."""
        return cst.SimpleStatementLine([cst.Pass()])

    def emit_source(self, source: str) -> cst.BaseStatement:
        """Emit one simple statement that is a rearrangement of the user's own source, as it is spelled.

        Raises:
            EmitError: `source` is not one statement, or a compound one.
        """
        try:
            statement = cst.parse_statement(source)
        except cst.ParserSyntaxError:
            raise EmitError("this does not parse", text=source) from None
        if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
            raise EmitError("this is not one simple statement", text=source)
        return statement

    def render(self, node: cst.BaseStatement | cst.BaseExpression, indent: str = "", *, broken: bool = True) -> str:
        """Return the source of `node`, without a line end, with `indent` in front of it.

        A line that is longer than the line length, `indent` included and a tab counted as four columns, is broken
        as black breaks it: the contents of the last brackets on a line of their own, else one a line with a trailing
        comma. A statement in which a value brings a comment, or a string over several lines, keeps its line breaks.
        """
        statement = cst.SimpleStatementLine([cst.Expr(node)]) if isinstance(node, cst.BaseExpression) else node
        source = cst.Module([]).code_for_node(statement)
        length = self._line_length if broken else 1_000_000
        return lay_out(source, line_length=length, indent=indent, indent_unit=self._indent_unit)

    def _call_of(self, node: LogicalNode, input_vars: Sequence[str]) -> cst.Call:
        return call_of(node, input_vars, self._dialect, self._names)

    def _sizes(self, sizes: str | Sequence[str], node: LogicalNode) -> cst.BaseExpression:
        if isinstance(sizes, str):
            return parse_expression(sizes, node=node.id, bracketed=True)
        return cst.List([cst.Element(parse_expression(size, node=node.id, bracketed=True)) for size in sizes])


def _offsets(sizes: cst.List) -> list[cst.BaseExpression]:
    """Where the pieces begin, but for the first: the running sums of all sizes but the last."""
    offsets: list[cst.BaseExpression] = []
    known, unknown = 0, list[cst.BaseExpression]()
    for element in sizes.elements[:-1]:
        if isinstance(element.value, cst.Integer):
            known += element.value.evaluated_value
        else:
            unknown.append(_summand(element.value))
        total: cst.BaseExpression | None = cst.Integer(str(known)) if known or not unknown else None
        for summand in unknown:
            total = summand if total is None else cst.BinaryOperation(total, cst.Add(), summand)
        if total is not None:
            offsets.append(total.deep_clone())
    return offsets


def _summand(size: cst.BaseExpression) -> cst.BaseExpression:
    """`size` as an operand of `+`: parenthesised, unless it binds at least as tightly."""
    tight = (cst.Name, cst.Attribute, cst.Call, cst.Subscript, cst.Integer, cst.UnaryOperation)
    products = (cst.Add, cst.Multiply, cst.FloorDivide, cst.Modulo, cst.Power)
    is_tight = isinstance(size, tight) and not isinstance(getattr(size, "operator", None), cst.Not)
    is_product = isinstance(size, cst.BinaryOperation) and isinstance(size.operator, products)
    if size.lpar or is_tight or is_product:
        return size
    return size.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def _assign(
    targets: Sequence[cst.Name | cst.Attribute], value: cst.BaseExpression, *, unpack: bool = False
) -> cst.SimpleStatementLine:
    target: cst.BaseAssignTargetExpression = targets[0]
    if unpack and len(targets) == 1:
        target = cst.Tuple([cst.Element(targets[0], comma=cst.Comma())])
    elif unpack:
        target = cst.Tuple([cst.Element(each) for each in targets], [], [])
    return cst.SimpleStatementLine([cst.Assign([cst.AssignTarget(target)], value)])


def _target(name: str, node: str) -> cst.Name | cst.Attribute:
    if not is_dotted_name(name):
        raise EmitError("this cannot be assigned to", node=node, text=name)
    return dotted(name)

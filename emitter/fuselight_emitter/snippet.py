"""From logical nodes to LibCST statements: initialisers, calls, unpackings and load hooks."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import libcst as cst

from fuselight_emitter.dialects import RequiredImport, get_dialect
from fuselight_emitter.errors import EmitError
from fuselight_emitter.expressions import (
    argument,
    call,
    dotted,
    is_dotted_name,
    is_identifier,
    parse_expression,
    parse_value,
    string,
)
from fuselight_emitter.ir import LogicalNode
from fuselight_emitter.layout import lay_out
from fuselight_emitter.names import NameResolver


class PythonSnippetEmitter:
    """Writes one framework's code, in the names of one file.

    Every `emit_*` method returns a LibCST node, or raises `EmitError`; `render` turns a node into laid out source.
    A value, an input and every other text that is called an expression is source of exactly one expression, and its
    spelling is kept.

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
        self._taken = taken
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
        _check_id(node)
        return _assign([dotted(f"self.{node.id}")], self.emit_constructor(node))

    def emit_constructor(self, node: LogicalNode) -> cst.Call:
        """Emit `<Kind>(...)`, what `emit_init` assigns.

        Raises:
            EmitError: As `emit_init`; the id is not looked at.
        """
        kind = self._kind(node)
        if not kind.stateful:
            raise EmitError("a function has nothing to initialise", node=node.id, text=node.kind)
        arguments = _arguments(node)
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
        methods: Sequence[tuple[str, Mapping[str, str]]] = (),
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
        self, node: LogicalNode, input_vars: Sequence[str], methods: Sequence[tuple[str, Mapping[str, str]]] = ()
    ) -> cst.BaseExpression:
        """Emit what `emit_call` assigns: `self.<id>(<inputs>)` or `func(<inputs>, ...)`, and `methods` behind it.

        Raises:
            EmitError: As `emit_call`.
        """
        return _behind(self._call(node, input_vars), methods, node.id)

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
        try:
            expression = cst.parse_expression(template)
        except cst.ParserSyntaxError:
            raise EmitError("a template does not parse", node="template", text=template) from None
        return self._filled(expression, operands)

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
        call_ = self._call(LogicalNode(id, "torch.nn.MultiheadAttention", {}), inputs)
        keyword = argument(cst.Name("False"), name="need_weights")
        first = cst.SubscriptElement(cst.Index(cst.Integer("0")))
        return cst.Subscript(call_.with_changes(args=[*call_.args, keyword]), [first])

    def emit_methods(self, value: str, methods: Sequence[tuple[str, Mapping[str, str]]]) -> cst.BaseExpression:
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
        return _behind(receiver, methods, methods[0][0])

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
            split = cst.Attribute(self._call(node, input_vars), cst.Name("split"))
            pieces = call(split, [argument(display), argument(axis, name="dim")])
        else:
            if not isinstance(display, cst.List):
                raise EmitError(
                    f"{self.framework} splits at offsets, which need each size", node=node.id, text=str(sizes)
                )
            value = self._call(node, input_vars)
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

    def emit_merge_hook(
        self,
        name: str,
        merged: str,
        parts: Sequence[str],
        parameters: Sequence[str],
        dims: Sequence[int] = (),
        unbiased: Sequence[str] = (),
    ) -> cst.FunctionDef:
        """Emit a function that concatenates the `parts` of an old checkpoint into `merged`.

        It is for `torch.nn.Module.register_load_state_dict_pre_hook` (public since torch 2.5, pytorch#131690), which
        calls it with the module, the state dict, the prefix and five arguments more. A parameter of which not all
        parts are there is left alone, so that a strict load reports it.

        Args:
            name: The function's name.
            merged: The attribute that now holds the parameters.
            parts: The attributes that held them, in the order of their rows.
            parameters: The parameters' names, "weight" and perhaps "bias".
            dims: Along which dimension each parameter is concatenated; dim 0 unless given.
            unbiased: Those of the parts that had no bias: zeros take its place.

        Raises:
            EmitError: The framework has no load hook; a name is malformed; there are no two parts, or no parameter; or
                there are not as many dimensions as parameters.
        """
        self._need_load_hooks(name)
        _check_function_name(name)
        for module in (merged, *parts, *unbiased):
            _check_module_path(module, name)
        for parameter in parameters:
            if not is_identifier(parameter):
                raise EmitError("a parameter's name has to be an identifier", node=name, text=parameter)
        if len(parts) < 2:
            raise EmitError("nothing to merge", node=name, text=", ".join(parts))
        if not parameters:
            raise EmitError("no parameters to merge", node=name, text=merged)
        if dims and len(dims) != len(parameters):
            raise EmitError("a dimension for each parameter, or none", node=name, text=", ".join(parameters))
        # The body uses no builtin: the file may have bound `all` to something else.
        cat = self._names.spell("torch.cat", _MERGE_HOOK_NAMES)
        listed = f"{', '.join(parts[:-1])} and {parts[-1]}"
        loop, along = f"parameter in {_display(parameters)}", f", dim={dims[0]}" if any(dims) else ""
        if len(set(dims)) > 1:
            pairs = ", ".join(f"({string(one)}, {dim})" for one, dim in zip(parameters, dims, strict=True))
            loop, along = f"parameter, dim in ({pairs})", ", dim=dim"
        zeros = f"""\
    for part in {_display(unbiased)}:
        weight = state_dict.get(f"{{prefix}}{{part}}.weight")
        if weight is not None:
            zeros = weight.new_zeros(weight.shape[0])
            state_dict.setdefault(f"{{prefix}}{{part}}.bias", zeros)
"""
        zeros = zeros if unbiased else ""
        source = f'''\
def {name}(module, state_dict, prefix, *args):
    """Load checkpoints that hold {listed} in place of {merged}."""
{zeros}    for {loop}:
        keys = [f"{{prefix}}{{part}}.{{parameter}}" for part in {_display(parts)}]
        if state_dict.keys() >= {{*keys}}:
            tensors = [state_dict.pop(key) for key in keys]
            state_dict[f"{{prefix}}{merged}.{{parameter}}"] = {cat}(tensors{along})
'''
        return _function(source, name)

    def emit_experts_hook(
        self, name: str, first: str, second: str, parts: tuple[str, str], parameters: Sequence[str]
    ) -> cst.FunctionDef:
        """Emit a function that loads experts, each of two linear layers, that were held one by one.

        The first layers become rows of one linear layer. The second ones are stacked, their weights transposed, for
        `torch.baddbmm`: weights of (experts, in, out) and biases of (experts, 1, out). It is for
        `torch.nn.Module.register_load_state_dict_pre_hook`.

        Args:
            name: The function's name.
            first: The attribute of the linear layer.
            second: What the names of the stacked parameters begin with: `w2` for `w2_weight` and `w2_bias`.
            parts: The paths of the two layers of one expert, `{}` for its number.
            parameters: The parameters' names, "weight" and perhaps "bias".

        Raises:
            EmitError: The framework has no load hook; a name is malformed; or there is no parameter.
        """
        self._need_load_hooks(name)
        _check_function_name(name)
        for module in (first, second, *(part.replace("{}", "0") for part in parts)):
            _check_module_path(module, name)
        if not parameters or not {*parameters} <= {"weight", "bias"}:
            raise EmitError("a linear layer has a weight and a bias", node=name, text=", ".join(parameters))
        hidden = _MERGE_HOOK_NAMES | {"number", "one", "other", "firsts", "seconds", "stacked"}
        cat, stack = self._names.spell("torch.cat", hidden), self._names.spell("torch.stack", hidden)
        one, other = (part.replace("{}", "{number}") for part in parts)
        listed = " and ".join(dict.fromkeys(part.partition(".")[0] for part in parts))
        source = f'''\
def {name}(module, state_dict, prefix, *args):
    """Load checkpoints that hold the layers of {listed} one by one, in place of {first}."""
    for parameter in {_display(parameters)}:
        number, firsts, seconds = 0, [], []
        while True:
            one = f"{{prefix}}{one}.{{parameter}}"
            other = f"{{prefix}}{other}.{{parameter}}"
            if not state_dict.keys() >= {{one, other}}:
                break
            firsts.append(state_dict.pop(one))
            seconds.append(state_dict.pop(other))
            number += 1
        if firsts:
            stacked = {stack}(seconds)
            stacked = stacked.mT if parameter == "weight" else stacked.unsqueeze(1)
            state_dict[f"{{prefix}}{first}.{{parameter}}"] = {cat}(firsts)
            state_dict[f"{{prefix}}{second}_{{parameter}}"] = stacked
'''
        return _function(source, name)

    def emit_transpose_hook(self, name: str, table: str, layer: str) -> cst.FunctionDef:
        """Emit a function that loads the weight of a linear layer without a bias into an embedding.

        Row `i` of the table is what the layer made of the one-hot vector of `i`: column `i` of its weight. It is for
        `torch.nn.Module.register_load_state_dict_pre_hook`.

        Args:
            name: The function's name.
            table: The attribute that holds the embedding.
            layer: The attribute that held the linear layer; another one, as a square weight does not say which it is.

        Raises:
            EmitError: The framework has no load hook, a name is malformed, or the two attributes are one.
        """
        self._need_load_hooks(name)
        _check_function_name(name)
        for module in (table, layer):
            _check_module_path(module, name)
        if table == layer:
            raise EmitError("a table needs another name than the layer had", node=name, text=table)
        source = f'''\
def {name}(module, state_dict, prefix, *args):
    """Load checkpoints that hold {layer}, a linear layer, in place of {table}."""
    weight = state_dict.pop(f"{{prefix}}{layer}.weight", None)
    if weight is not None:
        state_dict[f"{{prefix}}{table}.weight"] = weight.t()
'''
        return _function(source, name)

    def emit_cell_hook(
        self,
        name: str,
        cell: str,
        parts: Sequence[str],
        parameters: Mapping[str, Sequence[str]],
        order: Sequence[int] = (),
        negated: int | None = None,
    ) -> cst.FunctionDef:
        """Emit a function that makes the parameters of a layer, such as `torch.nn.LSTMCell`, of those of linear layers.

        It is for `torch.nn.Module.register_load_state_dict_pre_hook`. A parameter of which not all entries are there is
        left alone, so that a strict load reports it.

        Args:
            name: The function's name.
            cell: The attribute that holds the cell.
            parts: The attributes that held the linear layers.
            parameters: From each of the cell's parameters, "weight_ih", to the entries, "xi.weight", that hold the
                rows of its gates, one after the other; or, with an order, to one entry that holds the rows of all.
            order: Which block of rows of such an entry each gate is.
            negated: The gate, counted from 0, whose rows change their sign.

        Raises:
            EmitError: The framework has no load hook; a name is malformed; or the entries are not one a gate, or one
                with an order.
        """
        self._need_load_hooks(name)
        _check_function_name(name)
        for module in (cell, *parts, *(entry for entries in parameters.values() for entry in entries)):
            _check_module_path(module, name)
        for parameter in parameters:
            if not is_dotted_name(parameter):
                raise EmitError("a parameter's name has to be an identifier", node=name, text=parameter)
        uneven = any(not one or (order and len(one) != 1) for one in parameters.values())
        if not parameters or not parts or uneven:
            raise EmitError("no parameters to merge", node=name, text=cell)
        cat = self._names.spell("torch.cat", _MERGE_HOOK_NAMES | {"key", "rows"})
        listed = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
        if order:
            pairs = [f"({string(parameter)}, {string(entries[0])})" for parameter, entries in parameters.items()]
            blocks = [f"{'-' if gate == negated else ''}rows[{at}]" for gate, at in enumerate(order)]
            same = list(order) == sorted(order) and negated is None
            joined = "rows" if same else f"{cat}([{', '.join(blocks)}])"
            taken = "state_dict.pop(key)" if same else f"state_dict.pop(key).chunk({len(order)})"
            body = f"""\
    for parameter, part in ({", ".join(pairs)}{"," if len(pairs) == 1 else ""}):
        key = f"{{prefix}}{{part}}"
        if key in state_dict:
            rows = {taken}
            state_dict[f"{{prefix}}{cell}.{{parameter}}"] = {joined}
"""
        else:
            pairs = [f"({string(parameter)}, {_display(entries)})" for parameter, entries in parameters.items()]
            sign = "" if negated is None else f"            tensors[{negated}] = -tensors[{negated}]\n"
            body = f"""\
    for parameter, parts in ({", ".join(pairs)}{"," if len(pairs) == 1 else ""}):
        keys = [f"{{prefix}}{{part}}" for part in parts]
        if state_dict.keys() >= {{*keys}}:
            tensors = [state_dict.pop(key) for key in keys]
{sign}            state_dict[f"{{prefix}}{cell}.{{parameter}}"] = {cat}(tensors)
"""
        source = f'''\
def {name}(module, state_dict, prefix, *args):
    """Load checkpoints that hold {listed} in place of {cell}."""
{body}'''
        return _function(source, name)

    def emit_merge_list_hook(self, name: str, merged: str, layers: str, parameters: Sequence[str]) -> cst.FunctionDef:
        """Emit a function that concatenates, along dim 0, the layers of a `torch.nn.ModuleList` of an old checkpoint.

        How many layers there were is read off the checkpoint: entries `<layers>.0.<parameter>`,
        `<layers>.1.<parameter>` and so on, until one is missing. It is for
        `torch.nn.Module.register_load_state_dict_pre_hook`.

        Args:
            name: The function's name.
            merged: The attribute that now holds the parameters.
            layers: The attribute that held the list; it may be the same.
            parameters: The parameters' names, "weight" and perhaps "bias".

        Raises:
            EmitError: The framework has no load hook; a name is malformed; or there is no parameter.
        """
        self._need_load_hooks(name)
        _check_function_name(name)
        for module in (merged, layers):
            _check_module_path(module, name)
        for parameter in parameters:
            if not is_identifier(parameter):
                raise EmitError("a parameter's name has to be an identifier", node=name, text=parameter)
        if not parameters:
            raise EmitError("no parameters to merge", node=name, text=merged)
        # The body uses no builtin: the file may have bound `len` or `enumerate` to something else.
        cat = self._names.spell("torch.cat", _MERGE_HOOK_NAMES | {"number"})
        source = f'''\
def {name}(module, state_dict, prefix, *args):
    """Load checkpoints that hold the layers of a list, {layers}.0 and so on, in place of {merged}."""
    for parameter in {_display(parameters)}:
        number, tensors = 0, []
        while f"{{prefix}}{layers}.{{number}}.{{parameter}}" in state_dict:
            tensors.append(state_dict.pop(f"{{prefix}}{layers}.{{number}}.{{parameter}}"))
            number += 1
        if tensors:
            state_dict[f"{{prefix}}{merged}.{{parameter}}"] = {cat}(tensors)
'''
        return _function(source, name)

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

    def emit_rename_hook(self, name: str, nested: str, renamed: Sequence[tuple[str, str]]) -> cst.FunctionDef:
        """Emit a function that renames what a nested module of an old checkpoint is called in a flat one.

        Nothing is renamed in a checkpoint without an entry of `nested`. The names are taken one after the other, so
        that one must come before another that gets its old name. It is for
        `torch.nn.Module.register_load_state_dict_pre_hook`.

        Args:
            name: The function's name.
            nested: A path that only old checkpoints have entries of, `net.0.0`.
            renamed: The paths of modules, each in an old checkpoint and in a new one.

        Raises:
            EmitError: The framework has no load hook; a name is malformed; or there is nothing to rename.
        """
        self._need_load_hooks(name)
        _check_function_name(name)
        if not renamed:
            raise EmitError("nothing to rename", node=name, text=nested)
        for module in (nested, *(path for pair in renamed for path in pair)):
            if not re.fullmatch(r"\w+(\.\w+)*", module):
                raise EmitError("this is no path of a module", node=name, text=module)
        pairs = ", ".join(f"({string(old)}, {string(new)})" for old, new in renamed)
        first = next((new for old, new in renamed if old == nested), renamed[-1][1])
        # The body uses no builtin: the file may have bound `any` or `list` to something else.
        source = f'''\
def {name}(module, state_dict, prefix, *args):
    """Load checkpoints that hold {nested} and so on in place of {first} and so on."""
    if not [key for key in state_dict if key.startswith(f"{{prefix}}{nested}.")]:
        return
    for old, new in ({pairs},):
        for key in [key for key in state_dict if key.startswith(f"{{prefix}}{{old}}.")]:
            entry = key.removeprefix(f"{{prefix}}{{old}}")
            state_dict[f"{{prefix}}{{new}}{{entry}}"] = state_dict.pop(key)
'''
        return _function(source, name)

    def emit_rename_parameters_hook(self, name: str, renamed: Sequence[tuple[str, str]]) -> cst.FunctionDef:
        """Emit a function that loads checkpoints in which the parameters of a module itself have other names.

        It is for `torch.nn.Module.register_load_state_dict_pre_hook`.

        Args:
            name: The function's name.
            renamed: The names of parameters, each in an old checkpoint and in a new one.

        Raises:
            EmitError: The framework has no load hook; a name is malformed; or there is nothing to rename.
        """
        self._need_load_hooks(name)
        _check_function_name(name)
        if not renamed:
            raise EmitError("nothing to rename", node=name)
        for parameter in (one for pair in renamed for one in pair):
            if not is_identifier(parameter):
                raise EmitError("a parameter's name has to be an identifier", node=name, text=parameter)
        pairs = ", ".join(f"({string(old)}, {string(new)})" for old, new in renamed)
        listed, news = (" and ".join(names) for names in zip(*renamed, strict=True))
        comma = "," if len(renamed) == 1 else ""
        source = f'''\
def {name}(module, state_dict, prefix, *args):
    """Load checkpoints that hold {listed} in place of {news}."""
    for old, new in ({pairs}{comma}):
        if f"{{prefix}}{{old}}" in state_dict:
            state_dict[f"{{prefix}}{{new}}"] = state_dict.pop(f"{{prefix}}{{old}}")
'''
        return _function(source, name)

    def emit_fold_bias_hook(self, name: str, norm: str = "a batch norm") -> cst.FunctionDef:
        """Emit a function that loads checkpoints of a layer with a bias before a norm, where it now has none.

        The norm subtracts its running mean, so that in eval mode taking the bias off the mean leaves the output as it
        was: `(y + b) - mean = y - (mean - b)`. A checkpoint without the mean, such as one of a layer that the norm was
        folded into, is left alone. The caller's tensors are not written to.

        The function takes the attributes' names as the keywords `layer` and `norm`; `emit_hook_registration` gives
        them. It is for `torch.nn.Module.register_load_state_dict_pre_hook`.

        Args:
            name: The function's name.
            norm: What the docstring calls the norm.

        Raises:
            EmitError: The framework has no load hook, or the name is malformed.
        """
        self._need_load_hooks(name)
        _check_function_name(name)
        source = f'''\
def {name}(module, state_dict, prefix, *args, layer, norm):
    """Load checkpoints in which the layer before {norm} still has a bias."""
    bias, mean = f"{{prefix}}{{layer}}.bias", f"{{prefix}}{{norm}}.running_mean"
    if state_dict.keys() >= {{bias, mean}}:
        state_dict[mean] = state_dict[mean] - state_dict.pop(bias).to(state_dict[mean])
'''
        return _function(source, name)

    def emit_drop_bias_hook(self, name: str, norm: str = "an instance norm") -> cst.FunctionDef:
        """Emit a function that loads checkpoints of a layer with a bias, where it now has none, before a norm that
        keeps no statistics and subtracts the mean of what it gets.

        The function takes the layer's name as the keyword `layer`. It is for
        `torch.nn.Module.register_load_state_dict_pre_hook`.

        Args:
            name: The function's name.
            norm: What the docstring calls the norm.

        Raises:
            EmitError: The framework has no load hook, or the name is malformed.
        """
        self._need_load_hooks(name)
        _check_function_name(name)
        source = f'''\
def {name}(module, state_dict, prefix, *args, layer):
    """Load checkpoints in which the layer before {norm} still has a bias."""
    state_dict.pop(f"{{prefix}}{{layer}}.bias", None)
'''
        return _function(source, name)

    def emit_fold_biases_hook(self, name: str) -> cst.FunctionDef:
        """Emit a function that does for every layer and norm of a `torch.nn.Sequential` what those two do for one.

        A bias of the checkpoint is taken where the layer has none and the element behind it is a batch norm or an
        instance norm: what has a `running_mean`, if only None. It goes into the running mean, or nowhere where the
        norm keeps none. Inner `torch.nn.Sequential`s are looked through. It is for
        `torch.nn.Module.register_load_state_dict_pre_hook` of a `torch.nn.Sequential`, or of a container of them.

        Raises:
            EmitError: The framework has no load hook, the name is malformed, or the file binds a builtin that the
                function needs.
        """
        self._need_load_hooks(name)
        _check_function_name(name)
        for builtin in ("getattr", "hasattr", "isinstance"):
            if builtin in self._taken:
                raise EmitError("a load hook needs the builtin of this name", node=name, text=builtin)
        sequential = self._names.spell("torch.nn.Sequential", _FOLD_HOOK_NAMES)
        source = f'''\
def {name}(module, state_dict, prefix, *args):
    """Load checkpoints in which layers before a norm still have a bias."""
    before = None
    for name, child in module.named_children():
        bias, mean = f"{{prefix}}{{before}}.bias", f"{{prefix}}{{name}}.running_mean"
        if before is not None and hasattr(child, "running_mean") and bias in state_dict:
            dropped = state_dict.pop(bias)
            if mean in state_dict:
                state_dict[mean] = state_dict[mean] - dropped.to(state_dict[mean])
        if isinstance(child, {sequential}):
            {name}(child, state_dict, f"{{prefix}}{{name}}.")
        before = name if getattr(child, "bias", True) is None else None
'''
        return _function(source, name)

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
        return _function(source, "fuse")

    def emit_hook_registration(
        self, hook: str, arguments: Mapping[str, str] | None = None, on: str = "self"
    ) -> cst.SimpleStatementLine:
        """Emit `<on>.register_load_state_dict_pre_hook(<hook>)`.

        Args:
            hook: The function's name.
            arguments: Keywords that the hook is bound to, `functools.partial(<hook>, layer="conv1")`; from a keyword
                to an expression.
            on: The module that the hook is for, `self` or `self.net`; the last of a list, `self.nets[-1]`.

        Raises:
            EmitError: The framework has no load hook, or a name or an expression is malformed.
        """
        self._need_load_hooks(hook)
        module = on.removesuffix("[-1]")
        for name in (hook, module):
            if not is_dotted_name(name):
                raise EmitError("a hook has to be a name", node=hook, text=name)
        function: cst.BaseExpression = dotted(hook)
        if arguments:
            bound = [argument(function)]
            for key, value in arguments.items():
                if not is_identifier(key):
                    raise EmitError("a keyword has to be an identifier", node=hook, text=key)
                bound.append(argument(parse_expression(value, node=hook, bracketed=True), name=key))
            function = call(dotted(self._names.spell("functools.partial")), bound)
        registered = dotted(module) if module == on else parse_expression(on, node=hook)
        register = cst.Attribute(registered, cst.Name("register_load_state_dict_pre_hook"))
        return cst.SimpleStatementLine([cst.Expr(call(register, [argument(function)]))])

    def emit_base(self, kind: str) -> cst.BaseExpression:
        """Emit a layer's class as the base of another: `nn.LayerNorm`.

        Raises:
            EmitError: The kind is no layer of the framework.
        """
        found = self._kind(LogicalNode("base", kind))
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
        given = _arguments(LogicalNode("super", "super", dict(arguments or {})))
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

    def _kind(self, node: LogicalNode) -> _Kind:
        kind = node.kind
        if not is_dotted_name(kind):
            raise EmitError("a kind has to be a name", node=node.id, text=kind)
        dialect = self._dialect
        if "." in kind:
            qualified = self._names.qualify(kind)
            if (layer := dialect.layer_kind(qualified)) is not None:
                return _Kind(qualified, stateful=True, known=True, seeded=layer in dialect.seeded)
            if qualified in dialect.containers.values():
                return _Kind(qualified, stateful=True, known=True, callable=False)
            if dialect.function_kind(qualified) is not None:
                return _Kind(qualified, stateful=False, known=True)
            reached = self._names.reach(qualified)
            name = kind.rpartition(".")[2].lstrip("_")
            return _Kind(reached or kind, stateful=name[:1].isupper(), known=False)
        if kind in dialect.layers:
            return _Kind(dialect.layers[kind], stateful=True, known=True, seeded=kind in dialect.seeded)
        if kind in dialect.containers:
            return _Kind(dialect.containers[kind], stateful=True, known=True, callable=False)
        function = dialect.function(kind.removeprefix("func_"))
        if function is None:
            raise EmitError(f"{self.framework} has no layer and no function of this kind", node=node.id, text=kind)
        return _Kind(function.api, stateful=False, known=True)

    def _call(self, node: LogicalNode, input_vars: Sequence[str]) -> cst.Call:
        _check_id(node)
        kind = self._kind(node)
        if not kind.callable:
            raise EmitError("a container of layers cannot be called", node=node.id, text=node.kind)
        inputs: list[cst.Arg] = []
        for text in input_vars:
            star, value = parse_value(text, node=node.id)
            if star == "**":
                raise EmitError("an input is positional", node=node.id, text=text)
            inputs.append(argument(value, star=star))
        if kind.stateful:
            return call(dotted(f"self.{node.id}"), inputs)
        arguments = _arguments(node)
        function = dotted(self._names.spell(kind.api) if kind.known else kind.api)
        return call(function, [*inputs, *arguments])

    def _filled(
        self, node: cst.BaseExpression, operands: Mapping[str, str | None], tight: bool = False
    ) -> cst.BaseExpression:
        """A template's part with its variables filled in; `tight` beside an operator, a dot or a subscript."""

        def filled(part: cst.BaseExpression, tight: bool = True) -> cst.BaseExpression:
            return self._filled(part, operands, tight)

        match node:
            case cst.Name(value=name):
                if name in ("True", "False", "None"):
                    return node
                text = operands.get(name)
                if text is None:
                    raise EmitError("a template's variable has no operand", node="template", text=name)
                expression = parse_expression(text, node=name, bracketed=not tight)
                return _enclosed(expression) if tight else expression
            case cst.Call(func=cst.Name(value=kind)):
                return self._filled_call(node, kind, operands)
            case cst.Call(func=cst.Attribute() as func):
                given = [one.with_changes(value=filled(one.value, False)) for one in node.args]
                return node.with_changes(func=func.with_changes(value=filled(func.value)), args=given)
            case cst.Attribute():
                return node.with_changes(value=filled(node.value))
            case cst.Subscript():
                return node.with_changes(value=filled(node.value))
            case cst.BinaryOperation():
                return node.with_changes(left=filled(node.left), right=filled(node.right))
            case cst.UnaryOperation():
                return node.with_changes(expression=filled(node.expression))
            case cst.IfExp():
                parts = {part: filled(getattr(node, part), False) for part in ("test", "body", "orelse")}
                loose = (cst.IfExp, cst.Lambda, cst.NamedExpr)
                return node.with_changes(
                    **{key: _enclosed(one) if isinstance(one, loose) else one for key, one in parts.items()}
                )
            case cst.Comparison():
                compared = [one.with_changes(comparator=filled(one.comparator)) for one in node.comparisons]
                return node.with_changes(left=filled(node.left), comparisons=compared)
            case cst.Tuple() | cst.List():
                elements = [one.with_changes(value=filled(one.value, False)) for one in node.elements]
                return node.with_changes(elements=elements)
            case cst.Integer() | cst.Float() | cst.BaseString():
                return node
            case _:
                raise EmitError("a template cannot hold this", node="template", text=cst.Module([]).code_for_node(node))

    def _filled_call(self, node: cst.Call, kind: str, operands: Mapping[str, str | None]) -> cst.Call:
        function = self._dialect.function(kind)
        if function is None:
            raise EmitError(f"{self.framework} has no function of this kind", node="template", text=kind)
        parameters = self._dialect.parameters(kind)
        spelled = {one.name: one.spelled for one in parameters}
        optional = {one.name for one in parameters if one.default is not None}
        given: list[cst.Arg] = []
        for one in node.args:
            if isinstance(one.value, cst.Name) and operands.get(one.value.value, "") is None:
                if one.keyword is None or one.keyword.value not in optional:
                    raise EmitError(f"{kind} takes an argument that is left out", node="template", text=one.value.value)
                continue
            name = one.keyword.value if one.keyword is not None else None
            given.append(argument(self._filled(one.value, operands), name=spelled.get(name, name) if name else None))
        return call(dotted(self._names.spell(function.api)), given)

    def _sizes(self, sizes: str | Sequence[str], node: LogicalNode) -> cst.BaseExpression:
        if isinstance(sizes, str):
            return parse_expression(sizes, node=node.id, bracketed=True)
        return cst.List([cst.Element(parse_expression(size, node=node.id, bracketed=True)) for size in sizes])

    def _need_load_hooks(self, name: str) -> None:
        if self.framework != "torch":
            raise EmitError(f"{self.framework} has no load hook", node=name, text=name)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a node's kind comes to; `api` is fully qualified when it is known, else the source to emit."""

    api: str
    stateful: bool
    known: bool
    callable: bool = True
    seeded: bool = False


_MERGE_HOOK_NAMES = frozenset("module state_dict prefix args parameter dim part keys key tensors weight zeros".split())
_FOLD_HOOK_NAMES = frozenset("module state_dict prefix args before name child bias mean dropped".split())
_FOLDS = {
    "convolution": ("fuse_conv_bn_eval", ""),
    "transposed convolution": ("fuse_conv_bn_eval", ", transpose=True"),
    "linear": ("fuse_linear_bn_eval", ""),
}
_POSITIONAL = re.compile(r"arg_(0|[1-9][0-9]*)")


def _behind(value: cst.BaseExpression, methods: Sequence[tuple[str, Mapping[str, str]]], id: str) -> cst.BaseExpression:
    """`value` with `methods` called on it, one behind the other."""
    for name, given in methods:
        if not is_identifier(name):
            raise EmitError("a method's name has to be an identifier", node=id, text=name)
        value = call(cst.Attribute(value, cst.Name(name)), _arguments(LogicalNode(id, name, dict(given))))
    return value


def _arguments(node: LogicalNode) -> list[cst.Arg]:
    """The arguments of a node's metadata: positional ones by number, then keywords as given."""
    positional: list[tuple[int, cst.Arg]] = []
    keywords: list[cst.Arg] = []
    for key, text in node.metadata.items():
        star, value = parse_value(text, node=node.id)
        place = _POSITIONAL.fullmatch(key)
        if star == "**":
            keywords.append(argument(value, star=star))
        elif place is not None:
            positional.append((int(place[1]), argument(value, star=star)))
        elif star:
            raise EmitError(f"the keyword {key} cannot be unpacked", node=node.id, text=text)
        elif not is_identifier(key):
            raise EmitError("a keyword has to be an identifier", node=node.id, text=key)
        else:
            keywords.append(argument(value, name=key))
    return [given for _, given in sorted(positional, key=lambda item: item[0])] + keywords


def _enclosed(expression: cst.BaseExpression) -> cst.BaseExpression:
    """An expression in parentheses, unless it holds together by itself beside an operator or a dot."""
    holds = (
        cst.Name | cst.Attribute | cst.Call | cst.Subscript | cst.Float | cst.BaseString | cst.BaseList | cst.BaseDict
    )
    if expression.lpar or isinstance(expression, holds | cst.Integer):
        return expression
    return expression.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


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


def _check_id(node: LogicalNode) -> None:
    if not is_identifier(node.id):
        raise EmitError("an id has to be an identifier", node=node.id, text=node.id)


def _check_function_name(name: str) -> None:
    if not is_identifier(name):
        raise EmitError("a function's name has to be an identifier", node=name, text=name)


def _check_module_path(path: str, name: str) -> None:
    """A submodule's path may hold numbers, as those of a `torch.nn.Sequential` do."""
    if not re.fullmatch(r"\w+(\.\w+)*", path):
        raise EmitError("this is no path of a submodule", node=name, text=path)


def _display(names: Sequence[str]) -> str:
    return f"({', '.join(string(name) for name in names)}{',' if len(names) == 1 else ''})"


def _function(source: str, name: str) -> cst.FunctionDef:
    function = cst.parse_statement(source)
    if not isinstance(function, cst.FunctionDef):
        raise EmitError("this is no function", node=name, text=source)
    return function

"""Load hooks: functions that bring the entries of an old checkpoint to where a rewritten module looks for them.

All of them are for `torch.nn.Module.register_load_state_dict_pre_hook` (public since torch 2.5, pytorch#131690), which
calls them with the module, the state dict, the prefix and five arguments more.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence

import libcst as cst

from fuselight_emitter.errors import EmitError
from fuselight_emitter.expressions import (
    argument,
    call,
    dotted,
    is_dotted_name,
    is_identifier,
    parse_expression,
    parse_function,
    string,
)
from fuselight_emitter.names import NameResolver

_MERGE_HOOK_NAMES = frozenset("module state_dict prefix args parameter dim part keys key tensors weight zeros".split())
_FOLD_HOOK_NAMES = frozenset("module state_dict prefix args before name child bias mean dropped".split())


class LoadHooks:
    """Writes the load hooks of one file, in its names.

    Args:
        framework: Its name; only torch has load hooks, and every method raises `EmitError` for another.
        names: The names of the file.
        taken: Further names that the file binds.
    """

    def __init__(self, framework: str, names: NameResolver, taken: Container[str]) -> None:
        self._framework = framework
        self._names = names
        self._taken = taken

    def emit_merge(
        self,
        name: str,
        merged: str,
        parts: Sequence[str],
        parameters: Sequence[str],
        dims: Sequence[int] = (),
        unbiased: Sequence[str] = (),
    ) -> cst.FunctionDef:
        """Emit a function that concatenates the `parts` of an old checkpoint into `merged`.

        A parameter of which not all parts are there is left alone, so that a strict load reports it.

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
        self._check(name, merged, *parts, *unbiased)
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
        return parse_function(source, name)

    def emit_experts(
        self, name: str, first: str, second: str, parts: tuple[str, str], parameters: Sequence[str]
    ) -> cst.FunctionDef:
        """Emit a function that loads experts, each of two linear layers, that were held one by one.

        The first layers become rows of one linear layer. The second ones are stacked, their weights transposed, for
        `torch.baddbmm`: weights of (experts, in, out) and biases of (experts, 1, out).

        Args:
            name: The function's name.
            first: The attribute of the linear layer.
            second: What the names of the stacked parameters begin with: `w2` for `w2_weight` and `w2_bias`.
            parts: The paths of the two layers of one expert, `{}` for its number.
            parameters: The parameters' names, "weight" and perhaps "bias".

        Raises:
            EmitError: The framework has no load hook; a name is malformed; or there is no parameter.
        """
        self._check(name, first, second, *(part.replace("{}", "0") for part in parts))
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
        return parse_function(source, name)

    def emit_transpose(self, name: str, table: str, layer: str) -> cst.FunctionDef:
        """Emit a function that loads the weight of a linear layer without a bias into an embedding.

        Row `i` of the table is what the layer made of the one-hot vector of `i`: column `i` of its weight.

        Args:
            name: The function's name.
            table: The attribute that holds the embedding.
            layer: The attribute that held the linear layer; another one, as a square weight does not say which it is.

        Raises:
            EmitError: The framework has no load hook, a name is malformed, or the two attributes are one.
        """
        self._check(name, table, layer)
        if table == layer:
            raise EmitError("a table needs another name than the layer had", node=name, text=table)
        source = f'''\
def {name}(module, state_dict, prefix, *args):
    """Load checkpoints that hold {layer}, a linear layer, in place of {table}."""
    weight = state_dict.pop(f"{{prefix}}{layer}.weight", None)
    if weight is not None:
        state_dict[f"{{prefix}}{table}.weight"] = weight.t()
'''
        return parse_function(source, name)

    def emit_cell(
        self,
        name: str,
        cell: str,
        parts: Sequence[str],
        parameters: Mapping[str, Sequence[str]],
        order: Sequence[int] = (),
        negated: int | None = None,
    ) -> cst.FunctionDef:
        """Emit a function that makes the parameters of a layer, such as `torch.nn.LSTMCell`, of those of linear layers.

        A parameter of which not all entries are there is left alone, so that a strict load reports it.

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
        self._check(name, cell, *parts, *(entry for entries in parameters.values() for entry in entries))
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
        return parse_function(source, name)

    def emit_merge_list(self, name: str, merged: str, layers: str, parameters: Sequence[str]) -> cst.FunctionDef:
        """Emit a function that concatenates, along dim 0, the layers of a `torch.nn.ModuleList` of an old checkpoint.

        How many layers there were is read off the checkpoint: entries `<layers>.0.<parameter>`,
        `<layers>.1.<parameter>` and so on, until one is missing.

        Args:
            name: The function's name.
            merged: The attribute that now holds the parameters.
            layers: The attribute that held the list; it may be the same.
            parameters: The parameters' names, "weight" and perhaps "bias".

        Raises:
            EmitError: The framework has no load hook; a name is malformed; or there is no parameter.
        """
        self._check(name, merged, layers)
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
        return parse_function(source, name)

    def emit_rename(self, name: str, nested: str, renamed: Sequence[tuple[str, str]]) -> cst.FunctionDef:
        """Emit a function that renames what a nested module of an old checkpoint is called in a flat one.

        Nothing is renamed in a checkpoint without an entry of `nested`. The names are taken one after the other, so
        that one must come before another that gets its old name.

        Args:
            name: The function's name.
            nested: A path that only old checkpoints have entries of, `net.0.0`.
            renamed: The paths of modules, each in an old checkpoint and in a new one.

        Raises:
            EmitError: The framework has no load hook; a name is malformed; or there is nothing to rename.
        """
        self._check(name)
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
        return parse_function(source, name)

    def emit_rename_parameters(self, name: str, renamed: Sequence[tuple[str, str]]) -> cst.FunctionDef:
        """Emit a function that loads checkpoints in which the parameters of a module itself have other names.

        Args:
            name: The function's name.
            renamed: The names of parameters, each in an old checkpoint and in a new one.

        Raises:
            EmitError: The framework has no load hook; a name is malformed; or there is nothing to rename.
        """
        self._check(name)
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
        return parse_function(source, name)

    def emit_fold_bias(self, name: str, norm: str = "a batch norm") -> cst.FunctionDef:
        """Emit a function that loads checkpoints of a layer with a bias before a norm, where it now has none.

        The norm subtracts its running mean, so that in eval mode taking the bias off the mean leaves the output as it
        was: `(y + b) - mean = y - (mean - b)`. A checkpoint without the mean, such as one of a layer that the norm was
        folded into, is left alone. The caller's tensors are not written to.

        The function takes the attributes' names as the keywords `layer` and `norm`; `emit_registration` gives
        them.

        Args:
            name: The function's name.
            norm: What the docstring calls the norm.

        Raises:
            EmitError: The framework has no load hook, or the name is malformed.
        """
        self._check(name)
        source = f'''\
def {name}(module, state_dict, prefix, *args, layer, norm):
    """Load checkpoints in which the layer before {norm} still has a bias."""
    bias, mean = f"{{prefix}}{{layer}}.bias", f"{{prefix}}{{norm}}.running_mean"
    if state_dict.keys() >= {{bias, mean}}:
        state_dict[mean] = state_dict[mean] - state_dict.pop(bias).to(state_dict[mean])
'''
        return parse_function(source, name)

    def emit_drop_bias(self, name: str, norm: str = "an instance norm") -> cst.FunctionDef:
        """Emit a function that loads checkpoints of a layer with a bias, where it now has none, before a norm that
        keeps no statistics and subtracts the mean of what it gets.

        The function takes the layer's name as the keyword `layer`.

        Args:
            name: The function's name.
            norm: What the docstring calls the norm.

        Raises:
            EmitError: The framework has no load hook, or the name is malformed.
        """
        self._check(name)
        source = f'''\
def {name}(module, state_dict, prefix, *args, layer):
    """Load checkpoints in which the layer before {norm} still has a bias."""
    state_dict.pop(f"{{prefix}}{{layer}}.bias", None)
'''
        return parse_function(source, name)

    def emit_fold_biases(self, name: str) -> cst.FunctionDef:
        """Emit a function that does for every layer and norm of a `torch.nn.Sequential` what those two do for one.

        A bias of the checkpoint is taken where the layer has none and the element behind it is a batch norm or an
        instance norm: what has a `running_mean`, if only None. It goes into the running mean, or nowhere where the
        norm keeps none. Inner `torch.nn.Sequential`s are looked through. It is the
        hook of a `torch.nn.Sequential`, or of a container of them.

        Raises:
            EmitError: The framework has no load hook, the name is malformed, or the file binds a builtin that the
                function needs.
        """
        self._check(name)
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
        return parse_function(source, name)

    def emit_registration(
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

    def _check(self, name: str, *modules: str) -> None:
        """Refuse a framework without load hooks, a name that no function can have, and what is no submodule's path."""
        self._need_load_hooks(name)
        if not is_identifier(name):
            raise EmitError("a function's name has to be an identifier", node=name, text=name)
        for path in modules:
            # It may hold numbers, as those of a `torch.nn.Sequential` do.
            if not re.fullmatch(r"\w+(\.\w+)*", path):
                raise EmitError("this is no path of a submodule", node=name, text=path)

    def _need_load_hooks(self, name: str) -> None:
        if self._framework != "torch":
            raise EmitError(f"{self._framework} has no load hook", node=name, text=name)


def _display(names: Sequence[str]) -> str:
    return f"({', '.join(string(name) for name in names)}{',' if len(names) == 1 else ''})"

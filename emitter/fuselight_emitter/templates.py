"""Templates: expressions in neutral kinds, with source in the place of their variables."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from fuselight_emitter.dialects import Dialect
from fuselight_emitter.errors import EmitError
from fuselight_emitter.expressions import argument, call, dotted, parse_expression
from fuselight_emitter.names import NameResolver


def filled_template(
    template: str, operands: Mapping[str, str | None], dialect: Dialect, names: NameResolver
) -> cst.BaseExpression:
    """The expression of a template, as `PythonSnippetEmitter.emit_template` describes it.

    Raises:
        EmitError: The template is malformed or holds an unknown kind or variable, or an expression is malformed.
    """
    try:
        expression = cst.parse_expression(template)
    except cst.ParserSyntaxError:
        raise EmitError("a template does not parse", node="template", text=template) from None
    return _filled(expression, operands, dialect, names)


def _filled(
    node: cst.BaseExpression,
    operands: Mapping[str, str | None],
    dialect: Dialect,
    names: NameResolver,
    tight: bool = False,
) -> cst.BaseExpression:
    """A template's part with its variables filled in; `tight` beside an operator, a dot or a subscript."""

    def filled(part: cst.BaseExpression, tight: bool = True) -> cst.BaseExpression:
        return _filled(part, operands, dialect, names, tight)

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
            return _filled_call(node, kind, operands, dialect, names)
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


def _filled_call(
    node: cst.Call, kind: str, operands: Mapping[str, str | None], dialect: Dialect, names: NameResolver
) -> cst.Call:
    function = dialect.function(kind)
    if function is None:
        raise EmitError(f"{dialect.name} has no function of this kind", node="template", text=kind)
    parameters = dialect.parameters(kind)
    spelled = {one.name: one.spelled for one in parameters}
    optional = {one.name for one in parameters if one.default is not None}
    given: list[cst.Arg] = []
    for one in node.args:
        if isinstance(one.value, cst.Name) and operands.get(one.value.value, "") is None:
            if one.keyword is None or one.keyword.value not in optional:
                raise EmitError(f"{kind} takes an argument that is left out", node="template", text=one.value.value)
            continue
        name = one.keyword.value if one.keyword is not None else None
        given.append(
            argument(_filled(one.value, operands, dialect, names), name=spelled.get(name, name) if name else None)
        )
    return call(dotted(names.spell(function.api)), given)


def _enclosed(expression: cst.BaseExpression) -> cst.BaseExpression:
    """An expression in parentheses, unless it holds together by itself beside an operator or a dot."""
    holds = (
        cst.Name | cst.Attribute | cst.Call | cst.Subscript | cst.Float | cst.BaseString | cst.BaseList | cst.BaseDict
    )
    if expression.lpar or isinstance(expression, holds | cst.Integer):
        return expression
    return expression.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])

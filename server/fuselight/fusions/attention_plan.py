"""From an attention to the edit that makes it one call: its scale, its masks, its dropout, and what goes."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping

from fuselight.fusions.attention_masks import MaskWriter, Operands, Said
from fuselight.fusions.attention_proof import Arm, PlannedAttention, variables_of
from fuselight.fusions.attentions import Attention, Factor, Mask, Seen
from fuselight.fusions.base import Match, Refusal
from fuselight.fusions.extents import Extent, Extents
from fuselight.fusions.fused_branches import beside_fused
from fuselight.fusions.held_values import held
from fuselight.fusions.matching import Found, Matcher, operands_of
from fuselight.fusions.model import Safety
from fuselight.fusions.naming import free_local
from fuselight.fusions.needs import higher_gradients, is_made_number, is_number
from fuselight.fusions.plan import (
    Place,
)
from fuselight.fusions.planned import OneCall
from fuselight.fusions.repeated_heads import repeated
from fuselight.fusions.results_viewed import lies_as_a_product, views_of
from fuselight.fusions.site import Rewrite, Site, brief
from fuselight.graph.constants import is_tensor_of_number, number_in
from fuselight.graph.effects import called_name
from fuselight.graph.mentions import self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import rank_of
from fuselight.graph.values import Consumption, Graph, Value
from fuselight.source.nodes import walk

_ROUNDS = "it rounds otherwise, and has first gradients only"
_DRAWS = "dropout draws other numbers"


class AttentionPlan:
    """How one attention becomes one call, or why not."""

    def __init__(self, fusion: type[OneCall], module: Module, scope: Scope, matcher: Matcher, at: Attention) -> None:
        self.fusion = fusion
        self.module = module
        self.scope = scope
        self.graph: Graph = matcher.graph
        self.matcher = matcher
        self.at = at
        self.extents = Extents(self.graph, matcher)
        self.operands = Operands()
        self.notes: list[str] = [_ROUNDS, *at.assumed]
        self.masks = MaskWriter(self, matcher, self.extents, at)
        self.inner = list(at.inner)
        self.numbers: list[Value] = []
        self.arms: list[Arm] = []
        self.before: str | None = None
        """What the mask is before the first condition."""
        self.mask_name = ""
        self.prepared: list[tuple[str, str]] = []
        """Names of masks that are computed right before the call, with their templates."""
        self.viewed: list[ast.Call] = []
        """Calls of `view` on the result, which may lie otherwise in memory."""
        self.replaced: dict[Value, str] = {}
        """What is read of the scores' shape, with the template that reads it of queries and keys."""

    def match(self) -> Match:
        """The match, or the refusal."""
        template = self._template()
        rewrite = Rewrite(
            "",
            template if isinstance(template, str) else "scaled_dot_product_attention()",
            Safety.NUMERICS,
            "; ".join(dict.fromkeys(self.notes)),
            integers=tuple(name for name in self.operands.bound if name[0] not in "qkv"),
        )
        found = Found(dict(self.operands.bound), tuple(dict.fromkeys(self.inner)), tuple(self._constants()))
        site = Site(self.module, self.scope, self.graph, self.matcher, rewrite, self.at.root, found)
        planned = PlannedAttention(self.fusion, site, self)
        if isinstance(template, Refusal):
            return planned.refused(template)
        return planned.match()

    def _constants(self) -> list[Value]:
        """What was computed for the scale and for masked scores alone."""
        found: dict[Value, None] = {}
        waiting = [*self.numbers, *self.at.fillers]
        found.update(dict.fromkeys(self.masks.inverted))
        # What only says the dtype of a conversion goes with it.
        said = [one for cast in self.at.casts for one in (*cast.inputs[1:], *cast.keywords.values())]
        waiting += [one for one in said if one.kind == "attribute" and len(one.uses) == 1]
        while waiting:
            one = waiting.pop()
            if one in found or one.kind in ("parameter", "joined", "global", "constant"):
                found.setdefault(one)
                continue
            found[one] = None
            waiting += [*one.inputs, *one.keywords.values()]
        return [one for one in found if one.kind != "parameter" and one not in self.at.inner]

    # -- the call

    def _template(self) -> str | Refusal:
        root = self.at.root.node
        assert root is not None
        refusal = beside_fused(self.module, self.scope, root) or higher_gradients(self.module) or self._used_again()
        if refusal is not None:
            return refusal
        if self.at.behind or not lies_as_a_product(self.graph, self.at.root):
            views = views_of(self.module, self.scope, self.graph, self.at.root)
            if views.refused is not None:
                return views.refused
            # Where the call stands in the same expression, both would lay out the same lines anew.
            inside = [one for one in views.calls if any(node is root for node in ast.walk(one))]
            self.viewed = [one for one in views.calls if one not in inside and not views.beyond]
            if inside or views.beyond:
                self.at.behind += ".contiguous()"
        heads = self._heads()
        query, key, value = (
            self.operands.name(one.operand, hint)
            for one, hint in ((self.at.query, "q"), (heads[0], "k"), (heads[1], "v"))
        )
        scale = self._scale()
        if isinstance(scale, Refusal):
            return scale
        scale_text, folded = scale
        self._read_elsewhere(query, key)
        mask = self._mask(self._dtype(query, key, value))
        if isinstance(mask, Refusal):
            return mask
        refusal = self._dtypes(bool(folded))
        if refusal is not None:
            return refusal
        arguments = [
            f"{query}{self.at.query.methods}{folded}",
            f"{key}{heads[0].methods}",
            f"{value}{heads[1].methods}",
        ]
        arguments += mask
        dropout = self._dropout()
        if dropout is not None:
            arguments.append(f"dropout_p={dropout}")
        if scale_text is not None:
            arguments.append(f"scale={scale_text}")
        if heads[2]:
            arguments.append("enable_gqa=True")
        return f"scaled_dot_product_attention({', '.join(arguments)}){self.at.behind}"

    def _read_elsewhere(self, query: str, key: str) -> None:
        """Have the shape, dtype and device that the function reads of the scores read of the queries and keys."""
        names = [self.operands.bound[name].node for name in (query, key)]
        if not all(isinstance(one, ast.Name) for one in names) or self.at.query.factors or self.at.key.factors:
            return
        sizes: dict[object, str] = {
            -1: f"{key}.shape[{self.at.key.tokens}]",
            -2: f"{query}.shape[{self.at.query.tokens}]",
        }
        for_masks = {one for mask in self.at.masks for one in _for_it_alone(mask.operand.value)}
        for value in self.at.inner:
            if value.order > self.at.softmax.order:
                continue
            for use in value.uses:
                by = use.by
                if use.how is not Consumption.METADATA or by is None or by.node is None:
                    continue
                if isinstance(by.node, ast.Attribute) and by.node.attr in ("dtype", "device"):
                    if by.node.attr == "device" or by in for_masks or not self._is_converted(value):
                        self.replaced[by] = f"{query}.{by.node.attr}"
                elif not self.at.is_ordered:
                    continue  # its sizes are in another order
                elif isinstance(by.node, ast.Call) and len(by.inputs) == 2 and by.inputs[1].constant in sizes:
                    self.replaced[by] = sizes[by.inputs[1].constant]
                elif isinstance(by.node, ast.Attribute) and by.node.attr == "shape":
                    self._shape_elsewhere(by, sizes)

    def _is_converted(self, value: Value) -> bool:
        """Whether scores may be of another dtype than the queries: what is converted on the way, or by the softmax."""
        return any(one.order <= value.order for one in self.at.casts)

    def _shape_elsewhere(self, shape: Value, sizes: Mapping[object, str]) -> None:
        """`scores.shape[-1]`, `scores.shape[-2:]`."""
        templates: dict[Value, str] = {}
        for use in shape.uses:
            by = use.by
            if by is None or by.kind != "getitem" or not isinstance(by.node, ast.Subscript):
                return
            cut = by.node.slice
            if by.inputs[1].constant in sizes:
                templates[by] = sizes[by.inputs[1].constant]
            elif isinstance(cut, ast.Slice) and cut.upper is None and cut.step is None and _is_minus_two(cut.lower):
                templates[by] = f"({sizes[-2]}, {sizes[-1]})"
            else:
                return
        self.replaced.update(templates)
        self.replaced[shape] = ""

    def _heads(self) -> tuple[Seen, Seen, bool]:
        """The keys and values, as they are before their heads are repeated for the queries', if both are."""
        key, value = self.at.key, self.at.value
        plain = key, value, False
        if self.at.query.methods or key.methods or value.methods:
            return plain
        one = repeated(self.module, self.scope, self.graph, self.matcher, key.operand)
        other = repeated(self.module, self.scope, self.graph, self.matcher, value.operand)
        if one is None or other is None or not one.is_like(other, self.matcher):
            return plain
        self.notes += [*one.assumed, *other.assumed]
        self.inner += [*one.inner, *other.inner]
        self.numbers += [*one.numbers, *other.numbers]
        return Seen(one.source), Seen(other.source), True

    def _dtype(self, *names: str) -> str | None:
        """The name of a tensor that the function has at hand, of the dtype of the scores."""
        for name in names:
            if isinstance(self.operands.bound[name].node, ast.Name):
                return name
        return None

    # -- what else sees the weights

    def _used_again(self) -> Refusal | None:
        inside = {*self.at.inner, self.at.root}
        for value in self.at.inner:
            if value.kind == "joined" or value in (self.at.query.operand.value, self.at.key.operand.value):
                continue
            what = "weights" if value.order >= self.at.softmax.order else "scores"
            for use in value.consumers:
                if use.how is Consumption.RETURNED:
                    return self._kept(f"the {what} are returned", use.node)
                if use.how is Consumption.STORED:
                    return self._kept(f"the {what} are stored", use.node)
                if use.how is Consumption.CAPTURED:
                    return self._kept(f"the {what} are read by an inner function", use.node)
                by = use.by
                if by is None or by in inside or by.kind != "container" or use.how is not Consumption.INPUT:
                    continue
                if any(one.how is Consumption.RETURNED for one in by.uses):
                    return self._kept(f"the {what} are returned", use.node)
        return None

    def _kept(self, reason: str, node: ast.AST | None) -> Refusal:
        place = node if isinstance(node, ast.expr | ast.stmt) else self.at.root.node
        assert place is not None
        return Refusal(reason, Place(self.scope.statement, place))

    # -- the scale

    def _scale(self) -> tuple[str | None, str] | Refusal:
        """The argument `scale` (None for its default), and what the queries are multiplied by beforehand."""
        own = [*self.at.query.factors, *self.at.key.factors]
        numbers: list[Factor] = []
        folded = ""
        for factor in [*own, *map(_unwrapped, self.at.factors)]:
            value = factor.operand.value
            tensor = is_tensor_of_number(value) or not is_number(self, value)
            if not tensor or (self.matcher.number(value) is not None and not is_tensor_of_number(value)):
                numbers.append(factor)
                continue
            if factor in own or not self._is_per_head(factor.operand.value):
                node = factor.operand.node
                what = f"`{brief(self.scope.statement.source(node))}`" if node is not None else "a factor"
                return self._kept(f"it is not shown that {what} scales all scores of a head alike", node)
            folded += f" {'/' if factor.divides else '*'} {self.operands.name(factor.operand, 's')}"
        if self._is_default(numbers) and not folded:
            self.numbers += [one.operand.value for one in numbers]
            return None, ""
        return self._product(numbers), folded

    def _product(self, numbers: list[Factor]) -> str:
        if not numbers:
            return "1.0"
        text = ""
        for factor in sorted(numbers, key=lambda one: one.divides):
            name = self.operands.name(factor.operand, "s")
            if not text:
                text = f"1 / {name}" if factor.divides else name
            else:
                text += f" {'/' if factor.divides else '*'} {name}"
        return text

    def _is_default(self, numbers: list[Factor]) -> bool:
        """Whether the factors make up the length of the queries' last axis to the power of minus one half."""
        powers: list[tuple[Extent, float]] = []
        constant = 1.0
        for factor in numbers:
            parts = self._powers(factor.operand.value, -1.0 if factor.divides else 1.0)
            if parts is None:
                return False
            constant *= parts[0]
            powers += parts[1]
        wanted = [self.extents.of(one.operand.value, one.features) for one in (self.at.query, self.at.key)]
        known = next((one for one in wanted if one.number is not None), None)
        if known is not None and known.number is not None:
            for extent, power in powers:
                if extent.number is None:
                    return False
                constant *= float(extent.number) ** power
            return math.isclose(constant, known.number**-0.5, rel_tol=1e-12)
        total = 0.0
        for extent, power in powers:
            if not any(self.extents.same(extent, one) for one in wanted):
                return False
            total += power
        return bool(powers) and math.isclose(constant, 1.0) and math.isclose(total, -0.5)

    def _powers(self, value: Value, power: float, depth: int = 8) -> tuple[float, list[tuple[Extent, float]]] | None:
        """A number as a constant and powers of lengths."""
        if depth == 0:
            return None
        constant = self.matcher.number(value)
        if constant is not None:
            return (constant**power, []) if constant > 0 else None
        kind = value.kind
        if kind in ("math.sqrt", "numpy.sqrt", "sqrt") and len(value.inputs) == 1:
            return self._powers(value.inputs[0], power / 2, depth - 1)
        if kind in ("pow", "math.pow") and len(value.inputs) == 2:
            exponent = self.matcher.number(value.inputs[1])
            return None if exponent is None else self._powers(value.inputs[0], power * exponent, depth - 1)
        if kind in ("mul", "div") and len(value.inputs) == 2:
            one = self._powers(value.inputs[0], power, depth - 1)
            other = self._powers(value.inputs[1], -power if kind == "div" else power, depth - 1)
            return None if one is None or other is None else (one[0] * other[0], [*one[1], *other[1]])
        if kind == "builtin" and len(value.inputs) == 1:
            return self._powers(value.inputs[0], power, depth - 1)
        if kind in ("torch.tensor", "parameter", "call", "opaque", "joined"):
            return (1.0, [(Extent(value), power)])
        return 1.0, [(self.extents.of_size(value), power)]

    def _is_per_head(self, value: Value, depth: int = 8) -> bool:
        """Whether a tensor has one element for all scores of a head: none, or last two axes of one."""
        if depth == 0:
            return False
        kind = value.kind
        if is_tensor_of_number(value) or self.matcher.number(value) is not None:
            return True
        if kind == "attribute":
            made = held(self.module, self.scope, value)
            return made is not None and self._is_made_per_head(made)
        if kind in _POINTWISE and value.inputs:
            return all(self._is_per_head(one, depth - 1) for one in value.inputs)
        if kind == "method view" or kind == "reshape":
            given = value.inputs[1:]
            if len(given) == 1 and given[0].kind == "container":
                given = given[0].inputs
            return len(given) >= 3 and all(one.constant == 1 for one in given[-2:])
        if kind == "getitem" and isinstance(value.node, ast.Subscript):
            cut = value.node.slice
            tail = cut.elts[-2:] if isinstance(cut, ast.Tuple) else []
            return len(tail) == 2 and all(isinstance(one, ast.Constant) and one.value is None for one in tail)
        if kind in ("method to", "method type_as", "method float"):
            return self._is_per_head(value.inputs[0], depth - 1)
        return False

    def _is_made_per_head(self, node: ast.expr) -> bool:
        """Whether `__init__` makes a tensor without axes, of one element, or with two last axes of one."""
        match node:
            case ast.BinOp(left=left, right=right):
                parts = (left, right)
                return all(self._is_made_number(one) or self._is_made_per_head(one) for one in parts)
            case ast.Call(func=func, args=[first, *rest]):
                name = called_name(func) or ""
                listed = isinstance(first, ast.List | ast.Tuple)
                if name in ("tensor", "as_tensor", "FloatTensor", "Tensor"):
                    if isinstance(first, ast.List | ast.Tuple):
                        only = first.elts[0] if len(first.elts) == 1 else None
                        return only is not None and not isinstance(only, ast.Starred | ast.List | ast.Tuple)
                    return name in ("tensor", "as_tensor") and self._is_made_number(first)
                if name in _FILLED:
                    sizes = first.elts if isinstance(first, ast.List | ast.Tuple) else [first]
                    sizes = sizes if listed or name == "full" else [first, *rest]
                    return all(isinstance(one, ast.Constant) and one.value == 1 for one in sizes[-2:])
                of_torch = isinstance(func, ast.Attribute) and called_name(func.value) in ("torch", "nn", "F")
                if name in _SELF_MAPPED and isinstance(func, ast.Attribute) and not of_torch:
                    return self._is_made_per_head(func.value)
                return name in _MAPPED and self._is_made_per_head(first)
            case ast.Call(func=ast.Attribute(value=value, attr=name), args=[]):
                return name in _SELF_MAPPED and self._is_made_per_head(value)
            case _:
                return False

    def _is_made_number(self, node: ast.expr) -> bool:
        return number_in(self.module, node) is not None or is_made_number(self, node)

    # -- masks

    def _mask(self, dtype: str | None) -> list[str] | Refusal:
        """The arguments that say the masks."""
        masks = self.at.masks
        if len(masks) == 1 and masks[0].branch is None and self.masks.is_causal(masks[0]):
            value = masks[0].operand.value
            self.inner += [one for one in _for_it_alone(value) if one not in self.at.inner]
            return ["is_causal=True"]
        self.notes += [note for note in map(self.masks.notes, masks) if note is not None]
        if not masks:
            return []
        self._assume_sizes(masks)
        if all(one.branch is None for one in masks):
            said = self.masks.together(masks, self.operands, dtype)
            return said if isinstance(said, Refusal) else [f"attn_mask={said.template}"] if said is not None else []
        return self._conditional(masks, dtype)

    def _assume_sizes(self, masks: list[Mask]) -> None:
        """Scores take any mask, and grow where it is larger; the one call does not."""
        ranks = [rank_of(self.graph, one.operand.value) for one in masks]
        if any(one.least < 2 and one.exact != 1 for one in ranks):
            self.notes.append("masks have two dimensions or more, and are no larger than the scores")
        elif any(one.exact not in (1, 2) for one in ranks):
            self.notes.append("masks are no larger than the scores")

    def _conditional(self, masks: list[Mask], dtype: str | None) -> list[str] | Refusal:
        """Masks of which some stand under a condition: a variable takes up what is masked, `None` for nothing."""
        taken = self.graph.all_names()
        self.mask_name = name = free_local("attn_mask" if "attn_mask" not in taken else "scores_mask", taken)
        variable = self.operands.text(name)
        first = next(at for at, one in enumerate(masks) if one.branch is not None)
        last = max(at for at, one in enumerate(masks) if one.branch is not None)
        before = self.masks.together(masks[:first], self.operands, dtype)
        if isinstance(before, Refusal):
            return before
        self.before = before.template if before is not None else "None"
        so_far, empty = before, before is None
        either = False  # whether the variable may be of truth values or of summands
        entered: dict[ast.If, tuple[Said | None, bool]] = {}
        for mask in masks[first : last + 1]:
            at = mask.value.node
            if mask.branch is None or mask.value.statement is None:
                return self._kept("a mask stands between others that are under a condition", at)
            if mask.value.reads > 0:
                return self._kept("masked scores get another name under a condition", at)
            if not self.scope.statement.stands_alone(mask.value.statement):
                return self._kept("a mask shares its line with the condition, or another statement", at)
            if self._same_arm(mask, masks):
                return self._kept("several masks stand under one condition", at)
            said = self.masks.said(mask, self.operands, dtype)
            if isinstance(said, Refusal):
                return said
            if either:
                return self._kept("masks of two kinds stand under conditions", at)
            # Both arms of a condition go on from what there was before it.
            is_other_arm = mask.branch in entered
            known, was_empty = entered.setdefault(mask.branch, (so_far, empty))
            template, is_boolean = said.template, said.is_boolean
            if known is not None:
                either = known.is_boolean != said.is_boolean and (was_empty or known.is_boolean)
                joined = self.masks.joined(Said(variable, known.is_boolean), said, mask, self.operands)
                template = f"{template} if {variable} is None else {joined.template}" if was_empty else joined.template
                is_boolean = joined.is_boolean
            either = either or (is_other_arm and so_far is not None and so_far.is_boolean != is_boolean)
            self.arms.append(Arm(mask.branch, mask.value.statement, template))
            so_far = Said("", is_boolean)
        result = variable
        for mask in masks[last + 1 :]:
            said = self.masks.said(mask, self.operands, dtype)
            assert so_far is not None
            if isinstance(said, Refusal):
                return said
            if either:
                return self._kept("masks of two kinds stand under conditions", mask.value.node)
            if empty:
                said = self._prepared(said)
            joined = self.masks.joined(Said(result, so_far.is_boolean), said, mask, self.operands).template
            result = f"{said.template} if {variable} is None else {joined}" if empty else joined
            either = empty and said.is_boolean and not so_far.is_boolean
            so_far, empty = Said(result, so_far.is_boolean and said.is_boolean), False
        return [f"attn_mask={result}"]

    def _prepared(self, said: Said) -> Said:
        """A mask that is read twice, under a name of its own where it is no name."""
        names = variables_of(said.template)
        bound = self.operands.bound.get(said.template)
        if len(names) == 1 and bound is not None and isinstance(bound.node, ast.Name):
            return said
        taken = {*self.graph.all_names(), self.mask_name, *(name for name, _ in self.prepared)}
        name = free_local("other_mask", taken)
        self.prepared.append((name, said.template))
        return Said(self.operands.text(name), said.is_boolean)

    def _same_arm(self, mask: Mask, masks: list[Mask]) -> bool:
        """Whether another mask stands in the same suite of the same `if`."""
        assert mask.branch is not None
        statement = mask.value.statement
        suite = mask.branch.body if statement in mask.branch.body else mask.branch.orelse
        return any(one is not mask and one.value.statement in suite for one in masks)

    # -- dropout and dtypes

    def _dropout(self) -> str | None:
        dropout = self.at.dropout
        if dropout is None:
            return None
        self.notes.append(_DRAWS)
        if dropout.layer is not None:
            element = f"[{dropout.element}]" if dropout.element is not None else ""
            source = f"{self.scope.statement.source(dropout.layer)}{element}"
            layer = self.operands.text(source)
            owner = source if _switches_dropouts(self.module) else self_parameter(self.scope.function)
            training = self.operands.text(f"{owner}.training")
            return f"{layer}.p if {training} else 0.0"
        p = self.operands.name(dropout.p, "p") if dropout.p is not None else "0.5"
        training = dropout.training
        if training is None or training.value.constant is True:
            return p
        if training.value.constant is False:
            return None
        return f"{p} if {self.operands.name(training, 't')} else 0.0"

    def _dtypes(self, folded: bool) -> Refusal | None:
        """Conversions on the way are for the softmax's precision, which the one call has; others are refused."""
        for value in self.at.casts:
            named = [*value.inputs[1:], *value.keywords.values()]
            text = " ".join(one.path or "" for one in named)
            if value.kind in ("method half", "method bfloat16") or "float16" in text:
                return self._kept("a dtype is asked for that the one call does not take", value.node)
        behind = [one for one in self.at.casts if one.order > self.at.softmax.order]
        raised = [one for one in self.at.casts if one.order <= self.at.softmax.order]
        converted = [
            one
            for one in (self.at.query, self.at.key, self.at.value)
            if one.operand.value.kind in ("method float", "method to", "method type", "method double", "method half")
        ]
        if raised and not behind and any(one is self.at.value for one in converted):
            return self._kept("the values are converted to the weights' dtype, and queries and keys are not", None)
        if converted and (len(converted) < 3 or behind):
            return self._kept("queries, keys and values are not shown to be of one dtype", converted[0].operand.node)
        if folded and behind:
            return self._kept("a factor may raise the dtype of the queries", None)
        return None


def _is_minus_two(node: ast.expr | None) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant) and node.operand.value == 2


_POINTWISE = frozenset(
    "exp log sqrt rsqrt square reciprocal softplus sigmoid clamp mul div add neg abs tanh relu minimum maximum".split()
)


_FILLED = frozenset("ones zeros full empty rand randn".split())
_MAPPED = frozenset("log exp sqrt Parameter Buffer clamp abs softplus".split())
_SELF_MAPPED = frozenset("log exp sqrt to cuda float double clone detach fill_ requires_grad_".split())


def _switches_dropouts(module: Module) -> bool:
    """Whether the file may switch dropouts to training mode alone, as who takes samples of a trained model does."""
    mentions = module.mentions
    places = [(one.statement, one.function) for one in mentions.calls_of("train", "eval")]
    places += [(one.statement, one.function) for one in mentions.of_attribute("training") if not one.is_read]
    for statement, function in places:
        for node in walk(function) if function is not None else [one for top in statement.body for one in walk(top)]:
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if "Dropout" in name or name.endswith("modules"):
                return True
    return False


def _unwrapped(factor: Factor) -> Factor:
    """A factor that is a number in a tensor without axes, as the number: `torch.full([], x.size(-1) ** 0.5)`."""
    value = factor.operand.value
    operands = operands_of(value)
    sizes = operands[0].value if operands else None
    if value.kind == "torch.full" and len(operands) == 2 and sizes is not None:
        empty = sizes.kind == "container" and not sizes.inputs
        return Factor(operands[1], factor.divides, factor.value) if empty else factor
    if value.kind == "torch.tensor" and len(operands) == 1 and operands[0].value.kind != "container":
        return Factor(operands[0], factor.divides, factor.value)
    return factor


def _for_it_alone(value: Value) -> list[Value]:
    """A value with what was computed for nothing else."""
    found = [value]
    for one in (*value.inputs, *value.keywords.values()):
        if one.kind not in ("parameter", "joined", "global") and len(one.uses) <= 1 and len(one.inputs) > 0:
            found += _for_it_alone(one)
    return found


__all__ = ["AttentionPlan"]

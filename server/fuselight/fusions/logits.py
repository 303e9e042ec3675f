"""An activation that goes because the loss behind it takes logits: who else gets what it makes, and the edit.

Two questions, one against the other. Forward: every use of the activation's result, through reshapes, a `return` of a
model's `forward` and every call of every instance of the model, must end in a loss of a fitting kind. Backward: such a
loss must surely be given what this activation makes, and its criterion nothing else.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from fuselight.fusions import provenance
from fuselight.fusions.base import Refusal
from fuselight.fusions.criteria import (
    Activation,
    Criteria,
    Loss,
    Made,
    Site,
    dim_of,
    given,
    reshapes,
)
from fuselight.fusions.holders import calls_of, instances_of
from fuselight.fusions.literals import Literal, blocks_of, literals, seen_between
from fuselight.fusions.parents import around, parents_of
from fuselight.fusions.plan import (
    Action,
    Construct,
    Expression,
    Place,
    RenameMethod,
    ReplaceCallee,
    ReplaceExpression,
    ReplaceStatements,
    Within,
)
from fuselight.fusions.references import reads_as_reference
from fuselight.fusions.steps import Pair, Step, operand, removed_places, step_of, without, without_first
from fuselight.fusions.writes import is_fresh, source_written_behind, written_by_callers
from fuselight.graph.classes import ClassInfo, resolve
from fuselight.graph.mentions import Function, self_parameter
from fuselight.graph.module import Module, Scope
from fuselight.graph.ranks import dimensions, rank_of
from fuselight.graph.values import EXTERNAL, Consumption, Use, Value
from fuselight.source.statements import Statement
from fuselight_emitter.ir import LogicalNode

RENAMED = {
    ("log_softmax", "nll_loss"): ("cross_entropy", "CrossEntropyLoss"),
    ("sigmoid", "binary_cross_entropy"): ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss"),
    ("log_softmax", "cross_entropy"): None,
}
"""An activation and a loss behind it, and what the loss becomes as a function and as a layer."""

_MOST = 20
"""More losses of one model than this are not followed."""

_LARGEST = frozenset("max torch.max topk torch.topk".split()) | {"method max", "method topk"}
_DETACHED = frozenset({"method detach", "method cpu", "method cuda", "method clone", "clone"})


def named(loss: Loss) -> str:
    """What is called, as the user writes it."""
    text = " ".join(ast.unparse(loss.node.func).split())
    return text if len(text) <= 40 else f"{text[:37]}..."


@dataclass(slots=True, eq=False)
class Removal:
    """The activations that go, and the losses that take their place, each with all that uses the other."""

    module: Module
    criteria: Criteria
    outputs: list[tuple[Activation, Site]] = field(default_factory=list[tuple[Activation, Site]])
    """Each activation with every call of what it is the end of."""
    losses: list[Loss] = field(default_factory=list[Loss])
    notes: list[str] = field(default_factory=list[str])

    def collect(self, first: Activation) -> Refusal | None:
        """Follow the results of an activation to the losses, and these back to whatever else they are given."""
        todo, done, criteria = [first], set[ast.AST](), set[ast.AST]()
        while todo:
            activation = todo.pop()
            if _key(activation) in done:
                continue
            done.add(_key(activation))
            refusal = self._collect(activation)
            if refusal is not None:
                return refusal
            for loss in list(self.losses):
                if loss.made is None or loss.made.call in criteria:
                    continue
                criteria.add(loss.made.call)
                others = self._given_to(loss.made, first)
                if isinstance(others, Refusal):
                    return others
                todo += others
        return None

    def _collect(self, activation: Activation) -> Refusal | None:
        if activation.returned is not None:
            return Refusal("the model returns it together with other values", _at(activation))
        if len(self.outputs) > _MOST:
            return Refusal("it is used in too many places to follow", _at(activation))
        refusal = self._class_dimension(activation)
        if refusal is not None:
            return refusal
        sites = self._calls(activation)
        if isinstance(sites, Refusal):
            return sites
        if activation.sequential is not None:
            self._note_global(activation.sequential, "returns")
        for site in sites:
            self.outputs.append((activation, site))
            refusal = self._written(activation, site) or self._follow(site, activation, set())
            if refusal is not None:
                return refusal
        return None

    def _calls(self, activation: Activation) -> list[Site] | Refusal:
        """Every value that the activation, as long as it is the one that goes, makes."""
        held = activation.sequential or activation.made
        sites = calls_of(self.module, held) if held is not None else []
        if isinstance(sites, Refusal):
            return sites
        if activation.sequential is None:
            assert activation.call is not None
            return [activation.call]
        for site in sites:
            made = self.criteria.callee(site)
            if made is None or made.call is not activation.sequential.call:
                node = site.value.node
                return Refusal(
                    "what is called may be another layer", Place(site.scope.statement, node or activation.node)
                )
        return sites

    def _given_to(self, criterion: Made, first: Activation) -> list[Activation] | Refusal:
        """The further activations whose results a criterion is given; it may be given nothing else."""
        sites = calls_of(self.module, criterion)
        if isinstance(sites, Refusal):
            return sites
        if RENAMED[first.kind, _kind_of(self.losses, criterion)] is None:
            return []  # it stays as it is
        self._note_global(criterion, "takes")
        known = {loss.node for loss in self.losses}
        found: list[Activation] = []
        for site in sites:
            if site.value.node in known:
                continue
            loss = self._loss(site)
            activation = self.criteria.activation_before(loss) if loss is not None else None
            if activation is None or activation.kind != first.kind:
                node = site.value.node
                assert node is not None
                return Refusal("the criterion is given something else too", Place(site.scope.statement, node))
            found.append(activation)
        return found

    def _note_global(self, made: Made, does: str) -> None:
        """What stands in a module may be imported by others."""
        parents = around(made.statement, made.call)
        if any(isinstance(one, Function | ast.ClassDef) for one in parents):
            return
        assigned = next((one for one in parents if isinstance(one, ast.Assign)), None)
        target = assigned.targets[0] if assigned is not None else None
        if isinstance(target, ast.Name) and not any(one.endswith("in other files too") for one in self.notes):
            self._note(f"`{target.id}` {does} logits from then on, in other files too")

    def _loss(self, site: Site) -> Loss | None:
        losses = self.criteria.losses(site.scope, site.graph)
        return next((one for one in losses if one.site.value is site.value), None)

    # -- what else is done with the results

    def _follow(self, site: Site, activation: Activation, models: set[ClassInfo]) -> Refusal | None:
        value, scope = site.value, site.scope
        for use in value.uses:
            if use.how in (Consumption.METADATA, Consumption.DELETED):
                continue
            at = _place_of(scope, use, value)
            by = use.by
            if use.how is Consumption.RETURNED:
                refusal = self._returned(site, activation, models, at)
                if refusal is not None:
                    return refusal
                continue
            if use.how is not Consumption.INPUT or by is None:
                return Refusal(f"`{activation.label}` makes what is {_KEPT.get(use.how, 'used elsewhere')}", at)
            loss = self._loss(Site(scope, site.graph, by))
            if loss is not None and loss.first is value and _once(by, value):
                if (activation.kind, loss.kind) not in RENAMED:
                    return Refusal(f"`{named(loss)}`, another loss, is given what `{activation.label}` makes", at)
                back = self.criteria.activation_before(loss)
                if back is None or back.node is not activation.node:
                    return Refusal("the loss may be given what another layer or model makes", at)
                if all(one.node is not loss.node for one in self.losses):
                    self.losses.append(loss)
                continue
            inner = Site(scope, site.graph, by)
            passes = activation.kind == "sigmoid" and reshapes(by)
            if by.inputs[:1] == (value,) and (passes or _is_device(by)):
                refusal = self._follow(inner, activation, models)
            elif activation.kind == "log_softmax" and self._is_index(inner, value, activation):
                self._note("an index of the largest may tell apart what rounds to one")
                continue
            elif by.kind == "container" and any(one.how is Consumption.RETURNED for one in by.uses):
                refusal = Refusal(f"`{scope.name}` returns what `{activation.label}` makes, beside other values", at)
            else:
                text = " ".join(scope.statement.source(by.node).split())[:60] if by.node is not None else "another step"
                refusal = Refusal(f"`{text}` uses what `{activation.label}` makes", at)
            if refusal is not None:
                return refusal
        return None

    def _returned(self, site: Site, activation: Activation, models: set[ClassInfo], at: Place) -> Refusal | None:
        """What is done with the outputs of a model whose `forward` returns it."""
        scope = site.scope
        owner = scope.owner
        if owner is None or scope.function.name != "forward" or not activation.models or owner not in activation.models:
            return Refusal(f"`{scope.name or 'the file'}` returns what `{activation.label}` makes", at)
        if owner in models:
            return None
        models.add(owner)
        self._note(f"`{owner.name}` returns logits from then on, in other files too")
        made = instances_of(self.module, owner)
        if isinstance(made, Refusal):
            return made
        if not made:
            return Refusal(f"`{owner.name}` is made in other files, which use what it returns", at)
        sites = self._own_calls(owner)
        if isinstance(sites, Refusal):
            return sites
        for statement, call in made:
            found = calls_of(self.module, Made(None, owner, call, statement, frozenset()))
            if isinstance(found, Refusal):
                return found
            sites += found
        for one in sites:
            if self.criteria.model(one) is not owner:
                node = one.value.node
                return Refusal("what is called may be another model", Place(one.scope.statement, node or owner.node))
            refusal = self._follow(one, activation, models)
            if refusal is not None:
                return refusal
        return None

    def _own_calls(self, owner: ClassInfo) -> list[Site] | Refusal:
        """The calls that the methods of a model make of itself: `self(x)`, `self.forward(x)`."""
        if owner.unknown_base is not None:
            return Refusal(f"`{owner.name}` inherits from `{owner.unknown_base}`", Place(owner.statement, owner.node))
        found: list[Site] = []
        for scope in self.module.scopes(owner.statement):
            me = self_parameter(scope.function) if scope.owner is owner else None
            if me is None:
                continue
            graph = self.module.graph(scope)
            if graph.opaque is not None:
                return Refusal(graph.opaque, Place(scope.statement, scope.function))
            parents = parents_of(scope.statement)
            for node in ast.walk(scope.function):
                if not (isinstance(node, ast.Name) and node.id == me):
                    continue
                parent = parents[node]
                called = parent if isinstance(parent, ast.Call) and parent.func is node else None
                if isinstance(parent, ast.Attribute):
                    call = parents[parent]
                    if parent.attr == "forward":
                        called = call if isinstance(call, ast.Call) and call.func is parent else None
                    else:
                        continue
                elif isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name) and parent.func.id == "super":
                    continue
                value = next((one for one in graph.values if called is not None and one.node is called), None)
                if value is None:
                    return Refusal(f"`{owner.name}` hands itself on", Place(scope.statement, node))
                found.append(Site(scope, graph, value))
        return found

    def _is_index(self, site: Site, value: Value, activation: Activation) -> bool:
        """Whether only the index of the largest class is taken: the same of logits as of their `log_softmax`."""
        by = site.value
        if by.inputs[:1] != (value,):
            return False
        if by.kind == "attribute" and isinstance(by.node, ast.Attribute) and by.node.attr == "data":
            return self._all_index(site, by, activation)
        if by.kind in _DETACHED:
            return self._all_index(site, by, activation)
        dim = dim_of(activation)
        if by.kind == "argmax":
            found = dimensions(by)
            return found is not None and found == (dim,)
        if by.kind in _LARGEST:
            at = 2 if "topk" in by.kind else 1
            found = dimensions(by, at)
            if found is None and at == 2 and len(by.inputs) == 2 and "dim" not in by.keywords:
                found = (-1,)
            return found == (dim,) and all(_takes_index(use) for use in by.uses)
        return False

    def _all_index(self, site: Site, value: Value, activation: Activation) -> bool:
        for use in value.uses:
            if use.how in (Consumption.METADATA, Consumption.DELETED):
                continue
            if use.how is not Consumption.INPUT or use.by is None:
                return False
            if not self._is_index(Site(site.scope, site.graph, use.by), value, activation):
                return False
        return True

    # -- is it the same?

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _class_dimension(self, activation: Activation) -> Refusal | None:
        """Whether a `log_softmax` goes over the classes, as the loss takes them to lie."""
        if activation.kind == "sigmoid":
            self._note("`BCELoss` cuts a loss off at 100")
            return None
        if self.module.mentions.has_word("autocast"):
            self._note("under autocast the loss rounds less")
        at, dim = _at(activation), dim_of(activation)
        if activation.reshaped:
            return Refusal("it is reshaped before the loss", at)
        if dim is None:
            return Refusal("no dimension is given to it: torch guesses one", at)
        if dim == "?":
            return Refusal("its dimension is no literal number, or it is given more than that", at)
        if dim == 1:
            return None
        if dim != -1:
            return Refusal(f"it goes over dimension {dim}, the classes lie along dimension 1", at)
        site = activation.call
        source = _source(activation, site.value) if site is not None else None
        if site is not None and source is not None and activation.sequential is None:
            rank = rank_of(site.graph, source, site.value)
            if rank.most is not None and rank.most <= 2:
                return None
            if rank.least > 2:
                return Refusal("it goes over the last of more than two dimensions, not over the classes", at)
        self._note("if its input has two dimensions")
        return None

    def _written(self, activation: Activation, site: Site) -> Refusal | None:
        """The loss keeps what the activation works on, and not its result: nobody may write to that behind it."""
        value, scope = site.value, site.scope
        if activation.sequential is not None and self._yields_its_own(activation):
            return None
        source = _source(activation, value)
        if source is None:
            return Refusal("what it works on is not known", Place(scope.statement, scope.function))
        refusal = source_written_behind(self.module, scope, site.graph, source, value)
        if refusal is None and EXTERNAL in source.roots and source.kind == "parameter":
            refusal = written_by_callers(self.module, scope.function)
        return refusal

    def _yields_its_own(self, activation: Activation) -> bool:
        """Whether the element before the activation makes new memory."""
        assert activation.sequential is not None
        literal = self._literal(activation)
        if literal is None:
            return False
        for element in reversed(literal.elements):
            if element.node is activation.node:
                continue
            if not isinstance(element.node, ast.Call) or element.kind is None:
                return False
            if is_fresh(element.call, element.kind):
                return True
            if "Dropout" not in element.kind and element.kind.rpartition(".")[2] not in ("Flatten", "Identity", "ReLU"):
                return False
        return False

    def _literal(self, activation: Activation) -> Literal | None:
        for scope in self.module.scopes(activation.statement):
            for literal in literals(self.module, scope):
                if any(one.node is activation.node for one in literal.elements):
                    return literal
        return None

    # -- the edit

    def actions(self) -> tuple[Action, ...] | Refusal:
        found: list[Action] = []
        gone: set[ast.AST] = set()
        for activation, site in self.outputs:
            if activation.sequential is not None:
                if activation.node in gone:
                    continue
                gone.add(activation.node)
                action = self._without_element(activation)
                if isinstance(action, Refusal):
                    return action
                found.append(action)
                continue
            refusal = _cannot_go(site)
            if refusal is not None:
                return refusal
            found += self._without_call(site)
        layers = {one.made.call: one for one, _ in self.outputs if one.made is not None}
        for activation in layers.values():
            found += self._without_layer(activation)
        renamed: set[ast.AST] = set()
        for loss in self.losses:
            action = self._with_logits(loss, next(one.kind for one, _ in self.outputs))
            call = loss.made.call if loss.made is not None else loss.node
            if action is not None and call not in renamed:
                renamed.add(call)
                found.append(action)
        if not self.losses:
            return Refusal("the loss is not followed")
        return tuple(found)

    def places(self, actions: tuple[Action, ...]) -> tuple[Place, ...]:
        found = [_at(activation) for activation, _ in self.outputs]
        found += [Place(loss.site.scope.statement, loss.node) for loss in self.losses[1:]]
        found += [Place(loss.made.statement, loss.made.call) for loss in self.losses if loss.made is not None]
        found += removed_places(actions)
        return tuple({place.node: place for place in found}.values())

    def _without_element(self, activation: Activation) -> Action | Refusal:
        literal = self._literal(activation)
        if literal is None:
            return Refusal("the layers before it are not all written out", _at(activation))
        refusal = seen_between(self.module, literal)
        if refusal is not None:
            return refusal
        statement, node = literal.statement, activation.node
        shorter = _without_last(statement, literal.call, node) if not literal.run else None
        if shorter is not None:
            return ReplaceExpression(statement, literal.call, shorter)
        return ReplaceExpression(statement, node, Construct(LogicalNode("identity", "torch.nn.Identity", {})))

    def _without_call(self, site: Site) -> tuple[Action, ...]:
        step = step_of(site.value, site.scope)
        loss = next((one for one in self.losses if one.first is site.value), None)
        if loss is not None and _in_a_row(site, loss):
            second = Step(loss.kind, site.scope.statement, loss.site.value, loss.site.value.layer)
            return without_first(Pair(step, second, site.scope, site.graph, None, None))
        return _returned_at_once(site, step) or without(step)

    def _with_logits(self, loss: Loss, activation: str) -> Action | None:
        """The edit that makes a loss the one that takes logits; None where it is that already."""
        renamed = RENAMED[activation, loss.kind]
        if renamed is None:
            return None
        made = loss.made
        call = made.call if made is not None else loss.node
        statement = made.statement if made is not None else loss.site.scope.statement
        name = renamed[1] if made is not None else renamed[0]
        hidden = made.hidden if made is not None else loss.site.graph.local
        func, path = call.func, resolve(call.func, self.module.names, hidden)
        if isinstance(func, ast.Attribute) and path is not None and func.attr == path.rpartition(".")[2]:
            if self._is_apart(statement, call):
                new = f"{statement.source(func.value)}.{name}"
                return ReplaceExpression(statement, call, Within(call, ((func, new),)))
            return RenameMethod(statement, call, name)
        if made is not None:
            return ReplaceCallee(statement, call, Construct(LogicalNode("criterion", f"torch.nn.{name}", {})))
        return ReplaceCallee(statement, call, Expression(LogicalNode("loss", f"func_{name}", {}), ("x", "y")))

    def _is_apart(self, statement: Statement, call: ast.Call) -> bool:
        """Whether nothing else of the edit is in the simple statement of a call, so that it may be laid out anew."""
        here = [loss for loss in self.losses if loss.node is call]
        if any(loss.site.graph is site.graph and one.sequential is None for loss in here for one, site in self.outputs):
            return False  # the name that holds the result may be replaced in it
        whole = next((one for one in around(statement, call) if isinstance(one, ast.stmt)), None)
        if not isinstance(whole, ast.Assign | ast.Return | ast.Expr | ast.AugAssign):
            return False
        nodes = set(ast.walk(whole))
        others = [loss.node for loss in self.losses if loss.made is None]
        others += [loss.made.call for loss in self.losses if loss.made is not None]
        others += [site.value.node for _, site in self.outputs if site.value.node is not None]
        others += [one.node for one, _ in self.outputs]
        return not any(one in nodes and one is not call for one in others)

    def _without_layer(self, activation: Activation) -> tuple[Action, ...]:
        """The constructor of a layer that nobody calls any more goes."""
        made = activation.made
        if made is None or activation.sequential is not None:
            return ()
        layer = made.layer
        sites = calls_of(self.module, made)
        gone = {site.value.node for _, site in self.outputs}
        if isinstance(sites, Refusal) or any(site.value.node not in gone for site in sites):
            return ()
        if layer is not None:
            if provenance.touched(self.module, layer.owner, layer, None) is not None:
                return ()
            statement, assignment, block = layer.statement, layer.assignment, layer.block
        else:
            holder = _assignment(made)
            if holder is None or made.name is not None or not sites:
                return ()
            assignment, block = holder
            statement, target = made.statement, assignment.targets[0]
            name = target.id if isinstance(target, ast.Name) else ""
            used = [one for one in ast.walk(sites[0].scope.function) if isinstance(one, ast.Name) and one.id == name]
            if len(used) != len(sites) + 1:
                return ()
        others = [one for one in block if one is not assignment and not _is_docstring(one)]
        if not others or not statement.stands_alone(assignment):
            return ()
        at = block.index(assignment)
        comments_to = block[at + 1] if at + 1 < len(block) else others[-1]
        return (ReplaceStatements(statement, (assignment,), (), comments_to),)


_KEPT = {
    Consumption.STORED: "kept",
    Consumption.CAPTURED: "read by an inner function",
    Consumption.JOINED: "one of several values behind a branch or a loop",
    Consumption.TESTED: "tested",
}


def _source(activation: Activation, value: Value) -> Value | None:
    """What the call of an activation, or of what ends in it, works on."""
    if activation.made is None:
        return value.inputs[0] if value.inputs else value.keywords.get("input")
    return given(value, 0, "input")


def _key(activation: Activation) -> ast.AST:
    return activation.node


def _at(activation: Activation) -> Place:
    return Place(activation.statement, activation.node)


def _kind_of(losses: list[Loss], criterion: Made) -> str:
    return next(one.kind for one in losses if one.made is not None and one.made.call is criterion.call)


def _place_of(scope: Scope, use: Use, value: Value) -> Place:
    by = use.by.node if use.by is not None else None
    for node in (by, use.node, value.node):
        if isinstance(node, ast.expr | ast.stmt):
            return Place(scope.statement, node)
    return Place(scope.statement, scope.function)


def _once(by: Value, value: Value) -> bool:
    return sum(one is value for one in (*by.inputs, *by.keywords.values())) == 1


def _is_device(by: Value) -> bool:
    """Whether a tensor is moved, and keeps its elements and its dtype."""
    return by.kind in ("method cpu", "method cuda") and len(by.inputs) == 1


def _takes_index(use: Use) -> bool:
    """Whether of `values, indices = x.max(dim=1)` only the indices are used."""
    by = use.by
    if use.how in (Consumption.METADATA, Consumption.DELETED):
        return True
    if by is None or use.how is not Consumption.INPUT:
        return False
    if by.kind == "unpack":
        return by.index == 1 or not by.uses
    if by.kind == "getitem":
        return len(by.inputs) == 2 and by.inputs[1].constant == 1
    return by.kind == "attribute" and isinstance(by.node, ast.Attribute) and by.node.attr == "indices"


def _cannot_go(site: Site) -> Refusal | None:
    """Why the call of an activation cannot be replaced by what it works on."""
    value, statement = site.value, site.scope.statement
    node = value.node
    assert node is not None
    at = Place(statement, node)
    reference = reads_as_reference(site.scope)
    if reference is not None:
        return reference
    step = step_of(value, site.scope)
    if operand(step) is None or not isinstance(node, ast.Call):
        return Refusal("it is not called with one input", at)
    if value.layer is not None and (len(node.args) != 1 or node.keywords):
        return Refusal("it is not called with one input", at)
    if any(isinstance(one, ast.NamedExpr) for one in ast.walk(node)):
        return Refusal("a name is bound inside the expression", at)
    return None


def _in_a_row(site: Site, loss: Loss) -> bool:
    """Whether the result goes from a variable of its own to the loss, in one block."""
    value, other, statement = site.value, loss.site.value, site.scope.statement
    if loss.site.graph is not site.graph or len(value.uses) != 1 or value.block is not other.block:
        return False
    second = Step(loss.kind, statement, other, other.layer)
    if operand(second) is value.node:
        return True
    binding = value.binding
    name = operand(second)
    target = binding.targets[0] if binding is not None else None
    held = isinstance(name, ast.Name) and isinstance(target, ast.Name) and name.id == target.id and value.reads == 1
    block = value.block.statements
    return (
        held
        and binding is not None
        and binding in block
        and other.statement in block
        and statement.stands_alone(binding)
        and bool(site.scope.name)
        and not value.block.guarded
    )


def _returned_at_once(site: Site, step: Step) -> tuple[Action, ...]:
    """`out = act(x)` and `return out`: what is left is `return x`."""
    value, statement, inner = site.value, site.scope.statement, operand(step)
    binding, block = value.binding, value.block.statements
    if binding is None or binding not in block or value.reads != 1 or not isinstance(inner, ast.Name):
        return ()
    at = block.index(binding)
    target, last = binding.targets[0], block[at + 1] if at + 1 < len(block) else None
    match last:
        case ast.Return(value=ast.Name(id=name) as result) if isinstance(target, ast.Name) and name == target.id:
            if name == inner.id or not statement.stands_alone(binding) or not statement.stands_alone(last):
                return ()
            gone = ReplaceStatements(statement, (binding,), (), last)
            return (gone, ReplaceExpression(statement, result, inner.id))
        case _:
            return ()


def _without_last(statement: Statement, call: ast.Call, element: ast.expr) -> str | None:
    """The source of `nn.Sequential(...)` without its last element; None where an `nn.Identity()` reads better."""
    if len(call.args) < 2 or call.args[-1] is not element or isinstance(call.args[-2], ast.Starred) or call.keywords:
        return None
    source, start = statement.source(call), statement.span(call).start
    first, last = statement.span(call.args[-2]).end - start, statement.span(element).end - start
    between = source[first:last]
    if "#" in between or between.lstrip()[:1] != "," or source[:1] == "(":
        return None
    tail = source[last:]
    if "\n" in source:
        own_line = "\n" in between[: between.index(source[statement.span(element).start - start : last])]
        if not own_line or not tail.lstrip().startswith(",") or "\r" in source:
            return None
    return source[:first] + tail


def _assignment(made: Made) -> tuple[ast.Assign, list[ast.stmt]] | None:
    """`act = nn.Sigmoid()` of a function, with the block that it stands in."""
    parents = around(made.statement, made.call)
    if len(parents) < 2 or not isinstance(parents[0], ast.Assign) or len(parents[0].targets) != 1:
        return None
    assignment = parents[0]
    for block in blocks_of([parents[1]] if isinstance(parents[1], ast.stmt) else []):
        if assignment in block:
            return assignment, block
    return assignment, parents[1].body if isinstance(parents[1], Function) else [assignment]


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)

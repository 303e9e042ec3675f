"""May a layer's parameters change? Everything that the file does to a layer besides making it and calling it once.

Each check returns a `Refusal` with the place it speaks of, or None.
"""

from __future__ import annotations

import ast
import re

from fuselight.fusions.base import Refusal
from fuselight.fusions.plan import Place
from fuselight.graph.classes import PRETRAINED_BASES, ClassInfo, Layer, resolve
from fuselight.graph.mentions import Called, Function, Mention, is_own_hook
from fuselight.graph.module import Module
from fuselight.source.names import dotted

_PLAIN_DATA = frozenset("config cfg args opt opts options hparams params hp settings configuration FLAGS".split())
"""Names of objects that hold settings, never layers."""

_NAME_WALKS = (
    "named_parameters", "named_modules", "named_children", "named_buffers", "state_dict", "load_state_dict",
    "get_parameter", "get_submodule", "register_parameter",
)  # fmt: skip
_CHILD_WALKS = ("children", "named_children", "add_module", "register_module")

_TRANSFORMERS_MODULE = re.compile(r"\.(modeling_utils|modeling_outputs|configuration_\w+)\.")

_NORMS = re.compile(
    r"Batch_?Norm|(?i:^batch_?norms?$)|^(?i:bns?|norms?|norm_layers?|norm_types?)$|^running_(mean|var)$"
)
"""Names and strings that say that batch norms are picked from the layers of a model."""

_BIAS_STRING = re.compile(r"""["']bias["']""")

_CHECKPOINT_HOOKS = (
    "register_load_state_dict_pre_hook", "_register_load_state_dict_pre_hook", "register_load_state_dict_post_hook",
    "register_state_dict_pre_hook", "register_state_dict_post_hook", "_register_state_dict_hook",
)  # fmt: skip

_HOOKS = (
    "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook",
    "register_full_backward_pre_hook", "register_backward_hook", "register_module_forward_hook",
    "register_module_forward_pre_hook", "register_module_full_backward_hook",
)  # fmt: skip

SHAPE_INITIALISERS = (
    "xavier_uniform_", "xavier_normal_", "xavier_uniform", "xavier_normal", "kaiming_uniform_", "kaiming_normal_",
    "kaiming_uniform", "kaiming_normal", "orthogonal_", "orthogonal", "lecun_normal_", "variance_scaling_",
    "sparse_", "dirac_", "eye_", "_calculate_fan_in_and_fan_out", "calculate_fan_in_and_fan_out",
    "_calculate_correct_fan", "spectral_norm", "weight_norm", "l1_unstructured", "random_unstructured",
    "global_unstructured", "ln_structured", "random_structured", "quantize_dynamic", "svd", "qr", "matrix_norm",
)  # fmt: skip
"""Initialisers whose result depends on the shape of the whole matrix. Source: `torch.nn.init`, torch 2.13."""

_MATRIX_OPTIMISERS = (
    "Muon", "SingleDeviceMuon", "MuonWithAuxAdam", "Shampoo", "DistributedShampoo", "SOAP", "PSGD", "Adafactor",
    "AdafactorBigVision", "LAMB", "Lamb", "LARS", "Lars", "GaLore", "GaLoreAdamW", "NovoGrad", "LBFGS_per_matrix",
)  # fmt: skip
"""Optimisers whose step looks at a matrix as a whole, so that a merged matrix takes another step."""


def known_class(module: Module, owner: ClassInfo) -> Refusal | None:
    """The class must be one whose attributes only this file uses."""
    base = owner.unknown_base
    if base is not None:
        return Refusal(f"`{owner.name}` inherits from `{base}`, which may use its attributes", _place(owner))
    if not owner.is_module:
        return Refusal(f"`{owner.name}` is not known to be a `torch.nn.Module`", _place(owner))
    for member in owner.family:
        for name in ("__getattr__", "__getattribute__", "__setattr__", "__delattr__"):
            if name in member.methods:
                return Refusal(f"`{member.name}.{name}` decides what its attributes are", _place(member))
        for name in ("load_state_dict", "_load_from_state_dict", "state_dict", "_save_to_state_dict"):
            if name in member.methods:
                return Refusal(f"`{member.name}.{name}` reads or writes checkpoints its own way", _place(member))
    for called in module.mentions.calls_of(*_CHECKPOINT_HOOKS):
        if not (called.node.args and is_own_hook(called.node.args[0])):
            return Refusal("the file has a checkpoint hook of its own", Place(called.statement, called.node))
    if owner.node.keywords:
        return Refusal(f"`{owner.name}` has a metaclass or class keywords, which may change it", _place(owner))
    return None


def own_checkpoints(module: Module) -> Refusal | None:
    """No class of the file may read or write checkpoints its own way: one may hold what a function makes."""
    names = ("load_state_dict", "_load_from_state_dict", "state_dict", "_save_to_state_dict")
    module.mentions.has_word("class", *names)
    for member in module.classes:
        for name in names:
            if name in member.methods:
                return Refusal(f"`{member.name}.{name}` reads or writes checkpoints its own way", _place(member))
    for called in module.mentions.calls_of(*_CHECKPOINT_HOOKS):
        if not (called.node.args and is_own_hook(called.node.args[0])):
            return Refusal("the file has a checkpoint hook of its own", Place(called.statement, called.node))
    return None


def plain_layer(layer: Layer, kinds: frozenset[str], what: str) -> Refusal | None:
    """The layer must be made by one plain constructor call, unconditionally."""
    place = Place(layer.statement, layer.constructor or layer.assignment)
    if layer.unknown is not None:
        return Refusal(layer.unknown, place)
    if layer.constructor is None or layer.kind not in kinds:
        return Refusal(f"`{layer.attribute}` is not known to be {what}", place)
    for argument in layer.constructor.args:
        if isinstance(argument, ast.Starred):
            return Refusal(f"the constructor of `{layer.attribute}` takes `*` arguments", place)
    for keyword in layer.constructor.keywords:
        if keyword.arg is None:
            return Refusal(f"the constructor of `{layer.attribute}` takes `**` arguments", place)
    return None


def touched(
    module: Module,
    owner: ClassInfo,
    layer: Layer,
    call: ast.Call | None,
    allowed: frozenset[ast.AST] = frozenset(),
) -> Refusal | None:
    """The attribute may be mentioned where it is made and where it is called (at `call`), and nowhere else.

    `allowed` are further mentions that the caller has looked at.
    """
    name = layer.attribute
    family = {member.node for member in owner.family} | {member.node for member in layer.owner.family}
    if module.mentions.masked_word(name):
        return Refusal(f"`{name}` stands on a line that does not parse")
    for member in owner.family:
        if name in member.methods or is_class_attribute(member.node, name):
            return Refusal(f"`{member.name}` has a class attribute or method `{name}`", _place(member))
    for mention in module.mentions.of_attribute(name):
        place = Place(mention.statement, mention.node)
        if mention.node in allowed:
            continue
        if mention.owner is None:
            if not is_other_object(module, mention):
                return Refusal(f"`{ast.unparse(mention.node)}` touches it", place)
            continue
        if mention.owner not in family:
            if not _assigns(mention.owner, name, module):
                return Refusal(f"`{mention.owner.name}` uses `self.{name}` without making it", place)
            continue
        if _is_target_of(mention, layer.assignment):
            continue
        if mention.is_call:
            if call is None or mention.parent is call:
                continue
            return Refusal(f"`{name}` is called more than once", place)
        return Refusal(f"`{name}` is used beside its call", place)
    return None


_OF_A_LAYER = frozenset(
    "weight bias train eval requires_grad_ reset_parameters parameters named_parameters state_dict in_features"
    " out_features normalized_shape eps num_embeddings embedding_dim padding_idx in_channels out_channels kernel_size"
    " stride padding groups training".split()
)
"""Attributes of a layer that may be read, called or tied without making it another layer."""

_EXTRACTORS = ("create_feature_extractor", "IntermediateLayerGetter", "get_graph_node_names")


def replaced(module: Module, owner: ClassInfo, layer: Layer) -> Refusal | None:
    """The attribute may be called and its parameters be used anywhere; nobody may replace, wrap, hook or hand it on.

    What `touched` asks is more: this is for an edit that leaves the parameters as they are.
    """
    name = layer.attribute
    base = owner.unknown_base
    if base is not None:
        return Refusal(f"`{owner.name}` inherits from `{base}`, which may use its attributes", _place(owner))
    if layer.unknown is not None:
        return Refusal(layer.unknown, Place(layer.statement, layer.assignment))
    if module.mentions.masked_word(name):
        return Refusal(f"`{name}` stands on a line that does not parse")
    family = {member.node for member in owner.family} | {member.node for member in layer.owner.family}
    for member in owner.family:
        if member.node.keywords:
            return Refusal(f"`{member.name}` has a metaclass or class keywords, which may change it", _place(member))
        for special in ("__getattribute__", "__setattr__", "__delattr__"):
            if special in member.methods:
                return Refusal(f"`{member.name}.{special}` decides what its attributes are", _place(member))
        if name in member.methods or is_class_attribute(member.node, name):
            return Refusal(f"`{member.name}` has a class attribute or method `{name}`", _place(member))
    for mention in module.mentions.of_attribute_near(name, family):
        if mention.is_call or (mention.owner is not None and _is_target_of(mention, layer.assignment)):
            continue
        if mention.owner is None and is_other_object(module, mention):
            continue
        of_layer = isinstance(mention.parent, ast.Attribute) and mention.parent.attr in _OF_A_LAYER
        if of_layer and isinstance(mention.node.ctx, ast.Load):
            continue
        return Refusal(
            f"`{ast.unparse(mention.node)}` may be replaced or handed on", Place(mention.statement, mention.node)
        )
    for called in module.mentions.calls_of("setattr", "delattr", "add_module", "register_module", "set_submodule"):
        at = 1 if isinstance(called.node.func, ast.Name) else 0
        given = called.node.args[at] if len(called.node.args) > at else None
        if isinstance(given, ast.Constant) and given.value != name:
            continue
        if called.owner is not None and called.owner not in family and _receiver(called) == "self":
            continue
        target = dotted(called.node.args[0]) if at and called.node.args else None
        if target is not None and (
            _is_plain_data(target) or (target == "self" and called.owner is not None and called.owner not in family)
        ):
            continue
        return Refusal(
            f"`{ast.unparse(called.node)[:60]}` may replace it by a computed name", Place(called.statement, called.node)
        )
    for called in module.mentions.calls_of(*_EXTRACTORS):
        return Refusal("the file takes outputs of layers by their names", Place(called.statement, called.node))
    return hooked(module, frozenset({name}))


def named_in_strings(module: Module, names: tuple[str, ...]) -> Refusal | None:
    """No string may name the attribute: optimiser groups, freezing by name, LoRA targets, tensor-parallel plans."""
    for name in names:
        word = re.compile(rf"(?<![^\W_])(?<!_){re.escape(name)}(?![^\W_])(?!_)")
        for text, _ in module.mentions.strings_with(name):
            if text == name or (word.search(text) and _looks_like_a_path(text, name)):
                return Refusal(f"the string {text[:60]!r} names `{name}`")
    for called in module.mentions.calls_of(*_NAME_WALKS):
        for text in module.mentions.strings_in(called.function, called.statement):
            part = text.strip(".")
            if part and any(part in f".{name}." for name in names) and part not in ("weight", "bias"):
                return Refusal(
                    f"parameters are picked by the string {text[:60]!r}, which fits `{names[0]}`",
                    Place(called.statement, called.node),
                )
    return None


def found_by_computed_name(
    module: Module, owner: ClassInfo | None, allowed: frozenset[ast.AST] = frozenset()
) -> Refusal | None:
    """Nobody may reach attributes by a name worked out at run time, or by walking the children.

    Without an `owner` they may be those of any class. `allowed` are calls of `setattr` of which the caller knows what
    they assign.
    """
    family = {member.node for member in (owner.family if owner is not None else module.classes)}
    for called in module.mentions.calls_of("getattr", "setattr", "delattr", "hasattr"):
        if len(called.node.args) < 2 or isinstance(called.node.args[1], ast.Constant) or called.node in allowed:
            continue
        target = called.node.args[0]
        path = dotted(target)
        if path is not None and _is_plain_data(path):
            continue
        if path is not None and resolve(target, module.names) is not None:
            continue
        if path == "self" and called.owner is not None and called.owner not in family:
            continue
        return Refusal(
            f"`{ast.unparse(called.node)[:60]}` reaches attributes by a computed name",
            Place(called.statement, called.node),
        )
    for called in module.mentions.calls_of("vars"):
        path = dotted(called.node.args[0]) if called.node.args else None
        if path is None or not _is_plain_data(path):
            return Refusal("`vars` is used, which holds every attribute", Place(called.statement, called.node))
    for called in module.mentions.calls_of(*_CHILD_WALKS):
        elsewhere = _receiver(called) in ("self", "super") and called.owner not in family
        if called.owner is None or not elsewhere:
            return Refusal(
                f"`{ast.unparse(called.node)[:60]}` walks the layers of {f'`{owner.name}`' if owner else 'a model'}",
                Place(called.statement, called.node),
            )
    for mention in module.mentions.of_attribute("_modules"):
        return Refusal("`_modules` is used, which holds every layer", Place(mention.statement, mention.node))
    for mention in module.mentions.of_attribute("__dict__"):
        if mention.owner is None or mention.owner in family:
            return Refusal("`__dict__` is used, which holds every attribute", Place(mention.statement, mention.node))
    return None


def hooked(module: Module, names: frozenset[str]) -> Refusal | None:
    """Nobody may see a layer's input or output through a forward or backward hook."""
    for called in module.mentions.calls_of(*_HOOKS):
        receiver = _receiver(called)
        last = receiver.rpartition(".")[2] if receiver is not None and "." in receiver else None
        if last is None or last in names:
            return Refusal(f"`{ast.unparse(called.node.func)[:60]}` may hook it", Place(called.statement, called.node))
    return None


def depends_on_shape(
    module: Module, owner: ClassInfo, attributes: frozenset[str], kind: str = "torch.nn.Linear"
) -> Refusal | None:
    """No initialiser or optimiser of the file may look at the weight of a layer of `kind` as a whole."""
    for name in (*SHAPE_INITIALISERS, *_MATRIX_OPTIMISERS):
        if module.mentions.used_uncalled(name):
            return Refusal(f"`{name}`, which looks at a matrix as a whole, is handed around")
    for called in module.mentions.calls_of(*SHAPE_INITIALISERS):
        target = called.node.args[0] if called.node.args else None
        if target is None:
            continue
        path = dotted(target)
        of_self = path is not None and path.startswith("self.") and called.owner is not None
        if path is not None and of_self and path.split(".")[1] not in attributes:
            continue
        if of_self and called.owner not in {member.node for member in owner.family}:
            continue
        if _only_for_other_types(module, called, kind):
            continue
        return Refusal(
            f"`{ast.unparse(called.node.func)}` depends on the shape of the matrix it initialises",
            Place(called.statement, called.node),
        )
    for name in _MATRIX_OPTIMISERS:
        if module.mentions.has_word(name) and any(text == name for text, _ in module.mentions.strings_with(name)):
            return Refusal(f"the optimiser `{name}` is named, which treats each matrix as a whole")
        for called in module.mentions.calls_of(name):
            return Refusal(
                f"the optimiser `{name}` treats each matrix as a whole", Place(called.statement, called.node)
            )
    return None


def bias_is_expected(module: Module, layer: Layer) -> Refusal | None:
    """Nobody may read `.bias` of the layers of a model without minding that it may be None."""
    refusal = _bias_by_string(module)
    if refusal is not None:
        return refusal
    for mention in module.mentions.of_attribute("bias"):
        receiver = mention.node.value
        path = dotted(receiver)
        # `self.bias` itself is no attribute of a layer; `self.fc.bias` is one of that layer.
        if path is not None and path.startswith("self.") and path.split(".")[1] != layer.attribute:
            continue
        if path == "self" or (path is not None and _is_plain_data(path)):
            continue
        if mention.owner is not None or _is_imported(module, receiver):
            continue
        found = _around(mention)
        if found is None or _guards_bias(mention, found) or _only_for_other_types(module, found, layer.kind or ""):
            continue
        return Refusal(
            f"`{ast.unparse(mention.node)}` is used without asking whether it is None",
            Place(mention.statement, mention.node),
        )
    return None


def _bias_by_string(module: Module) -> Refusal | None:
    """`getattr(m, "bias")`, `m._parameters["bias"]`, `prune(m, name="bias")`: it is expected to be there."""
    for statement in module.mentions.statements_with("bias"):
        if not _BIAS_STRING.search(statement.text):
            continue
        for top in statement.body:
            for node in ast.walk(top):
                given: list[ast.expr] = []
                if isinstance(node, ast.Subscript):
                    given = [node.slice]
                elif isinstance(node, ast.Call):
                    given = [*node.args, *(keyword.value for keyword in node.keywords)]
                    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                    asks = name in ("hasattr", "endswith", "startswith", "split", "join", "replace", "print")
                    if asks or (name == "getattr" and len(node.args) == 3):
                        continue
                if any(isinstance(one, ast.Constant) and one.value == "bias" for one in given):
                    return Refusal("a bias is reached by the string 'bias'", Place(statement, top))
    for called in module.mentions.calls_of("parameters"):
        top = called.around[-1] if called.around else None
        if isinstance(top, ast.Assign) and top.value is called.node and isinstance(top.targets[0], ast.Tuple):
            return Refusal("the parameters of a layer are counted", Place(called.statement, called.node))
    return None


def norm_is_frozen(module: Module) -> Refusal | None:
    """Where the file puts batch norms into eval mode to train, a bias before them is a parameter that trains."""
    for called in module.mentions.calls_of("eval", "train"):
        name = called.node.func.attr if isinstance(called.node.func, ast.Attribute) else ""
        if name == "train" and not _is_false(called.node):
            continue
        if called.function is not None and _freezes(called.function, name == "eval"):
            return Refusal(
                "the file trains with batch norms in eval mode (frozen statistics), where the bias does act",
                Place(called.statement, called.node),
            )
    for mention in module.mentions.of_attribute("training"):
        if isinstance(mention.node.ctx, ast.Store):
            return Refusal("`training` is set by hand", Place(mention.statement, mention.node))
    return None


def _is_false(call: ast.Call) -> bool:
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return any(not (isinstance(one, ast.Constant) and one.value is True) for one in given)


def _freezes(function: Function, evaluates: bool) -> bool:
    """Whether a function that puts something into eval mode picks batch norms, or goes on to train."""
    called = {
        node.func.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    named = {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
    named |= {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    named |= {
        node.value for node in ast.walk(function) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    if any(_NORMS.search(name) for name in named):
        return True
    return evaluates and bool(called & {"backward", "step"}) and "train" not in called


def loads_past_hooks(module: Module, owner: ClassInfo | None) -> str | None:
    """Why checkpoints of this file load past `nn.Module.load_state_dict`; None where they do not."""
    for base in owner.all_bases if owner is not None else ():
        if base is not None and base.rpartition(".")[2] in PRETRAINED_BASES:
            return f"`{base.rpartition('.')[2]}.from_pretrained` does not run load hooks"
    for name, binding in module.names.bindings.items():
        origin = binding.origin or ""
        last = origin.rpartition(".")[2] or name
        if last.endswith(PRETRAINED_BASES) or (binding.local is not None and name.endswith(PRETRAINED_BASES)):
            return f"the models of this file load through `{last}.from_pretrained`, which runs no load hooks"
        if origin.startswith(".") and _TRANSFORMERS_MODULE.search(origin):
            return "the file is part of transformers, whose models load through `from_pretrained`, past load hooks"
        if origin.startswith("safetensors") or (last in ("safe_open", "load_file") and "safetensors" in origin):
            return "the file reads safetensors itself, which runs no load hooks"
        if origin.startswith("torch.distributed.checkpoint"):
            return "`torch.distributed.checkpoint` runs no load hooks"
    for called in module.mentions.calls_of("state_dict"):
        receiver = (_receiver(called) or "").lower()
        if not any(part in receiver for part in ("optim", "sched", "scaler", "opt")) and not _only_kept(called):
            return "the file reads state dicts key by key, past load hooks"
    for called in module.mentions.calls_of("zip"):
        given = [one for one in called.node.args if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)]
        if any(
            one.func.attr in ("parameters", "buffers", "values", "named_parameters")
            for one in given
            if isinstance(one.func, ast.Attribute)
        ):
            return "the file copies parameters one by one, past load hooks"
    for called in module.mentions.calls_of("copy_"):
        texts = [
            one for one in module.mentions.calls_of("named_parameters", "state_dict") if one.function is called.function
        ]
        if called.function is not None and texts:
            return "the file copies parameters by name, which runs no load hooks"
    return None


def _only_kept(called: Called) -> bool:
    """Whether a `model.state_dict()` is saved, copied or loaded as a whole."""
    top = called.around[-1] if called.around else None
    for node in ast.walk(top) if top is not None else ():
        match node:
            case ast.Call(func=func) if called.node in node.args:
                last = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
                return last in ("save", "load_state_dict", "deepcopy", "len", "print", "dump")
            case ast.Dict() if called.node in node.values:
                return True
            case ast.Return() if node.value is called.node:
                return True
            case ast.Assign(targets=[ast.Name(id=name)]) if node.value is called.node and called.function is not None:
                return not _taken_apart(called.function, name)
            case _:
                pass
    return False


def _taken_apart(function: Function, name: str) -> bool:
    """Whether a dict that `name` holds is subscripted, searched, iterated or updated."""
    for node in ast.walk(function):
        match node:
            case ast.Subscript(value=ast.Name(id=found)) | ast.For(iter=ast.Name(id=found)) if found == name:
                return True
            case ast.Attribute(value=ast.Name(id=found)) | ast.comprehension(iter=ast.Name(id=found)) if found == name:
                return True
            case ast.Compare(comparators=[ast.Name(id=found)]) if found == name:
                return True
            case _:
                pass
    return False


def _place(owner: ClassInfo) -> Place:
    return Place(owner.statement, owner.node)


def _is_target_of(mention: Mention, assignment: ast.stmt) -> bool:
    targets = assignment.targets if isinstance(assignment, ast.Assign) else [getattr(assignment, "target", None)]
    return any(target is mention.node for target in targets)


def _is_plain_data(path: str) -> bool:
    return any(part in _PLAIN_DATA or part.endswith(("_config", "_args", "_cfg")) for part in path.split("."))


def _is_imported(module: Module, node: ast.expr) -> bool:
    return resolve(node, module.names) is not None


def is_other_object(module: Module, mention: Mention) -> bool:
    """Whether `<object>.<name>` is surely no layer of an instance: a function of a module, a setting."""
    path = dotted(mention.node.value)
    if path is None:
        return False
    return _is_plain_data(path) or _is_imported(module, mention.node.value)


def _assigns(owner: ast.ClassDef, name: str, module: Module) -> bool:
    info = module.classes.by_node.get(owner)
    members = info.family if info is not None else ()
    for member in members:
        for mention in module.mentions.of_attribute_in(member.statement, name):
            if mention.owner is member.node and isinstance(mention.node.ctx, ast.Store):
                return True
        if name in member.methods:
            return True
        if is_class_attribute(member.node, name):
            return True
    return False


def is_class_attribute(node: ast.ClassDef, name: str) -> bool:
    """Whether the class body assigns `name`; a mere annotation (`conv: nn.Conv2d`) does not."""
    for inner in node.body:
        targets: list[ast.expr] = []
        if isinstance(inner, ast.Assign):
            targets = inner.targets
        elif isinstance(inner, ast.AnnAssign) and inner.value is not None:
            targets = [inner.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return True
    return False


def _looks_like_a_path(text: str, name: str) -> bool:
    """Whether a string that holds `name` as a word uses it as a name: `blocks.0.q_proj.weight`, `.*q_proj`."""
    if " " in text.strip() or "->" in text:
        return False
    return len(name) > 2 or f".{name}" in text or f"{name}." in text


def _receiver(called: Called) -> str | None:
    return dotted(called.node.func.value) if isinstance(called.node.func, ast.Attribute) else None


def _around(mention: Mention) -> Called | None:
    """What stands around a mention, found through the calls of its statement."""
    stack: list[tuple[ast.AST, tuple[ast.AST, ...]]] = [(node, ()) for node in mention.statement.body]
    while stack:
        node, around = stack.pop()
        if node is mention.node:
            call = ast.Call(func=mention.node, args=[], keywords=[])
            return Called(call, mention.owner, mention.function, around, mention.statement)
        stack += [(child, (*around, node)) for child in ast.iter_child_nodes(node)]
    return None


def _guards_bias(mention: Mention, found: Called) -> bool:
    """Whether `X.bias` is only asked for being None here, or used where that was asked."""
    receiver = ast.unparse(mention.node.value)
    for outer, inner in zip(found.around, (*found.around[1:], mention.node), strict=True):
        match outer:
            case ast.Compare(ops=[ast.Is() | ast.IsNot()]):
                return True
            case ast.If() | ast.IfExp() | ast.While():
                if inner is outer.test and inner is mention.node:
                    return True  # `if m.bias:`
                body = outer.body if isinstance(outer.body, list) else [outer.body]
                orelse = outer.orelse if isinstance(outer.orelse, list) else [outer.orelse]
                if inner in body and _asks(outer.test, receiver, True):
                    return True
                if inner in orelse and _asks(outer.test, receiver, False):
                    return True
            case ast.BoolOp(op=ast.And()) if isinstance(inner, ast.expr) and inner in outer.values:
                before = outer.values[: outer.values.index(inner)]
                if any(_asks(one, receiver, True) for one in before):
                    return True
            case ast.BoolOp(op=ast.Or()) if isinstance(inner, ast.expr) and inner in outer.values:
                before = outer.values[: outer.values.index(inner)]
                if any(_asks(one, receiver, False) for one in before):
                    return True
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                if any(_asks(test, receiver, True) for part in outer.generators for test in part.ifs):
                    return True
            case _:
                pass
    return False


def _asks(test: ast.expr, receiver: str, present: bool) -> bool:
    """Whether `test`, where it holds (`present`) or fails, shows that `<receiver>.bias` is not None."""
    if isinstance(test, ast.BoolOp):
        wanted = ast.And if present else ast.Or
        return isinstance(test.op, wanted) and any(_asks(one, receiver, present) for one in test.values)
    names = (f"{receiver}.bias", f"getattr({receiver}, 'bias', None)")
    if present and ast.unparse(test) in names:
        return True
    match test:
        case ast.Compare(left=left, ops=[op], comparators=[ast.Constant(value=None)]):
            return ast.unparse(left) in names and isinstance(op, ast.IsNot if present else ast.Is)
        case _:
            return False


def _only_for_other_types(module: Module, found: Called, kind: str) -> bool:
    return only_for_other_types(module, found.node, found.around, kind)


def only_for_other_types(module: Module, node: ast.AST, around: tuple[ast.AST, ...], kind: str) -> bool:
    """Whether a node stands in a branch that a test of the type keeps to types other than `kind`."""
    for outer, inner in zip(around, (*around[1:], node), strict=True):
        if not isinstance(outer, ast.If):
            continue
        if any(inner is one for one in outer.body) and _excludes(outer.test, kind, module):
            return True
        if any(inner is one for one in outer.orelse) and _is_test_of(outer.test, kind, module):
            return True
    return False


def _excludes(test: ast.expr, kind: str, module: Module) -> bool:
    """Whether a layer of `kind` surely fails `test`."""
    if isinstance(test, ast.BoolOp):
        parts = [_excludes(value, kind, module) for value in test.values]
        return any(parts) if isinstance(test.op, ast.And) else all(parts)
    part = _part_of_class_name(test)
    if part is not None:
        return part not in kind.rpartition(".")[2]
    types = _instance_types(test, module)
    return types is not None and kind not in types and None not in types and "torch.nn.Module" not in types


def _is_test_of(test: ast.expr, kind: str, module: Module) -> bool:
    """Whether a layer of `kind` surely passes `test`."""
    part = _part_of_class_name(test)
    if part is not None:
        return part in kind.rpartition(".")[2]
    types = _instance_types(test, module)
    return types is not None and kind in types and not isinstance(test, ast.BoolOp)


def _part_of_class_name(test: ast.expr) -> str | None:
    """`X` of `name.find("X") != -1` and `"X" in name`, where the name says that it is a class's."""
    match test:
        case ast.Compare(
            left=ast.Call(func=ast.Attribute(value=name, attr="find"), args=[ast.Constant(value=str() as part)]),
            ops=[ast.NotEq()],
            comparators=[ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1))],
        ):
            pass
        case ast.Compare(left=ast.Constant(value=str() as part), ops=[ast.In()], comparators=[name]):
            pass
        case _:
            return None
    text = ast.unparse(name).lower()
    return part if "class" in text or "__name__" in text else None


def _instance_types(test: ast.expr, module: Module) -> set[str | None] | None:
    """The types of `isinstance(m, (A, B))`, alone or in `and` and `or` of such tests; None for any other test."""
    if isinstance(test, ast.BoolOp):
        parts = [_instance_types(value, module) for value in test.values]
        if isinstance(test.op, ast.And):
            return next((part for part in parts if part is not None), None)
        found: set[str | None] = set()
        for part in parts:
            if part is None:
                return None
            found |= part
        return found
    match test:
        case ast.Call(func=ast.Name(id="isinstance"), args=[_, types]):
            pass
        case ast.Compare(
            left=ast.Call(func=ast.Name(id="type"), args=[_]), ops=[ast.Eq() | ast.Is() | ast.In()], comparators=[types]
        ):
            pass
        case _:
            return None
    elements = types.elts if isinstance(types, ast.Tuple | ast.List) else [types]
    resolved: set[str | None] = set()
    for element in elements:
        name = resolve(element, module.names)
        path = dotted(element)
        if name is None and path is not None and module.names.local_class(path) is not None:
            name = f".{path}"
        # `_BatchNorm`, `_ConvNd` and other private bases of torch say less than they name.
        if (
            name is not None
            and name.startswith("torch.")
            and "Conv" in name
            and name.rpartition(".")[2].startswith("_")
        ):
            name = None
        resolved.add(name)
    return resolved

"""What `render` lays out, against black itself."""

from __future__ import annotations

import ast
import random

import black
import libcst
import pytest

from fuselight_emitter import LogicalNode, PythonSnippetEmitter
from fuselight_emitter.layout import lay_out

LINE_LENGTHS = [40, 60, 79, 88, 100, 120]


def formatted(source: str, line_length: int, depth: int = 0) -> str:
    """`source` as black lays it out `depth` levels deep.

    The target version is given, as black adds no comma behind `*args` in a file that could be Python 3.4's.
    """
    mode = black.Mode(line_length=line_length, target_versions={black.TargetVersion.PY311})
    head = "".join(f"{'    ' * level}if x:\n" for level in range(depth))
    body = "".join(f"{'    ' * depth}{line}\n" for line in source.splitlines())
    return "\n".join(black.format_str(head + body, mode=mode).splitlines()[depth:])


class Expressions:
    """Random expressions, spelled as black spells them."""

    NAMES = (
        "x", "a", "hidden_states", "self.hidden", "config.hidden_size", "in_channels", "out_channels",
        "attention_mask", "self.config.num_attention_heads",
    )  # fmt: skip
    TARGETS = ("q", "k", "v", "query_states", "key_states", "value_states", "self.a", "self.cached_attention_weights")

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def name(self) -> str:
        return self.random.choice(self.NAMES)

    def atom(self, depth: int) -> str:
        return self.random.choice([self.name, self.name, lambda: self.call(depth + 1)])()

    def many(self, depth: int, least: int, most: int) -> list[str]:
        return [self.expression(depth + 1) for _ in range(self.random.randint(least, most))]

    def expression(self, depth: int = 0) -> str:
        choice = self.random.random()
        if depth > 3 or choice < 0.3:
            return self.name()
        if choice < 0.42:
            return self.random.choice(["1", "16", "0.5", "True", "None", '"bias"', '"zeros"', "-1", "...", 'f"{x}"'])
        if choice < 0.6:
            return self.call(depth)
        if choice < 0.68:
            return f"[{', '.join(self.many(depth, 0, 4))}]"
        if choice < 0.72:
            return f"({', '.join(self.many(depth, 2, 4))})"
        if choice < 0.8:
            return f"{self.atom(depth)} {self.random.choice('+-*/@%')} {self.atom(depth)}"
        if choice < 0.85:
            return f"{self.atom(depth)} if {self.atom(depth)} else {self.atom(depth)}"
        if choice < 0.88:
            operator = self.random.choice(["and", "or", "==", "<", "is not", "not in", "in", "is"])
            return f"{self.atom(depth)} {operator} {self.atom(depth)}"
        if choice < 0.91:
            return f"[{self.atom(depth)} for i in {self.atom(depth)} if {self.atom(depth)}]"
        if choice < 0.93:
            return f"lambda x, y: {self.atom(depth)}"
        if choice < 0.96:
            return f"{self.name()}[{self.random.choice(['0', '-1', '1:2', ':, 0', 'a'])}]"
        if choice < 0.98:
            keys = self.random.sample(["in_features", "bias", "scale"], self.random.randint(1, 3))
            return "{" + ", ".join(f'"{key}": {self.atom(depth)}' for key in keys) + "}"
        return self.random.choice([f"-{self.name()}", f"not {self.name()}"])

    def arguments(self, depth: int) -> dict[str, str]:
        found = {f"arg_{at}": text for at, text in enumerate(self.many(depth, 0, 3))}
        if self.random.random() < 0.1:
            found["arg_9"] = f"*{self.name()}"
        for key in self.random.sample(
            ["in_channels", "kernel_size", "bias", "dim", "dropout"], self.random.randint(0, 3)
        ):
            found[key] = self.expression(depth + 1)
        if self.random.random() < 0.1:
            found["kw"] = f"**{self.name()}"
        return found

    def call(self, depth: int) -> str:
        function = self.random.choice(
            ["nn.Conv2d", "F.scaled_dot_product_attention", "self.qkv_projection", "torch.cat"]
        )
        arguments = [
            text if key.startswith("arg_") or key == "kw" else f"{key}={text}"
            for key, text in self.arguments(depth).items()
        ]
        trailer = f".view({self.expression(depth + 1)})" if self.random.random() < 0.2 else ""
        return f"{function}({', '.join(arguments)}){trailer}"


def statement(emitter: PythonSnippetEmitter, make: Expressions) -> libcst.BaseStatement | libcst.BaseExpression:
    choose = make.random
    id = choose.choice(["fc", "qkv_proj", "query_key_value_projection"])
    layer = LogicalNode(id, choose.choice(["Conv2d", "Linear"]), make.arguments(1))
    function = LogicalNode(id, choose.choice(["func_gelu", "cat", "scaled_dot_product_attention"]), make.arguments(1))
    inputs = make.many(1, 1, 3)
    match choose.randrange(8):
        case 0:
            return emitter.emit_init(layer)
        case 1:
            return emitter.emit_call(layer, inputs, choose.choice(make.TARGETS))
        case 2:
            return emitter.emit_call(function, inputs, choose.choice(make.TARGETS))
        case 3:
            return emitter.emit_expression(function, inputs)
        case 4:
            targets = choose.sample(make.TARGETS, choose.randint(2, 5))
            sizes = [make.expression(2) for _ in targets]
            return emitter.emit_unpack(layer, inputs, targets, choose.choice([sizes, "self.qkv_sizes"]))
        case 5:
            return emitter.emit_attribute(id, make.expression(1))
        case 6:
            return emitter.emit_delete(choose.sample(make.TARGETS, choose.randint(1, 5)))
        case _:
            return emitter.load_hooks.emit_registration("_load_merged_projections", {"layer": make.expression(1)})


@pytest.mark.parametrize("seed", range(8))
def test_random_statements_are_laid_out_as_black_does(seed: int) -> None:
    make = Expressions(seed)
    broken = 0
    for _ in range(50):
        line_length, depth = make.random.choice(LINE_LENGTHS), make.random.randrange(3)
        emitter = PythonSnippetEmitter(line_length=line_length)
        node = statement(emitter, make)
        flat = PythonSnippetEmitter(line_length=100_000).render(node)
        laid_out = emitter.render(node, "    " * depth)
        assert laid_out == formatted(flat, line_length, depth), flat
        assert not any(line.isspace() for line in laid_out.splitlines())
        assert libcst.parse_module("if x:\n" * bool(depth) + laid_out)
        tree = ast.parse("if x:\n" * bool(depth) + laid_out)
        # `del (a, b)` is what black writes over several lines; it is the same statement, but not the same tree.
        if not flat.startswith("del "):
            assert ast.dump(tree) == ast.dump(ast.parse("if x:\n " * bool(depth) + flat))
        broken += "\n" in laid_out
    assert broken > 10


@pytest.mark.parametrize("line_length", LINE_LENGTHS)
@pytest.mark.parametrize(
    "source",
    [
        "x = " + "a" * 120,
        "x = f(aaaaaaaaaaaaaaaaaaaa)(bbbbbbbbbbbbbbbbbbbbbbbb)[ccccccccccccccccccc](dddddddddddddddd)",
        "x = f().aaaaaaaaaaaaaaaaaaaaaaaaa().bbbbbbbbbbbbbbbbbbbbbbbbbb().cccccccccccccccccccccc(d).eeee()",
        "x = aaaaaaaaaaaaaaaaaaaaaaaaaaa + bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb * cccccccccccccccccc - ddddddddddddd",
        "x = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa if bbbbbbbbbbbbbbbbbbbbbbbb else ccccccccccccccccccccccccccccc",
        "f(a, b if ccccccccccccccccccccccccccccccccccccccccccc else dddddddddddddddddddd, eeeeeeeeeeeee=f if g else h)",
        "f(a, lambda b, c=(1, 2): bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb + ccccccccccccccccccccc)",
        "f(x for x in yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy if zzzzzzzzzzzzzzzzzzzzzzzzzzzzzz(x, yyyyyyyyyyyyy))",
        'x = "a long string that cannot be split at all" "and another one that can be put on a line" % (aaaa, bbbb)',
        'f("a long string that cannot be split at all" "and another one that can be put on a line", aaaaaaa, bbbb)',
        'x = "a {} format".format(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb)',
        "x = [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbbbbbbbbb, ccccccccccccccccccccccccccccccccccc]",
        "x = f([aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbbbbbbbbb, ccccccccccccccccccccccccccccccccccc])",
        "x[aaaaaaaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbbbb] = ccccccccccccccccccccccccccccccc(ddddddddddddddddddd)",
        "a.b[c] = dddddddddddddddddddddddddddddddddddd = eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee(fffffffffffffff, g)",
        "x = not aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa and bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb not in cccccccccccccccccccc",
        "x = {'a': bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb, **cccccccccccccccccccccccccccc, 'd': eeeeeeeeeeeeeeeeeeeeeeeee}",
        "f(a, b,)",
        'x = f(f"{aaaaaaaaaaaaaaa if b else ccccccccccccc}", f"{ddddddddddddd if e else ffffffffffffffff}", gggggg)',
        'x = f("\u2028", aaaaaaaaaaaaaaaaaaaaa if bbbbbbbbbbbbbbbbbbbbbbbbbbbbb else cccccccccccccccccccccccccccc, d)',
        "x = (a,)",
        "x = f((a,), b[c,])",
        "f(*aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, **bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb)",
        'x = f("日本語日本語日本語日本語日本語日本語日本語日本語日本語日本語", aaaaaaaaaaaaaaaaaaaaa, bbbb)',
        "def function(module, state_dict, prefix, *args, layer, norm):\n    return aaaaaaaaaaaaaaaaaaaaa(bbbbbbbb, c)",
        "def a_function_with_one_parameter_that_is_long(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa):\n    return a",
        "if aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa and bbbbbbbbbbbbbbbbbbbbbbbbbb is not ccccccccccccccccccccc:\n    del a",
        "for a, b in aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa(bbbbbbbbbbbbbbbbbbbbbbbbb, cccccccccccccccccc):\n    f()",
    ],
)
def test_chosen_statements_are_laid_out_as_black_does(source: str, line_length: int) -> None:
    mode = black.Mode(line_length=line_length, target_versions={black.TargetVersion.PY311}, string_normalization=False)
    assert lay_out(source, line_length=line_length) == black.format_str(source, mode=mode).rstrip("\n")


@pytest.mark.parametrize(
    ("source", "laid_out"),
    [
        # What the user wrote stays as it is within a line.
        ("x = f(a  ,b = 3+4, c = 'q')", "x = f(a  ,b = 3+4, c = 'q')"),
        ("x = 2 ** y", "x = 2 ** y"),
        # Line breaks within brackets are the layout's.
        ("x = f(\n  a,\n  b\n)", "x = f(a, b)"),
        ("x = f(\n  a\n  .b\n)", "x = f(a.b)"),
        # A comment or a long string keeps them.
        ("x = f(\n  a,  # why\n  b\n)", "x = f(\n  a,  # why\n  b\n)"),
        ('x = f("""a\n  b""", cccccccccccccccccccccccccccccccccccc)', None),
        ("x = (aaaaaaaaaaaaaaaaaaaaaaaa + b)  # bbbbbbbbbbbbbbbbbbbbbbbbbbb", None),
    ],
)
def test_text_that_stays(source: str, laid_out: str | None) -> None:
    assert lay_out(source, line_length=40) == (source if laid_out is None else laid_out)


@pytest.mark.parametrize(
    ("indent", "unit", "laid_out"),
    [
        ("", "    ", "self.fc = nn.Linear(aaaaaaaaaaaaaaaaaaaaa)"),
        ("  ", "  ", "  self.fc = nn.Linear(aaaaaaaaaaaaaaaaaaaaa)"),
        ("   ", "    ", "   self.fc = nn.Linear(\n       aaaaaaaaaaaaaaaaaaaaa\n   )"),
        ("\t", "\t", "\tself.fc = nn.Linear(\n\t\taaaaaaaaaaaaaaaaaaaaa\n\t)"),
    ],
)
def test_indents(indent: str, unit: str, laid_out: str) -> None:
    emitter = PythonSnippetEmitter(line_length=44, indent_unit=unit)
    node = emitter.emit_init(LogicalNode("fc", "Linear", {"arg_0": "aaaaaaaaaaaaaaaaaaaaa"}))
    assert emitter.render(node, indent) == laid_out


def test_a_function_takes_the_indent_unit() -> None:
    emitter = PythonSnippetEmitter(indent_unit="\t")
    lines = emitter.render(emitter.load_hooks.emit_fold_bias("_fold"), "\t").splitlines()
    assert lines[0].startswith("\tdef _fold(")
    assert all(line.startswith("\t\t") and "    " not in line for line in lines[1:])
    assert ast.parse("if x:\n" + "\n".join(lines))


@pytest.mark.parametrize("line_length", LINE_LENGTHS)
@pytest.mark.parametrize("parts", [["q", "k"], ["query_projection", "key_projection", "value_projection"]])
def test_hooks_are_laid_out_as_black_does(line_length: int, parts: list[str]) -> None:
    emitter = PythonSnippetEmitter(line_length=line_length)
    merged = "_".join(parts)
    for node in (
        emitter.load_hooks.emit_merge(f"_load_{merged}", merged, parts, ["weight", "bias"]),
        emitter.load_hooks.emit_merge(f"_load_{merged}", merged, parts, ["weight"]),
        emitter.load_hooks.emit_fold_bias(f"_fold_the_bias_of_{merged}"),
    ):
        source = emitter.render(node)
        assert source == formatted(libcst.Module([node]).code, line_length)

"""Random ways to write down what a pattern says: the inverse of matching, for the property test of the expressions.

From the normal form of a rewrite's pattern: factors and summands in any order and association, divisions for negative
exponents, functions, methods and operators, positional and keyword arguments, parts held in local variables.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from fuselight.fusions.pattern import (
    Call,
    Cast,
    Display,
    Either,
    Item,
    Literal,
    Number,
    Pattern,
    Product,
    Sum,
    Variable,
    parse_pattern,
)
from fuselight.fusions.site import Rewrite
from fuselight_emitter.dialects import get_dialect

_TORCH = get_dialect("torch")
_OPERATORS = {"gt": ">", "ge": ">=", "eq": "=="}
_TIGHTEST = 3


@dataclass(frozen=True)
class Spelling:
    """A function `f` that computes what a pattern says, and the values of the variables that are no arguments."""

    text: str
    arguments: tuple[str, ...]


@dataclass
class _Writer:
    random: random.Random
    scalars: frozenset[str]
    lines: list[str] = field(default_factory=list)
    arguments: dict[str, None] = field(default_factory=dict)
    chosen: dict[str, str | None] = field(default_factory=dict)
    eithers: dict[Either, int] = field(default_factory=dict)
    locals: int = 0

    def expression(self, pattern: Pattern, tight: int = 0) -> str:
        """Source of `pattern`; in parentheses where its outermost operator binds less than `tight` asks."""
        text, level = self._written(pattern)
        hoisted = level < _TIGHTEST + 1 or "(" in text
        if hoisted and self.random.random() < 0.2 and not isinstance(pattern, Variable | Number | Literal | Display):
            self.locals += 1
            name = f"h{self.locals}"
            self.lines.append(f"{name} = {text}")
            return name
        return f"({text})" if level < tight else text

    def _written(self, pattern: Pattern) -> tuple[str, int]:
        match pattern:
            case Variable(name=name):
                if name in self.scalars:
                    value = self.chosen.setdefault(name, self.random.choice(["0.25", "0.3", "1e-3"]))
                    assert value is not None
                    return value, 4
                self.arguments[name] = None
                return name, 4
            case Number(value=value):
                return self.number(value)
            case Literal(value=value):
                return repr(value), 4
            case Product():
                return self._product(pattern)
            case Sum():
                return self._sum(pattern)
            case Either(options=options):
                # The same choice wherever it stands: its parts may have to be one value.
                at = self.eithers.setdefault(pattern, self.random.randrange(len(options)))
                return self._written(options[at])
            case Cast(inner=inner):
                text, level = self._written(inner)
                if self.random.random() < 0.2:
                    return f"{text if level >= 4 else f'({text})'}.contiguous()", 4
                return text, level
            case Item(whole=whole, index=index):
                return f"{self.expression(whole, 4)}[{index}]", 4
            case Display(elements=elements):
                return f"({', '.join(self.expression(one) for one in elements)},)", 4
            case Call():
                return self._call(pattern)

    def number(self, value: float) -> tuple[str, int]:
        for text, known in (
            ("math.sqrt(2 / math.pi)", math.sqrt(2 / math.pi)),
            ("(2 / math.pi) ** 0.5", math.sqrt(2 / math.pi)),
            ("1 / math.sqrt(2)", math.sqrt(0.5)),
            ("2 ** -0.5", math.sqrt(0.5)),
        ):
            if math.isclose(value, known, rel_tol=1e-12) and self.random.random() < 0.4:
                return text, 1 if "/" in text else 3
        if value == int(value) and self.random.random() < 0.6:
            return str(int(value)), 4 if value >= 0 else 1
        return repr(value), 4 if value >= 0 else 1

    def _tree(self, parts: list[tuple[str, str]], least: int) -> str:
        """Operands joined by their operators, in random association: (operator, source) each."""
        if len(parts) == 1:
            return parts[0][1]
        if self.random.random() < 0.3 and len(parts) > 2:
            # A group of its own: a run of operands under the operator of its first.
            start = self.random.randrange(1, len(parts) - 1)
            run = parts[start : start + 2]
            if run[0][0] in "*+" and run[1][0] in "*+":
                inner = f"({run[0][1]} {run[1][0]} {run[1][1]})"
                return self._tree([*parts[:start], (run[0][0], inner), *parts[start + 2 :]], least)
        return parts[0][1] + "".join(f" {operator} {text}" for operator, text in parts[1:])

    def _product(self, pattern: Product) -> tuple[str, int]:
        above: list[str] = []
        below: list[str] = []
        for part, exponent in self.random.sample(pattern.factors, len(pattern.factors)):
            side, power = (above, exponent) if exponent > 0 or self.random.random() < 0.35 else (below, -exponent)
            side.append(self._power(part, power))
        scale = pattern.coefficient
        if scale == -1.0:
            text, _ = self._quotient(above, below)
            return f"-{text if self._is_primary(text) else f'({text})'}", 2
        if scale != 1.0:
            if self.random.random() < 0.3 and scale > 0:
                below.append(self._tight(self.number(1 / scale), 3))
            else:
                above.insert(self.random.randrange(len(above) + 1), self._tight(self.number(scale), 3))
        return self._quotient(above, below)

    def _quotient(self, above: list[str], below: list[str]) -> tuple[str, int]:
        if not above:
            above = ["1"]
        if self.random.random() < 0.15 and len(above) == 2 and not below:
            return f"torch.mul({above[0]}, {above[1]})" if self._is_tensor(above[0]) else " * ".join(above), 4
        parts = [("*", one) for one in above] + [("/", one) for one in below]
        first, rest = parts[0], parts[1:]
        self.random.shuffle(rest)
        return self._tree([first, *rest], 3), 2 if rest else 3

    def _power(self, part: Pattern, power: float) -> str:
        if power == 1.0:
            return self.expression(part, 3)
        inner = self.expression(part, 4)
        named = inner.isidentifier()
        ways = {
            2.0: [f"{inner} ** 2", f"{inner}.pow(2)", f"torch.square({inner})", *([f"({inner} * {inner})"] * named)],
            3.0: [f"{inner} ** 3", f"torch.pow({inner}, 3)", *([f"({inner} * {inner} * {inner})"] * named)],
            0.5: [f"{inner} ** 0.5", f"torch.sqrt({inner})", f"{inner}.sqrt()"],
            -0.5: [f"torch.rsqrt({inner})", f"{inner} ** -0.5", f"(1 / {inner}.sqrt())"],
            -1.0: [f"(1 / {inner})", f"{inner}.reciprocal()", f"{inner} ** -1"],
        }.get(power, [f"{inner} ** {power:g}"])
        return self._tight((self.random.choice(ways), 3), 3)

    def _sum(self, pattern: Sum) -> tuple[str, int]:
        parts: list[tuple[str, str]] = []
        for weight, part in self.random.sample(pattern.terms, len(pattern.terms)):
            text = self.expression(part, 2) if abs(weight) == 1.0 else self._weighted(abs(weight), part)
            parts.append(("+" if weight > 0 else "-", text))
        if pattern.constant:
            text, _ = self.number(abs(pattern.constant))
            parts.insert(self.random.randrange(len(parts) + 1), ("+" if pattern.constant > 0 else "-", text))
        positive = [at for at, (sign, _) in enumerate(parts) if sign == "+"]
        if positive:
            first = parts.pop(self.random.choice(positive))
            return self._tree([first, *parts], 2), 1
        (_, text), *rest = parts
        return self._tree([("+", f"-{text if self._is_primary(text) else f'({text})'}"), *rest], 2), 1

    def _weighted(self, weight: float, part: Pattern) -> str:
        number = self._tight(self.number(weight), 3)
        text = self.expression(part, 3)
        return f"{number} * {text}" if self.random.random() < 0.5 else f"{text} * {number}"

    def _call(self, pattern: Call) -> tuple[str, int]:
        kind = pattern.kind
        parameters = _TORCH.parameters(kind)
        given: list[tuple[str, str]] = []
        for key, part in pattern.arguments:
            name = key if isinstance(key, str) else parameters[key].name if key < len(parameters) else ""
            optional = any(one.name == name and one.default is not None for one in parameters) or name == "dim"
            if optional and isinstance(key, str) and isinstance(part, Variable) and part.name not in self.scalars:
                text = self._option(name, part.name)
                if text is not None:
                    given.append((name, text))
                continue
            given.append((name, self.expression(part)))
        if kind in _OPERATORS:
            return f"{self._tightly(given[0][1])} {_OPERATORS[kind]} {self._tightly(given[1][1])}", 0
        function = _TORCH.functions.get(kind)
        if kind in ("var", "std"):
            given = [(name, text) for name, text in given if name != "correction"] + [
                ("unbiased", "False")
                for name, text in given
                if (name, text) in (("correction", "0"), ("correction", "0.0"))
            ]
        arguments: list[str] = []
        for at, (name, text) in enumerate(given):
            positional = at < len(parameters) and parameters[at].name == name and len(arguments) == at
            positional = positional and not any("=" in one and "==" not in one for one in arguments[1:])
            spelled = next((one.spelled for one in parameters if one.name == name), name)
            by_position = positional and (at == 0 or parameters[at].default is None or self.random.random() < 0.5)
            arguments.append(text if by_position or not name or not parameters else f"{spelled}={text}")
        can_be_a_method = function is not None and function.methods and self._is_tensor(arguments[0])
        if can_be_a_method and self.random.random() < 0.45 and "=" not in arguments[0]:
            assert function is not None
            method = self.random.choice(function.methods)
            return f"{self._tightly(arguments[0])}.{method}({', '.join(arguments[1:])})", 4
        if function is not None and function.operator == "@":
            return f"{self._tightly(arguments[0])} @ {self._tightly(arguments[1])}", 2
        api = function.api if function is not None else f"torch.{kind}"
        return f"{api.replace('torch.nn.functional', 'F')}({', '.join(arguments)})", 4

    def _option(self, name: str, variable: str) -> str | None:
        """The value of an argument that the pattern leaves open, the same wherever its variable stands."""
        if variable not in self.chosen:
            known = {"dim": ["-1", "1"], "keepdim": ["True", "False"], "reduction": ['"sum"', '"mean"', None]}
            self.chosen[variable] = self.random.choice(known.get(name, [None]))
        return self.chosen[variable]

    def _is_tensor(self, text: str) -> bool:
        return any(name in text for name in self.arguments)

    def _tight(self, written: tuple[str, int], least: int) -> str:
        text, level = written
        return f"({text})" if level < least else text

    def _tightly(self, text: str) -> str:
        return text if self._is_primary(text) else f"({text})"

    def _is_primary(self, text: str) -> bool:
        depth = 0
        for character in text:
            depth += (character in "([") - (character in ")]")
            if depth == 0 and character in " -+*/":
                return False
        return True


def spelled(rewrite: Rewrite, seed: int) -> Spelling:
    """One of the many ways to write what `rewrite` looks for, the same on every run."""
    writer = _Writer(random.Random(seed), frozenset(rewrite.scalars))
    result, _ = writer._written(parse_pattern(rewrite.pattern))  # pyright: ignore[reportPrivateUsage]
    arguments = tuple(writer.arguments)
    body = [*writer.lines, f"return {result}"]
    lines = [
        "import math",
        "import torch",
        "import torch.nn.functional as F",
        "",
        "",
        f"def f({', '.join(arguments)}):",
        *(f"    {line}" for line in body),
    ]
    return Spelling("\n".join(lines) + "\n", arguments)

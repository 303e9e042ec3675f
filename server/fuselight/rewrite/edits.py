"""A match to minimal text edits: the emitter's statements where the user's stood, and everything else left alone."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

import libcst

from fuselight.fusions.base import Match
from fuselight.fusions.model import TextEdit
from fuselight.fusions.plan import (
    Action,
    AddFunction,
    AddMethod,
    Argument,
    Assigned,
    AssignedTemplate,
    Attend,
    Attribute,
    CellHook,
    Construct,
    DropBiasHook,
    DropMethod,
    Elements,
    Emitted,
    ExpertsHook,
    Expression,
    FoldBiasesHook,
    FoldBiasHook,
    HookRegistration,
    Init,
    InitMethod,
    Insert,
    LinearInitialisation,
    MergeHook,
    MergeListHook,
    NameReturned,
    OnValue,
    Pass,
    RenameHook,
    RenameMethod,
    RenameParametersHook,
    ReplaceCallee,
    ReplaceExpression,
    ReplaceStatements,
    Returned,
    SetArguments,
    SetBase,
    SuperInit,
    SwapExpressions,
    Template,
    TransposeHook,
    Unpack,
    Within,
)
from fuselight.fusions.sequence import call_metadata
from fuselight.graph.classes import local_names, resolve
from fuselight.graph.facts import Function, words_of
from fuselight.graph.module import Module
from fuselight.rewrite.imports import import_edits
from fuselight.source.lines import LineIndex
from fuselight.source.names import bound_names, import_bindings
from fuselight.source.statements import Statement
from fuselight_emitter import LogicalNode, PythonSnippetEmitter, RequiredImport

_WITH_A_VALUE = ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return
_NEWLINE = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class _Edit:
    """An edit, and where it goes among others at the same offset (comments before statements)."""

    start: int
    end: int
    content: str
    rank: int = 1


def render(match: Match, module: Module, text: str, line_length: int) -> tuple[TextEdit, ...]:
    """The edits that carry out `match` on `text`, ordered, none overlapping another.

    Raises:
        EmitError: The emitter refuses a name or an argument.
    """
    return _Renderer(module, text, line_length).edits(match.plan())


class _Renderer:
    def __init__(self, module: Module, text: str, line_length: int) -> None:
        self.module = module
        self.text = text
        self.line_length = line_length
        self.lines = LineIndex(text)
        found = _NEWLINE.search(text)
        self.newline = found.group() if found else "\n"
        self.needed: list[RequiredImport] = []
        self.renamed: dict[str, str] = {}

    def edits(self, actions: tuple[Action, ...]) -> tuple[TextEdit, ...]:
        found: list[_Edit] = []
        # The functions first: they may have to take another name.
        for action in sorted(actions, key=lambda one: not isinstance(one, AddFunction)):
            match action:
                case AddFunction():
                    found += self._add_function(action)
                case ReplaceExpression():
                    found += self._replace_expression(action)
                case SwapExpressions(statement=statement, first=first, second=second):
                    for node, by in ((first, second), (second, first)):
                        start, end = self._start(statement, node), self._end(statement, node)
                        found.append(_Edit(start, end, statement.source(by)))
                case ReplaceStatements():
                    found += self._replace_statements(action)
                case Insert():
                    found += self._insert(action)
                case SetArguments():
                    found += self._set_arguments(action)
                case DropMethod():
                    found.append(self._drop_method(action))
                case RenameMethod():
                    end = self._end(action.statement, action.call.func)
                    found.append(_Edit(end - len(_method(action.call)), end, action.name))
                case ReplaceCallee():
                    found.append(self._replace_callee(action))
                case NameReturned():
                    found += self._name_returned(action)
                case AddMethod():
                    found.append(self._add_method(action))
                case SetBase():
                    found.append(self._set_base(action))
        found += [_Edit(at, at, content) for at, content in import_edits(self.module, self.lines, self.needed)]
        return self._merged(found)

    def _merged(self, found: list[_Edit]) -> tuple[TextEdit, ...]:
        """In order, insertions at one offset joined, newlines as the file's."""
        ordered = sorted(found, key=lambda edit: (edit.start, edit.end, edit.rank))
        merged: list[TextEdit] = []
        for edit in ordered:
            content = _NEWLINE.sub(self.newline, edit.content) if self.newline != "\n" else edit.content
            if merged and merged[-1].end == edit.start and merged[-1].start == merged[-1].end:
                merged[-1] = TextEdit(merged[-1].start, edit.end, merged[-1].content + content)
            elif merged and edit.start < merged[-1].end:
                raise ValueError("two parts of one rewrite change the same text")
            else:
                merged.append(TextEdit(edit.start, edit.end, content))
        return tuple(merged)

    # -- where things are

    def _start(self, statement: Statement, node: ast.expr | ast.stmt) -> int:
        return self.module.starts[statement] + statement.span(node).start

    def _end(self, statement: Statement, node: ast.expr | ast.stmt) -> int:
        return self.module.starts[statement] + statement.span(node).end

    def _line_start(self, offset: int) -> int:
        return self.lines.starts[self.lines.line_of(offset)]

    def _line_end(self, offset: int) -> int:
        """The end of the line of `offset`, before its newline."""
        line = self.lines.line_of(offset)
        return self.lines.starts[line] + len(self.lines.line_body(line))

    def _after_line(self, offset: int) -> int:
        """The start of the line behind that of `offset`."""
        line = self.lines.line_of(offset)
        return self.lines.starts[line + 1] if line + 1 < len(self.lines) else len(self.text)

    def _indent(self, offset: int) -> str:
        body = self.lines.line_body(self.lines.line_of(offset))
        return body[: len(body) - len(body.lstrip(" \t\f"))].replace("\f", "")

    # -- emitting

    def _emitter(self, statement: Statement, node: ast.AST | None) -> PythonSnippetEmitter:
        """An emitter in the names that `node` sees."""
        hidden = _hidden_names(statement, node) if node is not None else set[str]()
        origins = {name: origin for name, origin in self._firm_imports(statement).items() if name not in hidden}
        taken = (set(self.module.names.bindings) | hidden) - set(origins)
        for need in self.needed:
            origins.setdefault(need.local, need.origin)
        return PythonSnippetEmitter(
            "torch", imports=origins, taken=taken, line_length=self.line_length, indent_unit=self._unit(statement)
        )

    def _firm_imports(self, before: Statement) -> dict[str, str]:
        """What is surely imported when `before` runs: by statements above it that stand in no `if` or `try`."""
        found: dict[str, str] = {}
        for statement in self.module.statements:
            if statement is before:
                break
            for node in statement.body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    for binding in import_bindings(node):
                        origin = self.module.names.origin(binding.name)
                        if binding.star is None and origin is not None:
                            found[binding.name] = origin
        return found

    def _done(self, emitter: PythonSnippetEmitter) -> None:
        for need in emitter.missing_imports:
            if need not in self.needed:
                self.needed.append(need)

    def _unit(self, statement: Statement) -> str:
        """One level of indentation, as the file has it: what the first statement inside another is indented by."""
        for one in (statement, *self.module.statements):
            for top in one.body:
                inner: list[ast.stmt] = getattr(top, "body", [])
                if inner and inner[0].lineno > top.lineno:
                    line = one.lines.line_body(inner[0].lineno - 1)
                    return line[: len(line) - len(line.lstrip(" \t"))] or "    "
        return "    "

    def _statements(self, emitter: PythonSnippetEmitter, put: tuple[Emitted, ...], indent: str) -> list[str]:
        return [emitter.render(self._emit(emitter, one), indent) for one in put]

    def _emit(
        self, emitter: PythonSnippetEmitter, one: Emitted
    ) -> libcst.SimpleStatementLine | libcst.BaseCompoundStatement:
        match one:
            case Assigned():
                methods = [(method.name, method.arguments) for method in one.methods]
                return emitter.emit_call(one.node, list(one.inputs), one.output, methods)
            case AssignedTemplate():
                output = one.output if isinstance(one.output, str) else list(one.output)
                return emitter.emit_template_call(one.template.text, one.template.operands, output)
            case Init():
                return emitter.emit_init(one.node)
            case Attribute():
                return emitter.emit_attribute(one.id, one.value)
            case Unpack():
                sizes = one.sizes if isinstance(one.sizes, str) else list(one.sizes)
                return emitter.emit_unpack(one.node, list(one.inputs), list(one.outputs), sizes, one.dim)
            case LinearInitialisation():
                return emitter.emit_linear_initialisation(one.id)
            case HookRegistration():
                return emitter.load_hooks.emit_registration(self.renamed.get(one.hook, one.hook), one.arguments, one.on)
            case SuperInit():
                return emitter.emit_super_init(one.arguments)
            case InitMethod():
                return emitter.emit_init_method(one.arguments)
            case Pass():
                return emitter.emit_pass()
            case Returned():
                return emitter.emit_return(one.value)

    # -- the actions

    def _replace_expression(self, action: ReplaceExpression) -> Iterator[_Edit]:
        if isinstance(action.by, Within):
            yield self._rearranged(action, action.by)
            return
        if isinstance(action.by, Template):
            yield from self._template(action, action.by)
            return
        start, end = self._start(action.statement, action.node), self._end(action.statement, action.node)
        if isinstance(action.by, Expression):
            emitter = self._emitter(action.statement, action.node)
            methods = [(method.name, method.arguments) for method in action.by.methods]
            content = emitter.render(emitter.emit_expression(action.by.node, list(action.by.inputs), methods))
            self._done(emitter)
        elif isinstance(action.by, OnValue):
            emitter = self._emitter(action.statement, action.node)
            methods = [(method.name, method.arguments) for method in action.by.methods]
            indent = self._indent(start)
            content = emitter.render(emitter.emit_methods(action.by.value, methods), indent).removeprefix(indent)
            self._done(emitter)
        elif isinstance(action.by, Elements):
            content = action.by.source
        elif isinstance(action.by, Attend):
            emitter = self._emitter(action.statement, action.node)
            content = emitter.render(emitter.emit_attention(action.by.id, action.by.inputs))
        elif isinstance(action.by, Construct):
            emitter = self._emitter(action.statement, action.node)
            content = emitter.render(emitter.emit_constructor(action.by.node))
            self._done(emitter)
        else:
            content = action.by if _stands_alone(action.by) else f"({action.by})"
        yield from self._comments_above_statement(action, content)
        start, end = self._without_parentheses(start, end)
        yield _trimmed(self.text, start, end, content) if "\n" in content else _Edit(start, end, content)

    def _comments_above_statement(self, action: ReplaceExpression, content: str) -> Iterator[_Edit]:
        """Comments inside an expression that goes, unless they are in what replaces it, above its statement."""
        start, end = self._start(action.statement, action.node), self._end(action.statement, action.node)
        comments = [comment for comment in _comments(self.text[start:end]) if comment not in content]
        if comments:
            anchor = _simple_statement(action.statement, action.node)
            at = self._line_start(self._start(action.statement, anchor))
            indent = self._indent(at)
            yield _Edit(at, at, "".join(f"{indent}{comment}\n" for comment in comments), 0)

    def _template(self, action: ReplaceExpression, by: Template) -> Iterator[_Edit]:
        """A template in the place of an expression; the statement is laid out anew where it grows too long."""
        emitter = self._emitter(action.statement, action.node)
        content = emitter.render(emitter.emit_template(by.text, by.operands), broken=False)
        self._done(emitter)
        yield from self._comments_above_statement(action, content)
        start, end = self._start(action.statement, action.node), self._end(action.statement, action.node)
        anchor = _simple_statement(action.statement, action.node)
        if _is_primary(content):
            start, end = self._without_parentheses(start, end)
        elif _binds_tighter(action.statement, anchor, action.node):
            enclosed = self.text[start - 1 : start] == "(" and self.text[end : end + 1] == ")"
            content = content if enclosed else f"({content})"
        yield self._laid_in(action.statement, anchor, start, end, content)

    def _rearranged(self, action: ReplaceExpression, by: Within) -> _Edit:
        """The user's own source in another order; the statement is laid out anew where it grows too long."""
        statement, node = action.statement, action.node
        start, end = self._start(statement, node), self._end(statement, node)
        anchor = _simple_statement(statement, node)
        content = _spliced(statement, by)
        loose = _binds_tighter(statement, anchor, node) and not _is_primary(content)
        if not by.parts and "\n" in content:
            content = self._moved_out(statement, node, by.node, content, loose or not _stands_alone(content))
        elif loose or not _stands_alone(content):
            content = f"({content})"
        if _keeps_its_lines(statement, by):
            return _trimmed(self.text, start, end, content)
        return self._laid_in(statement, anchor, start, end, content)

    def _laid_in(self, statement: Statement, anchor: ast.stmt, start: int, end: int, content: str) -> _Edit:
        """Put `content` from `start` to `end`; its simple statement is laid out anew where it would be too long."""
        first, last = self._start(statement, anchor), self._end(statement, anchor)
        whole = self.text[first:start] + content + self.text[end:last]
        simple = isinstance(anchor, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr | ast.Return)
        if not simple or not statement.stands_alone(anchor):
            return _Edit(start, end, content)
        emitter = self._emitter(statement, anchor)
        made = emitter.emit_source(_NEWLINE.sub("\n", whole))
        before, behind = self._line_start(start), self._line_end(end)
        length = len(self.text[before:start]) + len(content) + len(self.text[end:behind].partition("#")[0].rstrip())
        fits = length <= max(self.line_length, behind - before)
        if "#" in whole or (fits and "\n" not in whole and "\r" not in whole):
            return _Edit(start, end, content)
        line = self._line_start(first)
        return _trimmed(self.text, line, last, emitter.render(made, self._indent(first)))

    def _moved_out(
        self, statement: Statement, node: ast.expr, operand: ast.expr, content: str, in_brackets: bool
    ) -> str:
        """The lines of an operand that comes to stand in the place of the call around it, at that one's indentation."""
        start = self._start(statement, operand)
        own, target = self.text[self._line_start(start) : start], self._indent(self._start(statement, node))
        over_lines = (ast.Constant, ast.JoinedStr)
        fixed = any(isinstance(one, over_lines) and one.lineno != one.end_lineno for one in ast.walk(operand))
        if own.strip() or not own.startswith(target) or fixed:
            return f"({content})" if in_brackets else content
        if in_brackets:
            return f"(\n{own}{content}\n{target})"
        first, *rest = content.split("\n")
        return "\n".join([first, *(target + line[len(own) :] if line.startswith(own) else line for line in rest)])

    def _replace_callee(self, action: ReplaceCallee) -> _Edit:
        emitter = self._emitter(action.statement, action.call)
        if isinstance(action.by, Construct):
            made = emitter.emit_constructor(action.by.node)
        else:
            made = emitter.emit_expression(action.by.node, list(action.by.inputs))
        assert isinstance(made, libcst.Call)
        content = emitter.render(made.func)
        self._done(emitter)
        func = action.call.func
        return _Edit(self._start(action.statement, func), self._end(action.statement, func), content)

    def _drop_method(self, action: DropMethod) -> _Edit:
        """Take a method call away from what stands before it, with its line where it has one of its own."""
        assert isinstance(action.call.func, ast.Attribute)
        text, end = self.text, self._end(action.statement, action.call)
        begin = self._end(action.statement, action.call.func.value)
        name = self._end(action.statement, action.call.func) - len(_method(action.call))
        dot = text.rindex(".", begin, name)
        # A value's own parentheses are no part of its node: `(x + 1).contiguous()`.
        begin += _without_comments(text[begin:dot]).rfind(")") + 1
        if "#" not in text[begin:dot]:
            return _Edit(begin, end, "")
        if text[end : self._line_end(end)].strip():
            return _Edit(dot, end + len(text[end:]) - len(text[end:].lstrip(" ")), "")
        return _Edit(self._line_start(dot), self._after_line(end), "")

    def _without_parentheses(self, start: int, end: int) -> tuple[int, int]:
        """Take in parentheses that held an operator and would hold a call: `return (x * y)`."""
        text = self.text
        if not (start > 0 and text[start - 1] == "(" and text[end : end + 1] == ")"):
            return start, end
        before = text[: start - 1].rstrip(" ")
        word = re.search(r"[^\W\d]\w*$", before[-40:])
        called = before[-1:] in (")", "]", '"', "'", "}") or (
            word is not None
            and word.group() not in ("return", "in", "and", "or", "not", "yield", "else", "if", "lambda")
        )
        spaced = before[-1:] in ("=", "(", ",", "[", "+", "-", "*", "/", ":", "{") or (
            word is not None and len(before) < start - 1
        )
        return (start - 1, end + 1) if not called and spaced else (start, end)

    def _replace_statements(self, action: ReplaceStatements) -> Iterator[_Edit]:
        statement = action.statement
        removed = sorted(action.removed, key=lambda node: node.lineno)
        comments: list[str] = []
        trailing = ""
        for number, node in enumerate(removed):
            start, end = self._start(statement, _first_part(node)), self._end(statement, node)
            inside = list(_comments(self.text[start : self._line_end(end)]))
            if number > 0 or not action.put:
                comments += self._comments_above(start)
            if len(removed) == 1 and len(action.put) == 1 and len(inside) == 1 and self.text[start:end].count("#") == 0:
                trailing = f"  {inside[0]}"
            else:
                comments += inside
        first = removed[0]
        kept = first if action.put else action.comments_to
        if kept is not None and comments:
            at = self._line_start(self._start(statement, kept))
            indent = self._indent(at)
            block = "".join(f"{indent}{comment}\n" for comment in comments)
            if not action.put:
                yield _Edit(at, at, block, 0)
                block = ""
        else:
            block = ""
        spans: list[tuple[int, int]] = []
        for number, node in enumerate(removed):
            start, end = self._start(statement, _first_part(node)), self._end(statement, node)
            if number == 0 and action.put:
                line = self._line_start(start)
                emitter = self._emitter(statement, node)
                code = "\n".join(self._statements(emitter, action.put, self._indent(start)))
                self._done(emitter)
                yield _Edit(line, self._line_end(end), block + code + trailing)
                continue
            line = self._comments_start(start)
            after = self._after_line(max(end - 1, start))
            if isinstance(node, ast.FunctionDef) and self.text[:line].rstrip("\r\n").endswith(":"):
                while after < len(self.text) and not self.lines.line_body(self.lines.line_of(after)).strip():
                    after = self._after_line(after)
            if spans and spans[-1][1] == line:
                line = spans.pop()[0]  # one blank line goes with them all
            spans.append((line, after))
        for line, after in spans:
            yield _Edit(self._with_blank_line(line, after), after, "")

    def _comments_start(self, offset: int) -> int:
        """Where the comment lines directly above the statement at `offset` start; its own line where there is none."""
        line = self.lines.line_of(offset)
        indent = self._indent(offset)
        while line > 0:
            above = self.lines.line_body(line - 1)
            if not above.startswith(f"{indent}#") or not self._is_comment(line - 1):
                break
            line -= 1
        return self.lines.starts[line]

    def _is_comment(self, line: int) -> bool:
        """Whether a line of the file (from 0) that starts with `#` is a comment, and not the inside of a string."""
        start = self.lines.starts[line]
        for placed in reversed(self.module.placed):
            if placed.start <= start:
                within = placed.statement.lines.line_of(start - placed.start)
                return within + 1 in placed.statement.derive("comment lines", _comment_lines)
        return True

    def _comments_above(self, offset: int) -> list[str]:
        start = self._comments_start(offset)
        block = self.text[start : self._line_start(offset)]
        return [line.strip() for line in _NEWLINE.split(block) if line.strip()]

    def _with_blank_line(self, start: int, end: int) -> int:
        """Where to start a removal so that it does not leave two blank lines in place of one."""
        line = self.lines.line_of(start)
        behind = self.lines.line_of(end) if end < len(self.text) else None
        blank_behind = behind is None or not self.lines.line_body(behind).strip()
        if line > 0 and blank_behind and not self.lines.line_body(line - 1).strip():
            return self.lines.starts[line - 1]
        return start

    def _insert(self, action: Insert) -> Iterator[_Edit]:
        start = self._start(action.statement, action.anchor)
        emitter = self._emitter(action.statement, action.anchor)
        code = "\n".join(self._statements(emitter, action.put, self._indent(start)))
        self._done(emitter)
        if not action.after:
            at = self._line_start(start)
            yield _Edit(at, at, f"{code}\n")
            return
        end = self._end(action.statement, action.anchor)
        at = self._line_end(max(end - 1, start))
        yield _Edit(at, at, f"\n{code}")

    def _name_returned(self, action: NameReturned) -> Iterator[_Edit]:
        statement, anchor = action.statement, action.anchor
        start = self._start(statement, anchor)
        yield _Edit(start, start + len("return"), f"{action.name} =")
        emitter = self._emitter(statement, anchor)
        indent = self._indent(start)
        lines = [
            *self._statements(emitter, action.put, indent),
            emitter.render(emitter.emit_return(action.name), indent),
        ]
        self._done(emitter)
        at = self._line_end(max(self._end(statement, anchor) - 1, start))
        yield _Edit(at, at, "".join(f"\n{line}" for line in lines))

    def _set_base(self, action: SetBase) -> _Edit:
        emitter = self._emitter(action.statement, None)
        content = emitter.render(emitter.emit_base(action.kind))
        self._done(emitter)
        return _Edit(self._start(action.statement, action.base), self._end(action.statement, action.base), content)

    def _add_method(self, action: AddMethod) -> _Edit:
        statement, anchor = action.statement, action.anchor
        start = self._start(statement, anchor)
        emitter = self._emitter(statement, anchor)
        method = emitter.emit_fuse_method(list(action.method.pairs))
        code = emitter.render(method, self._indent(start))
        self._done(emitter)
        at = self._line_end(max(self._end(statement, anchor) - 1, start))
        return _Edit(at, at, f"\n\n{code}")

    def _set_arguments(self, action: SetArguments) -> Iterator[_Edit]:
        statement, call = action.statement, action.call
        emitter = self._emitter(statement, call)
        made = emitter.emit_constructor(action.node)
        self._done(emitter)
        assert isinstance(made, libcst.Call)
        missing: list[str] = []
        for argument in action.arguments:
            present = _present(call, argument)
            if present is not None:
                start, end = self._start(statement, present), self._end(statement, present)
                if self.text[start:end] != argument.value:
                    yield _Edit(start, end, argument.value)
                continue
            given = next(one for one in made.args if one.keyword is not None and one.keyword.value == argument.keyword)
            missing.append(libcst.Module([]).code_for_node(given.with_changes(comma=libcst.MaybeSentinel.DEFAULT)))
        if missing:
            yield from self._append_arguments(action, emitter, made, missing)

    def _append_arguments(
        self, action: SetArguments, emitter: PythonSnippetEmitter, made: libcst.Call, missing: list[str]
    ) -> Iterator[_Edit]:
        statement, call = action.statement, action.call
        argument = ", ".join(missing)
        start, end = self._start(statement, call), self._end(statement, call)
        line = self._line_start(start)
        before = self.text[line:start]
        behind = self.text[end : self._line_end(end)]
        single = self.lines.line_of(start) == self.lines.line_of(end)
        length = len(before) + (end - start) + len(f", {argument}") + len(behind.partition("#")[0].rstrip())
        plain = emitter.render(made.with_changes(args=made.args[: -len(missing)]))
        if single and length > self.line_length and plain == self.text[start:end]:
            # Laid out anew only where that changes nothing of the user's own style.
            laid_out = self._laid_out(statement, action, emitter, made, argument, before, behind)
            if laid_out is not None:
                yield laid_out
                return
        last = max(
            (*call.args, *(keyword.value for keyword in call.keywords)),
            key=lambda node: (node.end_lineno or 0, node.end_col_offset or 0),
        )
        at = self._end(statement, last)
        # An argument's own parentheses are no part of its node: `padding=(3 // 2)`.
        at += _without_comments(self.text[at : end - 1]).rfind(")") + 1
        rest = self.text[at : end - 1]
        closing = self.lines.line_of(end - 1)
        if "," in _without_comments(rest) or (self.lines.line_of(at) < closing and rest.strip() != ""):
            # A trailing comma (or a comment) behind the last argument: the new one goes on a line of its own.
            comma = at + _without_comments(rest).find(",") + 1 if "," in _without_comments(rest) else at
            if self.lines.line_of(at) == closing:
                yield _Edit(comma, comma, f" {argument},")
                return
            if comma == at:
                yield _Edit(at, at, ",")
            line_end = self._line_end(comma)
            indent = self._indent(self._start(statement, last))
            yield _Edit(line_end, line_end, "".join(f"\n{indent}{one}," for one in missing))
            return
        if self.lines.line_of(at) < closing and self._is_exploded(statement, call):
            indent = self._indent(self._start(statement, last))
            yield _Edit(at, at, "".join(f",\n{indent}{one}" for one in missing))
            return
        yield _Edit(at, at, f", {argument}")

    def _is_exploded(self, statement: Statement, call: ast.Call) -> bool:
        """Whether each argument of a call has its own line."""
        rows = [node.lineno for node in (*call.args, *call.keywords)]
        return len(rows) > 1 and len(set(rows)) == len(rows)

    def _laid_out(
        self,
        statement: Statement,
        action: SetArguments,
        emitter: PythonSnippetEmitter,
        call: libcst.Call,
        argument: str,
        before: str,
        behind: str,
    ) -> _Edit | None:
        """The call that became too long for its line, laid out anew; None where more than it stands on the line."""
        start, end = self._start(statement, action.call), self._end(statement, action.call)
        line = self._line_start(start)
        if not before.strip() and behind.strip() in ("", ","):
            indent = before
            narrow = self._narrower(emitter, len(behind.strip()))
            return _Edit(start, end, narrow.render(call, indent).removeprefix(indent))
        assigned = re.fullmatch(r"(\s*)self\.(\w+) = ", before)
        if assigned is not None and assigned.group(2) == action.node.id and not behind.strip():
            return _Edit(line, end, emitter.render(emitter.emit_init(action.node), assigned.group(1)))
        return self._whole_literal(statement, action, emitter, argument) or self._whole_statement(
            statement, action, emitter, argument
        )

    def _whole_literal(
        self, statement: Statement, action: SetArguments, emitter: PythonSnippetEmitter, argument: str
    ) -> _Edit | None:
        """`self.net = nn.Sequential(...)` on one line, laid out anew around the call that grew."""
        around = _simple_statement(statement, action.call)
        match around:
            case ast.Assign(
                targets=[ast.Attribute(value=ast.Name(id="self"), attr=attribute)], value=ast.Call() as literal
            ):
                pass
            case _:
                return None
        start, end = self._start(statement, around), self._end(statement, around)
        kind = resolve(literal.func, self.module.names)
        if kind is None or self.lines.line_of(start) != self.lines.line_of(end) or not statement.stands_alone(around):
            return None
        before = emitter.render(emitter.emit_init(LogicalNode(attribute, kind, call_metadata(statement, literal))))
        if " ".join(before.split()).replace("( ", "(").replace(", )", ")").replace(" )", ")") != self.text[start:end]:
            return None
        grown = self._end(statement, action.call) - 1 - start
        text = f"{self.text[start:end][:grown]}, {argument}{self.text[start:end][grown:]}"
        alone = Statement(text, ast.parse(text).body)
        assert isinstance(alone.body[0], ast.Assign)
        assert isinstance(alone.body[0].value, ast.Call)
        node = LogicalNode(attribute, kind, call_metadata(alone, alone.body[0].value))
        line = self._line_start(start)
        return _Edit(line, end, emitter.render(emitter.emit_init(node), self.text[line:start]))

    def _whole_statement(
        self, statement: Statement, action: SetArguments, emitter: PythonSnippetEmitter, argument: str
    ) -> _Edit | None:
        """A statement on one line, laid out anew from its value on around the call that grew."""
        around = _simple_statement(statement, action.call)
        value = getattr(around, "value", None)
        if not isinstance(around, _WITH_A_VALUE) or not isinstance(value, ast.expr):
            return None
        start, end = self._start(statement, around), self._end(statement, around)
        line, behind = self._line_start(start), self._line_end(end)
        too_long = len(self.text[line:behind].partition("#")[0].rstrip()) > self.line_length
        if too_long or self.lines.line_of(start) != self.lines.line_of(end) or not statement.stands_alone(around):
            return None
        grown = self._end(statement, action.call) - 1
        text = f"{self.text[start:grown]}, {argument}{self.text[grown:end]}"
        rendered = emitter.render(emitter.emit_source(text), self.text[line:start])
        kept = self.text[line : self._start(statement, value)]
        return _Edit(line + len(kept), end, rendered[len(kept) :]) if rendered.startswith(kept) else None

    def _narrower(self, emitter: PythonSnippetEmitter, by: int) -> PythonSnippetEmitter:
        return PythonSnippetEmitter(
            emitter.framework, line_length=self.line_length - by, indent_unit=self._unit(self.module.statements[0])
        )

    def _add_function(self, action: AddFunction) -> Iterator[_Edit]:
        name = self._free_name(action)
        self.renamed[action.function.name] = name
        code = self._function(action, name)
        known = self.module.names.bindings.get(name)
        if known is not None and known.local is not None:
            return
        body = action.before.body[0]
        decorators = getattr(body, "decorator_list", [])
        first = decorators[0] if decorators else body
        offset = self._start(action.before, first)
        offset = max(self._comments_start(offset), 1 if self.text.startswith("\ufeff") else 0)
        yield _Edit(offset, offset, f"{code}\n\n\n")

    def _stands_above(self, action: AddFunction, local: ast.stmt, name: str) -> bool:
        """Whether `local` is the very function, and defined before the class that is to use it."""
        for statement in self.module.statements:
            if statement is action.before:
                return False
            if local in statement.body:
                return ast.dump(local) == ast.dump(ast.parse(self._function(action, name)).body[0])
        return False

    def _function(self, action: AddFunction, name: str) -> str:
        emitter = self._emitter(action.before, None)
        match action.function:
            case MergeHook() as hook:
                node = emitter.load_hooks.emit_merge(
                    name, hook.merged, hook.parts, hook.parameters, hook.dims, hook.unbiased
                )
            case ExpertsHook() as hook:
                node = emitter.load_hooks.emit_experts(name, hook.first, hook.second, hook.parts, hook.parameters)
            case TransposeHook() as hook:
                node = emitter.load_hooks.emit_transpose(name, hook.table, hook.layer)
            case CellHook() as hook:
                node = emitter.load_hooks.emit_cell(
                    name, hook.cell, list(hook.parts), dict(hook.parameters), list(hook.order), hook.negated
                )
            case MergeListHook() as hook:
                node = emitter.load_hooks.emit_merge_list(name, hook.merged, hook.layers, list(hook.parameters))
            case FoldBiasHook() as hook:
                node = emitter.load_hooks.emit_fold_bias(name, hook.norm)
            case RenameHook() as hook:
                node = emitter.load_hooks.emit_rename(name, hook.nested, hook.renamed)
            case RenameParametersHook() as hook:
                node = emitter.load_hooks.emit_rename_parameters(name, hook.renamed)
            case DropBiasHook() as hook:
                node = emitter.load_hooks.emit_drop_bias(name, hook.norm)
            case FoldBiasesHook():
                node = emitter.load_hooks.emit_fold_biases(name)
        code = emitter.render(node)
        self._done(emitter)
        return code

    def _free_name(self, action: AddFunction) -> str:
        """The function's name, or it with a number where the file has another thing of that name."""
        wanted = action.function.name
        number, name = 1, wanted
        while True:
            known = self.module.names.bindings.get(name)
            if known is None and name not in words_of(action.before):
                return name
            if known is not None and known.local is not None and self._stands_above(action, known.local, name):
                return name
            number += 1
            name = f"{wanted}_{number}"


def _first_part(node: ast.stmt) -> ast.expr | ast.stmt:
    """Where a statement begins: a decorated function at its first decorator."""
    return node.decorator_list[0] if isinstance(node, ast.FunctionDef) and node.decorator_list else node


def _method(call: ast.Call) -> str:
    """The name of the method that is called."""
    assert isinstance(call.func, ast.Attribute)
    return call.func.attr


def _spliced(statement: Statement, within: Within) -> str:
    """The source of an expression with others in the place of its parts."""
    text = statement.source(within.node)
    start = statement.span(within.node).start
    places = sorted(within.parts, key=lambda part: statement.span(part[0]).start, reverse=True)
    for part, by in places:
        content = by if isinstance(by, str) else _spliced(statement, by)
        span = statement.span(part)
        before, behind = text[: span.start - start], text[span.end - start :]
        if not isinstance(by, str) and _binds_tighter(statement, within.node, part):
            enclosed = before.endswith("(") and behind.startswith(")")
            if not _is_primary(content):
                content = content if enclosed else f"({content})"
            elif enclosed:
                before, behind = before[:-1], behind[1:]
        text = before + content + behind
    return text


def _keeps_its_lines(statement: Statement, within: Within) -> bool:
    """Whether an expression over several lines only gets other operands, each on one line."""
    if len(statement.source(within.node).splitlines()) < 2:
        return False
    return all(len((by if isinstance(by, str) else _spliced(statement, by)).splitlines()) < 2 for _, by in within.parts)


def _binds_tighter(statement: Statement, around: ast.AST, part: ast.expr) -> bool:
    """Whether an operator would fall apart in the place of `part`: before a dot or brackets, beside an operator."""
    path = _path(statement, part)
    parent = path[-2] if len(path) > 1 else around
    if isinstance(parent, ast.Subscript):
        return parent.value is part
    if isinstance(parent, ast.Call):
        return parent.func is part
    return isinstance(
        parent, ast.Attribute | ast.BinOp | ast.UnaryOp | ast.Compare | ast.BoolOp | ast.keyword | ast.Starred
    )


def _is_primary(source: str) -> bool:
    """Whether source is a name, a call, a subscript or something in brackets of its own."""
    stripped = source.strip()
    try:
        tree = ast.parse(f"({stripped}\n)", mode="eval").body
    except SyntaxError:
        return False
    if isinstance(tree, ast.Name | ast.Call | ast.Subscript | ast.Attribute | ast.List | ast.Dict | ast.ListComp):
        return True
    return isinstance(tree, ast.Tuple) and stripped.startswith("(")


def _stands_alone(source: str) -> bool:
    """Whether an expression holds together by itself: one over several lines needs brackets around it."""
    try:
        ast.parse(source.strip(), mode="eval")
    except SyntaxError:
        return False
    return True


def _trimmed(text: str, start: int, end: int, content: str) -> _Edit:
    """An edit without the whole lines that it has in common with what it replaces."""
    old = text[start:end].splitlines(keepends=True)
    new = content.splitlines(keepends=True)
    while len(old) > 1 and len(new) > 1 and old[0].rstrip("\r\n") == new[0].rstrip("\r\n"):
        start += len(old[0])
        del old[0], new[0]
    while len(old) > 1 and len(new) > 1 and old[-1] == new[-1]:
        end -= len(old[-1])
        del old[-1], new[-1]
        end -= len(old[-1]) - len(old[-1].rstrip("\r\n"))
        old[-1], new[-1] = old[-1].rstrip("\r\n"), new[-1].rstrip("\r\n")
    return _Edit(start, end, "".join(new))


def _present(call: ast.Call, argument: Argument) -> ast.expr | None:
    """The value that a call gives an argument, by keyword or by position."""
    for keyword in call.keywords:
        if keyword.arg == argument.keyword:
            return keyword.value
    position = argument.position
    return call.args[position] if position is not None and len(call.args) > position else None


def _comments(text: str) -> Iterator[str]:
    """The comments in a piece of a statement."""
    if "#" not in text:
        return
    # A piece may start inside brackets: give the tokenizer brackets of its own.
    source = f"(\n{text}\n)\n"
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield token.string.rstrip()
    except (tokenize.TokenError, IndentationError):
        return


def _comment_lines(statement: Statement) -> frozenset[int]:
    """The lines (from 1) of a statement on which a comment stands."""
    found: set[int] = set()
    try:
        for token in tokenize.generate_tokens(io.StringIO(statement.text).readline):
            if token.type == tokenize.COMMENT:
                found.add(token.start[0])
    except (tokenize.TokenError, IndentationError):
        return frozenset()
    return frozenset(found)


def _without_comments(text: str) -> str:
    """`text`, which holds no string, with its comments blanked."""
    return re.sub(r"#[^\r\n]*", lambda match: " " * len(match.group()), text)


def _hidden_names(statement: Statement, node: ast.AST) -> set[str]:
    """Names that the functions, lambdas and comprehensions around `node` bind."""
    hidden: set[str] = set()
    for one in _path(statement, node):
        if isinstance(one, Function):
            hidden |= local_names(one, statement)
        elif isinstance(one, ast.Lambda):
            hidden |= {argument.arg for argument in ast.walk(one.args) if isinstance(argument, ast.arg)}
        elif isinstance(one, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            hidden |= {name for part in one.generators for name in bound_names(part.target)}
    return hidden


def _simple_statement(statement: Statement, node: ast.AST) -> ast.stmt:
    """The innermost statement around `node`."""
    found = [one for one in _path(statement, node) if isinstance(one, ast.stmt)]
    return found[-1]


def _path(statement: Statement, node: ast.AST) -> list[ast.AST]:
    """The nodes from the top-level statement down to `node`."""

    def search(inside: ast.AST) -> list[ast.AST] | None:
        if inside is node:
            return [inside]
        for child in ast.iter_child_nodes(inside):
            if getattr(child, "end_lineno", None) is not None and not (
                child.lineno <= node.lineno and (node.end_lineno or 0) <= (child.end_lineno or 0)  # pyright: ignore
            ):
                continue
            below = search(child)
            if below is not None:
                return [inside, *below]
        return None

    for top in statement.body:
        found = search(top)
        if found is not None:
            return found
    return []

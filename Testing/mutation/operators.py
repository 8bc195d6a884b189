"""What is changed in a module: the operators of mutmut, and those that it has not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libcst as cst
import libcst.matchers as m
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper
from mutmut.mutation.mutators import (
    mutation_operators,
    operator_arg_removal,
    operator_string,
)

_SKIPPED = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom, cst.Raise, cst.Assert)
"""Types and wording are left alone; whether something is raised at all is asked of its ``if``."""


@dataclass(frozen=True)
class Mutant:
    """One change: in which function or class, what stood there, what stands there now."""

    place: str
    before: str
    after: str
    nth: int
    source: str

    @property
    def key(self) -> str:
        """The same as long as the function is the same, wherever it moves."""
        return f"{self.place}: {self.before}  ->  {self.after}  #{self.nth}"


def mutants_of(path: Path) -> Iterator[Mutant]:
    """All mutants of a module that compile to something else."""
    whole = path.read_bytes()
    wrapper = MetadataWrapper(cst.parse_module(whole), unsafe_skip_copy=True)
    spans = wrapper.resolve(ByteSpanPositionProvider)
    tree = wrapper.module
    seen = {ast.dump(ast.parse(whole))}
    count: dict[tuple[str, str, str], int] = {}
    for place, statement, node in _nodes(tree, "module", None):
        for target, new in _changes(node):
            if target not in spans:
                continue
            start, stop = spans[target].start, spans[target].start + spans[target].length
            code = b" ".join(tree.code_for_node(new).encode().split())
            source = whole[:start] + code + whole[stop:]
            try:
                dump = ast.dump(ast.parse(source))
                compile(source, str(path), "exec", dont_inherit=True)
            except (SyntaxError, ValueError):
                continue
            if dump in seen:
                continue
            seen.add(dump)
            first = spans[statement].start
            last = first + spans[statement].length
            if body := getattr(statement, "body", None):
                last = spans[body].start
            before = whole[first:last]
            after = whole[first:start] + code + whole[stop : max(last, stop)]
            texts = _shortened(_line(before), _line(after))
            key = (place, *texts)
            nth = count[key] = count.get(key, 0) + 1
            yield Mutant(place, *texts, nth, source.decode())


def _changes(node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """What may be replaced by what at a node."""
    if isinstance(node, (cst.If, cst.While)):
        for value in ("True", "False") if isinstance(node, cst.If) else ("False",):
            yield node.test, cst.Name(value)
    for kind, operator in (*mutation_operators, *_OWN):
        if isinstance(node, kind):
            variants = list(operator(node))
            if operator is operator_string:
                variants = variants[:1]
            if operator is operator_arg_removal:  # None and nothing at all are much the same
                variants = [new for new in variants if len(new.args) == len(node.args)]
            yield from ((node, new) for new in variants)


def _nodes(node: cst.CSTNode, place: str, statement: Any) -> Iterator[tuple[str, Any, cst.CSTNode]]:
    if isinstance(node, _SKIPPED) or _is_wording(node):
        return
    if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
        place = node.name.value if place == "module" else f"{place}.{node.name.value}"
    if isinstance(
        node, (cst.BaseSmallStatement, cst.If, cst.For, cst.While, cst.With, cst.FunctionDef)
    ):
        statement = node
    if statement is not None:
        yield place, statement, node
    children = node.children
    if isinstance(node, cst.ClassDef):  # its fields are declarations
        children = [c for c in node.body.body if isinstance(c, cst.FunctionDef)]
    for child in children:
        yield from _nodes(child, place, statement)


def _is_wording(node: cst.CSTNode) -> bool:
    """Docstrings, log lines, messages for people, exported names."""
    if m.matches(node, m.Expr(m.SimpleString() | m.ConcatenatedString())):
        return True
    if m.matches(node, m.If(m.Name("TYPE_CHECKING"))):
        return True
    if m.matches(node, m.Assign([m.AssignTarget(m.Name("__all__"))])):
        return True
    if isinstance(node, cst.SimpleString) and node.value.count(" ") > 3:
        return True
    said = m.Name("append") | m.Name("with_warnings") | m.Name("warning")
    text = m.FormattedString() | m.ConcatenatedString() | m.SimpleString()
    return m.matches(node, m.Call(func=m.Attribute(attr=said), args=[m.Arg(text)]))


def _line(text: bytes) -> str:
    return " ".join(text.decode(errors="replace").split())


def _shortened(before: str, after: str) -> tuple[str, str]:
    """Both texts, cut to what lies around the difference."""
    pairs = enumerate(zip(before, after, strict=False))
    cut = max(0, next((i for i, (a, b) in pairs if a != b), 0) - 50)
    return before[cut : cut + 110], after[cut : cut + 110]


def _less(node: cst.Integer) -> Iterator[cst.CSTNode]:
    if node.evaluated_value > 0:
        yield cst.Integer(repr(node.evaluated_value - 1))


def _a_tenth(node: cst.Float) -> Iterator[cst.CSTNode]:
    """A tolerance that is a tenth wider or narrower."""
    for factor in (1.1, 0.9):
        yield cst.Float(repr(node.evaluated_value * factor))


def _no_statement(node: cst.Expr) -> Iterator[cst.CSTNode]:
    if m.matches(node.value, m.Call()):
        yield cst.Pass()


def _none(node: cst.Return) -> Iterator[cst.CSTNode]:
    if node.value is not None and not m.matches(node.value, m.Name("None")):
        yield node.with_changes(value=cst.Name("None"))


def _one_side(node: cst.BooleanOperation) -> Iterator[cst.CSTNode]:
    yield node.left
    yield node.right


_OWN: tuple[tuple[Any, Any], ...] = (
    (cst.Integer, _less),
    (cst.Float, _a_tenth),
    (cst.Expr, _no_statement),
    (cst.Return, _none),
    (cst.BooleanOperation, _one_side),
)

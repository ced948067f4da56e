"""What is done to an expression: each operator takes a node and gives what to put in its place.

New nodes are written as source and parsed, which is shorter than building them and as exact.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.mutation.targets import Kind


@dataclass(frozen=True)
class Place:
    """Where a node stands.

    Attributes:
        kind: of the function that it is in.
        siblings: the name that each could be taken for: another stride of its operand, another size, another block.
        pointers: arguments of a kernel that it loads from or stores to.
    """

    kind: Kind
    siblings: dict[str, str] = field(default_factory=dict)
    pointers: tuple[str, ...] = ()


Change = tuple[str, ast.expr]
"""What was done, in words, and the node to put in place of the old one."""
Operator = Callable[[ast.expr, Place], Iterator[Change]]

OTHER: dict[type[ast.AST], str] = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "%", ast.Mod: "//", ast.BitAnd: "|",
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Is: "is not", ast.IsNot: "is", ast.Eq: "!=",
    ast.NotEq: "==",
}  # fmt: skip
NARROWER = {"float64": "float32", "float32": "bfloat16"}
MODULES = ("torch", "tl", "triton", "ctx", "math")
KEYWORDS = ("other", "dtype", "input_precision", "out_dtype")


def text(node: ast.AST) -> str:
    """A node as source."""
    return ast.unparse(node)


def expression(source: str) -> ast.expr:
    """Source as a node."""
    return ast.parse(source, mode="eval").body


def arithmetic(node: ast.expr, place: Place) -> Iterator[Change]:
    """Another operator; a term, a factor or half of a mask dropped; the operands of a matrix product swapped."""
    if not isinstance(node, ast.BinOp):
        return
    left, right = text(node.left), text(node.right)
    if type(node.op) in OTHER:
        yield "another operator", expression(f"({left}) {OTHER[type(node.op)]} ({right})")
    if isinstance(node.op, ast.MatMult):
        yield "operands swapped", expression(f"({right}) @ ({left})")
    sum_ = isinstance(node.op, (ast.Add, ast.Sub))
    what = "term dropped" if sum_ else "half of a mask dropped" if isinstance(node.op, ast.BitAnd) else "factor dropped"
    yield what, node.left
    yield what, expression(f"-({right})") if isinstance(node.op, ast.Sub) else node.right


def comparison(node: ast.expr, place: Place) -> Iterator[Change]:
    """``<`` for ``<=``, ``is not`` for ``is``."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OTHER:
        other = OTHER[type(node.ops[0])]
        yield "another comparison", expression(f"({text(node.left)}) {other} ({text(node.comparators[0])})")


def condition(node: ast.expr, place: Place) -> Iterator[Change]:
    """A condition negated, always true, always false."""
    if isinstance(node, ast.IfExp):
        yield "condition negated", ast.IfExp(node.test, node.orelse, node.body)
        yield "condition always true", node.body
        yield "condition always false", node.orelse


def sign(node: ast.expr, place: Place) -> Iterator[Change]:
    """The sign of what a kernel loads, stores or adds up, and of what a backward hands on."""
    if not isinstance(node, ast.Call):
        return
    called = text(node.func)
    if place.kind == "kernel" and called in ("tl.load", "tl.dot", "tl.sum"):
        yield "sign flipped", expression(f"-({text(node)})")
    if place.kind == "backward" and called.endswith(".apply"):
        yield "sign flipped", expression(f"-({text(node)})")


def reduction(node: ast.expr, place: Place) -> Iterator[Change]:
    """A sum left out, over another axis, or a mean or maximum instead of it."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "sum":
        return
    arguments = ", ".join(map(text, node.args))
    if text(node.func.value) == "tl":
        yield "maximum for sum", expression(f"tl.max({arguments})")
        return
    value = text(node.func.value)
    yield "mean for sum", expression(f"({value}).mean({arguments})")
    yield "partial sums in bfloat16", expression(f"({value}).bfloat16().sum({arguments}).to(({value}).dtype)")
    if node.args:
        yield "first instead of sum", expression(f"({value}).select({arguments}, 0)")
        yield "another axis", expression(f"({value}).sum(-1)")
        yield "axis kept", expression(f"({value}).sum({arguments}, keepdim=True)")


def call(node: ast.expr, place: Place) -> Iterator[Change]:
    """Arguments swapped, keywords dropped, a method left out, a bound left out, a division rounded the other way."""
    if not isinstance(node, ast.Call):
        return
    for a, b in pairwise(range(len(node.args))):
        one, two = node.args[a], node.args[b]
        if not any(isinstance(x, ast.Constant) for x in (one, two)) and text(one) != text(two):
            args = [*node.args[:a], two, one, *node.args[b + 1 :]]
            yield "arguments swapped", ast.Call(node.func, args, node.keywords)
    for keyword in node.keywords:
        rest = [k for k in node.keywords if k is not keyword]
        if keyword.arg in KEYWORDS:
            yield f"{keyword.arg} dropped", ast.Call(node.func, node.args, rest)
        if keyword.arg == "mask":
            rest = [k for k in rest if k.arg != "other"]
            yield "mask dropped", ast.Call(node.func, node.args, rest)
    called = text(node.func)
    if called in ("max", "min", "tl.minimum", "tl.maximum", "torch.promote_types"):
        for argument in node.args:
            yield "bound dropped", argument
    if called in ("triton.cdiv", "tl.cdiv"):
        yield "rounded down", expression(f"({text(node.args[0])}) // ({text(node.args[1])})")
    if isinstance(node.func, ast.Attribute) and text(node.func).split(".")[0] not in MODULES:
        value = text(node.func.value)
        if node.func.attr == "stride":
            yield "strides swapped", expression(f"({value}).mT.stride()")
            yield "strides of a copy", expression(f"({value}).contiguous().stride()")
        elif node.func.attr not in ("apply", "sum"):
            yield "method left out", node.func.value


def tiles(node: ast.expr, place: Place) -> Iterator[Change]:
    """Tiles that start one late, loops that end early or skip, accumulators that start at 1, in another dtype."""
    if not isinstance(node, ast.Call):
        return
    called, args = text(node.func), [text(a) for a in node.args]
    if called == "tl.arange":
        yield "tile starts late", expression(f"{text(node)} + 1")
    elif called == "range" and len(args) == 3:
        start, stop, step = args
        yield "loop starts late", expression(f"range({start} + 1, {stop}, {step})")
        yield "loop ends early", expression(f"range({start}, {stop} - 1, {step})")
        yield "loop ends late", expression(f"range({start}, {stop} + 1, {step})")
        yield "one pass of the loop", expression(f"range({start}, {start} + 1, {step})")
        yield "loop's step off", expression(f"range({start}, {stop}, {step} + 1)")
        yield "loop's step off", expression(f"range({start}, {stop}, {step} - 1)")
        yield "loop's step off", expression(f"range({start}, {stop}, ({step}) * 2)")
    elif called == "tl.zeros":
        yield "accumulator starts at 1", expression(f"tl.full({args[0]}, 1, {args[1]})")
        for kind in ("tl.float16", *(f"{p}.dtype.element_ty" for p in place.pointers)):
            if kind != args[1]:
                yield "accumulator's dtype", expression(f"tl.zeros({args[0]}, {kind})")
    elif called == "tl.dot" and len(args) == 3:
        yield "accumulator dropped", ast.Call(node.func, node.args[:2], node.keywords)


def attribute(node: ast.expr, place: Place) -> Iterator[Change]:
    """A transpose left out, a narrower dtype, the dtype of another operand."""
    if not isinstance(node, ast.Attribute):
        return
    value = text(node.value)
    if node.attr in ("T", "mT"):
        yield "transpose dropped", node.value
    if value in ("torch", "tl") and node.attr in NARROWER:
        yield "a narrower dtype", expression(f"{value}.{NARROWER[node.attr]}")
    if node.attr == "element_ty":
        for pointer in place.pointers:
            if pointer != value.split(".")[0]:
                yield "dtype of another operand", expression(f"{pointer}.dtype.element_ty")


def constant(node: ast.expr, place: Place) -> Iterator[Change]:
    """0 for 1, 1 for 0, one more; true for false; another precision."""
    if not isinstance(node, ast.Constant):
        return
    value = node.value
    if isinstance(value, bool):
        yield "another constant", ast.Constant(not value)
    elif isinstance(value, int):
        yield "another constant", ast.Constant(1 - value if value in (0, 1) else value + 1)
    elif isinstance(value, float):
        yield "another constant", ast.Constant(value + 1.0)
    elif value == "ieee":
        yield "another precision", ast.Constant("tf32")


def order(node: ast.expr, place: Place) -> Iterator[Change]:
    """Two elements of a tuple or list swapped: what is returned, unpacked, indexed, or a shape."""
    if not isinstance(node, (ast.Tuple, ast.List)):
        return
    for a, b in pairwise(range(len(node.elts))):
        one, two = node.elts[a], node.elts[b]
        if text(one) != text(two):
            elements = [*node.elts[:a], two, one, *node.elts[b + 1 :]]
            yield "order swapped", type(node)(elements, node.ctx)


def name(node: ast.expr, place: Place) -> Iterator[Change]:
    """A kernel's stride, size or block taken for another; a block off by one where it is a factor."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in place.siblings:
        yield "another name", ast.Name(place.siblings[node.id], ast.Load())
    if place.kind == "kernel" and isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for side, other in ((node.right, node.left), (node.left, node.right)):
            if isinstance(side, ast.Name) and side.id.isupper() and len(side.id) > 1:
                for off in ("+ 1", "- 1"):
                    yield "block off by one", expression(f"({text(other)}) * ({side.id} {off})")


OPERATORS: tuple[Operator, ...] = (
    arithmetic, comparison, condition, sign, reduction, call, tiles, attribute, constant, order, name,
)  # fmt: skip

"""What is done to whole statements of a function: left out, assigned for added, detached, rounded."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.mutation.operators import expression, text
from tests.mutation.targets import Target

StatementChange = tuple[str, ast.stmt | list[ast.stmt]]


def _statement(source: str) -> ast.stmt:
    return ast.parse(source).body[0]


def of_statement(node: ast.stmt, target: Target) -> Iterator[StatementChange]:
    """Changes that need the statement as a whole."""
    if isinstance(node, ast.AugAssign):
        yield "= for an accumulation", _statement(f"{text(node.target)} = {text(node.value)}")
        yield "sign flipped", _statement(f"{text(node.target)} += -({text(node.value)})")
        yield "statement left out", ast.Pass()
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "statement left out", ast.Pass()
        if text(node.value.func) == "tl.store":
            at, value, *rest = node.value.args
            keywords = node.value.keywords
            yield (
                "sign flipped",
                ast.Expr(ast.Call(node.value.func, [at, expression(f"-({text(value)})"), *rest], keywords)),
            )
    elif isinstance(node, ast.If):
        yield "condition negated", ast.If(expression(f"not ({text(node.test)})"), node.body, node.orelse)
        yield "condition always true", ast.If(ast.Constant(True), node.body, node.orelse)
        yield "condition always false", ast.If(ast.Constant(False), node.body, node.orelse)
    elif isinstance(node, ast.Assign) and _is_again(node, target):
        yield "statement left out", ast.Pass()
    if target.kind == "saved":
        yield from _saved_detached(node)
    if target.kind == "backward":
        yield from _unpacked_detached(node)
    if isinstance(node, ast.Return) and node.value is not None and target.kind in ("backward", "launch"):
        yield from _returned(node.value, target)


def _is_again(node: ast.Assign, target: Target) -> bool:
    """Whether the names are assigned before, so that the function still runs without this."""
    earlier = {a.arg for a in target.node.args.args}
    for other in ast.walk(target.node):
        if isinstance(other, ast.Name) and isinstance(other.ctx, ast.Store) and other.lineno < node.lineno:
            earlier.add(other.id)
    names = {n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return names <= earlier


def _saved_detached(node: ast.stmt) -> Iterator[StatementChange]:
    """Each tensor that is saved, detached first: a second derivative no longer flows through it."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return
    if text(node.value.func) != "ctx.save_for_backward":
        return
    for number, argument in enumerate(node.value.args):
        args = list(node.value.args)
        if isinstance(argument, ast.Starred):
            args[number] = ast.Starred(expression(f"[t.detach() for t in {text(argument.value)}]"), ast.Load())
        else:
            args[number] = expression(f"({text(argument)}).detach()")
        yield "saved tensor detached", ast.Expr(ast.Call(node.value.func, args, node.value.keywords))


def _unpacked_detached(node: ast.stmt) -> Iterator[StatementChange]:
    """Each tensor that was saved, detached where it is unpacked."""
    if isinstance(node, ast.Assign) and text(node.value) == "ctx.saved_tensors":
        for name in ast.walk(node.targets[0]):
            if isinstance(name, ast.Name):
                yield "saved tensor detached", [node, _statement(f"{name.id} = {name.id}.detach()")]


def _returned(value: ast.expr, target: Target) -> Iterator[StatementChange]:
    """Each gradient (or answer of a launch) negated, doubled, scaled, detached, rounded, zero, or None."""
    elements = value.elts if isinstance(value, ast.Tuple) else [value]
    for number, element in enumerate(elements):
        core = element.body if isinstance(element, ast.IfExp) else element
        if isinstance(core, (ast.Constant, ast.Dict, ast.List, ast.Tuple)) or text(core).startswith(
            ("max(", "triton.")
        ):
            continue
        for what, new in _spoilt("t" if isinstance(core, ast.Starred) else text(core), target):
            changed: ast.expr
            if isinstance(core, ast.Starred):
                changed = ast.Starred(expression(f"[{new} for t in {text(core.value)}]"), ast.Load())
            elif isinstance(element, ast.IfExp):
                changed = ast.IfExp(element.test, expression(new), element.orelse)
            else:
                changed = expression(new)
            rest = [*elements[:number], changed, *elements[number + 1 :]]
            yield what, ast.Return(ast.Tuple(rest, ast.Load()) if isinstance(value, ast.Tuple) else changed)


def _spoilt(core: str, target: Target) -> Iterator[tuple[str, str]]:
    yield "sign flipped", f"-({core})"
    yield "rounded to bfloat16", f"(lambda t: t.bfloat16().to(t.dtype))({core})"
    if target.kind == "backward":
        yield "doubled", f"2 * ({core})"
        yield "scaled", f"1.001 * ({core})"
        yield "result detached", f"({core}).detach()"
        yield "None for a gradient", "None"
        yield "no gradient", f"0 * ({core})"


def of_function(node: ast.FunctionDef, target: Target) -> Iterator[tuple[str, str, ast.FunctionDef]]:
    """Changes at the head of a backward: (what, the new line, the function): no second derivative, in part or at all."""
    if target.kind != "backward":
        return
    for argument in node.args.args[1:]:
        line = f"{argument.arg} = {argument.arg}.detach()"
        yield "cotangent detached", line, _with(node, [_statement(line), *node.body], node.decorator_list)
    once = "torch.autograd.function.once_differentiable"
    yield "once differentiable", f"@{once}", _with(node, node.body, [*node.decorator_list, expression(once)])


def _with(node: ast.FunctionDef, body: list[ast.stmt], decorators: list[ast.expr]) -> ast.FunctionDef:
    return ast.FunctionDef(
        name=node.name, args=node.args, body=body, decorator_list=decorators, returns=node.returns, lineno=node.lineno
    )

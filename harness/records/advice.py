"""Next steps for the author of a strategy, for everything that can refuse it: one sentence a check, one a status."""

from __future__ import annotations

NEXT = {
    "values": "compare the gradient with the layer's formula at these sizes, sums over rows and their dtype first",
    "untouched": "write results to tensors of their own: operands and cotangent belong to the caller",
    "stale": "read the operands at each call: keep no result by address, version, identity or some of their elements",
    "special_values": "let NaN through, guard a root or a division before it and not after, and look at rows of zeros",
    "launches": "launch the kernel in the passes that it is declared for, or take it out of kernels=",
    "cotangents": "call .contiguous() on the cotangent, or give its own strides to the kernel",
    "layouts": "call .contiguous() on the operand, or give its own strides to the kernel",
    "magnitudes": "subtract the maximum before exp, add eps before a root or a division, accumulate in float32",
    "side_by_side": "keep what belongs to a call on ctx, and not on the module, the class or in a global",
    "updated": "read the operands anew at each call: keep no copy and no result by address",
    "updated_between": "keep operands with ctx.save_for_backward, which notices an update, and not as attributes",
    "walked_twice": 'leave what was saved whole: write to new tensors, or declare limits=("walked_twice",)',
    "accumulation": "return the gradients from backward, and leave .grad to autograd",
    "frozen": "return gradients in the order of the arguments, None where ctx.needs_input_grad is False",
    "backward_returns": "sum each gradient to its argument's shape, None where ctx.needs_input_grad is False",
    "repeats": "find the race: a missing barrier, or two programs that store to one place; atomic adds are fine",
    "races": "run it on a GPU, where repeats show them",
    "dead_backward": "put the gradient into a torch.autograd.Function: autograd never calls a module's backward",
    "context": "keep tensors with ctx.save_for_backward",
    "released": "keep the output with ctx.save_for_backward, which holds it without a cycle",
    "global_state": "put back what is changed of torch and of the process, in a finally",
    "steady_memory": "keep nothing for each call: clear lists and dicts, detach what is kept",
    "settled": "wait for threads and streams of your own before returning",
    "guarded": "mask each load and store by the tensor's end, and give masked loads other=",
    "far_apart": "compute offsets in 64 bits: tl.program_id(0).to(tl.int64)",
    "causality": "mask what comes later than each output, the diagonal included where it must be",
    "double_backward": (
        "make backward differentiable, raise in it where torch.is_grad_enabled(), or declare"
        ' limits=("double_backward",); once_differentiable alone drops the term without a word'
    ),
    "third_order": (
        "make the backward of backward differentiable, raise where it is not, or declare"
        ' limits=("third_order",)'
    ),
    "forward_ad": 'write jvp, leave it out so that it raises, or declare limits=("forward_ad",)',
    "func_grad": 'write setup_context and a backward without side effects, or declare limits=("func_grad",)',
    "per_sample": 'set generate_vmap_rule = True, mend vmap, or declare limits=("per_sample",)',
    "through_vmap": (
        "call the Function's apply in its rule for vmap, so that the graph goes on outside, or declare"
        ' limits=("through_vmap",)'
    ),
    "jacrev": 'set generate_vmap_rule = True, mend vmap, or declare limits=("jacrev",)',
    "compile": (
        "register custom ops with torch.library.triton_op or custom_op, mutated arguments named, or declare"
        ' limits=("compile",)'
    ),
    "described": (
        "give the op's fake the shapes, dtypes and strides that the op returns, or declare"
        ' limits=("described",)'
    ),
    "autocast": (
        "decorate with torch.amp.custom_fwd and custom_bwd, return the dtype that torch's own op would, or declare"
        ' limits=("autocast",)'
    ),
    "checkpoint": 'keep no state from call to call: the forward runs twice; or declare limits=("checkpoint",)',
    "copies": 'give each copy tensors of its own in __deepcopy__ and __getstate__, or declare limits=("copies",)',
    "shapes": "look at what is special at this size: a tile that is not full, a loop that ends early, a power of 2",
    "empty": 'return early where a tensor has no elements, or declare limits=("empty",)',
    "leading_dims": (
        "flatten the leading dims and put them back, raise for more than are served, or declare"
        ' limits=("leading_dims",)'
    ),
    "long": "accumulate sums over rows in float32",
    "many_elements": "compute offsets in 64 bits: tl.program_id(0).to(tl.int64)",
    "gradcheck": (
        "mend backward; where the gradient is meant to be no derivative (straight-through, padding_idx), say"
        ' gradient="by definition" on the layer'
    ),
    "search": "run the line that reproduces it, the smallest example that was found",
    "training": "look at the gradients in this dtype: a bias that each single step hides adds up",
    "fresh_process": "leave out what is random from process to process, such as hashes of strings",
    "data_parallel": (
        "reduce nothing over processes: DistributedDataParallel does; or declare"
        ' limits=("data_parallel",)'
    ),
}  # fmt: skip
"""By check."""

OF_OUTPUT = "compare the forward with the layer's formula at these sizes, masks of tiles that are not full first"
"""Of ``values``, where the output is wrong: gradients can wait."""

RANDOM = "draw the mask or the seed outside and make it an input: a strategy answers the same to the same values"

ENDED = {
    "crashed": "look for reads and writes out of bounds: run it alone, with CUDA_LAUNCH_BLOCKING=1 on a GPU",
    "timeout": "look for a loop without an end or a lock; where it is only slow, give --timeout SECONDS",
    "oom": "save less for the backward, or give smaller sizes by --dims",
    "compile_error": "compile it alone, by layerbench aot for a kernel or torch.compile(fullgraph=True)",
    "runtime_error": "call it alone with tensors of this shape and dtype: the error is the strategy's own",
}
"""By status, where a strategy has ended in no answer."""

TIMED = "keep no result from call to call, and compare with the reference at this very size and dtype"
"""Where the answers of timed calls are wrong."""


def of_check(check: str, tensor: str = "", detail: str = "") -> str:
    """The next step after a wrong answer.

    Args:
        tensor: what was wrong.
        detail: as in the check's record.
    """
    if check == "values" and detail.startswith("it answers otherwise"):
        return RANDOM
    return OF_OUTPUT if check == "values" and tensor == "output" else NEXT.get(check, "")


def with_next(text: str, step: str) -> str:
    """A reason with what to do next, if anything is known."""
    return f"{text}; next: {step}" if step else text

"""Long convolution by FFT (Hyena, S4): real in and out, complex inside; against a direct causal conv1d."""

import torch
import torch.nn.functional as F

from harness import Layer, Operand, Strategy


def direct(x, k):
    L = x.shape[-1]
    return F.conv1d(F.pad(x, (L - 1, 0)), k.flip(-1)[:, None], groups=x.shape[1])


def fft(x, k):
    n = 2 * x.shape[-1]
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    kw = k.to(wide.dtype)
    return torch.fft.irfft(torch.fft.rfft(wide, n=n) * torch.fft.rfft(kw, n=n), n=n)[..., : x.shape[-1]].to(x.dtype)


layer = Layer(
    inputs={"x": Operand(("B", "C", "L"))},
    parameters={"k": Operand(("C", "L"), lambda s, g: torch.randn(s, generator=g) / s[-1] ** 0.5)},
    output=("B", "C", "L"),
    causal="L",
    check=({"B": 3, "C": 5, "L": 17}, {"B": 1, "C": 1, "L": 1}, {"B": 2, "C": 3, "L": 64}),
    sizes={"cpu": {"quick": ({"B": 2, "C": 16, "L": 1024},)}},
)
strategies = {"autograd": Strategy(direct), "fft": Strategy(fft)}

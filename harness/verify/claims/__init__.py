"""The claims that are audited, in the order in which the page tells them."""

from harness.verify.claims import functions, gradients, modules, parameters, proofs, transforms

CLAIMS = (
    *modules.CLAIMS,
    *parameters.CLAIMS,
    *gradients.CLAIMS,
    *functions.CLAIMS,
    *proofs.CLAIMS,
    *transforms.CLAIMS,
)

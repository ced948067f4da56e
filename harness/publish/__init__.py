"""Bundles: a run closed in place so that a stranger can check it and re-run it, claim by claim."""

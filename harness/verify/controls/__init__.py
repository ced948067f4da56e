"""Planted faults: small wrong strategies that the gate must reject each time it runs, or declare itself blind."""

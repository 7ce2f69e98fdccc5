"""Wrappers: what goes around an optimizer or accompanies it: averages, rounding, constraints. Each is an optax pair."""

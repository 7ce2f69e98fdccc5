"""Wrappers: what goes around an optimizer or accompanies it: averages, rounding, constraints. Each is a pair as well."""

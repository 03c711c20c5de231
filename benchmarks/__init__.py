"""How fast the framework is: ``python -m benchmarks --help``."""

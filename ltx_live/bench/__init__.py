"""The benchmarks: every figure that the README or a closing note quotes is printed by one of these."""

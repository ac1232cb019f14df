"""Integer arithmetic in Numba, and the plan that runs a graph with it."""

"""Foreign vectors and runtimes against the integer engine: one module per area, one table."""

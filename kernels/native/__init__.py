"""Operators as machine code over raw memory: the fast path of a plan.

Every kernel here computes the same bits as the plain loops beside it in `kernels`, which remain the
reference; a node that has no native kernel runs on those.
"""

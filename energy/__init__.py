"""From a workload and a platform to joules, seconds, bytes and look-up tables."""

"""Real keepalived and haproxy in namespaces, BOSH played around them. Demo, tests and benchmarks share it."""

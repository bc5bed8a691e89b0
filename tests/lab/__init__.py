"""Tests with real daemons. fabric, clients, strangers, scenarios and benches are what they stand on; each imports those before it alone."""

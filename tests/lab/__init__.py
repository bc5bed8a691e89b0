"""Tests with real daemons, and the rig that they stand on."""

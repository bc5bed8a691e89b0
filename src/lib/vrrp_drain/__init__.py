"""Move a keepalived (VRRP) virtual IP between BOSH instances without clients noticing."""

__version__ = "0.1.0"

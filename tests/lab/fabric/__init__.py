"""Machines in namespaces with real keepalived and haproxy, and BOSH played around them."""

"""What keeps open connections alive while the VIP moves: the kernel's rules, who may be heard, the VIPs on lo."""

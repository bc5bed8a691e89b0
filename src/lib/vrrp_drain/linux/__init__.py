"""The kernel: netlink, ARP and neighbour discovery, raw sockets and packet capture, nftables, BPF, connections, processes. No VRRP."""

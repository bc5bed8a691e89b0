"""A machine that runs the kernel's filter programs, on packets that scapy built."""

import struct

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP
from scapy.packet import Packet

TYPES = {ARP: 0x0806, IP: 0x0800, IPv6: 0x86DD}
SIZES = {0x20: 4, 0x28: 2, 0x30: 1, 0x50: 1}


def keeps(instructions: list[bytes], packet: Packet, kind: int = 0) -> bool:
    """Run the program (bpf(4)) and tell whether it keeps the packet."""
    data, loaded, index, at = bytes(packet), 0, 0, 0
    while True:
        code, if_so, if_not, operand = struct.unpack("=HBBI", instructions[at])
        at += 1
        if code == 0x06:
            return bool(operand)
        if code == 0x15:
            at += if_so if loaded == operand else if_not
        elif code == 0x54:
            loaded &= operand
        elif operand == 0xFFFFF000:
            loaded = TYPES[type(packet)]
        elif operand == 0xFFFFF004:
            loaded = kind
        elif code == 0xB1:
            index = (data[operand] & 0x0F) * 4
        else:
            offset = operand + (index if code == 0x50 else 0)
            if offset + SIZES[code] > len(data):
                return False
            loaded = int.from_bytes(data[offset : offset + SIZES[code]], "big")

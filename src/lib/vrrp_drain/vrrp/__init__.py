"""The protocol as bytes and rules: adverts, hellos, priority bands, timing, who may be heard and what that means. No socket, no clock."""

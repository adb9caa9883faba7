"""The host link: bytes of a UART or of datagrams on one side, registers and memory on the other."""

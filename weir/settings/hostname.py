"""The name under which other workers reach this host, if the settings give none."""

import socket


def reachable_hostname() -> str:
    """This host's name if it resolves here, else loopback: two workers on a laptop must find each other."""
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return "127.0.0.1"
    return name

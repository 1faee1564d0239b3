"""Become another program that dies with the process that started it.

`python tether.py PARENT_PID COMMAND ARGS…` asks the kernel to kill it as soon as its parent is gone
(`prctl(PR_SET_PDEATHSIG)`, see prctl(2)) and then executes COMMAND in its own place: the request survives exec, so the
pid that the parent knows is the pid of COMMAND. No process that tests have started outlives them, not even when they
end by SIGKILL.

This is a program and not a `preexec_fn`, because Python 3.12 and later warn when a process with threads runs Python
code between fork and exec, and a warning is an error in the tests. Elsewhere than on Linux COMMAND simply starts.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent_pid: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # the parent died before the request
            sys.exit(f"{command[0]}: not started, because the process that wanted it is gone")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(127)  # as a shell does


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])

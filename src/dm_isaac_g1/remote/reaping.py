"""Ending what a command on a host has left: every process that carries a mark in its environment.

Neither docker nor an sshd for root ends a command when its reader goes away.
"""

from __future__ import annotations

#: Python for the host: `-c PROGRAM NAME=value` ends every process with that in its environment: asked first, killed a
#: second later.
PROGRAM = """
import os, sys, time
mark = sys.argv[1].encode()
def marked():
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/environ' % pid, 'rb') as file:
                if int(pid) != os.getpid() and mark in file.read().split(b'\\0'):
                    yield int(pid)
        except OSError:
            pass
for signal, pause in ((15, 1.0), (9, 0.0)):
    left = list(marked())
    for pid in left:
        try:
            os.kill(pid, signal)
        except OSError:
            pass
    until = time.monotonic() + pause
    while left and time.monotonic() < until:
        time.sleep(0.05)
        left = list(marked())
"""

import signal
import subprocess
import sys

import pytest

START = """
import os, signal, sys, threading, time, weakref
from ecgcls.command.interruption import exit_interrupted, stop_on_signals

def wait():
    time.sleep(20)
    sys.exit("no signal got through")

def stop(_):
    os.kill(os.getpid(), NUMBER)

with stop_on_signals():
    try:
        print("ready", flush=True)
        BLOCK
    except KeyboardInterrupt:
        CLEAN_UP
        exit_interrupted(resumes=False, is_silent=False)
"""


def start(block, *, number=signal.SIGTERM, clean_up="pass"):
    script = START.replace("BLOCK", block).replace("NUMBER", str(int(number))).replace("CLEAN_UP", clean_up)
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("number", "code", "told"), [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 75, "stopped by SIGTERM\n")]
)
def test_signals_that_follow_the_first_change_nothing_until_the_process_is_gone(number, code, told):
    clean_up = "threading.Thread(target=time.sleep, args=(0.2,)).start(); time.sleep(0.1)"  # the exit waits for it
    process = start("wait()", clean_up=clean_up)
    while process.poll() is None:
        process.send_signal(number)
    assert (process.returncode, process.stderr.read()) == (code, told)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
@pytest.mark.parametrize(
    "block",
    [
        "type('Held', (), {'__del__': stop})(); wait()",
        "held = {1}; reference = weakref.ref(held, stop); del held; wait()",
    ],
)
def test_a_signal_that_comes_while_an_object_is_finalized_is_not_lost(number, code, block):
    process = start(block, number=number)
    _, told = process.communicate(timeout=15)
    assert (process.returncode, told.count("\n")) == (code, 1)

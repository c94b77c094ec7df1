"""A SLURM of five commands: arrays run on this machine, one task after another."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["install_slurm"]

_SBATCH = """\
import os, re, subprocess
state = {state!r}
script = open(sys.argv[1]).read()
open(state + "/scripts", "a").write(script)
if "partition=closed" in script:
    sys.exit("sbatch: error: invalid partition specified: closed")
number = len(os.listdir(state)) + 4000
os.mkdir(state + "/" + str(number))
array = re.search("--array=.?0-([0-9]+)", script)
path = state + "/job-" + str(number)
open(path, "w").write(script)
runner = os.fork()
if runner == 0:
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    for task in range(int(array[1]) + 1) if array else [None]:
        env = dict(os.environ, SLURM_JOB_ID=str(number + (task or 0)))
        if task is not None:
            env |= dict(SLURM_ARRAY_JOB_ID=str(number), SLURM_ARRAY_TASK_ID=str(task))
        name = str(number) if task is None else str(number) + "_" + str(task)
        again = state + "/requeue-" + name
        while True:
            code = subprocess.run(["bash", path], env=env).returncode
            if not os.path.exists(again):
                break
            os.remove(again)
        line = name + "|" + ("COMPLETED" if code == 0 else "NODE_FAIL") + "|node1"
        open(state + "/ended", "a").write(line + chr(10))
    os._exit(0)
open(state + "/" + str(number) + "/runner", "w").write(str(runner))
print("Submitted batch job " + str(number))
"""
_SRUN = """\
import os
words = sys.argv[1:]
while words[0].startswith("--"):
    words = words[1:] if words[0] == "--unbuffered" else words[2:]
os.execvp(words[0], words)
"""
_SACCT = """\
import os
print("JobID|State|NodeList")
path = {state!r} + "/ended"
print(open(path).read() if os.path.exists(path) else "", end="")
"""
_SCANCEL = """\
import os, signal
state, number = {state!r}, sys.argv[1].partition("_")[0]
open(state + "/cancelled", "a").write(number + chr(10))
os.killpg(int(open(state + "/" + number + "/runner").read()), signal.SIGKILL)
"""
_SCONTROL = """\
assert sys.argv[1] == "requeue"
for name in ("/requeue-", "/requeued-"):
    open({state!r} + name + sys.argv[2], "w").close()
"""


def install_slurm(folder: Path) -> tuple[Path, Path]:
    """Write the commands, and return their folder and the one where they keep what happened."""
    commands, state = folder / "bin", folder / "slurm"
    commands.mkdir(parents=True)
    state.mkdir()
    programs = {"sbatch": _SBATCH, "srun": _SRUN, "sacct": _SACCT}
    programs |= {"scancel": _SCANCEL, "scontrol": _SCONTROL}
    for name, text in programs.items():
        path = commands / name
        path.write_text(f"#!{sys.executable}\nimport sys\n{text.format(state=str(state))}")
        path.chmod(0o755)
    return commands, state

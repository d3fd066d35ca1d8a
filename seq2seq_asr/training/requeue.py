"""SLURM warns a job before its time is up (``#SBATCH --signal=USR1@120``): save, and ask for another turn."""

import hashlib
import os
import subprocess
import sys

from seq2seq_asr.console import say


def job_id() -> str | None:
    """The SLURM job, or the task of its array; None outside of SLURM."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")


def this_job() -> str | None:
    """What marks a run as begun by this command of this SLURM job: its number, and a digest of the flags."""
    job = job_id()
    return job and f"{job} {hashlib.sha256(chr(0).join(sys.argv[1:]).encode(errors='surrogateescape')).hexdigest()}"


def restarted() -> bool:
    """Whether SLURM has started this job before: it goes on by itself then."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") != "0"


def requeue(job: str) -> None:
    """Ask SLURM to run the job again; a refusal is said, and nothing more, for the run is saved."""
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"warning: job {job} cannot be requeued ({error}); --resume goes on by hand")
        return
    if done.returncode:
        say(f"warning: job {job} cannot be requeued ({done.stderr.strip()}); --resume goes on by hand")
    else:
        say(f"job {job} is requeued")

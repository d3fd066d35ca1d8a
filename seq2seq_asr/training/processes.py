"""Which of several training processes this is, as its environment tells before Lightning has started."""

import os
import threading
import time


def is_main_process() -> bool:
    """Whether this is rank 0, or the only process."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def is_launched_by_us() -> bool:
    """Whether Lightning, in the main process of the same run, has started this one."""
    return "RANK" not in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"


def end_with_parent(parent: int, seconds: float = 5.0) -> None:
    """From now on, end this process within so many seconds of the one that launched it, whatever it waits for."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def processes_started_outside() -> int:
    """Processes that torchrun or SLURM has started for this run; 1 without them."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ["SLURM_NTASKS"]) if _under_slurm() else 1


def devices_started_outside() -> int | None:
    """Processes a node that torchrun or SLURM has started; None when the number is ours to choose."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["LOCAL_WORLD_SIZE"])
    return int(os.environ.get("SLURM_NTASKS_PER_NODE", "1")) if _under_slurm() else None


def _under_slurm() -> bool:
    """As Lightning sees it: tasks of srun, but not a shell within a job."""
    return "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")

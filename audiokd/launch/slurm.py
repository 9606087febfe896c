"""Shards on a SLURM cluster, by job arrays through submitit; a job that is stopped is queued again and goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiokd.errors import AudiokdError
from audiokd.files import unique
from audiokd.launch.queue import Queue
from audiokd.launch.shard_job import DoneList, ShardJob

_ASK_S = 60.0  # between two questions to SLURM's accounting
_PREEMPTED_S = 600.0  # a job that is preempted is queued again, within


@dataclass(frozen=True)
class Slurm:
    """`nj` jobs of an array, each with its share of the shards. This process waits for them, and stops them when it ends.

    Args:
        partition, account, qos, constraint: as `sbatch` takes them.
        time_min: time limit of a job in minutes. What it has not done by then it does when its turn comes again.
        cpus: of a job.
        gpus: of a job.
        mem_gb: of a job; 0 leaves it to the cluster.
        parallel: how many jobs of the array may run at a time.
        setup: a shell line that runs first, such as "module load cuda".
        logs: folder for jobs and their logs, on a disk that the nodes share.
        max_retries: how often a shard is run again whose job died or failed.
        poll_s: seconds between two looks at what is done.
        cluster: "slurm"; submitit's "local" runs the jobs on this machine, all at once, to try things out.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    time_min: int = 60
    cpus: int = 1
    gpus: int = 0
    mem_gb: float = 0
    parallel: int = 256
    setup: str = ""
    logs: str = "log"
    max_retries: int = 3
    poll_s: float = 5.0
    cluster: str = "slurm"

    def default_threads(self, nj: int) -> int:
        return max(1, self.cpus)

    def run(
        self,
        make_worker: Callable[..., Any],
        args: tuple[Any, ...],
        tasks: Iterable[Any],
        nj: int,
        threads: int,
        tick: Callable[[], None] = lambda: None,
        anew: Callable[[], None] = lambda: None,
    ) -> Generator[Any, None, None]:
        """As `launch.local.run`, by an array of `nj` jobs.

        Raises:
            AudiokdError: no SLURM here, it refuses the job, or what is missing, and why, after all else is done.
        """
        queue = Queue(tasks, self.max_retries)
        executor = self._executor()
        run, parts = unique(), 0
        jobs: list[_Job] = []
        shares = [share for share in (list(queue.todo)[k::nj] for k in range(nj)) if share]
        try:
            while shares or jobs:
                works = []
                for share in shares:
                    numbered = [(i, queue.tasks[i]) for i in share]
                    file = str((Path(self.logs) / f"{run}-{parts}.done").absolute())
                    works.append(ShardJob(make_worker, args, numbered, threads, file, self.max_retries))
                    parts += 1
                jobs += [_Job(job, work, share) for job, work, share in zip(_submit(executor, works), works, shares)]
                shares = []
                time.sleep(self.poll_s)
                for job in list(jobs):
                    ended = job.ended()  # asked before the list is read: what it did is all there then
                    for i, result, error in job.list.read():
                        if i not in job.left:
                            continue  # done twice: it was stopped between the shard and its line
                        job.left.remove(i)
                        if error is None:
                            yield result
                        elif queue.lost(i, error):
                            job.again.append(i)
                    if ended:
                        jobs.remove(job)
                        # the first is what it was at when it ended; the others go before it
                        if job.left and queue.lost(job.left[0], job.why()):
                            job.again.append(job.left[0])
                        rest = job.left[1:] + job.again
                        shares += [rest] if rest else []
                tick()
            queue.end()
        finally:
            for job in jobs:
                with suppress(Exception):
                    job.job.cancel(check=False)

    def _executor(self) -> Any:
        try:
            import submitit
        except ImportError as e:
            raise AudiokdError("submitit is not installed", fix="pip install 'audiokd[slurm]'") from e
        try:
            # how often a job comes back is ShardJob's to say: it knows whether it gets on
            executor = submitit.AutoExecutor(self.logs, cluster=self.cluster, slurm_max_num_timeout=1_000_000)
        except (RuntimeError, ValueError) as e:
            raise AudiokdError(
                f"no SLURM here ({e})", fix="run it where sbatch and srun are, such as a login node"
            ) from e
        named = {k: getattr(self, k) for k in ("partition", "account", "qos", "constraint") if getattr(self, k)}
        executor.update_parameters(
            name="audiokd",
            timeout_min=self.time_min,
            cpus_per_task=self.cpus,
            mem_gb=self.mem_gb or None,
            gpus_per_node=self.gpus or None,
            slurm_array_parallelism=self.parallel,
            slurm_setup=[self.setup] if self.setup else None,
            **{f"slurm_{k}": v for k, v in named.items()},
        )
        return executor


class _Job:
    """A job under way: what it has left, and what is to be run again after it."""

    def __init__(self, job: Any, work: ShardJob, share: list[int]):
        self.job, self.list, self.left = job, DoneList(work.file), list(share)
        self.again: list[int] = []
        self._asked = time.monotonic()
        self._preempted_since: float | None = None

    def ended(self) -> bool:
        """Whether it has a result or SLURM has no more of it. One that is preempted and not queued again counts, in time."""
        now = time.monotonic()
        force = now - self._asked > _ASK_S
        if force:
            self._asked = now
        if self.job.done(force_check=force):
            return True
        if str(self.job.state).upper() != "PREEMPTED":
            self._preempted_since = None
            return False
        self._preempted_since = self._preempted_since or now
        return now - self._preempted_since > _PREEMPTED_S

    def why(self) -> str:
        """One line: how it ended, and where its log is."""
        where = f"job {self.job.job_id} ended (log: {self.job.paths.stderr})"
        try:
            error = self.job.exception() if self.job.done() else None
        except Exception as e:
            error = e
        lines = [line.strip() for line in str(error or self.job.state).splitlines() if line.strip()]
        told = [line for line in lines if not line.startswith(("---", "You can check", "Traceback"))]
        return f"{where}: {told[-1] if told else 'no word'}"


def _submit(executor: Any, works: list[ShardJob]) -> list[Any]:
    """One array for all."""
    if not works:
        return []
    import submitit

    try:
        with executor.batch():
            return [executor.submit(work) for work in works]
    except (submitit.core.utils.FailedSubmissionError, OSError) as e:
        raise AudiokdError(f"SLURM does not take the jobs: {e}", fix="see to --launcher_options") from e

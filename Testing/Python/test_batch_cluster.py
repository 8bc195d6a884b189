"""Batches on a real Dask cluster of separate processes on this machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from batch_case import contents, environment, run_batch, write_table
from test_batch_local import Heard
from test_batch_run import counts, statuses, summary

from CovidLesionSegLogic.batch import process
from CovidLesionSegLogic.batch.cluster import ClusterRun
from CovidLesionSegLogic.batch.cluster_task import Sealed
from CovidLesionSegLogic.batch.settings import Settings
from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.batch.supply import Waiting
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import CancelledError, CovidLesionSegError, RequestError

distributed = pytest.importorskip("distributed", reason="Dask is not installed")
QUICK = ("--no-report", "--format", "nii.gz,seg.nrrd")


@pytest.fixture(scope="module")
def cluster(batch_models):
    """Two worker processes that know the small model, each with a nanny that starts it again."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(batch_models).items():
            patch.setenv(name, value)
        with distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            host="127.0.0.1",
            memory_limit=0,
        ) as cluster:
            yield cluster


@pytest.fixture
def table(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return write_table(folder, ["a", "b", "c"])


def test_a_cluster_gives_the_same_files_as_this_machine(batch_models, cluster, table, tmp_path):
    (table.parent / "empty.nrrd").write_bytes(b"")
    with table.open("a", encoding="utf-8") as file:
        file.write("empty.nrrd,\n")
    local = run_batch(batch_models, table, "-o", tmp_path / "local", *QUICK)
    remote = tmp_path / "remote"
    arguments = (table, "-o", remote, *QUICK, "--cluster", cluster.scheduler_address)
    done = run_batch(batch_models, *arguments)
    assert (local.returncode, done.returncode) == (4, 4), done.stderr
    assert "Traceback" not in done.stderr
    assert contents(remote) == contents(tmp_path / "local")
    assert "0 bytes" in summary(remote)["rows"][3]["reason"]
    again = run_batch(batch_models, *arguments)
    assert counts(remote) == (0, 3, 1), again.stderr


def test_a_lost_worker_costs_no_study(batch_models, cluster, table, tmp_path):
    out = tmp_path / "out"
    workers = cluster.scheduler.workers
    arguments = (table, "-o", out, *QUICK, "--cluster", cluster.scheduler_address)
    killed = []

    def kill_one_at_work() -> None:
        until = time.monotonic() + 120
        while not killed and time.monotonic() < until:
            for worker in list(workers.values()):
                if worker.processing:
                    killed.append(worker.identity()["id"])
                    pid = next(iter(cluster.workers.values())).pid
                    for nanny in cluster.workers.values():
                        if nanny.worker_address == worker.address:
                            pid = nanny.pid
                    time.sleep(0.3)
                    os.kill(pid, signal.SIGKILL)
                    return
            time.sleep(0.02)

    thread = threading.Thread(target=kill_one_at_work)
    thread.start()
    done = run_batch(batch_models, *arguments)
    thread.join()
    assert killed
    assert done.returncode == 0, done.stderr
    assert statuses(out) == {"a": "done", "b": "done", "c": "done"}


def test_no_cluster_there_is_said(batch_models, table, tmp_path):
    arguments = (table, "-o", tmp_path / "out", "--cluster", "tcp://127.0.0.1:9")
    done = run_batch(batch_models, *arguments)
    assert done.returncode == 2
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_workers_that_do_not_see_the_results_are_refused(cluster, tmp_path):
    run = ClusterRun(cluster.scheduler_address, Settings(), tmp_path, None)  # type: ignore[arg-type]
    (tmp_path / ".batch").mkdir()

    class Elsewhere:
        def run(self, function: object, probe: str) -> dict[str, object]:
            from CovidLesionSegLogic.batch.cluster_task import describe

            return {"tcp://host:1": describe(probe + " elsewhere")}

    with pytest.raises(RequestError, match="does not see the results folder"):
        run._check(Elsewhere())


def test_cluster_and_workers_together_are_refused(batch_models, table, tmp_path):
    arguments = (table, "-o", tmp_path / "out", "--cluster", "tcp://x:1", "--workers", "2")
    assert "leave --workers or --cluster out" in run_batch(batch_models, *arguments).stderr


class TestInOneProcess:
    """With workers that are threads of this process, which do what the test says."""

    @pytest.fixture
    def threads(self):
        with distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            host="tcp://127.0.0.1",
        ) as cluster:
            yield cluster

    def run(self, cluster, folder, cancel=None):
        heard = Heard()
        (folder / ".batch").mkdir()
        studies = [
            Study(n, Path(f"/data/Doe/{n}"), name_words=frozenset({"doe"})) for n in ("a", "b")
        ]
        run = ClusterRun(cluster.scheduler_address, Settings(), folder, heard, cancel=cancel)
        try:
            run.run(Waiting(studies))
        except CovidLesionSegError:
            assert not heard.ended, "nothing was done, and nothing failed"
            raise
        return heard

    def test_a_scheduler_that_dies_ends_the_run(self, threads, tmp_path, monkeypatch):
        def load(job):
            threading.Timer(0.5, threads.close).start()
            time.sleep(3)
            raise CancelledError

        monkeypatch.setattr(process, "load", load)
        monkeypatch.setattr("CovidLesionSegLogic.batch.cluster.CONNECT_S", 2)
        with pytest.raises(RequestError, match="is gone; start it"):
            self.run(threads, tmp_path)

    def test_cancelling_waits_until_workers_have_stopped(self, threads, tmp_path, monkeypatch):
        cancel, ended = Cancel(), []

        def load(job):
            cancel.cancel()
            while not job.cancel.cancelled():
                time.sleep(0.05)
            time.sleep(1)
            ended.append(job.study.name)
            raise CancelledError

        monkeypatch.setattr(process, "load", load)
        with pytest.raises(CancelledError):
            self.run(threads, tmp_path, cancel)
        assert ended == ["a"]

    def test_logs_of_workers_hold_no_names(self, threads, tmp_path, monkeypatch, caplog):
        def load(job):
            raise ZeroDivisionError("a fault")

        monkeypatch.setattr(process, "load", load)
        heard = self.run(threads, tmp_path)
        assert "ZeroDivisionError" in heard.ended["a"].reason
        assert "Compute Failed" in caplog.text
        assert "doe" not in caplog.text.lower()
        given = Study("a", Path("/data/Doe/a"), name_words=frozenset({"doe"})).to_dict()
        assert repr(Sealed(given)) == "<study a>", "older versions show what was given"

"""The storm of `benchmarks.storm`, in small: whatever is killed, each job succeeds once."""

from benchmarks import storm


def test_storm_every_job_succeeds_once_with_the_undisturbed_files(tmp_path):
    outcome = storm.run(tmp_path / "home", num_jobs=2, num_faults=6, seed=1, epochs=20)
    assert outcome.wrong == []
    assert outcome.num_jobs == 2
    assert outcome.faults, "nothing was killed"

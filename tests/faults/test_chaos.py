"""The storm of `benchmarks.chaos`, in small: whatever fails, each job ends once and right."""

from benchmarks.chaos.storm import Weather, run


def test_chaos_every_job_ends_once_with_the_undisturbed_files(tmp_path):
    outcome = run(tmp_path, Weather(num_jobs=2, num_faults=5, epochs=20, seed=1))
    assert outcome.wrong == ()
    assert outcome.num_faults > 0, "nothing struck"

"""A seeded storm over the whole service: `python -m benchmarks.chaos`.

Everything that can fail fails, at seeded moments from the fork of a training to its last
transaction. Afterwards every job must have ended once, in the right state, with the files of an
undisturbed run; and nothing may be left: no process, no file, no row that waits.
"""

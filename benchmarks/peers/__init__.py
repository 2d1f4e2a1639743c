"""Other ways to have several answers for one network's parameters, written from their papers.

Each is a module with `members(x)`, the logits of every member by name, so that the trainer of
every job trains it too. All are wide residual networks of one skeleton.
"""

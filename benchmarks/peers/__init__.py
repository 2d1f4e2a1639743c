"""Other ways to have several answers for the parameters of one network, written from their papers.

Each is a module with `members(x)`, the logits of every member by name, so that `npas.train.Trainer`
trains it as it trains everything else. All are wide residual networks of one skeleton.
"""

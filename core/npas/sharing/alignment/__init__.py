"""Hidden units of networks, put in an order in which layers of one shape resemble each other.

Source: Ainsworth et al., "Git Re-Basin: Merging Models modulo Permutation Symmetries", ICLR 2023,
section 3.2, which matches the units of two networks; here those of blocks in one network.
"""

from npas.sharing.alignment.matching import align as align

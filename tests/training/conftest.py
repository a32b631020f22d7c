"""One thread: with more, sums come out in another order, and tiny models are slower."""

import torch

torch.set_num_threads(1)

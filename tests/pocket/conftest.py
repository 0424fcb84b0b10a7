"""What the tests of the pocket share."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Small tensors are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

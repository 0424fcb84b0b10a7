"""Image files hold exactly the picture that was written."""

import av
import numpy as np
import pytest

from ltx_live.errors import MediaError
from ltx_live.media.image import write_png


@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 57), (1, 1)])
def test_a_png_gives_back_every_pixel(tmp_path, height, width):
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    write_png(tmp_path / "a.png", picture)
    with av.open(str(tmp_path / "a.png")) as file:
        (frame,) = file.decode(video=0)
    assert np.array_equal(frame.to_ndarray(format="rgb24"), picture)


def test_what_is_no_picture_or_cannot_be_written_says_so(tmp_path):
    with pytest.raises(MediaError, match="a picture is float64"):
        write_png(tmp_path / "a.png", np.zeros((4, 4, 3)))
    with pytest.raises(MediaError, match="no-such-folder/a.png: No such file"):
        write_png(tmp_path / "no-such-folder" / "a.png", np.zeros((4, 4, 3), np.uint8))

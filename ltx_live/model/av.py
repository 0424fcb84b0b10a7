"""A pair of anything that exists once for the picture and once for the sound."""

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class AV(NamedTuple, Generic[T]):
    """What belongs to video and what belongs to audio; None where that modality takes no part."""

    video: T
    audio: T

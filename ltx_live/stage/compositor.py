"""Composes the picture with OpenGL: uploads frames, blends and grades them in a shader, shows or reads the result.

Every function needs a current OpenGL 3.3 context, which `window.py` makes.
"""

from __future__ import annotations

from ctypes import c_void_p
from importlib import resources
from typing import Any

import numpy as np
from pyglet import gl
from pyglet.graphics.shader import Shader, ShaderProgram

from ltx_live.stage.look import level
from ltx_live.stage.timeline import Frame, Picture


def _program(fragment: str) -> ShaderProgram:
    folder = resources.files("ltx_live.stage") / "shaders"
    sources = {"vertex": "triangle.vert.glsl", "fragment": f"{fragment}.frag.glsl"}
    return ShaderProgram(*(Shader((folder / name).read_text("utf-8"), kind) for kind, name in sources.items()))


def _generate(function: Any) -> int:
    name = gl.GLuint()
    function(1, name)
    return name.value


class _Texture:
    """An RGB texture that knows which frame it holds."""

    def __init__(self, unit: int) -> None:
        self.name = _generate(gl.glGenTextures)
        self.key: tuple[int, int, int] | None = None
        self.size = (0, 0)
        self.bind(unit)
        for setting in (gl.GL_TEXTURE_WRAP_S, gl.GL_TEXTURE_WRAP_T):
            gl.glTexParameteri(gl.GL_TEXTURE_2D, setting, gl.GL_CLAMP_TO_EDGE)
        for setting in (gl.GL_TEXTURE_MIN_FILTER, gl.GL_TEXTURE_MAG_FILTER):
            gl.glTexParameteri(gl.GL_TEXTURE_2D, setting, gl.GL_LINEAR)

    def bind(self, unit: int) -> None:
        gl.glActiveTexture(gl.GL_TEXTURE0 + unit)
        gl.glBindTexture(gl.GL_TEXTURE_2D, self.name)

    def resize(self, width: int, height: int) -> None:
        """Make room for (height, width, 3) bytes in the bound texture."""
        gl.glTexImage2D(
            gl.GL_TEXTURE_2D, 0, gl.GL_RGB8, width, height, 0, gl.GL_RGB, gl.GL_UNSIGNED_BYTE, c_void_p(None)
        )
        self.size = (width, height)

    def upload(self, frame: Frame, unit: int) -> None:
        """Copy a frame's pixels into the texture, when it holds another one."""
        if self.key == frame.key:
            return
        self.bind(unit)
        pixels = np.ascontiguousarray(frame.pixels)
        height, width = pixels.shape[:2]
        gl.glPixelStorei(gl.GL_UNPACK_ALIGNMENT, 1)
        if self.size != (width, height):
            self.resize(width, height)
        data = c_void_p(pixels.ctypes.data)
        gl.glTexSubImage2D(gl.GL_TEXTURE_2D, 0, 0, 0, width, height, gl.GL_RGB, gl.GL_UNSIGNED_BYTE, data)
        self.key = frame.key


class Compositor:
    """Holds the composed picture at the size of its frames, in a texture, top row first."""

    def __init__(self) -> None:
        self._look, self._present, self._card = _program("look"), _program("present"), _program("card")
        self._frame, self._incoming, self._composed = _Texture(0), _Texture(1), _Texture(0)
        self._mix = 0.0
        self._done: tuple[Any, ...] = ()
        self.attach()

    def attach(self) -> None:
        """Make what belongs to one context alone, after the window was made anew; textures and programs are shared."""
        self._vertices = _generate(gl.glGenVertexArrays)
        self._target = _generate(gl.glGenFramebuffers)
        if self._composed.size != (0, 0):
            self._aim()

    def compose(self, picture: Picture | None, output: Any) -> bool:
        """Take the picture, unless frozen, and give it the look of OutputParams; True when the result changed."""
        frozen = output.out_freeze and self._frame.key is not None
        if picture is not None and not frozen:
            self._take(picture)
        if self._frame.key is None:
            return False
        look = (output.out_brightness, output.out_contrast, output.out_saturation, output.out_hue / 60, level(output))
        wanted = (self._frame.key, self._incoming.key if self._mix else None, self._mix, *look)
        if wanted == self._done:
            return False
        self._done = wanted
        if self._composed.size != self._frame.size:
            self._composed.bind(0)
            self._composed.resize(*self._frame.size)
            self._aim()
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, self._target)
        gl.glViewport(0, 0, *self._composed.size)
        names = ("brightness", "contrast", "saturation", "hue", "level")
        uniforms = dict(zip(names, look, strict=True)) | {"mix_amount": self._mix, "frame": 0, "incoming": 1}
        self._incoming.bind(1)
        self._frame.bind(0)
        self._draw(self._look, uniforms)
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, 0)
        return True

    @property
    def empty(self) -> bool:
        """Whether there has been no picture yet."""
        return self._composed.size == (0, 0)

    def draw(self, width: int, height: int, fit: str, card: bool) -> None:
        """Draw over a window of that size: the title card's ground, or the composed picture, letterboxed or filling."""
        gl.glViewport(0, 0, width, height)
        gl.glClearColor(0, 0, 0, 1)
        gl.glClear(gl.GL_COLOR_BUFFER_BIT)
        if card:
            self._draw(self._card, {})
        elif not self.empty:
            picture_width, picture_height = self._composed.size
            scales = width / picture_width, height / picture_height
            scale = max(scales) if fit == "fill" else min(scales)
            across, down = round(picture_width * scale), round(picture_height * scale)
            gl.glViewport((width - across) // 2, (height - down) // 2, across, down)
            self._composed.bind(0)
            self._draw(self._present, {"composed": 0})
            gl.glViewport(0, 0, width, height)

    def grab(self) -> np.ndarray:
        """The composed picture (H, W, 3) uint8, top row first; empty before the first one."""
        width, height = self._composed.size
        pixels = np.zeros((height, width, 3), np.uint8)
        if pixels.size:
            gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, self._target)
            gl.glPixelStorei(gl.GL_PACK_ALIGNMENT, 1)
            data = c_void_p(pixels.ctypes.data)
            gl.glReadPixels(0, 0, width, height, gl.GL_RGB, gl.GL_UNSIGNED_BYTE, data)
            gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, 0)
        return pixels

    def _take(self, picture: Picture) -> None:
        if self._incoming.key == picture.frame.key:  # the fade is over: what came in is the frame now
            self._frame, self._incoming = self._incoming, self._frame
        self._frame.upload(picture.frame, 0)
        if picture.incoming is not None:
            self._incoming.upload(picture.incoming, 1)
        self._mix = picture.mix if picture.incoming is not None else 0.0

    def _aim(self) -> None:
        """Make the framebuffer draw into the composed texture."""
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, self._target)
        gl.glFramebufferTexture2D(gl.GL_FRAMEBUFFER, gl.GL_COLOR_ATTACHMENT0, gl.GL_TEXTURE_2D, self._composed.name, 0)
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, 0)

    def _draw(self, program: ShaderProgram, uniforms: dict[str, Any]) -> None:
        gl.glDisable(gl.GL_BLEND)
        program.use()
        for name, value in uniforms.items():
            program[name] = value
        gl.glBindVertexArray(self._vertices)
        gl.glDrawArrays(gl.GL_TRIANGLES, 0, 3)
        gl.glBindVertexArray(0)
        program.stop()

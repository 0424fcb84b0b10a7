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

from ltx_live.stage.geometry import View, view
from ltx_live.stage.look import Motion, level
from ltx_live.stage.timeline import Frame, Picture


def _program(fragment: str, define: str = "") -> ShaderProgram:
    """The program of a fragment shader's file, with a name defined after its first line, the version."""
    folder = resources.files("ltx_live.stage") / "shaders"
    version, _, rest = (folder / f"{fragment}.frag.glsl").read_text("utf-8").partition("\n")
    source = f"{version}\n#define {define}\n{rest}" if define else f"{version}\n{rest}"
    vertex = (folder / "triangle.vert.glsl").read_text("utf-8")
    return ShaderProgram(Shader(vertex, "vertex"), Shader(source, "fragment"))


def _generate(function: Any) -> int:
    name = gl.GLuint()
    function(1, name)
    return name.value


class _Texture:
    """An RGB texture that knows which frame it holds; of bytes, or of floats for what changes by less than a byte."""

    def __init__(self, unit: int, form: int = gl.GL_RGB8) -> None:
        self._form = form
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
        """Make room for (height, width, 3) colours in the bound texture."""
        gl.glTexImage2D(
            gl.GL_TEXTURE_2D, 0, self._form, width, height, 0, gl.GL_RGB, gl.GL_UNSIGNED_BYTE, c_void_p(None)
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


def _colour(output: Any, is_lit: bool) -> dict[str, float]:
    """The uniforms of colour and level."""
    names = "brightness", "contrast", "gamma", "saturation", "invert"
    colour = {name: getattr(output, f"out_{name}") for name in names}
    return colour | {"hue": output.out_hue / 60, "level": level(output) * is_lit}


def _placed(view: View | None) -> dict[str, Any]:
    """The uniforms of geometry."""
    view = view or View((1.0, 0.0, 0.0, 1.0), (0.0, 0.0), (False, False), 1.0)
    return view._asdict() | {"mirror": tuple(map(float, view.mirror))}


class Compositor:
    """Holds the composed picture at the size of its frames, in a texture, top row first."""

    def __init__(self) -> None:
        self._look, self._present, self._card = _program("look"), _program("present"), _program("card")
        self._moved_look = _program("look", "MOVED")  # another one, so that the plain one's bytes are always the same
        self._frame, self._incoming, self._composed = _Texture(0), _Texture(1), _Texture(0)
        self._trail, self._next_trail = _Texture(2, gl.GL_RGBA32F), _Texture(2, gl.GL_RGBA32F)
        self._has_trail = False
        self._motion = Motion()
        self._mix = 0.0
        self._done: tuple[Any, ...] = ()
        self.attach()

    def attach(self) -> None:
        """Make what belongs to one context alone, after the window was made anew; textures and programs are shared."""
        self._vertices = _generate(gl.glGenVertexArrays)
        self._target = _generate(gl.glGenFramebuffers)
        if self._composed.size != (0, 0):
            self._aim(0, self._composed)

    def compose(self, picture: Picture | None, output: Any) -> bool:
        """Take the picture, unless frozen, and give it the look of OutputParams; True when the result changed."""
        frozen = output.out_freeze and self._frame.key is not None
        if picture is not None and not frozen:
            self._take(picture)
        if picture is not None:
            self._motion.advance(picture.time_s, output)
        if self._frame.key is None:
            return False
        wanted = self._wanted(output)
        if wanted == self._done:
            return False
        self._done = wanted
        if self._composed.size != self._frame.size:
            self._composed.bind(0)
            self._composed.resize(*self._frame.size)
            self._aim(0, self._composed)
            self._aim(1, None)  # a trail of another size
            self._has_trail = False
        self._render(output)
        return True

    def _wanted(self, output: Any) -> tuple[Any, ...]:
        """All that the composed picture depends on."""
        moving = self._motion.time_s if output.out_feedback else None
        frames = self._frame.key, self._incoming.key if self._mix else None, self._mix, moving
        return *frames, view(output, *self._frame.size), *_colour(output, self._motion.is_lit).values()

    def _render(self, output: Any) -> None:
        """Draw the frames with their look into the composed texture, and what feedback keeps into the trail's."""
        seen = view(output, *self._frame.size)
        uniforms = {"mix_amount": self._mix, "frame": 0, "incoming": 1} | _colour(output, self._motion.is_lit)
        kept = self._motion.kept if self._has_trail else 0.0
        targets = [gl.GL_COLOR_ATTACHMENT0]
        self._has_trail = bool(output.out_feedback)
        if self._has_trail:
            if self._next_trail.size != self._frame.size:
                self._next_trail.bind(2)
                self._next_trail.resize(*self._frame.size)
            self._aim(1, self._next_trail)
            targets.append(gl.GL_COLOR_ATTACHMENT1)
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, self._target)
        gl.glDrawBuffers(len(targets), (gl.GLenum * len(targets))(*targets))
        gl.glViewport(0, 0, *self._composed.size)
        self._trail.bind(2)
        self._incoming.bind(1)
        self._frame.bind(0)
        if seen is None and not self._has_trail:
            self._draw(self._look, uniforms)
        else:
            self._draw(self._moved_look, uniforms | _placed(seen) | {"trail": 2, "kept": kept})
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, 0)
        if self._has_trail:
            self._trail, self._next_trail = self._next_trail, self._trail

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

    def _aim(self, place: int, texture: _Texture | None) -> None:
        """Make output `place` of the shader be drawn into a texture, or nowhere."""
        target = gl.GL_COLOR_ATTACHMENT0 + place
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, self._target)
        gl.glFramebufferTexture2D(gl.GL_FRAMEBUFFER, target, gl.GL_TEXTURE_2D, texture.name if texture else 0, 0)
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

"""The whole show with the test card and without a window, whose ticks are the test's."""

import time
from dataclasses import replace

from ltx_live import app, config
from ltx_live.control.event import Event, Origin


class Play:
    """A show with the test card, turned by the test; `asked` are its requests."""

    def __init__(self, home, parts, **values):
        size = {"width": 96, "height": 64, "num_frames": 57, "randomize_seed": False}
        values = config.initial_values("testcard", None, {**size, **values})
        made = config.Config(model="testcard", home=home, values=values, osc=("127.0.0.1", 0), midi="none")
        self.show = app.assemble(replace(made, headless=True), parts)
        self.engine, self.session = self.show.parts.engine, self.show.parts.session
        self.asked = []
        self._ask, self.engine.request = self.engine.request, self._note

    def _note(self, request):
        self.asked.append(request)
        self._ask(request)

    def send(self, address, *args, time_s=None):
        event = Event(address, args, Origin("app", "test"), time_s or time.perf_counter())
        self.show.parts.events.put((event,))

    def tick(self):
        for duty in self.show.duties:
            duty()
        time.sleep(0.005)

    def until(self, is_so):
        end_s = time.perf_counter() + 20
        while not is_so():
            assert time.perf_counter() < end_s, [line[-90:] for line, _ in self.show._messages.shown]
            self.tick()

    def told(self, text: str):
        """Wait until a line with this text is shown."""
        self.until(lambda: any(text in line for line, _ in self.show._messages.shown))

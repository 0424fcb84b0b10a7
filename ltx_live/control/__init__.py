"""What arrives from performers (OSC, MIDI, keys) and the registry of live values. No torch, no window, no engine."""

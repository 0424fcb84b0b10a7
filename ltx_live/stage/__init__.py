"""What leaves for the audience: timeline, sound, window, recording. No torch, no control, no engine."""

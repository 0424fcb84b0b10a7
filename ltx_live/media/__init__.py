"""Images, video and sound files through PyAV; nothing here knows the model or the show."""

"""The proof kit, `ltx-live models verify NAME --play`: plays stored prompts and writes what they gave to a folder."""

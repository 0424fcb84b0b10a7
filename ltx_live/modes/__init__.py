"""The generation modes of a running show: what chunks are given beside their prompts, changeable while it plays."""

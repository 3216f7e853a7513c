"""The network as a client: C-ECHO, C-STORE, and a small archive for trials."""

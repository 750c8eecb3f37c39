"""The demo's pages in a real Chromium, against the real demo: nothing between them but sockets."""

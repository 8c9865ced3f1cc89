"""Layouts of well-known corpora, one module each; `registry` lists them."""

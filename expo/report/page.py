"""HTML pages that load nothing and run only the one script that they are given, whatever text they contain."""

from __future__ import annotations

import base64
import hashlib
import html


def page(title: str, about: str, style: str, body: str) -> str:
    """The page; `title` and `about` are escaped here, while `body` already is HTML."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><style>
{style}
</style></head><body>
<h1>{html.escape(title)}</h1>
<p>{html.escape(about)}</p>
{body}</body></html>
"""


def scripted_page(title: str, style: str, script: str, body: str, head: str = "") -> str:
    """A page whose script and style are allowed by their hashes; `title` is escaped here, the rest already is HTML."""
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
{head}<title>{html.escape(title)}</title>
<style>{style}</style></head><body>
{body}<script>{script}</script>
</body></html>
"""


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"

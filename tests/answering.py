"""What the tests' own servers have in common."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler


def answer(handler: BaseHTTPRequestHandler, content: object) -> None:
    """Answer a request with JSON."""
    body = json.dumps(content).encode()
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)

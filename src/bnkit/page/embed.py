"""Putting data and scripts inside a page, so that nothing in them can end or escape their place."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from typing import Any

# Each character that could close the script element or a line of JavaScript, as JSON may write it.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def json_for_script(content: Any) -> str:
    """Return JSON that is safe inside a script element; values that are not finite become null."""
    try:
        text = _dumps(content)
    except ValueError:
        text = _dumps(_finite(content))
    return text.translate(_ESCAPES)


def _dumps(content: Any) -> str:
    return json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def script_hash(source: str) -> str:
    """Return the source expression that lets a content security policy run this one script."""
    digest = hashlib.sha256(source.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content

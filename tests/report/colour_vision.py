"""How far apart two colours look, to eyes that lack one kind of cone too."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from matplotlib.colors import to_rgb

# Machado, Oliveira and Fernandes (2009), severity 1; they act on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
)
_WHITE = _XYZ.sum(axis=1)


def closest(colours: dict[str, str]) -> tuple[float, str, str, str]:
    """The least difference between two of the colours over all kinds of vision, the kind, and the names of both."""
    pairs = combinations(colours, 2)
    return min((difference(colours[a], colours[b], kind), kind, a, b) for a, b in pairs for kind in VISION)


def difference(a: str, b: str, vision: str = "normal") -> float:
    """CIEDE2000 between two colours as they are seen; 1 is about the least that anyone sees."""
    return ciede2000(*(_lab(colour, vision) for colour in (a, b)))


def contrast_with_white(colour: str) -> float:
    """The contrast ratio of WCAG 2; it asks for 3 of graphics and 4.5 of text."""
    return 1.05 / (float(_XYZ[1] @ _linear(colour)) + 0.05)


def _linear(colour: str) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _lab(colour: str, vision: str) -> np.ndarray:
    xyz = _XYZ @ np.clip(VISION[vision] @ _linear(colour), 0, 1) / _WHITE
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def ciede2000(one: np.ndarray, other: np.ndarray) -> float:
    """Sharma, Wu and Dalal (2005), of two colours in CIE Lab."""
    (L1, a1, b1), (L2, a2, b2) = one, other
    C7 = np.mean([np.hypot(a1, b1), np.hypot(a2, b2)]) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(C7 / (C7 + 25.0**7))
    C, h = zip(
        *((np.hypot(a * stretch, b), np.arctan2(b, a * stretch) % (2 * np.pi)) for _, a, b in (one, other)), strict=True
    )
    dL, dC = L2 - L1, C[1] - C[0]
    turn = (h[1] - h[0] + np.pi) % (2 * np.pi) - np.pi if C[0] * C[1] else 0.0
    dH = 2 * np.sqrt(C[0] * C[1]) * np.sin(turn / 2)
    L, mean_C, mean_h = (L1 + L2) / 2, sum(C) / 2, h[0] + turn / 2 if C[0] * C[1] else sum(h)
    T = 1 - 0.17 * np.cos(mean_h - np.pi / 6) + 0.24 * np.cos(2 * mean_h)
    T += 0.32 * np.cos(3 * mean_h + np.pi / 30) - 0.2 * np.cos(4 * mean_h - 63 * np.pi / 180)
    S_L = 1 + 0.015 * (L - 50) ** 2 / np.sqrt(20 + (L - 50) ** 2)
    S_C, S_H = 1 + 0.045 * mean_C, 1 + 0.015 * mean_C * T
    twist = np.pi / 3 * np.exp(-(((np.degrees(mean_h) % 360 - 275) / 25) ** 2))
    R = -2 * np.sqrt(mean_C**7 / (mean_C**7 + 25.0**7)) * np.sin(twist)
    lightness, chroma, hue = dL / S_L, dC / S_C, dH / S_H
    return float(np.sqrt(lightness**2 + chroma**2 + hue**2 + R * chroma * hue))

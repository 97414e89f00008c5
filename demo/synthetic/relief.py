"""Relief of a face and its shading: height field, normals, light."""

from __future__ import annotations

import cv2
import numpy as np

from demo.synthetic.drawing import Canvas, Floats, bump, polygon_mask, ramp, smooth_closed_curve, soften
from demo.synthetic.person import Person
from demo.synthetic.scene import Scene

_SHOULDER = 0.75


def head_outline(person: Person, grow: float = 0.0) -> Floats:
    """Return the closed outline (n, 2) of skull, cheeks and chin, widened by `grow` face units."""
    width, jaw, chin = person.face_width, person.jaw, person.chin_width
    end, top = person.chin_y, -1.78 * person.forehead
    right = [
        (0.0, top - grow), (0.62, top + 0.16 - grow), (0.98 * person.forehead, -1.15), (1.13, -0.5), (width, 0.1),
        (width * 0.965, 0.62), (0.99 * jaw, 1.02), (0.5 * jaw + 0.5 * chin + 0.13, 0.745 * end),
        (chin + 0.19, end - 0.21), (chin * 0.70, end - 0.055),
    ]  # fmt: skip
    half = np.array([(x + (grow if x else 0.0), y) for x, y in right])
    tip = np.array([[0.0, end]])
    left = half[:0:-1] * np.array([-1.0, 1.0])
    return smooth_closed_curve(np.concatenate([half, tip, left]))


def face_height(person: Person, canvas: Canvas) -> Floats:
    """Return the height (h, w) of the face's surface towards the viewer, in face units."""
    x, y = canvas.grid()
    mask = polygon_mask(canvas, head_outline(person))
    inside = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / canvas.density
    rise = np.clip(inside / 1.05, 0.0, 1.0)
    height = soften((0.95 * np.sqrt(1.0 - (1.0 - rise) ** 2)).astype(np.float32), 0.10 * canvas.density)
    return height + _features(person, x, y) + _nose(person, x, y)


def _features(person: Person, x: Floats, y: Floats) -> Floats:
    side = np.abs(x)
    fat = 1.0 - 0.5 * person.wrinkles
    height = 0.07 * bump(side, y, (0.48, -0.30), (0.27, 0.12))
    height -= 0.10 * bump(side, y, (0.46, -0.02), (0.25, 0.13))
    height += 0.035 * bump(side, y, (0.52, 0.02), (0.17, 0.09))
    height += 0.09 * fat * bump(side, y, (0.66, 0.50), (0.27, 0.24))
    height += 0.07 * bump(x, y, (0.0, person.mouth_y), (0.36, 0.22))
    height -= 0.03 * bump(x, y, (0.0, person.mouth_y + 0.30), (0.24, 0.06))
    height += 0.08 * bump(x, y, (0.0, person.chin_y - 0.22), (0.20, 0.13))
    height -= 0.012 * bump(x, y, (0.0, person.nose_tip_y + 0.23), (0.035, 0.08))
    fold = person.nose_width + 0.03 + 0.42 * np.clip(y - person.nose_tip_y, 0.0, 1.0) - side
    reach = ramp(y, person.nose_tip_y, person.nose_tip_y + 0.15) * (1.0 - ramp(y, 0.95, 1.25))
    groove = np.exp(-0.5 * (fold / 0.035) ** 2) * reach
    return (height - (0.008 + 0.03 * person.wrinkles) * groove).astype(np.float32)


def _nose(person: Person, x: Floats, y: Floats) -> Floats:
    tip = person.nose_tip_y
    along = np.clip((y + 0.15) / (tip + 0.15), 0.0, 1.0)
    width = 0.085 + (person.nose_width * 0.55 - 0.05) * along**1.5
    rise = (
        0.85 * person.nose_height * (0.2 + 0.8 * along) * ramp(y, -0.35, 0.05) * (1.0 - ramp(y, tip + 0.02, tip + 0.15))
    )
    height = rise * np.exp(-0.5 * (x / width) ** 2)
    height += 0.10 * bump(x, y, (0.0, tip), (0.09, 0.08))
    side = np.abs(x)
    height += 0.11 * bump(side, y, (person.nose_width * 0.80, tip + 0.04), (0.062, 0.07))
    return height.astype(np.float32)


def shade(height: Floats, canvas: Canvas, scene: Scene, gloss: float = 0.10) -> tuple[Floats, Floats]:
    """Shade a relief.

    Args:
        height: (h, w), in face units.
        canvas: its position and density.
        scene: the light.
        gloss: strength of highlights.

    Returns:
        Light (h, w, 3) to multiply colours by, and highlights (h, w, 3) to add.
    """
    smooth = soften(height, 0.026 * canvas.density)
    slope_y, slope_x = np.gradient(smooth, 1.0 / canvas.density)
    norm = np.sqrt(1.0 + slope_x**2 + slope_y**2)
    light = np.array(scene.light)
    facing = (-slope_x * light[0] - slope_y * light[1] + light[2]) / norm
    diffuse = np.clip((facing + 0.25) / 1.25, 0.0, 1.0)
    half = light + np.array([0.0, 0.0, 1.0])
    half /= np.linalg.norm(half)
    mirror = np.clip((-slope_x * half[0] - slope_y * half[1] + half[2]) / norm, 0.0, 1.0)
    sky = 0.82 + 0.18 * np.clip(1.0 / norm, 0.0, 1.0)
    key, ambient = np.array(scene.key), np.array(scene.ambient)
    total = diffuse[..., None] * key * 1.02 + sky[..., None] * ambient
    shine = gloss * mirror[..., None] ** 28 * key
    return total.astype(np.float32), shine.astype(np.float32)


def skin_under_light(color: Floats, light: Floats) -> Floats:
    """Return the skin colour (h, w, 3) under `light` (h, w, 3).

    Shadows are slightly redder, as light scatters inside skin. Highlights above `_SHOULDER` are compressed, so that
    pale skin keeps its colour.
    """
    lit = color * np.clip(light, 0.02, 2.0) ** np.array([0.86, 1.0, 1.06], dtype=np.float32)
    peak = lit.max(axis=-1, keepdims=True)
    over = np.maximum(peak - _SHOULDER, 0.0) / (1.0 - _SHOULDER)
    level = np.minimum(peak, _SHOULDER) + (1.0 - _SHOULDER) * (1.0 - np.exp(-over))
    return (lit * (level / np.maximum(peak, 1e-3))).astype(np.float32)

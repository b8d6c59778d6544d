"""The objects of a PDF file: one page of drawing operators, with its fonts, images and opacities."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from robustbench_ens.reporting.pdf_fonts import Font


@dataclass
class Resources:
    """The resources that the operators of a page refer to by name.

    Attributes:
        fonts: by name.
        opacities: by name, in [0, 1].
        images: uint8 ``(H, W, 3)``, by name.
    """

    fonts: dict[str, Font] = field(default_factory=dict)
    opacities: dict[str, float] = field(default_factory=dict)
    images: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)


class _Objects:
    """The numbered objects of a file, which refer to each other by number."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def add(self, body: str | bytes) -> str:
        """Add an object and return the reference to it."""
        self.bodies.append(body.encode() if isinstance(body, str) else body)
        return f"{len(self.bodies)} 0 R"

    def stream(self, content: bytes, entries: str = "") -> str:
        """Add a compressed stream and return the reference to it."""
        packed = zlib.compress(content, 9)
        head = f"<< /Length {len(packed)} /Filter /FlateDecode {entries}>>\nstream\n"
        return self.add(head.encode() + packed + b"\nendstream")

    def file(self, root: str) -> bytes:
        """Return the whole file, in which ``root`` refers to the catalogue."""
        content = b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n"
        places = []
        for number, body in enumerate(self.bodies, start=1):
            places.append(len(content))
            content += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
        table = "".join(f"{place:010d} 00000 n \n" for place in places)
        size = len(self.bodies) + 1
        end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root {root} >>\n"
        return content + f"{end}startxref\n{len(content)}\n%%EOF\n".encode()


def pdf_file(width: float, height: float, operators: Sequence[str], resources: Resources) -> bytes:
    """Return a PDF file of one page.

    Args:
        width: of the page, in points.
        height: of the page.
        operators: the drawing operators.
        resources: the resources that the operators name.
    """
    objects = _Objects()
    fonts = {name: _font(objects, font) for name, font in resources.fonts.items()}
    opacities = {name: f"<< /ca {value:g} /CA {value:g} >>" for name, value in resources.opacities.items()}
    images = {name: _image(objects, pixels) for name, pixels in resources.images.items()}
    groups = {"Font": fonts, "ExtGState": opacities, "XObject": images}
    named = " ".join(f"/{group} {_names(entries)}" for group, entries in groups.items() if entries)
    contents = objects.stream("\n".join(operators).encode())
    # The page refers to its parent, which refers to the page: the parent's number is known before it is added.
    pages = f"{len(objects.bodies) + 2} 0 R"
    box = f"[0 0 {width:.2f} {height:.2f}]"
    page = objects.add(
        f"<< /Type /Page /Parent {pages} /MediaBox {box} /Contents {contents} /Resources << {named} >> "
        "/Group << /S /Transparency /CS /DeviceRGB >> >>"
    )
    objects.add(f"<< /Type /Pages /Kids [{page}] /Count 1 >>")
    return objects.file(objects.add(f"<< /Type /Catalog /Pages {pages} >>"))


def _names(entries: Mapping[str, str]) -> str:
    return "<< " + " ".join(f"/{name} {value}" for name, value in entries.items()) + " >>"


def _image(objects: _Objects, pixels: npt.NDArray[np.uint8]) -> str:
    height, width, _ = pixels.shape
    entries = f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceRGB "
    return objects.stream(np.ascontiguousarray(pixels).tobytes(), entries + "/BitsPerComponent 8 ")


def _font(objects: _Objects, font: Font) -> str:
    """Add a composite font, whose text is glyph numbers of two bytes, and return the reference to it.

    A map to Unicode lets readers search and copy the text.
    """
    file = objects.stream(font.content, f"/Length1 {len(font.content)} ")
    box = " ".join(map(str, font.box))
    descriptor = objects.add(
        f"<< /Type /FontDescriptor /FontName /{font.name} /Flags 32 /FontBBox [{box}] /ItalicAngle 0 "
        f"/Ascent {font.ascent} /Descent {font.descent} /CapHeight {font.cap_height} /StemV 80 /FontFile2 {file} >>"
    )
    widths = " ".join(map(str, font.widths))
    descendant = objects.add(
        f"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /{font.name} /FontDescriptor {descriptor} "
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> "
        f"/CIDToGIDMap /Identity /W [0 [{widths}]] >>"
    )
    unicode = objects.stream(_to_unicode(font).encode())
    return objects.add(
        f"<< /Type /Font /Subtype /Type0 /BaseFont /{font.name} /Encoding /Identity-H "
        f"/DescendantFonts [{descendant}] /ToUnicode {unicode} >>"
    )


def _to_unicode(font: Font) -> str:
    """Return the map from glyphs to characters, in blocks of at most 100, which is the format's limit."""
    pairs = [
        f"<{number:04x}> <{character.encode('utf-16-be').hex()}>"
        for number, character in sorted(font.characters.items())
    ]
    blocks = [pairs[start : start + 100] for start in range(0, len(pairs), 100)]
    mapped = "\n".join(f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar" for block in blocks)
    return (
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n"
        "/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n"
        f"1 begincodespacerange\n<0000> <ffff>\nendcodespacerange\n{mapped}\n"
        "endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"
    )
